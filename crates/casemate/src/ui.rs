//! Where text goes. Results to stdout, everything else to stderr; a reader that went away is no
//! error of ours.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// A line of the result. `false`: nobody reads it any more.
pub fn line(text: impl AsRef<str>) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()).is_ok()
}

/// A piece of the result as it is. `false`: nobody reads it any more.
pub fn raw(bytes: &[u8]) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).is_ok()
}

/// The one JSON document of `--json`.
pub fn json(document: &impl Serialize) {
    // What is shown here was read from JSON or is made of text and numbers.
    line(serde_json::to_string_pretty(document).unwrap_or_default());
}

/// A line about what goes on.
pub fn print_note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Whether somebody looks at stdout.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether somebody looks at stderr.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Asks a question that `y` answers; nobody there to answer is a no.
pub fn confirm(question: &str) -> bool {
    if !io::stdin().is_terminal() || !stderr_is_terminal() {
        return false;
    }
    let _ = write!(io::stderr().lock(), "{question} [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// A line on stderr that turns while something goes on.
pub fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
