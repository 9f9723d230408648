//! How certain a failed call is. The caller acts on certainty, not on cause.

/// A call to a node or KMS that did not return its answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It did not happen, and will not if repeated: the other side refused it. The text says why,
    /// fit for the user.
    #[error("refused: {0}")]
    Rejected(String),
    /// It did not happen: nobody was there to take it.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// It may have happened. Look before you do anything else.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}
