//! Chooses among ready instances.

/// An instance that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Number of in-flight requests.
    pub in_flight: u32,
    /// A recent request to it failed: it is chosen only if there is no other.
    pub is_suspect: bool,
}

/// The index of the instance with the fewest in-flight requests; `draw`, a random number, decides ties.
/// `None`: there are no candidates.
#[must_use]
pub fn choose(candidates: &[Candidate], draw: u64) -> Option<usize> {
    let rank = |one: &Candidate| (one.is_suspect, one.in_flight);
    let best = candidates.iter().map(rank).min()?;
    let equals: Vec<usize> =
        (0..candidates.len()).filter(|at| rank(&candidates[*at]) == best).collect();
    let count = u64::try_from(equals.len()).unwrap_or(1);
    usize::try_from(draw % count).ok().and_then(|at| equals.get(at).copied())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (0_u32..5, any::<bool>())
            .prop_map(|(in_flight, is_suspect)| Candidate { in_flight, is_suspect });
        prop::collection::vec(one, 0..8)
    }

    proptest! {
        #[test]
        fn nobody_is_passed_over_for_a_busier_or_a_suspect_one(some in candidates(), draw in any::<u64>()) {
            let chosen = choose(&some, draw).map(|at| some[at]);
            prop_assert_eq!(chosen.is_none(), some.is_empty());
            for other in &some {
                let chosen = chosen.unwrap();
                prop_assert!(!chosen.is_suspect || other.is_suspect);
                prop_assert!(chosen.in_flight <= other.in_flight || chosen.is_suspect != other.is_suspect);
            }
        }

        /// Ties are distributed evenly.
        #[test]
        fn every_equal_is_drawn(count in 1_usize..8) {
            let equals = vec![Candidate { in_flight: 1, is_suspect: false }; count];
            let draws = u64::try_from(count).unwrap();
            let drawn: Vec<usize> = (0..draws).filter_map(|draw| choose(&equals, draw)).collect();
            prop_assert_eq!(drawn, (0..count).collect::<Vec<_>>());
        }
    }
}
