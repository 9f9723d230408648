//! Output: results to stdout, everything else to stderr. A closed pipe is not an error.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Prints a line of the result. Returns `false` if stdout is closed.
pub fn line(text: impl AsRef<str>) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()).is_ok()
}

/// Writes bytes of the result. Returns `false` if stdout is closed.
pub fn raw(bytes: &[u8]) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).is_ok()
}

/// Prints the single JSON document of `--json`.
pub fn json(document: &impl Serialize) {
    // Cannot fail: the document was read from JSON, or has only string keys.
    line(serde_json::to_string_pretty(document).unwrap_or_default());
}

/// Prints a progress line to stderr.
pub fn print_note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
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
