//! Output: results to stdout, everything else to stderr. A closed pipe is not an error.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Prints a line of the result. Returns `false` if stdout is closed.
pub fn line(text: impl AsRef<str>) -> bool {
    let mut out = io::stdout().lock();
    let text = for_terminal(text.as_ref(), out.is_terminal());
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

/// Writes bytes of the result. Returns `false` if stdout is closed.
pub fn raw(bytes: &[u8]) -> bool {
    let mut out = io::stdout().lock();
    if !out.is_terminal() {
        return out.write_all(bytes).and_then(|()| out.flush()).is_ok();
    }
    let text = String::from_utf8_lossy(bytes);
    out.write_all(clean(&text).as_bytes()).and_then(|()| out.flush()).is_ok()
}

fn for_terminal(text: &str, is_terminal: bool) -> Cow<'_, str> {
    if is_terminal { clean(text) } else { Cow::Borrowed(text) }
}

/// A text that does nothing to a terminal but colour it. Containers and guests write texts that end up here.
/// Control characters other than line feed and tab, and characters that change the direction of text, are replaced
/// by U+FFFD; escape sequences that only set colours are kept.
pub fn clean(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = colour(rest).unwrap_or(c.len_utf8());
        let (part, after) = rest.split_at(length);
        if length == c.len_utf8() && harmful(c) {
            // A line that ends with CR and LF ends with LF.
            if !rest.starts_with("\r\n") {
                out.push(char::REPLACEMENT_CHARACTER);
            }
        } else {
            out.push_str(part);
        }
        rest = after;
    }
    Cow::Owned(out)
}

/// The length of a colour sequence (`ESC [ digits and semicolons m`) that the text begins with.
fn colour(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\u{1b}[")?;
    let end = body.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    body[end..].starts_with('m').then_some(2 + end + 1)
}

/// Prints the single JSON document of `--json`.
pub fn json(document: &impl Serialize) {
    // Cannot fail: the document was read from JSON, or has only string keys.
    line(serde_json::to_string_pretty(document).unwrap_or_default());
}

/// Prints a progress line to stderr.
pub fn print_note(text: impl AsRef<str>) {
    let mut err = io::stderr().lock();
    let text = for_terminal(text.as_ref(), err.is_terminal());
    let _ = writeln!(err, "{text}");
}

pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Asks a yes/no question. Without a terminal the answer is no.
pub fn confirm(question: &str) -> bool {
    if !io::stdin().is_terminal() || !stderr_is_terminal() {
        return false;
    }
    let _ = write!(io::stderr().lock(), "{question} [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// A spinner on stderr.
pub fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_does_nothing_to_a_terminal_but_colour_it() {
        let cases = [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\u{1b}[1;31mred\u{1b}[0m\u{1b}[m", "\u{1b}[1;31mred\u{1b}[0m\u{1b}[m"),
            ("\u{1b}]0;title\u{7}", "\u{fffd}]0;title\u{fffd}"),
            ("\u{1b}[2J\u{1b}[31", "\u{fffd}[2J\u{fffd}[31"),
            ("\u{1b}]52;c;aGk=\u{1b}\\", "\u{fffd}]52;c;aGk=\u{fffd}\\"),
            ("a\u{9b}2Jb\u{202e}c\u{8}", "a\u{fffd}2Jb\u{fffd}c\u{fffd}"),
            ("line\r\nover\rwritten", "line\nover\u{fffd}written"),
            ("grüße", "grüße"),
        ];
        for (text, cleaned) in cases {
            assert_eq!(clean(text), cleaned);
        }
    }
}
