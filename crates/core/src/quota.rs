//! What a workspace may take altogether.

use std::fmt;

use crate::place::Amount;

/// The most that the live CVMs of a workspace may take together; `None`: as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    pub cvms: Option<i64>,
    pub vcpu: Option<i64>,
    pub memory_mb: Option<i64>,
    pub disk_gb: Option<i64>,
}

impl Quota {
    /// This quota, with that of `default` where this one has none.
    #[must_use]
    pub fn or(self, default: Self) -> Self {
        Self {
            cvms: self.cvms.or(default.cvms),
            vcpu: self.vcpu.or(default.vcpu),
            memory_mb: self.memory_mb.or(default.memory_mb),
            disk_gb: self.disk_gb.or(default.disk_gb),
        }
    }
}

/// What a quota is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Cvms,
    Vcpu,
    MemoryMb,
    DiskGb,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cvms => "CVMs",
            Self::Vcpu => "vCPUs",
            Self::MemoryMb => "MB of memory",
            Self::DiskGb => "GB of disk",
        })
    }
}

/// A request asks for more than a workspace may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the workspace may have {limit} {resource} and has {taken}; {more} more are asked for")]
pub struct OverQuota {
    pub resource: Resource,
    pub limit: i64,
    /// Without what is asked for.
    pub taken: i64,
    pub more: i64,
}

/// Whether a workspace may take more. Only what grows is held against its quota, so that one that was given
/// less than it has can still give up some.
pub fn check(quota: &Quota, taken: &Amount, more: &Amount) -> Result<(), OverQuota> {
    let resources = [
        (Resource::Cvms, quota.cvms, taken.slots, more.slots),
        (Resource::Vcpu, quota.vcpu, taken.vcpu, more.vcpu),
        (Resource::MemoryMb, quota.memory_mb, taken.memory_mb, more.memory_mb),
        (Resource::DiskGb, quota.disk_gb, taken.disk_gb, more.disk_gb),
    ];
    for (resource, limit, taken, more) in resources {
        if let Some(limit) = limit
            && more > 0
            && taken.saturating_add(more) > limit
        {
            return Err(OverQuota { resource, limit, taken, more });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amount(slots: i64, vcpu: i64, memory_mb: i64, disk_gb: i64) -> Amount {
        Amount { slots, vcpu, memory_mb, disk_gb }
    }

    #[test]
    fn the_first_resource_that_is_over_is_named() {
        let quota = Quota { cvms: Some(2), vcpu: Some(4), ..Quota::default() };
        assert_eq!(check(&quota, &amount(1, 2, 0, 0), &amount(1, 2, 9, 9)), Ok(()));
        let over = check(&quota, &amount(1, 3, 0, 0), &amount(1, 2, 9, 9)).unwrap_err();
        assert_eq!(
            over.to_string(),
            "the workspace may have 4 vCPUs and has 3; 2 more are asked for"
        );
        assert_eq!(
            check(&quota, &amount(5, 9, 0, 0), &amount(0, 0, 1, 0)),
            Ok(()),
            "it only grows elsewhere"
        );
    }

    #[test]
    fn an_own_quota_goes_before_the_default() {
        let own = Quota { cvms: Some(0), ..Quota::default() };
        let default = Quota { cvms: Some(10), vcpu: Some(4), ..Quota::default() };
        assert_eq!(own.or(default), Quota { cvms: Some(0), vcpu: Some(4), ..Quota::default() });
    }

    proptest! {
        #[test]
        fn whatever_is_let_through_one_by_one_stays_within_the_quota(
            limit in 0_i64..100,
            asked in proptest::collection::vec(0_i64..20, 0..30),
        ) {
            let quota = Quota { vcpu: Some(limit), ..Quota::default() };
            let mut taken = Amount::default();
            for vcpu in asked {
                if check(&quota, &taken, &amount(0, vcpu, 0, 0)).is_ok() {
                    taken.vcpu += vcpu;
                }
            }
            prop_assert!(taken.vcpu <= limit);
        }
    }
}
