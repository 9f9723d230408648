//! `cargo xtask edges`: the edges between modules of the server that must not exist. Cargo keeps the edges between
//! crates; these are inside one crate, so a scan of the sources keeps them.

use std::{fs, path::Path};

use anyhow::{Context, bail};

use crate::{replies, stage::say};

/// A part of the tree, what it must not name, and why.
struct Rule {
    from: &'static str,
    banned: &'static [&'static str],
    why: &'static str,
}

const RULES: [Rule; 11] = [
    Rule {
        from: "crates/core/src",
        banned: &[
            "casemate_api",
            "casemate_store",
            "casemate_engine",
            "casemate_server",
            "casemate_client",
            "tokio::",
        ],
        why: "the domain is pure",
    },
    Rule {
        from: "crates/verify/src",
        banned: &[
            "casemate_",
            "tokio::",
            "std::fs",
            "std::net",
            "std::time::SystemTime",
            "Timestamp::now",
        ],
        why: "a verifier reads its arguments only, and anybody can use it",
    },
    Rule {
        from: "crates/store/src",
        banned: &["casemate_engine", "casemate_api", "casemate_server"],
        why: "the store knows the domain only",
    },
    Rule {
        from: "crates/engine/src",
        banned: &["casemate_store", "casemate_api", "casemate_server"],
        why: "drivers know the domain only",
    },
    Rule {
        from: "crates/api/src",
        banned: &["casemate_store", "casemate_engine", "casemate_server"],
        why: "wire types know the domain only",
    },
    Rule {
        from: "crates/client/src",
        banned: &["casemate_server", "casemate_store", "casemate_engine"],
        why: "the SDK talks to any server",
    },
    Rule {
        from: "crates/server/src/app",
        banned: &["axum", "crate::http", "crate::work::", "crate::console"],
        why: "use cases do not know who calls them",
    },
    Rule {
        from: "crates/server/src/http",
        banned: &["casemate_store", "casemate_engine", "crate::work::"],
        why: "routes call use cases",
    },
    Rule {
        from: "crates/server/src/console",
        banned: &["casemate_store", "casemate_engine", "crate::work::"],
        why: "pages call use cases",
    },
    Rule {
        from: "crates/server/src/kms_webhook",
        banned: &["casemate_store", "casemate_engine", "crate::work::", "crate::http"],
        why: "the webhook calls a use case",
    },
    Rule {
        from: "crates/server/src/work",
        banned: &["crate::http", "crate::console", "axum"],
        why: "reconcilers do not know requests",
    },
];

/// Checks every rule on the sources of this checkout.
pub fn run() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    for rule in &RULES {
        let mut files = Vec::new();
        sources(Path::new(rule.from), &mut files)?;
        if files.is_empty() {
            bail!("{} has no sources: correct the rules of xtask/src/edges.rs", rule.from);
        }
        for file in files {
            let text = fs::read_to_string(&file).with_context(|| file.clone())?;
            broken.extend(
                violations(&text, rule.banned)
                    .into_iter()
                    .map(|(line, name)| format!("{file}:{line} names {name}: {}", rule.why)),
            );
        }
    }
    if !broken.is_empty() {
        bail!("edges that must not exist:\n{}", broken.join("\n"));
    }
    let (broken, handlers) = replies::violations()?;
    if !broken.is_empty() {
        bail!("handlers and their descriptions differ:\n{}", broken.join("\n"));
    }
    say(&format!(
        "{} rules about edges hold, and {handlers} handlers return what they document",
        RULES.len()
    ));
    Ok(())
}

fn sources(dir: &Path, found: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.display().to_string());
        }
    }
    Ok(())
}

/// Lines of code, 1-based, that name something banned. Comments may name anything.
fn violations<'a>(text: &str, banned: &[&'a str]) -> Vec<(usize, &'a str)> {
    let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.flat_map(|(number, line)| {
        banned.iter().filter(move |name| names(line, name)).map(move |name| (number + 1, *name))
    })
    .collect()
}

/// Whether a line has the name as a word of its own.
fn names(line: &str, name: &str) -> bool {
    let word = |char: Option<char>| char.is_some_and(|char| char.is_alphanumeric() || char == '_');
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        !word(before) && (name.ends_with(':') || !word(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_code_are_found_and_names_in_comments_are_not() {
        let text = "//! casemate_store\nuse casemate_store::Db;\n    // axum\nlet axums = 1;\nuse axum::Router;\n";
        let found = violations(text, &["casemate_store", "axum"]);
        assert_eq!(found, [(2, "casemate_store"), (5, "axum")]);
    }

    #[test]
    fn a_path_counts_from_its_beginning() {
        assert!(names("use crate::work::driver;", "crate::work::"));
        assert!(!names("use crate::work;", "crate::work::"));
    }
}
