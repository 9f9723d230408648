//! A look at the compose file before the docker command reads it.
//!
//! Compose itself opens files while it reads a compose file (`env_file`, `include`, `extends` …). In
//! a CVM these would be files of the guest; here the process runs on the host and would read the
//! host's. Such a file is refused before compose sees it. Compose is also started without rights
//! where that is possible ([`super::compose`]), so that a file this look misses stays closed.

use serde_json::Value;

use super::derive::Refused;

/// Line breaks of YAML 1.1 but not of 1.2: the two parsers would see different documents.
const UNSURE_BREAKS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// Refuses a compose file that names files for compose to read.
pub(super) fn scan(text: &str) -> Result<(), Refused> {
    if text.contains(UNSURE_BREAKS) {
        return Err(Refused::new(
            "a Unicode line break (U+0085, U+2028 or U+2029)",
            "write it as an escape in double quotes",
        ));
    }
    let file: Value = serde_saphyr::from_str(text).map_err(|error| {
        let first = error.to_string().lines().next().unwrap_or_default().to_owned();
        Refused::new(format!("YAML that cannot be read ({first})"), "correct the compose file")
    })?;
    if file.get("include").is_some() {
        return Err(Refused::new("include", "put everything into one compose file"));
    }
    walk(&file)
}

fn walk(value: &Value) -> Result<(), Refused> {
    match value {
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            check(key, value)?;
            walk(value)
        }),
        Value::Array(items) => items.iter().try_for_each(walk),
        _ => Ok(()),
    }
}

fn check(key: &str, value: &Value) -> Result<(), Refused> {
    match key {
        "env_file" if !is_empty(value) => Err(Refused::new(
            "env_file",
            "there are no files beside the compose file in a CVM: list the variables under \
             environment: and send their values sealed",
        )),
        "label_file" => Err(Refused::new("label_file", "put the labels under labels:")),
        "extends" if value.get("file").is_some() => Err(Refused::new(
            "extends with file",
            "put the extended service into the same compose file",
        )),
        _ => Ok(()),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
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
            ("services: {a: {!!binary ZW52X2ZpbGU=: /etc/shadow}}", "env_file"),
            ("services: {a: {extends: {file: /x, service: b}}}", "extends"),
            ("services: {a: {label_file: x}}", "label_file"),
            ("services: {a: {image: b}} # \u{2028}include: [x]", "line break"),
            ("services: {}\n---\ninclude: [x]", "YAML"),
        ] {
            let refused = scan(text).unwrap_err();
            assert!(refused.to_string().contains(word), "{refused}");
        }
    }

    #[test]
    fn ordinary_files_pass() {
        scan("services: {a: {image: b, extends: {service: c}, env_file: []}, c: {image: d}}")
            .unwrap();
        scan("services:\n  a:\n    image: b\n    volumes: !override [x:/y]\n").unwrap();
    }
}
