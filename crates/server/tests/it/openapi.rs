//! `docs/openapi.json` is what the server describes. Renew it with `cargo xtask openapi`.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use casemate_server::http::openapi;
use serde_json::Value;

fn snapshot() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json")
}

#[test]
fn the_snapshot_is_what_the_server_describes() {
    if env::var_os("UPDATE").is_some() {
        fs::write(snapshot(), &*openapi::JSON).unwrap();
    }
    let kept: Value = serde_json::from_str(&fs::read_to_string(snapshot()).unwrap_or_default())
        .unwrap_or_default();
    assert!(
        kept == openapi::document(),
        "docs/openapi.json is not what the server describes: renew it with `cargo xtask openapi`"
    );
}

#[test]
fn every_reference_leads_somewhere_and_operations_have_names_of_their_own() {
    let document = openapi::document();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut names = BTreeSet::new();
    for operation in document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
    {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "two operations are called {name}");
        assert!(
            operation["summary"].as_str().is_some_and(|text| text.ends_with('.')),
            "{name} says nothing of itself"
        );
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{name}");
    }
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
