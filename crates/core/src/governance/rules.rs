//! The nine rules of a verification. All of them apply; with the feature `testing`, a test can switch one off
//! to show its purpose.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The event was emitted by the app's own contract.
    LogAddress,
    /// The event contains this hash.
    HashInData,
    /// The transaction succeeded.
    ReceiptStatus,
    /// The app allows the hash now.
    State,
    /// The app allows the device now.
    Device,
    /// The KMS knows the app.
    Registration,
    /// The transaction has enough confirmations.
    Confirmations,
    /// An empty result is not an answer.
    EmptyData,
    /// An endpoint serves the configured chain.
    ChainId,
}

impl Rule {
    /// Always, except in tests.
    #[cfg(not(feature = "testing"))]
    #[must_use]
    pub const fn applies(self) -> bool {
        let _ = self;
        true
    }

    /// Whether the rule applies: always, unless a test has switched it off in this thread.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn applies(self) -> bool {
        switch::OFF.get() != Some(self)
    }
}

#[cfg(feature = "testing")]
pub use switch::{RuleOverride, all_apply, without};

#[cfg(feature = "testing")]
mod switch {
    use std::{cell::Cell, marker::PhantomData};

    use super::Rule;

    thread_local! {
        pub(super) static OFF: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// While it exists, a rule does not apply in this thread.
    #[derive(Debug)]
    #[must_use]
    pub struct RuleOverride(PhantomData<*const ()>);

    /// Switches a rule off in this thread.
    pub fn without(rule: Rule) -> RuleOverride {
        OFF.set(Some(rule));
        RuleOverride(PhantomData)
    }

    /// Whether no rule is switched off in this thread.
    #[must_use]
    pub fn all_apply() -> bool {
        OFF.get().is_none()
    }

    impl Drop for RuleOverride {
        fn drop(&mut self) {
            OFF.set(None);
        }
    }
}
