//! How many requests the gateway of this process has under way to each CVM.
//!
//! Whoever sends a request counts it in first and reads then whether the CVM still serves; a reconciler
//! reads the count only after the desired state that ends that was committed. So a count of 0 that a reconciler
//! sees stays 0. Counts are of this process alone, which is enough: the reconciler of a CVM runs where
//! its node is, and requests of other processes come through the gateway there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use casemate_core::id::CvmId;

/// Requests under way by CVM; CVMs without any take no room.
#[derive(Debug, Default)]
pub struct InFlightRequests(Mutex<HashMap<CvmId, u32>>);

/// One request under way, until it is dropped.
#[derive(Debug)]
pub struct InFlightGuard {
    inflight: Arc<InFlightRequests>,
    cvm: CvmId,
}

impl InFlightRequests {
    fn counts(&self) -> MutexGuard<'_, HashMap<CvmId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests are under way to a CVM.
    pub fn count(&self, cvm: CvmId) -> u32 {
        self.counts().get(&cvm).copied().unwrap_or(0)
    }

    /// Counts a request in.
    #[must_use]
    pub fn enter(self: &Arc<Self>, cvm: CvmId) -> InFlightGuard {
        *self.counts().entry(cvm).or_default() += 1;
        InFlightGuard { inflight: self.clone(), cvm }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut counts = self.inflight.counts();
        if let Some(count) = counts.get_mut(&self.cvm) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.cvm);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_counted_out() {
        let inflight = Arc::new(InFlightRequests::default());
        let (one, other) = (CvmId(1), CvmId(2));
        let first = inflight.enter(one);
        let second = inflight.enter(one);
        assert_eq!((inflight.count(one), inflight.count(other)), (2, 0));
        drop(first);
        assert_eq!(inflight.count(one), 1);
        drop(second);
        assert_eq!(inflight.count(one), 0);
        assert!(inflight.counts().is_empty());
    }
}
