//! Why what was prepared cannot be committed: status 466, in words that name the way out. Whoever holds
//! no token learns nothing: one that was never given reads as one that has expired.

use std::borrow::Cow;

use casemate_api::error::{ErrorCode, ErrorDetail};
use casemate_core::{
    id::{ComposeHash, OperationId},
    operation::OperationState,
    time::Timestamp,
};
use casemate_store::commit_tokens::{Kind, Preparation};

use crate::app::Error;

/// Whoever repeats a commit within this many seconds hears the same again.
const REPEATED_WITHIN: u64 = 60 * 60;

/// Why something cannot be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenRejection {
    /// No such token, or too old.
    Unknown,
    /// Nothing was prepared for the CVM, or it is too old.
    NothingPrepared,
    /// The hash is another one than what was prepared.
    OtherHash(ComposeHash),
    /// A newer one took its place.
    Superseded,
    /// It was committed.
    Used,
    /// It was committed, and what it became came to nothing, for this cause.
    Ended(OperationState, Option<String>),
    /// What it was prepared on is in force no more.
    Moved,
    /// The CVM is deleted.
    Gone,
    /// Its contracts are not what they were.
    OtherContracts,
    /// The request that confirms it asks for something else.
    OtherRequest,
    /// The token is of something else.
    OtherKind(Kind),
}

impl TokenRejection {
    fn words(&self) -> Cow<'static, str> {
        let words = match self {
            Self::Ended(state, cause) => {
                let cause = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
                let state = state.as_str();
                return format!("this was committed before, and the update is {state}{cause}")
                    .into();
            }
            Self::Unknown => "the commit token is not known, or it has expired",
            Self::NothingPrepared => "nothing is prepared for this CVM, or it has expired",
            Self::OtherHash(_) => "this is not the compose hash that was prepared",
            Self::Superseded => "a newer preparation of this CVM took the place of this one",
            Self::Used => "this was committed before",
            Self::Moved => "the CVM's configuration has changed since this was prepared",
            Self::Gone => "the CVM that this was prepared for is deleted",
            Self::OtherContracts => {
                "the CVM's KMS has another contract than when this was prepared"
            }
            Self::OtherRequest => "this request does not ask for what was prepared",
            Self::OtherKind(Kind::Update) => "the commit token is of an update",
            Self::OtherKind(Kind::Replica) => "the commit token is of a replica",
            Self::OtherKind(Kind::Instance) => "the commit token is of an instance",
        };
        words.into()
    }

    const fn way_out(&self) -> &'static str {
        match self {
            Self::OtherRequest => {
                "Repeat the request that was prepared, or PATCH /api/v1/cvms/{id} with the body {} and the \
                 same headers."
            }
            Self::OtherHash(_) => "Confirm the hash in the details, or prepare the change again.",
            Self::OtherKind(Kind::Update) => "POST it to /api/v1/cvms/{id}/commit-update.",
            Self::OtherKind(Kind::Replica) => "POST it to /api/v1/cvms/{id}/commit-replica.",
            Self::OtherKind(Kind::Instance) => "POST it to /api/v1/apps/{id}/instances.",
            Self::Used => "Look at the CVM's operations: GET /api/v1/cvms/{id}/operations.",
            Self::Gone => "Deploy it again.",
            Self::Unknown
            | Self::NothingPrepared
            | Self::Ended(..)
            | Self::Superseded
            | Self::Moved
            | Self::OtherContracts => {
                "Prepare the change again: the same document has the same hash, so what was registered for \
                 it counts."
            }
        }
    }
}

impl From<TokenRejection> for Error {
    fn from(rejection: TokenRejection) -> Self {
        let error = Self::because(ErrorCode::HashInvalidOrExpired, rejection.words());
        let error = match &rejection {
            TokenRejection::OtherHash(prepared) => {
                error.detail(ErrorDetail::value("compose_hash", prepared.to_string()))
            }
            TokenRejection::Unknown => {
                error.detail(ErrorDetail::message("token", rejection.words()))
            }
            _ => error,
        };
        error.suggest(rejection.way_out())
    }
}

/// How something that was prepared stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It can be committed.
    Live,
    /// It became this a moment ago.
    Before(OperationId),
}

/// How something that was prepared stands with somebody who means this document, if they say one.
pub fn standing(
    row: &Preparation,
    hash: Option<&ComposeHash>,
    now: Timestamp,
) -> Result<Standing, TokenRejection> {
    if row.used_at.is_none() && row.expires_at <= now {
        return Err(TokenRejection::Unknown);
    }
    if hash.is_some_and(|hash| *hash != row.compose_hash) {
        return Err(TokenRejection::OtherHash(row.compose_hash));
    }
    match (row.used_at, row.operation) {
        (Some(used), Some(operation)) if now.since(used).as_secs() < REPEATED_WITHIN => {
            Ok(Standing::Before(operation))
        }
        (Some(_), _) => Err(TokenRejection::Used),
        (None, _) if row.superseded_at.is_some() => Err(TokenRejection::Superseded),
        (None, _) => Ok(Standing::Live),
    }
}

#[cfg(test)]
mod tests {
    use casemate_core::id::{AppId, CvmId, UserId, WorkspaceId};
    use casemate_store::commit_tokens::TokenHash;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn row() -> Preparation {
        Preparation {
            hash: TokenHash("aa".to_owned()),
            kind: Kind::Update,
            workspace: WorkspaceId(1),
            cvm: CvmId(1),
            app: AppId::from_bytes([1; 20]),
            compose_hash: ComposeHash::from_bytes([2; 32]),
            chain_id: 1,
            base: String::new(),
            created_by: UserId(1),
            created_at: at(0),
            expires_at: at(1000),
            superseded_at: None,
            used_at: None,
            operation: None,
            made: None,
            request: None,
        }
    }

    #[test]
    fn a_preparation_is_live_until_it_is_used_superseded_or_expired() {
        let hash = ComposeHash::from_bytes([2; 32]);
        assert_eq!(standing(&row(), Some(&hash), at(999)), Ok(Standing::Live));
        assert_eq!(standing(&row(), None, at(999)), Ok(Standing::Live));
        assert_eq!(
            standing(&row(), None, at(1000)),
            Err(TokenRejection::Unknown),
            "expired is unknown"
        );
        let other = ComposeHash::from_bytes([3; 32]);
        assert_eq!(standing(&row(), Some(&other), at(1)), Err(TokenRejection::OtherHash(hash)));
        let superseded = Preparation { superseded_at: Some(at(5)), ..row() };
        assert_eq!(standing(&superseded, None, at(6)), Err(TokenRejection::Superseded));
        assert_eq!(standing(&superseded, None, at(1000)), Err(TokenRejection::Unknown));
        let operation = OperationId::from_uuid(uuid::Uuid::nil());
        let used = Preparation { used_at: Some(at(900)), operation: Some(operation), ..row() };
        let before = Ok(Standing::Before(operation));
        assert_eq!(standing(&used, Some(&hash), at(901)), before);
        assert_eq!(standing(&used, None, at(900 + 3599)), before, "also past its end");
        assert_eq!(standing(&used, Some(&other), at(901)), Err(TokenRejection::OtherHash(hash)));
        assert_eq!(standing(&used, None, at(900 + 3600)), Err(TokenRejection::Used));
    }
}
