//! A look at the compose file before the docker command reads it.
//!
//! Compose itself opens files while it reads a compose file (`env_file`, `include`, `extends` …). In
//! a CVM these would be files of the guest; here the process runs on the host and would read the
//! host's. Such a file is refused before compose sees it. Compose is also started without rights
//! where that is possible ([`super::compose`]), so that a file this look misses stays closed.

use std::collections::BTreeSet;

use casemate_core::compose::{
    is_optional,
    yaml::{Node, Value, documents},
};

use super::derive::Refused;

/// Line breaks of YAML 1.1 but not of 1.2: the two parsers would see different documents.
const UNSURE_BREAKS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// A key under which compose reads a file.
#[derive(Clone, Copy)]
pub(super) struct ReadRule {
    pub key: &'static str,
    reads: fn(&Node) -> bool,
    what: &'static str,
    way_out: &'static str,
}

/// All keys under which compose reads files.
pub(super) const READ_RULES: [ReadRule; 4] = [
    ReadRule {
        key: "include",
        reads: |value| !matches!(value.value, Value::Null),
        what: "include",
        way_out: "put everything into one compose file",
    },
    ReadRule {
        key: "env_file",
        reads: |value| !env_files(value).iter().all(is_optional),
        what: "env_file",
        way_out: "there are no files beside the compose file in a CVM: list the variables under \
                  environment: and send their values sealed",
    },
    ReadRule {
        key: "label_file",
        reads: |_| true,
        what: "label_file",
        way_out: "put the labels under labels:",
    },
    ReadRule {
        key: "extends",
        reads: |value| value.get("file").is_some(),
        what: "extends with file",
        way_out: "put the extended service into the same compose file",
    },
];

/// Refuses a compose file that names files for compose to read. Returns the text for compose: what it
/// may pass over it is told not to look for.
pub(super) fn scan(text: &str) -> Result<String, Refused> {
    scan_by(&READ_RULES, text)
}

pub(super) fn scan_by(rules: &[ReadRule], text: &str) -> Result<String, Refused> {
    if text.contains(UNSURE_BREAKS) {
        return Err(Refused::new(
            "a Unicode line break (U+0085, U+2028 or U+2029)",
            "write it as an escape in double quotes",
        ));
    }
    let (documents, problems) = documents(text);
    if let Some(problem) = problems.first() {
        let what = format!("YAML that cannot be read ({problem})");
        return Err(Refused::new(what, "correct the compose file"));
    }
    documents.iter().try_for_each(|file| walk(rules, file))?;
    Ok(without_env_files(text, &documents))
}

fn walk(rules: &[ReadRule], node: &Node) -> Result<(), Refused> {
    match &node.value {
        Value::Map(map) => map.iter().try_for_each(|entry| {
            let reads = |rule: &&ReadRule| rule.key == entry.key && (rule.reads)(&entry.node);
            if let Some(rule) = rules.iter().find(reads) {
                return Err(Refused::new(rule.what, rule.way_out).on_line(entry.line));
            }
            walk(rules, &entry.node)
        }),
        Value::List(items) => items.iter().try_for_each(|item| walk(rules, item)),
        _ => Ok(()),
    }
}

fn env_files(value: &Node) -> &[Node] {
    match &value.value {
        Value::Null => &[],
        Value::List(items) => items,
        _ => std::slice::from_ref(value),
    }
}

/// A file that is not required is not in a guest, but a file of that name may be on the host. So a last
/// document removes `env_file` of every service: the text itself stays as it is.
fn without_env_files(text: &str, documents: &[Node]) -> String {
    let services = documents.iter().filter_map(|file| file.get("services")?.map());
    let services: BTreeSet<&str> =
        services.flat_map(|map| map.iter().map(|entry| entry.key.as_str())).collect();
    if !documents.iter().any(names_env_files) {
        return text.to_owned();
    }
    let removed = services
        .iter()
        .map(|name| format!("  {}:\n    env_file: !reset []\n", serde_json::Value::from(*name)));
    let removed: String = removed.collect();
    format!("{text}\n---\nservices:\n{removed}")
}

fn names_env_files(node: &Node) -> bool {
    match &node.value {
        Value::Map(map) => {
            map.iter().any(|entry| entry.key == "env_file" || names_env_files(&entry.node))
        }
        Value::List(items) => items.iter().any(names_env_files),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_compose_would_read_are_refused() {
        for (text, word) in [
            ("include: [a.yml]\nservices: {}", "include"),
            ("services: {a: {env_file: /etc/shadow}}", "env_file"),
            ("x-a: &a {env_file: [q]}\nservices: {s: {<<: *a, image: i}}", "env_file"),
            ("services: {a: {!!binary ZW52X2ZpbGU=: /etc/shadow}}", "!!binary"),
            ("services: {a: {extends: {file: /x, service: b}}}", "extends"),
            ("services: {a: {label_file: x}}", "label_file"),
            ("services: {a: {image: b}} # \u{2028}include: [x]", "line break"),
            ("services: {}\n---\ninclude: [x]", "include"),
            ("services: {a: {env_file: [{path: x, required: false}, y]}}", "env_file"),
            ("services: {a: {image: b}, a: {image: c}}", "YAML"),
        ] {
            let refused = scan(text).unwrap_err();
            assert!(refused.to_string().contains(word), "{refused}");
        }
    }

    #[test]
    fn ordinary_files_pass() {
        let optional = "services: {a: {image: b, env_file: [{path: /etc/x, required: false}]}}";
        let reset = "\n---\nservices:\n  \"a\":\n    env_file: !reset []\n";
        assert_eq!(scan(optional).unwrap(), format!("{optional}{reset}"));
        scan("services: {a: {image: b, extends: {service: c}, env_file: []}, c: {image: d}}")
            .unwrap();
        scan("services:\n  a:\n    image: b\n    volumes: !override [x:/y]\n").unwrap();
    }
}
