//! What contracts say of an app, read without a server in between.

use alloy_primitives::B256;
use alloy_sol_types::{SolCall, SolEvent};
use casemate_core::{
    governance::{
        Account,
        interface::{AppContract, KmsContract},
        judge::Log,
        returned::{self, Returned},
        view,
    },
    id::{Address, AppId, ComposeHash, DeviceId},
};

use super::{error::ChainError, rpc::Rpc};

/// What contracts say of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// Whether the contract of the KMS answers as one does.
    pub kms_exists: bool,
    /// Whether the KMS knows the app.
    pub registered: bool,
    /// Whether the contract of the app answers as one does.
    pub exists: bool,
    /// Who may change its lists; `None`: nobody.
    pub owner: Option<Address>,
    /// What is behind the owner.
    pub owner_kind: Option<Account>,
    /// To whom it was offered.
    pub pending_owner: Option<Address>,
    /// Whether it allows every device.
    pub any_device: bool,
    /// Whether it demands that the TCB of hosts is up to date; `None`: made before there was such a demand.
    pub tcb_required: Option<bool>,
}

impl Rpc {
    /// What the contracts say of an app now.
    pub async fn overview(&self, kms: Address, app: AppId) -> Result<Overview, ChainError> {
        let at = Address::from(app);
        let registered = self.flag(kms, view::registered_app(at)).await?;
        let any_device = self.allows_any_device(app).await?;
        let owner = self.owner(app).await?;
        let pending_owner = self.pending_owner(app).await?;
        let owner_kind = match owner {
            Some(owner) => Some(self.account(owner).await?),
            None => None,
        };
        let tcb = AppContract::requireTcbUpToDateCall {}.abi_encode();
        Ok(Overview {
            kms_exists: registered.is_some(),
            registered: registered.unwrap_or(false),
            exists: any_device.is_some(),
            owner,
            owner_kind,
            pending_owner,
            any_device: any_device.unwrap_or(false),
            tcb_required: self.flag(at, tcb).await?,
        })
    }

    /// Whether an app allows a document; `None`: there is no contract of an app.
    pub async fn allows_document(
        &self,
        app: AppId,
        hash: ComposeHash,
    ) -> Result<Option<bool>, ChainError> {
        self.flag(app.into(), view::compose_hash(hash)).await
    }

    /// Whether an app lists a device; `None`: there is no contract of an app.
    pub async fn lists_device(
        &self,
        app: AppId,
        device: DeviceId,
    ) -> Result<Option<bool>, ChainError> {
        self.flag(app.into(), view::device(device)).await
    }

    /// Whether an app allows every device; `None`: there is no contract of an app.
    pub async fn allows_any_device(&self, app: AppId) -> Result<Option<bool>, ChainError> {
        self.flag(app.into(), view::any_device()).await
    }

    /// Who owns an app; `None`: nobody.
    pub async fn owner(&self, app: AppId) -> Result<Option<Address>, ChainError> {
        Ok(returned::account(&self.call(None, app.into(), &view::owner()).await?))
    }

    /// To whom an app is offered.
    pub async fn pending_owner(&self, app: AppId) -> Result<Option<Address>, ChainError> {
        Ok(returned::account(&self.call(None, app.into(), &view::pending_owner()).await?))
    }

    /// Why a call by this account would fail; `None`: it would succeed. Nothing is sent.
    pub async fn would_revert(
        &self,
        from: Address,
        to: Address,
        data: &[u8],
    ) -> Result<Option<String>, ChainError> {
        Ok(match self.call(Some(from), to, data).await? {
            Returned::Data(_) => None,
            Returned::Reverted(why) => Some(returned::reason(&why)),
        })
    }

    async fn flag(&self, to: Address, data: Vec<u8>) -> Result<Option<bool>, ChainError> {
        Ok(returned::flag(&self.call(None, to, &data).await?))
    }
}

/// The app that a transaction made through the contract of a KMS, by that contract's own event.
#[must_use]
pub fn deployed_app(logs: &[Log], kms: Address, deployer: Address) -> Option<AppId> {
    let own = logs.iter().filter(|log| log.address == kms && !log.removed);
    own.filter_map(|log| {
        let topics = log.topics.iter().map(B256::from);
        KmsContract::AppDeployedViaFactory::decode_raw_log(topics, &log.data).ok()
    })
    .find(|event| event.deployer.into_array() == *deployer.as_bytes())
    .map(|event| AppId::from_bytes(event.appId.into_array()))
}
