//! The output of a script: lines for people, and after a mark the variables it leaves behind.

use std::collections::VecDeque;

use casemate_core::seal::valid_env_name;
use secrecy::SecretString;
use zeroize::Zeroizing;

/// Lines that are kept for a message.
const KEPT: usize = 3;
/// A longer line is cut.
const MAX_LINE: usize = 4096;
/// More variables than this are not taken.
const MAX_EXPORTS: usize = 2 * 1024 * 1024;

/// Variables of the shell itself and of the container, not of the app.
const OWN: [&str; 11] =
    ["PATH", "HOME", "HOSTNAME", "PWD", "OLDPWD", "SHLVL", "_", "TERM", "SHELL", "USER", "LOGNAME"];

/// Output so far.
#[derive(Debug)]
pub(super) struct Output {
    mark: String,
    out: Vec<u8>,
    err: Vec<u8>,
    last: VecDeque<String>,
    exports: Option<Zeroizing<Vec<u8>>>,
}

impl Output {
    /// Nothing yet; variables follow a line with this mark.
    pub fn new(mark: &str) -> Self {
        Self {
            mark: mark.to_owned(),
            out: Vec::new(),
            err: Vec::new(),
            last: VecDeque::new(),
            exports: None,
        }
    }

    /// Takes a piece of stdout; returns the lines it ended.
    pub fn stdout(&mut self, bytes: &[u8]) -> Vec<String> {
        if let Some(exports) = &mut self.exports {
            let room = MAX_EXPORTS.saturating_sub(exports.len());
            exports.extend_from_slice(&bytes[..bytes.len().min(room)]);
            return Vec::new();
        }
        self.out.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(line) = take_line(&mut self.out) {
            if line == self.mark {
                self.exports = Some(Zeroizing::new(std::mem::take(&mut self.out)));
                break;
            }
            lines.push(line);
        }
        self.keep(lines)
    }

    /// Takes a piece of stderr; returns the lines it ended.
    pub fn stderr(&mut self, bytes: &[u8]) -> Vec<String> {
        self.err.extend_from_slice(bytes);
        let lines = std::iter::from_fn(|| take_line(&mut self.err)).collect();
        self.keep(lines)
    }

    /// Lines without end.
    pub fn finish(&mut self) -> Vec<String> {
        let rest = [std::mem::take(&mut self.out), std::mem::take(&mut self.err)];
        let lines = rest.iter().map(|rest| String::from_utf8_lossy(rest).into_owned()).collect();
        self.keep(lines)
    }

    /// The last lines, as one.
    pub fn last_lines(&self) -> String {
        if self.last.is_empty() {
            return "it said nothing".to_owned();
        }
        self.last.iter().cloned().collect::<Vec<_>>().join("; ")
    }

    /// The variables of the app after the script.
    pub fn exports(self) -> Vec<(String, SecretString)> {
        let Some(bytes) = self.exports else { return Vec::new() };
        bytes
            .split(|&byte| byte == 0)
            .filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('='))
            .filter(|(name, _)| valid_env_name(name) && !of_shell(name))
            .map(|(name, value)| (name.to_owned(), SecretString::from(value)))
            .collect()
    }

    fn keep(&mut self, lines: Vec<String>) -> Vec<String> {
        let lines: Vec<String> = lines.into_iter().filter(|line| !line.trim().is_empty()).collect();
        self.last.extend(lines.iter().cloned());
        let surplus = self.last.len().saturating_sub(KEPT);
        self.last.drain(..surplus);
        lines
    }
}

fn of_shell(name: &str) -> bool {
    OWN.contains(&name) || name.trim_start_matches('_').starts_with("BASH")
}

/// The first whole line, or as much of an overlong one as is kept.
fn take_line(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.iter().position(|&byte| byte == b'\n');
    let take = match end {
        Some(end) => end + 1,
        None if buffer.len() > MAX_LINE => buffer.len(),
        None => return None,
    };
    let line: Vec<u8> = buffer.drain(..take).collect();
    let line = String::from_utf8_lossy(&line[..line.len().min(MAX_LINE)]).into_owned();
    Some(line.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn lines_come_before_the_mark_and_variables_after_it() {
        let mut output = Output::new("M4rk");
        assert_eq!(output.stdout(b"one\ntw"), ["one"]);
        assert_eq!(output.stderr(b"warn\n"), ["warn"]);
        assert_eq!(output.stdout(b"o\n\nM4rk\nA=b\0PATH=/x\0MULTI=l1\nl2=3\0_BASH_X=1"), ["two"]);
        assert!(output.stdout(b"\0LAST=z\0").is_empty());
        assert_eq!(output.last_lines(), "one; warn; two");
        let exports: Vec<(String, String)> = output
            .exports()
            .into_iter()
            .map(|(name, value)| (name, value.expose_secret().to_owned()))
            .collect();
        let expected = [("A", "b"), ("MULTI", "l1\nl2=3"), ("LAST", "z")];
        assert_eq!(exports, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_script_that_ends_early_exports_nothing() {
        let mut output = Output::new("M4rk");
        output.stdout(b"bye");
        assert_eq!(output.finish(), ["bye"]);
        assert!(output.exports().is_empty());
    }

    #[test]
    fn overlong_lines_are_cut() {
        let mut output = Output::new("M");
        let lines = output.stdout(&[b'x'; MAX_LINE + 10]);
        assert_eq!(lines[0].len(), MAX_LINE);
    }
}
