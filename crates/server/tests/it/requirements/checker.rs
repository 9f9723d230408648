//! Holds a reply against what official clients insist on.

use serde_json::Value;

/// What clients insist on in one reply, for a range of versions.
pub struct Requirement {
    /// Name of the renderer.
    pub reply: &'static str,
    /// First version it holds for.
    pub from: &'static str,
    /// Last version it holds for.
    pub to: &'static str,
    /// Objects by path, and their fields; see [`Field::parse`].
    pub objects: &'static [(&'static str, &'static str)],
    /// Paths of the objects that must have no field beyond the listed ones.
    pub strict: &'static [&'static str],
}

/// One field of an object, written `name`, mark, type:
///
/// | mark | the field is |
/// |---|---|
/// | `=` | there |
/// | `~` | there, or there and `null` |
/// | `?` | there, `null`, or absent |
/// | `+` | there or absent, but never `null` |
///
/// Types are `text`, `int`, `num`, `bool`, `list`, `object`, `any`, several with `|`, or a word in
/// quotes that the value must be.
struct Field {
    name: &'static str,
    mark: char,
    kind: &'static str,
}

impl Field {
    fn parse(field: &'static str) -> Self {
        let Some(at) = field.find(['=', '~', '?', '+']) else { panic!("no mark in {field}") };
        let mark = char::from(field.as_bytes()[at]);
        Self { name: &field[..at], mark, kind: &field[at + 1..] }
    }

    fn problem(&self, object: &Value) -> Option<String> {
        let Self { name, mark, kind } = self;
        match (object.get(name), mark) {
            (None, '?' | '+') | (Some(Value::Null), '~' | '?') => None,
            (None, _) => Some(format!("{name} is absent")),
            (Some(Value::Null), _) => Some(format!("{name} is null")),
            (Some(value), _) if kind.split('|').any(|kind| is(value, kind)) => None,
            (Some(value), _) => Some(format!("{name} is not {kind}: {value}")),
        }
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "text" => value.is_string(),
        "int" => value.is_i64() || value.is_u64(),
        "num" => value.is_number(),
        "bool" => value.is_boolean(),
        "list" => value.is_array(),
        "object" => value.is_object(),
        "any" => true,
        quoted => value.as_str() == Some(quoted.trim_matches('\'')),
    }
}

/// All values at a path of names, `[]` for every item of a list and `*` for every value of a map.
/// What is absent or `null` on the way has no values.
fn at<'a>(reply: &'a Value, path: &str) -> Vec<&'a Value> {
    path.split('.').filter(|step| !step.is_empty()).fold(vec![reply], |values, step| {
        let name = step.trim_end_matches("[]");
        let lists = (step.len() - name.len()) / 2;
        let mut values: Vec<&Value> = match name {
            "" => values,
            "*" => values
                .iter()
                .filter_map(|value| value.as_object())
                .flat_map(|map| map.values())
                .collect(),
            _ => values.iter().filter_map(|value| value.get(name)).collect(),
        };
        for _ in 0..lists {
            values = values.iter().filter_map(|value| value.as_array()).flatten().collect();
        }
        values.into_iter().filter(|value| !value.is_null()).collect()
    })
}

impl Requirement {
    /// Whether it speaks of this version.
    pub fn holds_for(&self, version: &str) -> bool {
        (self.from..=self.to).contains(&version)
    }

    /// Everything about the reply that a client would refuse.
    pub fn problems(&self, reply: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        for (path, fields) in self.objects {
            let fields: Vec<Field> = fields.split_whitespace().map(Field::parse).collect();
            for object in at(reply, path) {
                let found = fields.iter().filter_map(|field| field.problem(object));
                problems.extend(found.map(|problem| format!("{path}: {problem}")));
                let Some(map) = object.as_object() else {
                    problems.push(format!("{path} is no object: {object}"));
                    continue;
                };
                if self.strict.contains(path) {
                    let foreign =
                        map.keys().filter(|key| fields.iter().all(|field| field.name != *key));
                    problems.extend(foreign.map(|key| format!("{path}: {key} is not allowed")));
                }
            }
        }
        problems
    }
}

/// The paths at which a reply has at least one object, of those a requirement speaks of.
pub fn reached(requirement: &Requirement, reply: &Value) -> Vec<&'static str> {
    let paths = requirement.objects.iter().map(|(path, _)| *path);
    paths.filter(|path| !at(reply, path).is_empty()).collect()
}
