//! Webhooks: which events are sent to others, in which words ([`Notice`]), when a delivery is tried again
//! ([`after_failure`]), how it is signed ([`sign`]), and where it may go ([`TargetPolicy`]).

mod delivery;
mod notice;
mod target;

pub use self::{
    delivery::{
        AfterFailure, Envelope, EnvelopeWorkspace, MAX_SECRET, MIN_SECRET, RETRIES, after_failure,
        checked_secret, event_id, mask, new_secret, sign,
    },
    notice::{Notice, notice},
    target::{InvalidTarget, MAX_URL, TargetPolicy},
};

/// Maximum number of deliveries of a webhook that wait. With more it is disabled.
pub const MAX_PENDING: i64 = 10_000;

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident, $word:literal;)*) => {
        /// A type of event that webhooks are sent.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventType {
            $($(#[$doc])* $name,)*
        }

        impl EventType {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

event_types! {
    /// A new CVM runs.
    Created, "cvm.created";
    /// A new CVM did not come to run.
    CreateFailed, "cvm.create_failed";
    Started, "cvm.started";
    Restarted, "cvm.restarted";
    /// A configuration change is in force.
    Updated, "cvm.updated";
    /// It was stopped or shut down on request.
    Stopped, "cvm.stopped";
    Deleted, "cvm.deleted";
    /// An update waits for the approval of contracts.
    UpdatePending, "cvm.update.pending_approval";
    /// A replica waits for the approval of contracts.
    ReplicaPending, "cvm.replica.pending_approval";
    /// An operation other than a creation failed. Casemate only.
    OperationFailed, "cvm.operation_failed";
    /// A service of a running guest failed. Casemate only.
    ServiceFailed, "cvm.service_failed";
    /// The node shows another state than the recorded one. Casemate only.
    Drifted, "cvm.drifted";
    /// It is on another node now. Casemate only.
    Moved, "cvm.moved";
    /// The block of an approval was reorganised, and the contracts do not allow it now. Casemate only.
    ApprovalUndone, "governance.undone";
    /// A webhook of the workspace was disabled, because it did not take a delivery. Casemate only.
    WebhookDisabled, "webhook.disabled";
    /// Sent on request, whatever a webhook subscribes to.
    Test, "webhook.test";
}

impl EventType {
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|event| event.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_type_is_read_by_its_own_word() {
        let words: BTreeSet<_> = EventType::ALL.iter().map(|event| event.as_str()).collect();
        assert_eq!(words.len(), EventType::ALL.len());
        for event in EventType::ALL {
            assert_eq!(EventType::parse(event.as_str()), Some(*event));
        }
        assert_eq!(EventType::parse("*"), None);
    }
}
