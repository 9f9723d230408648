//! Numbers, flags and words as real clients send them: `2.0` for 2, `0` and `1` for flags, a number
//! where a word is meant. For `#[serde(default, deserialize_with = "…")]`; `null` is `None`.
//!
//! The texts of the errors are `type|message` with pydantic's types; [`crate::body`] takes them
//! apart.

use std::{fmt, marker::PhantomData, str::FromStr};

use casemate_core::id::{AppId, ComposeHash, NodeId, OperationId};
use serde::{
    Deserialize, Deserializer, Serializer,
    de::{Error, Visitor},
};

/// Whole numbers of a bounded range.
pub trait Whole: TryFrom<i128> {
    /// The least value.
    const MIN: i128;
    /// The greatest value.
    const MAX: i128;
}

macro_rules! whole {
    ($($type:ty),*) => {$(
        impl Whole for $type {
            const MIN: i128 = <$type>::MIN as i128;
            const MAX: i128 = <$type>::MAX as i128;
        }
    )*};
}
whole!(u16, u32, u64, i64);

/// A whole number: `2`, `2.0`; not `2.5`, not text.
pub fn opt_int<'de, T: Whole, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(OrNull(Int { digits: false, to: PhantomData }))
}

/// A whole number that must be there.
pub fn int<'de, T: Whole, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Int { digits: false, to: PhantomData })
}

/// A whole number that some send as text: `2`, `2.0`, `"2"`.
pub fn opt_int_or_digits<'de, T: Whole, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(OrNull(Int { digits: true, to: PhantomData }))
}

/// A node's id, a whole number.
pub fn opt_node_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NodeId>, D::Error> {
    Ok(opt_int(deserializer)?.map(NodeId))
}

/// A flag: `true`, `false`, `1`, `0`.
pub fn opt_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    deserializer.deserialize_any(OrNull(Flag))
}

/// A word, or the number that some send in its place.
pub fn opt_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserializer.deserialize_any(OrNull(Text))
}

/// A name or the like: text or a number; empty is `None`, because Go sends what it does not set.
pub fn opt_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(opt_text(deserializer)?.filter(|text| !text.is_empty()))
}

/// A flag that is down unless it is up.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(opt_bool(deserializer)?.unwrap_or(false))
}

/// A word with a fixed set of values; the type says which. Empty is `None`.
pub fn opt_word<'de, T, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: fmt::Display>,
{
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| D::Error::custom(format_args!("enum|{error}")))
}

/// An app id in any of its spellings: bare, `0x…` (also checksummed), `app_…`. Empty is `None`.
pub fn opt_app_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AppId>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text.strip_prefix("app_").unwrap_or(&text);
    bare.parse().map(Some).map_err(|error| D::Error::custom(format_args!("value_error|{error}")))
}

/// A compose hash, with or without `0x`. Empty is `None`.
pub fn opt_compose_hash<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ComposeHash>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| D::Error::custom(format_args!("value_error|{error}")))
}

/// An operation's id. Empty is `None`.
pub fn opt_operation_id<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<OperationId>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| D::Error::custom(format_args!("value_error|{error}")))
}

/// At most `MAX` names or the like: each text or a number.
pub fn names<'de, const MAX: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    let names = Vec::<Name>::deserialize(deserializer)?;
    if names.len() > MAX {
        let found = names.len();
        return Err(D::Error::custom(format_args!(
            "too_long|List should have at most {MAX} items after validation, not {found}"
        )));
    }
    Ok(names.into_iter().map(|Name(name)| name).collect())
}

/// The same, or none.
pub fn opt_names<'de, const MAX: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    struct Names<const MAX: usize>(Vec<String>);
    impl<'de, const MAX: usize> Deserialize<'de> for Names<MAX> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            names::<MAX, D>(deserializer).map(Self)
        }
    }
    Ok(Option::<Names<MAX>>::deserialize(deserializer)?.map(|Names(names)| names))
}

/// One of several names.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text).map(Self)
    }
}

/// Writes a number without `.0` where it is whole, since not every reader takes `8.0` for 8.
pub fn shortest<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match format!("{value:.0}").parse::<i64>() {
        Ok(whole) if value.fract() == 0.0 => serializer.serialize_i64(whole),
        _ => serializer.serialize_f64(*value),
    }
}

/// Lets `null` and a missing value be `None` in front of another visitor.
struct OrNull<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for OrNull<V> {
    type Value = Option<V::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.0.visit_bool(value).map(Some)
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.0.visit_i64(value).map(Some)
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.0.visit_u64(value).map(Some)
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.0.visit_f64(value).map(Some)
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        self.0.visit_str(value).map(Some)
    }
}

struct Int<T> {
    /// Whether text of digits will do.
    digits: bool,
    to: PhantomData<T>,
}

impl<T: Whole> Int<T> {
    fn fit<E: Error>(value: i128) -> Result<T, E> {
        T::try_from(value).map_err(|_| {
            if value < T::MIN {
                let min = T::MIN;
                E::custom(format_args!(
                    "greater_than_equal|Input should be greater than or equal to {min}"
                ))
            } else {
                let max = T::MAX;
                E::custom(format_args!(
                    "less_than_equal|Input should be less than or equal to {max}"
                ))
            }
        })
    }
}

impl<T: Whole> Visitor<'_> for Int<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        Self::fit(i128::from(value))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        Self::fit(i128::from(value))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        if value.fract() != 0.0 {
            return Err(E::custom(
                "int_from_float|Input should be a valid integer, got a number with a fractional part",
            ));
        }
        // Through text, because no lossless conversion exists; what no i128 holds is out of range.
        let limit = if value < 0.0 { i128::MIN } else { i128::MAX };
        Self::fit(format!("{value:.0}").parse().unwrap_or(limit))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        let number = value.trim().parse::<i128>().ok().filter(|_| self.digits);
        number.map_or_else(|| Err(E::custom("int_type|Input should be a valid integer")), Self::fit)
    }
}

struct Flag;

impl Visitor<'_> for Flag {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a boolean")
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        Ok(value)
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        match value {
            0 => Ok(false),
            1 => Ok(true),
            _ => {
                Err(E::custom("bool_parsing|Input should be a valid boolean: true, false, 1 or 0"))
            }
        }
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        match value {
            0.0 => Ok(false),
            1.0 => Ok(true),
            _ => self.visit_i64(i64::MAX),
        }
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn int(value: Value) -> Result<Option<u32>, String> {
        opt_int(value).map_err(|error| error.to_string())
    }

    #[test]
    fn whole_numbers_come_in_two_spellings() {
        assert_eq!(int(json!(2)), Ok(Some(2)));
        assert_eq!(int(json!(2.0)), Ok(Some(2)));
        assert_eq!(int(json!(-0.0)), Ok(Some(0)));
        assert_eq!(int(json!(null)), Ok(None));
        for (value, kind) in [
            (json!(2.5), "int_from_float|"),
            (json!("2"), "int_type|"),
            (json!(-1), "greater_than_equal|"),
            (json!(-1.0), "greater_than_equal|"),
            (json!(4_294_967_296_u64), "less_than_equal|"),
            (json!(1e300), "less_than_equal|"),
            (json!([2]), "invalid type: sequence, expected an integer"),
        ] {
            let error = int(value.clone()).unwrap_err();
            assert!(error.starts_with(kind), "{value}: {error}");
        }
        assert_eq!(opt_int_or_digits::<u32, _>(json!("2")).unwrap(), Some(2));
        assert!(opt_int_or_digits::<u32, _>(json!("two")).is_err());
    }

    #[test]
    fn flags_come_in_two_spellings() {
        for (value, expected) in [
            (json!(true), Some(true)),
            (json!(0), Some(false)),
            (json!(1.0), Some(true)),
            (json!(null), None),
        ] {
            assert_eq!(opt_bool(value).unwrap(), expected);
        }
        for value in [json!(2), json!("true"), json!(0.5), json!({})] {
            assert!(opt_bool(value).is_err());
        }
    }

    #[test]
    fn words_may_be_numbers_and_ids_have_spellings() {
        assert_eq!(opt_text(json!(7)).unwrap().as_deref(), Some("7"));
        assert_eq!(opt_text(json!("kc_1")).unwrap().as_deref(), Some("kc_1"));
        assert!(opt_text(json!(true)).is_err());
        let hex = "0123456789abcdef0123456789abcdef01234567";
        for text in [hex.to_owned(), format!("0x{}", hex.to_uppercase()), format!("app_{hex}")] {
            assert_eq!(opt_app_id(json!(text)).unwrap().unwrap().to_string(), hex);
        }
        assert_eq!(opt_app_id(json!("")).unwrap(), None);
        assert!(opt_app_id(json!("0x01")).unwrap_err().to_string().starts_with("value_error|"));
    }
}
