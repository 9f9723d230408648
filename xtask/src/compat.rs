//! `cargo xtask compat`: which operations of upstream are served.
//!
//! `conformance/operations.txt` has upstream's operations by method and path, `docs/openapi.json` (which
//! a test keeps true) ours. A number, never a silent claim.

use std::{collections::BTreeSet, fmt, fs};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::stage::say;

const LIST: &str = "conformance/operations.txt";
const DESCRIPTION: &str = "docs/openapi.json";

/// An operation: its path and its method, in this order when they are listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Operation {
    path: String,
    method: String,
}

impl Operation {
    fn parse(line: &str) -> Option<Self> {
        let (method, path) = line.split_once(' ')?;
        Some(Self { path: path.to_owned(), method: method.to_owned() })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

type Operations = BTreeSet<Operation>;

/// Says what is served and what is not. Fails when an operation that is not marked as ours is not one
/// of upstream's: then one of the two is misspelt.
pub fn run() -> anyhow::Result<()> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
    let upstream = Upstream::parse(&read(LIST)?)?;
    let ours = Ours::parse(&serde_json::from_str(&read(DESCRIPTION)?)?)?;
    for line in report(&upstream, &ours) {
        say(&line);
    }
    let strangers: Vec<_> =
        ours.plain.difference(&upstream.all()).map(Operation::to_string).collect();
    ensure!(
        strangers.is_empty(),
        "neither upstream's in {LIST} nor marked x-casemate:\n  {}",
        strangers.join("\n  ")
    );
    Ok(())
}

#[derive(Debug, Default)]
struct Upstream {
    published: Operations,
    clients: Operations,
    documented: Operations,
    account: Operations,
}

impl Upstream {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut upstream = Self::default();
        let mut section = None;
        for line in
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            section = match line {
                "[published]" => Some(&mut upstream.published),
                "[clients]" => Some(&mut upstream.clients),
                "[documented]" => Some(&mut upstream.documented),
                "[account]" => Some(&mut upstream.account),
                line => {
                    let Some(operations) = section else {
                        bail!("{LIST}: {line} before a section")
                    };
                    let operation =
                        Operation::parse(line).with_context(|| format!("{LIST}: {line}"))?;
                    ensure!(operations.insert(operation), "{LIST}: {line} twice");
                    Some(operations)
                }
            };
        }
        Ok(upstream)
    }

    fn all(&self) -> Operations {
        let all = self.published.iter().chain(&self.clients).chain(&self.documented);
        all.chain(&self.account).cloned().collect()
    }
}

#[derive(Debug, Default)]
struct Ours {
    /// Under upstream's paths.
    plain: Operations,
    /// Marked as our additions.
    added: Operations,
}

impl Ours {
    fn parse(description: &Value) -> anyhow::Result<Self> {
        let paths = description["paths"].as_object().context("no paths in the description")?;
        let mut ours = Self::default();
        for (path, item) in paths {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let name = Operation { path: path.clone(), method: method.to_uppercase() };
                let added = operation["x-casemate"] == true;
                if added { &mut ours.added } else { &mut ours.plain }.insert(name);
            }
        }
        Ok(ours)
    }
}

fn report(upstream: &Upstream, ours: &Ours) -> Vec<String> {
    let served = |wanted: &Operations| wanted.intersection(&ours.plain).count();
    let mut lines = vec![
        format!(
            "{} of {} operations of upstream's published API are served",
            served(&upstream.published),
            upstream.published.len()
        ),
        format!(
            "{} of {} operations that shipped clients call beyond it are served",
            served(&upstream.clients),
            upstream.clients.len()
        ),
        format!(
            "{} of {} operations that are only written down are served",
            served(&upstream.documented),
            upstream.documented.len()
        ),
        format!(
            "{} of {} operations on logins, keys, workspaces and profiles are served",
            served(&upstream.account),
            upstream.account.len()
        ),
        format!("{} operations are our own", ours.added.len()),
    ];
    for (name, wanted) in [
        ("published", &upstream.published),
        ("clients", &upstream.clients),
        ("documented", &upstream.documented),
        ("account", &upstream.account),
    ] {
        lines.push(format!("not served ({name}):"));
        lines.extend(wanted.difference(&ours.plain).map(|operation| format!("  {operation}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_are_counted_and_strangers_stand_out() {
        let upstream =
            Upstream::parse("# a\n[published]\nGET /a\nGET /b/{id}\n[clients]\nGET /me\n").unwrap();
        let ours = Ours::parse(&json!({ "paths": {
            "/a": { "get": {}, "post": { "x-casemate": true } },
            "/b/{name}": { "get": {} },
        }}))
        .unwrap();
        assert_eq!(
            report(&upstream, &ours)[0],
            "1 of 2 operations of upstream's published API are served"
        );
        let names = |operations: Operations| -> Vec<String> {
            operations.iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(&ours.plain - &upstream.all()), ["GET /b/{name}"]);
        assert_eq!(names(ours.added), ["POST /a"]);
    }

    #[test]
    fn the_list_has_the_whole_published_api() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/operations.txt");
        let upstream = Upstream::parse(&fs::read_to_string(path).unwrap()).unwrap();
        // 101, and a HEAD.
        assert_eq!(upstream.published.len(), 102);
    }
}
