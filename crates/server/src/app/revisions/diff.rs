//! What is different between two revisions, from their documents.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use casemate_core::change::{EnvReport, known_names};
use casemate_store::revisions::RevisionContent;
use serde_json::Value;
use similar::TextDiff;

use super::parse;
use crate::{
    app::Error,
    view::{FieldDiffView, RevisionDiffView, RevisionView},
};

/// The fields that are compared line by line.
const TEXTS: [&str; 2] = ["docker_compose_file", "pre_launch_script"];
/// After that a difference may be longer than it need be.
const PATIENCE: Duration = Duration::from_millis(100);

/// Compares two revisions with their documents.
pub(super) fn diff(
    (from, old): (&RevisionContent, &str),
    (to, new): (&RevisionContent, &str),
    views: (RevisionView, RevisionView),
) -> Result<RevisionDiffView, Error> {
    let (a, b) = (parse(old)?, parse(new)?);
    let before = known_names(&from.env_keys, &a);
    let after = known_names(&to.env_keys, &b);
    let same_config = from.user_config == to.user_config;
    Ok(RevisionDiffView {
        from: views.0,
        to: views.1,
        docker_compose_file: lines(
            a.docker_compose_file.as_deref(),
            b.docker_compose_file.as_deref(),
        ),
        pre_launch_script: lines(a.pre_launch_script.as_deref(), b.pre_launch_script.as_deref()),
        fields: fields(old, new)?,
        env: EnvReport::between(&before, &after, &b),
        encrypted_env_changed: from.sealed_env != to.sealed_env,
        user_config: (!same_config).then(|| (from.user_config.clone(), to.user_config.clone())),
    })
}

/// A unified diff; `None`: the same.
pub fn lines(old: Option<&str>, new: Option<&str>) -> Option<String> {
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    (old != new).then(|| {
        let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(old, new);
        diff.unified_diff().context_radius(3).to_string()
    })
}

/// The fields of two documents whose values differ, but for the texts.
pub fn fields(old: &str, new: &str) -> Result<Vec<FieldDiffView>, Error> {
    let read = |text: &str| -> Result<BTreeMap<String, Value>, Error> {
        serde_json::from_str(text)
            .map_err(|error| Error::Internal(format!("stored document: {error}")))
    };
    let (old, new) = (read(old)?, read(new)?);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = names
        .into_iter()
        .filter(|name| !TEXTS.contains(&name.as_str()) && old.get(*name) != new.get(*name));
    Ok(differ
        .map(|name| FieldDiffView {
            field: name.clone(),
            from: old.get(name).cloned(),
            to: new.get(name).cloned(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_by_line_and_fields_by_value() {
        assert_eq!(lines(Some("a\n"), Some("a\n")), None);
        assert_eq!(lines(None, Some("")), None);
        let text = lines(Some("a\nb\n"), Some("a\nc\n")).unwrap();
        assert_eq!(text, "@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        let old = r#"{"a":1,"docker_compose_file":"x","gone":[1],"same":true}"#;
        let new = r#"{"a":2,"docker_compose_file":"y","new":null,"same":true}"#;
        let row = |field: &str, from: Option<Value>, to: Option<Value>| FieldDiffView {
            field: field.to_owned(),
            from,
            to,
        };
        let expected = [
            row("a", Some(1.into()), Some(2.into())),
            row("gone", Some(serde_json::json!([1])), None),
            row("new", None, Some(Value::Null)),
        ];
        assert_eq!(fields(old, new).unwrap(), expected);
    }

    #[test]
    fn a_long_difference_ends() {
        let text = |word: &str| {
            ["1\n", "2\n", "3\n"].map(|end| word.to_owned() + end).concat().repeat(10_000)
        };
        let diff = lines(Some(&text("a")), Some(&text("b"))).unwrap();
        assert!(diff.starts_with("@@ -1,30000 +1,30000 @@\n"));
    }
}
