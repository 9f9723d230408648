//! Types that are stored as JSON in the database, each with a format version.
//!
//! Version 1 is the JSON of the value. A later one is `{"v":2,"value":…}`. During a rolling upgrade processes
//! of two versions share a database: the older one refuses formats newer than it knows
//! ([`Unreadable::Newer`]) and does not change them.
//!
//! A field with a default may be added within a version; an older process may drop it again. Everything else
//! is a new version: increment [`Stored::VERSION`], read the old format in [`Stored::upgrade`], and keep the
//! golden file of the old format beside the new one (`tests/golden/stored/`).

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    change::{Before, Change, EnvReport},
    cvm::{Spec, Status, StopMode},
    ready::Check,
};

/// Prefix of the text of a version after the first.
const TAGGED: &str = r#"{"v":"#;

/// A type that is stored as JSON.
pub trait Stored: Serialize + DeserializeOwned {
    /// The version that is written.
    const VERSION: u32 = 1;

    /// Reads the JSON of an older version.
    fn upgrade(_version: u32, json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }
}

impl Stored for Spec {}
impl Stored for Status {}
impl Stored for StopMode {}
impl Stored for Change {}
impl Stored for Before {}
impl Stored for EnvReport {}
impl Stored for Check {}
/// Names of variables.
impl Stored for Vec<String> {}

/// Why a stored text cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It was written by a newer version of Casemate, which must read it.
    #[error("its form has version {found}; this version of Casemate knows up to {known}")]
    Newer {
        /// The version of its format.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// It has no known format.
    #[error(transparent)]
    Corrupt(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Write<'a, T> {
    v: u32,
    value: &'a T,
}

#[derive(Deserialize)]
struct Read<'a> {
    v: u32,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// Serialises a value with its version.
pub fn write<T: Stored>(value: &T) -> serde_json::Result<String> {
    if T::VERSION == 1 {
        return serde_json::to_string(value);
    }
    serde_json::to_string(&Write { v: T::VERSION, value })
}

/// Parses a stored value.
pub fn read<T: Stored>(text: &str) -> Result<T, Unreadable> {
    let (version, json) = if text.starts_with(TAGGED) {
        let Read { v, value } = serde_json::from_str(text)?;
        (v, value.get())
    } else {
        (1, text)
    };
    match version {
        newer if newer > T::VERSION => Err(Unreadable::Newer { found: newer, known: T::VERSION }),
        same if same == T::VERSION => Ok(serde_json::from_str(json)?),
        older => Ok(T::upgrade(older, json)?),
    }
}

/// An SQL condition on a text column: a process whose newest format version is `known` can read it.
pub fn readable(column: &str, known: u32) -> String {
    let tagged = (2..=known).map(|version| format!("OR {column} LIKE '{TAGGED}{version},%'"));
    let tagged: Vec<String> = tagged.collect();
    format!("({column} NOT LIKE '{TAGGED}%' {})", tagged.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Size {
        memory_mb: u64,
    }

    /// Version 1 had gigabytes.
    impl Stored for Size {
        const VERSION: u32 = 2;

        fn upgrade(_version: u32, json: &str) -> serde_json::Result<Self> {
            #[derive(Deserialize)]
            struct First {
                memory_gb: u64,
            }
            let First { memory_gb } = serde_json::from_str(json)?;
            Ok(Self { memory_mb: memory_gb * 1024 })
        }
    }

    #[test]
    fn a_later_version_is_tagged_and_the_first_is_still_read() {
        let size = Size { memory_mb: 2048 };
        let text = write(&size).unwrap();
        assert_eq!(text, r#"{"v":2,"value":{"memory_mb":2048}}"#);
        assert_eq!(read::<Size>(&text).unwrap(), size);
        assert_eq!(read::<Size>(r#"{"memory_gb":2}"#).unwrap(), size);
    }

    #[test]
    fn a_newer_version_is_refused_whatever_its_form() {
        let refused = read::<Size>(r#"{"v":3,"value":"2 GiB"}"#).unwrap_err();
        assert!(matches!(refused, Unreadable::Newer { found: 3, known: 2 }), "{refused}");
        let refused = read::<StopMode>(r#"{"v":2,"value":"gentle"}"#).unwrap_err();
        assert!(matches!(refused, Unreadable::Newer { found: 2, known: 1 }), "{refused}");
        assert!(matches!(read::<Size>("{}"), Err(Unreadable::Corrupt(_))));
        assert!(matches!(read::<Size>(r#"{"v":2}"#), Err(Unreadable::Corrupt(_))));
    }

    #[test]
    fn the_condition_names_what_is_known() {
        assert_eq!(readable("spec", 1), r#"(spec NOT LIKE '{"v":%' )"#);
        assert_eq!(readable("spec", 2), r#"(spec NOT LIKE '{"v":%' OR spec LIKE '{"v":2,%')"#);
    }
}
