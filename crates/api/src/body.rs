//! Request bodies: read leniently, refused with the place of every mistake.
//!
//! Real clients send no body, an empty one, a literal `null`, or a JSON content type with nothing
//! behind it: all of these are `{}`. Fields that nobody knows are ignored and named, at the top
//! level and inside `compose_file`, so that the reply can warn about a misspelt one.

mod issue;
pub mod object;

use serde::{
    Deserializer,
    de::{DeserializeOwned, Error, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

use crate::{compose_file::ComposeFile, error::ValidationItem};

/// Mistakes that are looked for before the answer goes out.
const MAX_ITEMS: usize = 16;
/// Unknown fields that are named; the rest is silently ignored.
const MAX_UNKNOWN: usize = 32;

/// A request that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The request.
    pub value: T,
    /// Paths of fields that were ignored, for example `compose_file.tproxi_enabled`; at most 32.
    pub unknown: Vec<String>,
}

/// Reads a body. The list of mistakes is never empty.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Parsed<T>, Vec<ValidationItem>> {
    read(json(bytes)?)
}

/// The JSON of a body; nothing and `null` are an empty object.
pub fn json(bytes: &[u8]) -> Result<Value, Vec<ValidationItem>> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Null) => Ok(Value::Object(Map::new())),
        Ok(value) => Ok(value),
        Err(error) => Err(vec![issue::not_json(bytes, &error)]),
    }
}

/// Reads a request from its JSON.
pub fn read<T: DeserializeOwned>(mut body: Value) -> Result<Parsed<T>, Vec<ValidationItem>> {
    let Value::Object(fields) = &body else { return Err(vec![issue::not_an_object(&body)]) };
    let unknown = unknown_fields::<T>(fields);
    let mut items = Vec::new();
    // After a mistake, the field is blanked and reading goes on, to find the next one.
    loop {
        let error = match serde_path_to_error::deserialize(&body) {
            Ok(value) if items.is_empty() => return Ok(Parsed { value, unknown }),
            Ok(_) => return Err(items),
            Err(error) => error,
        };
        let item = issue::describe(&body, &error);
        let missing = item.kind == "missing";
        let first_here = !missing && blank(&mut body, &item.loc[1..]);
        if first_here || missing || items.is_empty() {
            items.push(item);
        }
        if !first_here || items.len() == MAX_ITEMS {
            return Err(items);
        }
    }
}

/// Sets the innermost named field on a path, outside lists, to `null`; says whether that changed it.
fn blank(body: &mut Value, path: &[Value]) -> bool {
    let names: Vec<&str> = path.iter().map_while(Value::as_str).collect();
    let Some((last, parents)) = names.split_last() else { return false };
    let parent = parents.iter().try_fold(body, |value, name| value.get_mut(*name));
    match parent.and_then(|value| value.get_mut(*last)) {
        Some(slot) if !slot.is_null() => {
            *slot = Value::Null;
            true
        }
        _ => false,
    }
}

/// Paths of the fields that neither the request nor its compose file has.
fn unknown_fields<T: DeserializeOwned>(body: &Map<String, Value>) -> Vec<String> {
    let known = field_names::<T>();
    let foreign = |fields: &Map<String, Value>, known: &'static [&'static str], prefix: &str| {
        let foreign = fields.keys().filter(|key| !known.contains(&key.as_str()));
        foreign.map(|key| format!("{prefix}{key}")).collect::<Vec<_>>()
    };
    let mut unknown = foreign(body, known, "");
    if let Some(Value::Object(compose)) = body.get("compose_file")
        && known.contains(&"compose_file")
    {
        unknown.extend(foreign(compose, field_names::<ComposeFile>(), "compose_file."));
    }
    unknown.truncate(MAX_UNKNOWN);
    unknown
}

/// Names, with all aliases, of the fields that a struct reads.
fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The probe has no value to give, so reading fails; what it asked for is what we came for.
    drop(T::deserialize(Probe(&mut names)));
    names
}

/// Listens to what a type asks of a deserializer.
struct Probe<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("no value"))
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
