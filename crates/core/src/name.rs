//! The rule for CVM names, which are also host names: 5–63 characters, a letter first, then letters,
//! digits and single hyphens, no hyphen last (seed 001; the JavaScript SDK checks the same).

/// Why a text cannot be the name of a CVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Outside 5–63 characters.
    #[error("must be 5 to 63 characters long")]
    Length,
    /// Does not begin with an ASCII letter.
    #[error("must start with a letter")]
    Start,
    /// Holds something else than letters, digits and hyphens.
    #[error("may contain only letters, digits and hyphens")]
    Character,
    /// Two hyphens in a row, or one at the end.
    #[error("must not contain two hyphens in a row or end with one")]
    Hyphen,
}

/// Checks a name against the rule.
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

#[cfg(test)]
mod tests {
    use super::*;

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
