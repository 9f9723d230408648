//! The results of an instance's checks.

/// Whether an instance is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Not checked yet.
    Unknown,
    Ready,
    NotReady,
}

/// The health of one instance. The first check decides; a ready instance becomes not ready after the check's
/// threshold of consecutive failures, and ready again after one success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub verdict: Verdict,
    /// Consecutive failures.
    pub failures: u32,
    /// The error of the last failed check; empty after a success.
    pub why: String,
}

impl Health {
    /// Before the first check.
    pub const fn unknown() -> Self {
        Self { verdict: Verdict::Unknown, failures: 0, why: String::new() }
    }

    /// After another check.
    #[must_use]
    pub fn after(&self, look: Result<(), String>, threshold: u32) -> Self {
        match look {
            Ok(()) => Self { verdict: Verdict::Ready, failures: 0, why: String::new() },
            Err(why) => {
                let failures = self.failures.saturating_add(1);
                let held = self.verdict == Verdict::Ready && failures < threshold;
                let verdict = if held { Verdict::Ready } else { Verdict::NotReady };
                Self { verdict, failures, why }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Ready exactly if one of the last `threshold` checks succeeded and, after a time of not being
        /// ready, one succeeded since.
        #[test]
        fn the_last_looks_decide(looks in prop::collection::vec(any::<bool>(), 1..40), threshold in 1_u32..5) {
            let mut health = Health::unknown();
            let mut ready = None;
            let mut bad_in_a_row = 0;
            for good in looks {
                health = health.after(if good { Ok(()) } else { Err("no".to_owned()) }, threshold);
                bad_in_a_row = if good { 0 } else { bad_in_a_row + 1 };
                ready = Some(match (ready, good) {
                    (_, true) => true,
                    (Some(true), false) => bad_in_a_row < threshold,
                    (_, false) => false,
                });
                let expected = if ready == Some(true) { Verdict::Ready } else { Verdict::NotReady };
                prop_assert_eq!(health.verdict, expected);
                prop_assert_eq!(health.why.is_empty(), good);
            }
        }
    }
}
