//! `extends` within one file.

use super::{
    check::services,
    merge::merge,
    problem::{MAX_EXTENDS, NamedFile, Place, Problem, ProblemKind, Referent},
    yaml::{Entry, Map, Node, Value},
};

/// Resolves `extends` of all services. Services of other files, unknown services and cycles are problems.
pub fn resolve(file: &mut Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(found) = file.get("services").and_then(Node::map) else { return problems };
    let mut resolved = found.clone();
    for entry in &mut resolved.0 {
        let mut through = vec![entry.key.clone()];
        match extended(file, entry, &mut through) {
            Ok(node) => entry.node = node,
            Err(problem) => problems.push(problem),
        }
    }
    if let Value::Map(map) = &mut file.value
        && let Some(entry) = map.0.iter_mut().find(|entry| entry.key == "services")
    {
        entry.node.value = Value::Map(resolved);
    }
    problems
}

fn extended(file: &Node, entry: &Entry, through: &mut Vec<String>) -> Result<Node, Problem> {
    let Some(extends) = entry.node.map().and_then(|map| map.entry("extends")) else {
        return Ok(entry.node.clone());
    };
    let problem =
        |kind| Problem::new(Place::of(&["services", &entry.key, "extends"], extends.line), kind);
    if extends.node.get("file").is_some() {
        return Err(problem(ProblemKind::File(NamedFile::Extends)));
    }
    let named = extends.node.text().or_else(|| extends.node.get("service")?.text());
    let Some(name) = named else { return Ok(entry.node.clone()) };
    let Some(base) = services(file).find(|service| service.key == name) else {
        let (what, name) = (Referent::Service, name.to_owned());
        return Err(problem(ProblemKind::Undefined { what, name }));
    };
    through.push(base.key.clone());
    if through[..through.len() - 1].contains(&base.key) {
        return Err(problem(ProblemKind::Cycle { through: through.clone() }));
    }
    if through.len() > MAX_EXTENDS + 1 {
        return Err(problem(ProblemKind::ExtendsTooLong));
    }
    let base = extended(file, base, through)?;
    let mut own = entry.node.clone();
    if let Value::Map(Map(entries)) = &mut own.value {
        entries.retain(|entry| entry.key != "extends");
    }
    Ok(merge("", base, own))
}
