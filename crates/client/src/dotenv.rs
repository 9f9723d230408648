//! Parses `.env` files with the pattern of npm `dotenv`, like the `phala` CLI, except for `#`.
//!
//! A leading `export` is ignored; `KEY=value` and `KEY: value`; quotes `'`, `"` and backtick, in which a
//! value may span lines; `\n` and `\r` are expanded only in double quotes; blanks around the value are
//! removed. No interpolation: `$HOME` stays as it is.
//!
//! Outside of quotes `#` begins a comment only after a blank, as in Docker Compose: `a#b` is `a#b`, while the
//! `phala` CLI reads `a`. [`read`] reports such values and refuses invalid lines; [`parse`] ignores them.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;
use secrecy::SecretString;

/// `LINE` of npm `dotenv`, as bundled with `phala` 1.1.18; `\w` is written out, because JavaScript's is
/// ASCII only.
const LINE: &str = concat!(
    r"(?m)^\s*(?:export\s+)?([A-Za-z0-9_.-]+)(?:\s*=\s*?|:\s+?)",
    r#"(\s*'(?:\\'|[^'])*'|\s*"(?:\\"|[^"])*"|\s*`(?:\\`|[^`])*`|[^\r\n]+)?"#,
    r"\s*(?:#.*)?$",
);

// Valid, as the tests below check; an invalid pattern would find no variables.
static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(LINE).ok());

/// The contents of a file.
#[derive(Debug)]
pub struct Dotenv {
    pub vars: Vec<(String, SecretString)>,
    /// Names whose values have a `#` that other programs read as a comment.
    pub with_hash: Vec<String>,
}

/// Why a file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DotenvError {
    /// UTF-16, as PowerShell writes it.
    #[error("is UTF-16: save it as UTF-8")]
    Utf16,
    /// Another encoding.
    #[error("is not UTF-8: save it as UTF-8")]
    NotUtf8,
    #[error("is JSON: write one NAME=value a line")]
    Json,
    /// An invalid line.
    #[error("has a line {0} that is no assignment: write NAME=value, or # before a comment")]
    NoAssignment(usize),
    /// An unterminated quote.
    #[error("has a quote on line {0} that is not closed")]
    OpenQuote(usize),
}

/// The variables of a file in which every line is an assignment, a comment or blank.
pub fn read(bytes: &[u8]) -> Result<Dotenv, DotenvError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(DotenvError::Utf16);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| DotenvError::NotUtf8)?;
    let text = plain(text);
    if text.trim_start().starts_with(['{', '[']) {
        return Err(DotenvError::Json);
    }
    let mut end = 0;
    let mut with_hash = Vec::new();
    for found in PATTERN.iter().flat_map(|pattern| pattern.captures_iter(&text)) {
        let Some(whole) = found.get(0) else { continue };
        check_between(&text, end..whole.start())?;
        end = whole.end();
        let (Some(key), Some(value)) = (found.get(1), found.get(2)) else { continue };
        let raw = value.as_str().trim();
        if let Some(quote) = raw.chars().next().filter(|first| "'\"`".contains(*first)) {
            if raw.len() < 2 || !without_comment(raw).ends_with(quote) {
                return Err(DotenvError::OpenQuote(line_at(&text, key.start())));
            }
        } else if without_comment(raw).contains('#') {
            with_hash.push(key.as_str().to_owned());
        }
    }
    check_between(&text, end..text.len())?;
    Ok(Dotenv { vars: parse(&text), with_hash })
}

/// Checks the text between assignments: comments and blank lines.
fn check_between(text: &str, range: Range<usize>) -> Result<(), DotenvError> {
    let mut at = range.start;
    for line in text[range].split('\n') {
        if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
            return Err(DotenvError::NoAssignment(line_at(text, at)));
        }
        at += line.len() + 1;
    }
    Ok(())
}

fn line_at(text: &str, at: usize) -> usize {
    text[..at.min(text.len())].matches('\n').count() + 1
}

/// The text without a byte order mark and with `\n` line ends.
fn plain(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// A value up to a `#` after a blank.
fn without_comment(raw: &str) -> &str {
    let mut blank = true;
    for (at, c) in raw.char_indices() {
        if c == '#' && blank {
            return raw[..at].trim_end();
        }
        blank = c.is_whitespace();
    }
    raw
}

/// The variables of a file; names are unique, in the order of their first appearance. The last value of a
/// name counts. Names may have letters, digits, `_`, `.` and `-`.
pub fn parse(text: &str) -> Vec<(String, SecretString)> {
    let text = plain(text);
    let mut vars: Vec<(String, SecretString)> = Vec::new();
    for found in PATTERN.iter().flat_map(|pattern| pattern.captures_iter(&text)) {
        let key = found.get(1).map_or("", |key| key.as_str());
        let value = SecretString::from(unquote(found.get(2).map_or("", |value| value.as_str())));
        match vars.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => vars.push((key.to_owned(), value)),
        }
    }
    vars
}

fn unquote(raw: &str) -> String {
    let value = raw.trim();
    let Some(quote) = value.chars().next().filter(|first| "'\"`".contains(*first)) else {
        return without_comment(value).to_owned();
    };
    let inner = value[1..].strip_suffix(quote).unwrap_or(value);
    if quote == '"' { inner.replace("\\n", "\n").replace("\\r", "\r") } else { inner.to_owned() }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let shown = |(key, value): (String, SecretString)| (key, value.expose_secret().to_owned());
        parse(text).into_iter().map(shown).collect()
    }

    /// The expected values come from the pattern and replacements in the bundle of `phala` 1.1.18 under
    /// Node.js 20.
    #[test]
    fn each_rule_of_the_cli_holds() {
        for (line, expected) in [
            ("A=1", "1"),
            ("export A=1", "1"),
            ("  export   A = 1  ", "1"),
            ("A: 1", "1"),
            ("A=", ""),
            ("A=   ", ""),
            ("A=a b", "a b"),
            ("A=a#b", "a#b"),
            ("A=a#b # c", "a#b"),
            ("A=a # b", "a"),
            ("A=#b", ""),
            ("A='a#b' # c", "a#b"),
            ("A=\"a#b\"", "a#b"),
            ("A=`a'b\"c`", "a'b\"c"),
            ("A='  a '", "  a "),
            (r#"A="a\nb\rc""#, "a\nb\rc"),
            (r"A='a\nb'", r"a\nb"),
            (r"A=a\nb", r"a\nb"),
            ("A=`a\\nb`", r"a\nb"),
            ("A=\"a\nb\"", "a\nb"),
            ("A='a\nb'", "a\nb"),
            ("A=\"a\r\nb\"", "a\nb"),
            ("A=$HOME", "$HOME"),
            ("A=${B:-x}", "${B:-x}"),
            ("A=a=b", "a=b"),
            ("A==", "="),
            ("A='it''s'", "it''s"),
            ("A=it's", "it's"),
            ("A='open", "'open"),
            ("A='", "'"),
            (r#"A="say \"hi\"""#, r#"say \"hi\""#),
            ("A=\n'x'", "x"),
            ("A=1\nA=2", "2"),
            ("A=\u{e9}\u{1f600}", "\u{e9}\u{1f600}"),
        ] {
            assert_eq!(read(line), [("A".to_owned(), expected.to_owned())], "{line:?}");
        }
    }

    #[test]
    fn every_line_of_a_file_is_an_assignment_a_comment_or_blank() {
        let names = |text: &str| {
            let read = super::read(text.as_bytes())?;
            Ok(read.vars.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        let good = "\u{feff}FIRST=1\r\n# note\r\n\r\nexport B: 2\r\nPEM=\"x\r\ny\" # end\r\nC=";
        assert_eq!(names(good).unwrap(), ["FIRST", "B", "PEM", "C"]);
        for (text, error) in [
            ("A=1\nno assignment\n", DotenvError::NoAssignment(2)),
            ("A=1\n\n# x\nB\n", DotenvError::NoAssignment(4)),
            ("[{\"key\": \"A\"}]", DotenvError::Json),
            ("A=1\nB=\"two\nC=3", DotenvError::OpenQuote(2)),
        ] {
            assert_eq!(names(text), Err(error), "{text:?}");
        }
        assert_eq!(super::read(b"\xff\xfeA\0").unwrap_err(), DotenvError::Utf16);
        assert_eq!(super::read(b"A=caf\xe9").unwrap_err(), DotenvError::NotUtf8);
        let hash = super::read(b"A=a#b\nB=a #b\nC='a#b'\n").unwrap();
        assert_eq!(hash.with_hash, ["A"]);
    }

    #[test]
    fn names_and_lines_that_fit_nothing() {
        assert_eq!(read("# A=1\n\n B\n\nA:1\n=\n"), []);
        assert_eq!(read("B\n=C"), [("B".to_owned(), "C".to_owned())], "as odd as the CLI");
        let names: Vec<_> = read("1A=x\nb.c-d=y\n_=z").into_iter().map(|(key, _)| key).collect();
        assert_eq!(names, ["1A", "b.c-d", "_"]);
        assert_eq!(read("B=2\nA=\nC=3").len(), 3);
    }
}
