//! `.env` files, read as the `phala` CLI reads them: by the very pattern of npm `dotenv`, so that a
//! file means the same to both, oddities included.
//!
//! `export` in front is passed over; `KEY=value` and `KEY: value`; quotes `'`, `"` and backtick, in
//! which a value may span lines; `\n` and `\r` are expanded in double quotes only; outside of quotes
//! `#` begins a comment anywhere (`a#b` is `a`) and blanks around the value go. No interpolation:
//! `$HOME` is these five characters. Lines that fit nothing are passed over.

use std::sync::LazyLock;

use regex::Regex;
use secrecy::SecretString;

/// `LINE` of npm `dotenv`, as bundled with `phala` 1.1.18; `\w` is spelled out because JavaScript's
/// knows ASCII only.
const LINE: &str = concat!(
    r"(?m)^\s*(?:export\s+)?([A-Za-z0-9_.-]+)(?:\s*=\s*?|:\s+?)",
    r#"(\s*'(?:\\'|[^'])*'|\s*"(?:\\"|[^"])*"|\s*`(?:\\`|[^`])*`|[^#\r\n]+)?"#,
    r"\s*(?:#.*)?$",
);

// Valid by the tests below; were it not, no file would have variables.
static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(LINE).ok());

/// The variables of a file, each name once and in the order of its first appearance; of several
/// values the last one counts. Any name of letters, digits, `_`, `.` and `-` is taken here.
pub fn parse(text: &str) -> Vec<(String, SecretString)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
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
        return value.to_owned();
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

    /// Expectations are what the pattern and the replacements in `phala` 1.1.18's bundle gave under
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
            ("A=a#b", "a"),
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
    fn names_and_lines_that_fit_nothing() {
        assert_eq!(read("# A=1\n\n B\n\nA:1\n=\n"), []);
        assert_eq!(read("B\n=C"), [("B".to_owned(), "C".to_owned())], "as odd as the CLI");
        let names: Vec<_> = read("1A=x\nb.c-d=y\n_=z").into_iter().map(|(key, _)| key).collect();
        assert_eq!(names, ["1A", "b.c-d", "_"]);
        assert_eq!(read("B=2\nA=\nC=3").len(), 3);
    }
}
