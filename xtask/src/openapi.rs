//! `cargo xtask openapi`: renews `docs/openapi.json`. The test that compares it writes it, so that
//! xtask does not need the server.

use crate::stage::{cargo, command, say};

/// Writes the description anew.
pub fn run() -> anyhow::Result<()> {
    let mut test = cargo(&["test", "--quiet", "--package", "casemate-server", "--test", "it"]);
    command(test.arg("openapi::").env("UPDATE", "1"))?;
    say("docs/openapi.json is what the server describes");
    Ok(())
}
