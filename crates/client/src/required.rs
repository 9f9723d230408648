//! The approval that a server requires from contracts first: HTTP 465.

use casemate_api::{
    error::ErrorCode,
    reply::{KmsNode, OnchainStatus},
};
use casemate_core::id::{Address, AppId, ComposeHash, DeviceId};
use secrecy::SecretString;
use serde::de::DeserializeOwned;

use crate::error::{ApiError, Error};

/// What contracts must allow, and how to continue then.
#[derive(Debug, Clone)]
pub struct ApprovalRequired {
    pub compose_hash: ComposeHash,
    pub app: AppId,
    pub device: DeviceId,
    pub chain_id: u64,
    /// KMS contract.
    pub kms_contract: Address,
    /// The token that confirms the change later without an API key; if one was requested.
    pub commit_token: Option<SecretString>,
    /// The confirmation page; the URL contains the token.
    pub commit_url: Option<SecretString>,
    /// The contracts' current verdict, if the chain answered.
    pub status: Option<OnchainStatus>,
}

impl ApprovalRequired {
    /// The requirement in an error; `None`: it is another error. `Err`: it is a 465 without the required
    /// fields.
    pub fn of(error: &Error) -> Option<Result<Self, Error>> {
        let api = error.api()?;
        if error.code() != Some(ErrorCode::HashRegistrationRequired) {
            return None;
        }
        Some(Self::read(api))
    }

    fn read(api: &ApiError) -> Result<Self, Error> {
        let kms: KmsNode = detail(api, "kms_info")?;
        let contract = kms.kms_contract_address.as_deref().unwrap_or_default();
        Ok(Self {
            compose_hash: detail(api, "compose_hash")?,
            app: detail(api, "app_id")?,
            device: detail(api, "device_id")?,
            chain_id: kms.chain_id.ok_or_else(|| missing(api, "kms_info.chain_id"))?,
            kms_contract: contract
                .parse()
                .map_err(|_| missing(api, "kms_info.kms_contract_address"))?,
            commit_token: optional(api, "commit_token").map(|text: String| text.into()),
            commit_url: optional(api, "commit_url").map(|text: String| text.into()),
            status: optional(api, "onchain_status"),
        })
    }
}

fn optional<T: DeserializeOwned>(api: &ApiError, field: &str) -> Option<T> {
    let value = api.body.structured()?.value(field)?;
    T::deserialize(value).ok()
}

fn detail<T: DeserializeOwned>(api: &ApiError, field: &str) -> Result<T, Error> {
    optional(api, field).ok_or_else(|| missing(api, field))
}

fn missing(api: &ApiError, field: &str) -> Error {
    let reason = format!("the registration it asks for has no {field}");
    Error::Decode { call: api.call.clone(), reason }
}
