//! What serde says about a body, in pydantic's words.

use serde_json::Value;
use serde_path_to_error::Segment;

use crate::error::ValidationItem;

/// Longest input that is repeated in an answer, in characters of JSON.
const MAX_INPUT: usize = 200;
/// What is said of anything but an object where one is due.
const OBJECT: (&str, &str) = (
    "model_attributes_type",
    "Input should be a valid dictionary or object to extract fields from",
);

/// The body is not JSON. The second step of the place is the byte where it ends being JSON.
pub(super) fn not_json(bytes: &[u8], error: &serde_json::Error) -> ValidationItem {
    let line_start: usize = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let offset = (line_start + error.column().saturating_sub(1)).min(bytes.len());
    let mut item =
        ValidationItem::new(&["body"], "json_invalid", &format!("JSON decode error: {error}"));
    item.loc.push(Value::from(offset));
    item
}

/// The body is JSON and no object.
pub(super) fn not_an_object(body: &Value) -> ValidationItem {
    ValidationItem { input: small(body), ..ValidationItem::new(&["body"], OBJECT.0, OBJECT.1) }
}

/// What is wrong with a body that does not fit its type.
pub(super) fn describe(
    body: &Value,
    error: &serde_path_to_error::Error<serde_json::Error>,
) -> ValidationItem {
    let mut loc = vec![Value::from("body")];
    loc.extend(error.path().iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(Value::from(*index)),
        Segment::Map { key } => Some(Value::from(key.as_str())),
        Segment::Enum { variant } => Some(Value::from(variant.as_str())),
        Segment::Unknown => None,
    }));
    let text = error.inner().to_string();
    if let Some(field) =
        text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
    {
        loc.push(Value::from(field));
        return ValidationItem { loc, ..ValidationItem::missing(&[]) };
    }
    let input = loc[1..].iter().try_fold(body, |value, step| match step {
        Value::String(name) => value.get(name.as_str()),
        step => value.get(usize::try_from(step.as_u64()?).ok()?),
    });
    let (kind, msg) = words(&text);
    ValidationItem { loc, input: input.and_then(small), ..ValidationItem::new(&[], kind, msg) }
}

/// Type and message for the text of a serde error.
fn words(text: &str) -> (&str, &str) {
    let is_kind = |kind: &&str| kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if let Some((kind, msg)) = text.split_once('|').filter(|(kind, _)| is_kind(kind)) {
        return (kind, msg);
    }
    let expected = text
        .starts_with("invalid type")
        .then(|| text.rsplit_once(", expected "))
        .flatten()
        .map(|(_, expected)| expected);
    match expected {
        Some("a string") => ("string_type", "Input should be a valid string"),
        Some("a boolean") => ("bool_type", "Input should be a valid boolean"),
        Some("an integer") => ("int_type", "Input should be a valid integer"),
        Some("a sequence") => ("list_type", "Input should be a valid list"),
        Some("a map") => OBJECT,
        Some(other) if other.starts_with("struct ") => OBJECT,
        _ => ("value_error", text),
    }
}

fn small(value: &Value) -> Option<Value> {
    let large = match value {
        Value::String(text) => text.len() > MAX_INPUT,
        Value::Array(_) | Value::Object(_) => value.to_string().len() > MAX_INPUT,
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    };
    (!large).then(|| value.clone())
}
