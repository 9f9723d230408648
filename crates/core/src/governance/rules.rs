//! The nine rules of a verification, by name, so that tests can switch each one off and see what it
//! is for. In a build without the feature `testing` there is nothing to switch.

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The event is the app's own.
    LogAddress,
    /// The event says this hash.
    HashInData,
    /// The transaction succeeded.
    ReceiptStatus,
    /// The app allows the hash now.
    State,
    /// The app allows the device now.
    Device,
    /// The KMS knows the app.
    Registration,
    /// Enough blocks are on top of the transaction.
    Confirmations,
    /// No bytes are no answer.
    EmptyData,
    /// An endpoint serves the configured chain.
    ChainId,
}

/// Which rules apply: all of them, but in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mask {
    #[cfg(feature = "testing")]
    off: Option<Rule>,
}

impl Mask {
    /// Whether a rule applies.
    #[must_use]
    pub fn applies(self, rule: Rule) -> bool {
        self.off() != Some(rule)
    }

    #[cfg(feature = "testing")]
    const fn off(self) -> Option<Rule> {
        self.off
    }

    #[cfg(not(feature = "testing"))]
    #[expect(clippy::unused_self, reason = "the same call as with the feature `testing`")]
    const fn off(self) -> Option<Rule> {
        None
    }

    /// Every rule but one.
    #[cfg(feature = "testing")]
    #[must_use]
    pub const fn without(rule: Rule) -> Self {
        Self { off: Some(rule) }
    }
}
