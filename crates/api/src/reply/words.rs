//! Words of replies. Our server sends the named ones; a word of another server is kept as it came.

use std::fmt;

use casemate_core::{
    cvm::Phase,
    operation::{OperationKind, OperationState as State},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares an enum of words. `from`: the type of the domain with the same variants.
macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        $name:ident $(from $domain:ty)? { $($variant:ident = $word:literal,)* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`")] $variant,)*
            /// A word of another server.
            Other(String),
        }

        impl $name {
            /// The word on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word,
                }
            }
        }

        $(impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                Self::from(value.as_str())
            }
        })?

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)*
                    _ => Self::Other(word.to_owned()),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::from(String::deserialize(deserializer)?.as_str()))
            }
        }

        /// No word: the field is missing.
        impl Default for $name {
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::Type::String)
                    .description(Some(concat!($($doc),*).trim()))
                    .enum_values(Some([$($word),*]))
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

words! {
    /// Status of a CVM.
    CvmPhase from Phase {
        Starting = "starting",
        Running = "running",
        Stopping = "stopping",
        ShuttingDown = "shutting_down",
        Restarting = "restarting",
        Updating = "updating",
        Stopped = "stopped",
        Error = "error",
        Deleted = "deleted",
    }
}

words! {
    /// The kind of an operation.
    OperationType from OperationKind {
        Create = "create",
        Start = "start",
        Stop = "stop",
        Shutdown = "shutdown",
        Restart = "restart",
        Update = "update",
        Rollback = "rollback",
        Move = "move",
        Delete = "delete",
    }
}

words! {
    /// How an operation stands, in the three words that Phala Cloud has.
    OperationOutcome {
        InProgress = "in_progress",
        Completed = "completed",
        Failed = "failed",
    }
}

words! {
    /// How an operation stands.
    OperationState from State {
        Pending = "pending",
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
        Superseded = "superseded",
        Cancelled = "cancelled",
    }
}

words! {
    /// How a step ended.
    StepOutcome {
        Done = "done",
        Failed = "failed",
        Unknown = "unknown",
    }
}

words! {
    /// Whether a CVM is busy.
    Activity {
        Idle = "idle",
        InProgress = "in_progress",
    }
}

words! {
    /// The progress of a requested change.
    ChangeStatus {
        InProgress = "in_progress",
        NoChange = "no_change",
        Succeeded = "succeeded",
    }
}

words! {
    /// The result of a request for an instance id.
    InstanceIdStatus {
        Updated = "updated",
        Unchanged = "unchanged",
        Skipped = "skipped",
        Conflict = "conflict",
        Error = "error",
    }
}

words! {
    /// Whether a contract allows something; `unknown` where its chain does not answer.
    Permission {
        Allowed = "allowed",
        NotAllowed = "not_allowed",
        Unknown = "unknown",
    }
}

words! {
    /// How something stands that was prepared for the approval of a contract.
    CommitState {
        Pending = "pending",
        Used = "used",
        Superseded = "superseded",
        Outdated = "outdated",
        Deleted = "deleted",
    }
}

words! {
    /// Who declares when an instance takes requests: the workspace through the API, a label of the newest instance's
    /// compose file, or nobody.
    ReadinessSource {
        Api = "api",
        Label = "label",
        None = "none",
    }
}

words! {
    /// How it is looked whether an instance takes requests.
    CheckKind {
        Http = "http",
        Tcp = "tcp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_domain_are_words_of_the_wire() {
        use State::{Cancelled, Failed, Pending, Running, Succeeded, Superseded};
        for kind in OperationKind::ALL {
            assert!(!matches!(OperationType::from(kind), OperationType::Other(_)), "{kind:?}");
        }
        for phase in Phase::ALL {
            assert!(!matches!(CvmPhase::from(phase), CvmPhase::Other(_)), "{phase:?}");
        }
        for state in [Pending, Running, Succeeded, Failed, Superseded, Cancelled] {
            assert!(!matches!(OperationState::from(state), OperationState::Other(_)), "{state:?}");
        }
    }

    #[test]
    fn a_foreign_word_is_kept() {
        let word: CvmPhase = serde_json::from_str("\"in-transit\"").unwrap();
        assert_eq!(word, CvmPhase::Other("in-transit".to_owned()));
        assert_eq!(serde_json::to_string(&word).unwrap(), "\"in-transit\"");
        assert_eq!(serde_json::to_string(&CvmPhase::ShuttingDown).unwrap(), "\"shutting_down\"");
    }
}
