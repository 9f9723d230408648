//! The version of the API that a request speaks: header `X-Phala-Version`.

use std::fmt;

/// Name of the header.
pub const HEADER: &str = "X-Phala-Version";

/// A version of the API, named by its date. Ordered: a later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApiVersion {
    /// 2025-10-28: flat CVM objects, flat `/auth/me`.
    V20251028,
    /// 2026-01-21: nested CVM objects with text ids; commit and power replies keep integer ids.
    V20260121,
    /// 2026-05-22: text ids everywhere.
    V20260522,
    /// 2026-06-23: `/kms` lists contracts instead of machines.
    V20260623,
}

/// The header is no date, or one before the first version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown API version {given:?}: expected a date, {} or later", ApiVersion::OLDEST)]
pub struct BadVersion {
    /// The header as it was sent.
    pub given: String,
}

impl ApiVersion {
    /// All versions, the oldest first.
    pub const ALL: [Self; 4] = [Self::V20251028, Self::V20260121, Self::V20260522, Self::V20260623];
    /// The first version.
    pub const OLDEST: Self = Self::V20251028;
    /// The newest version served.
    pub const NEWEST: Self = Self::V20260623;
    /// What a request without the header gets.
    pub const DEFAULT: Self = Self::V20260121;

    /// Reads the header.
    ///
    /// | header | version |
    /// |---|---|
    /// | missing | [`Self::DEFAULT`] |
    /// | a date after the newest | the newest |
    /// | a date between two known ones | the newest one not later than it |
    /// | a date before the first, or no date | [`BadVersion`] |
    pub fn from_header(header: Option<&str>) -> Result<Self, BadVersion> {
        let Some(text) = header else { return Ok(Self::DEFAULT) };
        let text = text.trim();
        let bad = || BadVersion { given: text.to_owned() };
        if !is_date(text) {
            return Err(bad());
        }
        // Dates of this form sort as text.
        Self::ALL.into_iter().rev().find(|version| version.as_str() <= text).ok_or_else(bad)
    }

    /// The date, `YYYY-MM-DD`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V20251028 => "2025-10-28",
            Self::V20260121 => "2026-01-21",
            Self::V20260522 => "2026-05-22",
            Self::V20260623 => "2026-06-23",
        }
    }

    /// `GET /cvms/{id}`, lists and apps carry nested CVM objects (`resource`, `node_info`, …), and
    /// `/auth/me` has three parts.
    pub fn has_nested_objects(self) -> bool {
        self >= Self::V20260121
    }

    /// Commit, power, replica and visibility replies carry the CVM's id as `cvm_…` text; before, as
    /// an integer.
    pub fn ids_are_strings(self) -> bool {
        self >= Self::V20260522
    }

    /// `POST /apps/{id}/instances` answers with the nested CVM object; before, with the flat one of
    /// the power verbs.
    pub fn new_instances_are_nested(self) -> bool {
        self >= Self::V20260522
    }

    /// `/kms` and `/kms/{ref}` speak of contracts; before, of machines.
    pub fn kms_are_contracts(self) -> bool {
        self >= Self::V20260623
    }

    /// `POST /status/batch` carries an `operation` object beside the flat fields.
    pub fn batch_has_operation(self) -> bool {
        self >= Self::V20260623
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether this is `YYYY-MM-DD` and a day of the calendar. The parser takes other forms too; only this
/// one is what it writes.
fn is_date(text: &str) -> bool {
    text.parse::<jiff::civil::Date>().is_ok_and(|date| date.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_header_has_its_version() {
        use ApiVersion::{V20251028, V20260121, V20260522, V20260623};
        for (header, expected) in [
            (None, V20260121),
            (Some("2025-10-28"), V20251028),
            (Some("2025-12-31"), V20251028),
            (Some(" 2026-01-21 "), V20260121),
            (Some("2026-05-21"), V20260121),
            (Some("2026-05-22"), V20260522),
            (Some("2026-06-23"), V20260623),
            (Some("2031-01-01"), V20260623),
            (Some("2028-02-29"), V20260623),
        ] {
            assert_eq!(ApiVersion::from_header(header), Ok(expected), "{header:?}");
        }
    }

    #[test]
    fn garbage_and_the_time_before_are_refused() {
        for header in [
            "",
            "v1",
            "latest",
            "2025-10-27",
            "2026-13-01",
            "2027-02-29",
            "2026-1-21",
            "2026-01-21x",
        ] {
            assert!(ApiVersion::from_header(Some(header)).is_err(), "{header}");
        }
        let text = ApiVersion::from_header(Some("v1")).unwrap_err().to_string();
        assert_eq!(text, "unknown API version \"v1\": expected a date, 2025-10-28 or later");
    }
}
