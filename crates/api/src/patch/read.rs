//! Fields of a true PATCH as real clients send them. For `#[serde(default, deserialize_with = "…")]`,
//! so that a field that is left out stays [`Patch::Absent`].

use casemate_core::time::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

use super::Patch;
use crate::{body::object, num};

/// A whole number within bounds: `30`, `30.0`.
pub fn between<'de, const MIN: u32, const MAX: u32, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Patch<u32>, D::Error> {
    match num::opt_int(deserializer)? {
        None => Ok(Patch::Null),
        Some(value) if value < MIN => Err(D::Error::custom(format_args!(
            "greater_than_equal|Input should be greater than or equal to {MIN}"
        ))),
        Some(value) if value > MAX => Err(D::Error::custom(format_args!(
            "less_than_equal|Input should be less than or equal to {MAX}"
        ))),
        Some(value) => Ok(Patch::Value(value)),
    }
}

/// An object.
pub fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Patch<T>, D::Error> {
    object::opt(deserializer).map(Patch::given)
}

/// An instant in RFC 3339.
pub fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Patch<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(Patch::Null) };
    text.parse().map(Patch::Value).map_err(|why| {
        D::Error::custom(format_args!("datetime_parsing|Input should be a valid datetime: {why}"))
    })
}

/// Writes an instant as [`time`] reads it.
pub fn write_time<S: Serializer>(
    time: &Patch<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Patch::Absent | Patch::Null => serializer.serialize_none(),
        Patch::Value(time) => serializer.collect_str(time),
    }
}
