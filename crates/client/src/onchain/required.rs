//! What a server says has to be allowed by contracts before it does something: HTTP 465.

use casemate_api::{approval::Approval, error::ErrorCode, reply::OnchainStatus};
use casemate_core::id::{Address, AppId, ComposeHash, DeviceId};
use secrecy::SecretString;

use crate::error::{ApiError, Error};

/// What has to be allowed, and how to go on then.
#[derive(Debug, Clone)]
pub struct Required {
    /// The document.
    pub compose_hash: ComposeHash,
    /// The app.
    pub app: AppId,
    /// The host's device.
    pub device: DeviceId,
    /// The chain.
    pub chain_id: u64,
    /// The contract of the KMS.
    pub kms_contract: Address,
    /// What confirms it later, without a key of the API; where one was asked for.
    pub commit_token: Option<SecretString>,
    /// A page that shows what is to be approved; the token is in it.
    pub commit_url: Option<SecretString>,
    /// What contracts allowed when the server looked, where the chain answered.
    pub status: Option<OnchainStatus>,
}

impl Required {
    /// What an error of the server asks for; `None`: it is another error. `Err`: it is this one, and
    /// without what has to be in it.
    pub fn of(error: &Error) -> Option<Result<Self, Error>> {
        let api = error.api()?;
        if error.code() != Some(ErrorCode::HashRegistrationRequired) {
            return None;
        }
        Some(Self::read(api))
    }

    fn read(api: &ApiError) -> Result<Self, Error> {
        let missing = |what: &str| {
            let reason = format!("the registration it asks for has no {what}");
            Error::Decode { call: api.call.clone(), reason }
        };
        let asked = Approval::of(&api.body).ok_or_else(|| missing("compose_hash or app_id"))?;
        let kms = asked.kms_info.ok_or_else(|| missing("kms_info"))?;
        let contract = kms.kms_contract_address.and_then(|text| text.parse().ok());
        Ok(Self {
            compose_hash: asked.compose_hash,
            app: asked.app_id,
            device: asked.device_id.ok_or_else(|| missing("device_id"))?,
            chain_id: kms.chain_id.ok_or_else(|| missing("kms_info.chain_id"))?,
            kms_contract: contract.ok_or_else(|| missing("kms_info.kms_contract_address"))?,
            commit_token: asked.commit_token.map(SecretString::from),
            commit_url: asked.commit_url.map(SecretString::from),
            status: asked.onchain_status,
        })
    }
}
