//! The rule for CVM names, which are also host names: 5–63 characters, starting with a letter, then letters,
//! digits and single hyphens, no trailing hyphen. The JavaScript SDK checks the same.

use crate::place::Labels;

/// Why a text is not a valid CVM name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not 5–63 characters.
    #[error("must be 5 to 63 characters long")]
    Length,
    /// Does not start with an ASCII letter.
    #[error("must start with a letter")]
    Start,
    /// Contains something other than letters, digits and hyphens.
    #[error("may contain only letters, digits and hyphens")]
    Character,
    /// Two hyphens in a row, or a trailing one.
    #[error("must not contain two hyphens in a row or end with one")]
    Hyphen,
}

pub fn check(name: &str) -> Result<(), InvalidName> {
    if !(5..=63).contains(&name.len()) {
        return Err(InvalidName::Length);
    }
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Err(InvalidName::Start);
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(InvalidName::Character);
    }
    if name.contains("--") || name.ends_with('-') {
        return Err(InvalidName::Hyphen);
    }
    Ok(())
}

/// Why a text is not a valid node name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 40 characters of a-z, 0-9 and -, and neither begin nor end with -")]
pub struct InvalidNodeName;

/// Checks the name of a node, which is also the name of a directory.
pub fn check_node_name(name: &str) -> Result<(), InvalidNodeName> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = (1..=40).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if is_name { Ok(()) } else { Err(InvalidNodeName) }
}

/// Most labels of one node.
pub const MOST_LABELS: usize = 32;

/// Why labels or a price of a node are not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabel {
    #[error("{0:?} is no key: it must be 1 to 40 characters of a-z, 0-9, -, . and _")]
    Key(String),
    #[error("the value of {0} must be 1 to 63 characters of a-z, A-Z, 0-9, -, . and _")]
    Value(String),
    #[error("must be at most {MOST_LABELS} labels")]
    TooMany,
    #[error("must be 1 to 40 printable ASCII characters, for example \"0.40 USD/h\"")]
    Price,
}

/// Checks the labels of a node.
pub fn check_labels(labels: &Labels) -> Result<(), InvalidLabel> {
    let sign = |byte: u8| b"-._".contains(&byte);
    let is_key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || sign(byte);
    let is_value = |byte: u8| byte.is_ascii_alphanumeric() || sign(byte);
    if labels.len() > MOST_LABELS {
        return Err(InvalidLabel::TooMany);
    }
    for (key, value) in labels {
        if !(1..=40).contains(&key.len()) || !key.bytes().all(is_key) {
            return Err(InvalidLabel::Key(key.clone()));
        }
        if !(1..=63).contains(&value.len()) || !value.bytes().all(is_value) {
            return Err(InvalidLabel::Value(key.clone()));
        }
    }
    Ok(())
}

/// Checks the price of a node, which is text for people.
pub fn check_price(price: &str) -> Result<(), InvalidLabel> {
    let is_text = price.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if is_text && (1..=40).contains(&price.trim().len()) && price.len() <= 40 {
        return Ok(());
    }
    Err(InvalidLabel::Price)
}

/// The name of the `n`th CVM of an app: `<base>-<n>`. A base that is too long is cut; a valid base gives a
/// valid name.
#[must_use]
pub fn numbered(base: &str, n: u32) -> String {
    let tail = format!("-{n}");
    let room = 63_usize.saturating_sub(tail.len());
    let base: String = base.chars().take(room).collect();
    format!("{}{tail}", base.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_is_fit_for_a_directory() {
        for good in ["a", "rack-1", "10"] {
            assert_eq!(check_node_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a/b", "..", "a.b", "a b", &"a".repeat(41)] {
            assert_eq!(check_node_name(bad), Err(InvalidNodeName), "{bad}");
        }
    }

    #[test]
    fn labels_and_prices_have_limits() {
        let one = |key: &str, value: &str| Labels::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(check_labels(&one("disk", "NVMe_2.0")), Ok(()));
        for bad in ["", "Disk", "a b", "a=b", &"a".repeat(41)] {
            assert_eq!(check_labels(&one(bad, "x")), Err(InvalidLabel::Key(bad.to_owned())));
        }
        for bad in ["", "a b", "é", &"a".repeat(64)] {
            assert_eq!(check_labels(&one("k", bad)), Err(InvalidLabel::Value("k".to_owned())));
        }
        let many = (0..=MOST_LABELS).map(|at| (format!("k{at}"), "v".to_owned())).collect();
        assert_eq!(check_labels(&many), Err(InvalidLabel::TooMany));
        assert_eq!(check_price("0.40 USD/h"), Ok(()));
        for bad in ["", " ", "1\n", "1 €", &"1".repeat(41)] {
            assert_eq!(check_price(bad), Err(InvalidLabel::Price), "{bad:?}");
        }
    }

    #[test]
    fn a_numbered_name_is_a_good_one() {
        assert_eq!(numbered("my-app", 2), "my-app-2");
        assert_eq!(numbered(&"a".repeat(63), 10), format!("{}-10", "a".repeat(60)));
        let hyphen = format!("{}-bc", "a".repeat(60));
        assert_eq!(numbered(&hyphen, 2), format!("{}-2", "a".repeat(60)), "not two hyphens");
        for n in [2, 99, u32::MAX] {
            assert_eq!(check(&numbered(&hyphen, n)), Ok(()));
        }
    }

    #[test]
    fn the_rule_holds_at_its_edges() {
        for good in ["my-app", "abcde", "A1-b2-c3", &"a".repeat(63)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let bad = [
            ("abcd", InvalidName::Length),
            (&"a".repeat(64), InvalidName::Length),
            ("1abcd", InvalidName::Start),
            ("-abcd", InvalidName::Start),
            ("ab_cd", InvalidName::Character),
            ("abcdé", InvalidName::Character),
            ("ab--cd", InvalidName::Hyphen),
            ("abcd-", InvalidName::Hyphen),
        ];
        for (name, why) in bad {
            assert_eq!(check(name), Err(why), "{name}");
        }
    }
}
