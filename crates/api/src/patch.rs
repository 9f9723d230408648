//! A field of a true PATCH: left out, `null`, or a value.

pub mod read;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The three things a client can say about a field. Needs `#[serde(default)]` on the field, and
/// `skip_serializing_if = "Patch::is_absent"` where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patch<T> {
    /// Left out: leave it as it is.
    #[default]
    Absent,
    /// `null`: back to nothing.
    Null,
    /// This value.
    Value(T),
}

impl<T> Patch<T> {
    /// Whether the field was left out.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The value, where `null` means the same as left out.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Absent | Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }

    /// `None` if left out, `Some(None)` for `null`.
    pub fn change(self) -> Option<Option<T>> {
        match self {
            Self::Absent => None,
            Self::Null => Some(None),
            Self::Value(value) => Some(Some(value)),
        }
    }

    /// The case for what a lenient reader found, which is asked only where the field is there.
    fn given(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::Value)
    }

    /// A reference to the value.
    pub const fn as_ref(&self) -> Patch<&T> {
        match self {
            Self::Absent => Patch::Absent,
            Self::Null => Patch::Null,
            Self::Value(value) => Patch::Value(value),
        }
    }

    /// The same with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Self::Absent => Patch::Absent,
            Self::Null => Patch::Null,
            Self::Value(value) => Patch::Value(f(value)),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::given)
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Null => serializer.serialize_none(),
            Self::Value(value) => value.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Body {
        #[serde(default, skip_serializing_if = "Patch::is_absent")]
        script: Patch<String>,
    }

    #[test]
    fn the_three_cases_survive_json() {
        for (json, script) in [
            ("{}", Patch::Absent),
            (r#"{"script":null}"#, Patch::Null),
            (r#"{"script":""}"#, Patch::Value(String::new())),
        ] {
            let body: Body = serde_json::from_str(json).unwrap();
            assert_eq!(body.script, script);
            assert_eq!(serde_json::to_string(&body).unwrap(), json);
        }
        assert_eq!(Patch::Value(2).change(), Some(Some(2)));
        assert_eq!(Patch::<u8>::Null.change(), Some(None));
        assert_eq!(Patch::<u8>::Absent.change(), None);
    }
}
