//! Merges the documents of a file, and services with those they extend.

use super::yaml::{Entry, Map, MergeTag, Node, Value};

/// Lists that the later value replaces instead of extending.
const REPLACED: [&str; 3] = ["command", "entrypoint", "test"];

/// Merges documents as compose does; `None`: there are none.
pub fn merge_documents(documents: Vec<Node>) -> Option<Node> {
    let mut merged = documents.into_iter().reduce(|before, after| merge("", before, after))?;
    remove_reset(&mut merged);
    Some(merged)
}

/// Merges two values of the same key.
pub fn merge(key: &str, before: Node, after: Node) -> Node {
    if after.merge != MergeTag::Merge {
        return after;
    }
    let Node { line, merge: tag, value } = after;
    let value = match (before.value, value) {
        (before, Value::Null) => before,
        (Value::Map(before), Value::Map(after)) => Value::Map(merge_maps(before, after)),
        (Value::List(_), Value::List(after)) if REPLACED.contains(&key) => Value::List(after),
        (Value::List(mut before), Value::List(after)) => {
            before.extend(after);
            Value::List(before)
        }
        (Value::Map(before), Value::List(after)) => {
            Value::Map(merge_maps(before, pairs_to_map(after)))
        }
        (Value::List(before), Value::Map(after)) => {
            Value::Map(merge_maps(pairs_to_map(before), after))
        }
        (_, after) => after,
    };
    Node { line, merge: tag, value }
}

fn merge_maps(mut before: Map, after: Map) -> Map {
    for entry in after.0 {
        match before.0.iter_mut().find(|earlier| earlier.key == entry.key) {
            Some(earlier) => {
                let old = earlier.node.clone();
                earlier.node = merge(&entry.key, old, entry.node);
                earlier.line = entry.line;
            }
            None => before.0.push(entry),
        }
    }
    before
}

/// `[A=1, B]` as `{A: 1, B: }`.
fn pairs_to_map(items: Vec<Node>) -> Map {
    let entry = |item: Node| {
        let text = item.scalar()?;
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Value::Text(value.to_owned())),
            None => (text, Value::Null),
        };
        let node = Node { line: item.line, merge: MergeTag::Merge, value };
        Some(Entry { key, line: item.line, node })
    };
    let mut map = Map::default();
    for entry in items.into_iter().filter_map(entry) {
        map.0.retain(|earlier| earlier.key != entry.key);
        map.0.push(entry);
    }
    map
}

fn remove_reset(node: &mut Node) {
    match &mut node.value {
        Value::Map(map) => {
            map.0.retain(|entry| entry.node.merge != MergeTag::Remove);
            map.0.iter_mut().for_each(|entry| remove_reset(&mut entry.node));
        }
        Value::List(items) => {
            items.retain(|item| item.merge != MergeTag::Remove);
            items.iter_mut().for_each(remove_reset);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compose::yaml::documents;

    #[test]
    fn documents_are_merged_as_compose_does() {
        let text = "
services:
  web: {image: a, command: [x], ports: ['1:1'], environment: {A: 1, B: 2}, profiles: [p]}
---
services:
  web: {command: [y], ports: ['2:2'], environment: [B=3, C], profiles: !reset []}
  two: {image: b, ports: !override ['3:3']}
";
        let merged = merge_documents(documents(text).0).unwrap().to_json();
        assert_eq!(
            merged["services"],
            json!({
                "web": {"image": "a", "command": ["y"], "ports": ["1:1", "2:2"],
                    "environment": {"A": 1, "B": "3", "C": null}},
                "two": {"image": "b", "ports": ["3:3"]},
            })
        );
    }
}
