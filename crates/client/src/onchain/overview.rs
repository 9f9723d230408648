//! The state of an app's contracts, read directly from the chain.

use alloy_primitives::B256;
use alloy_sol_types::{SolCall, SolEvent};
use casemate_core::{
    governance::{
        Account, BootInfo, EPOCH_AUTH, Epochs, OLD_EPOCH_AUTH, Question,
        interface::{AppContract, KmsContract},
        judge::Log,
        returned::{self, CallResult},
        view,
    },
    id::{Address, AppId, ComposeHash, DeviceId},
};

use super::{error::ChainError, rpc::Rpc};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// Whether the KMS contract answers like one.
    pub kms_exists: bool,
    /// Whether the KMS knows the app.
    pub registered: bool,
    /// Whether the app contract answers like one.
    pub exists: bool,
    /// Whether it has lists that its owner changes; otherwise it judges by rules of its own.
    pub has_lists: bool,
    /// Whether it approves by epoch.
    pub epochs: Epochs,
    /// `None`: renounced.
    pub owner: Option<Address>,
    pub owner_kind: Option<Account>,
    /// The account that ownership was offered to.
    pub pending_owner: Option<Address>,
    /// Whether it allows every device.
    pub any_device: bool,
    /// Whether it requires hosts with an up-to-date TCB; `None`: the contract has no such setting.
    pub tcb_required: Option<bool>,
}

impl Rpc {
    /// The current state of an app's contracts.
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
        let has_lists = any_device.is_some();
        let exists = has_lists || self.judges(app).await?;
        let tcb = AppContract::requireTcbUpToDateCall {}.abi_encode();
        Ok(Overview {
            kms_exists: registered.is_some(),
            registered: registered.unwrap_or(false),
            exists,
            has_lists,
            epochs: self.epochs(app).await?,
            owner,
            owner_kind,
            pending_owner,
            any_device: any_device.unwrap_or(false),
            tcb_required: self.flag(at, tcb).await?,
        })
    }

    /// Whether an app has `isAppAllowed`, whatever it says.
    async fn judges(&self, app: AppId) -> Result<bool, ChainError> {
        let boot = BootInfo::new(
            &Question {
                kms: Address::from_bytes([0; 20]),
                app,
                hash: ComposeHash::from_bytes([0; 32]),
                device: DeviceId::from_bytes([0; 32]),
                os_image: None,
                transaction: None,
            },
            [0; 32],
        );
        Ok(returned::boot(&self.call(None, app.into(), &view::boot(&boot)).await?).is_some())
    }

    /// Whether an app approves by epoch.
    async fn epochs(&self, app: AppId) -> Result<Epochs, ChainError> {
        let current = self.call(None, app.into(), &view::supports_interface(EPOCH_AUTH)).await?;
        let old = self.call(None, app.into(), &view::supports_interface(OLD_EPOCH_AUTH)).await?;
        Ok(Epochs::of(&current, &old))
    }

    /// Whether an app allows a document; `None`: there is no app contract.
    pub async fn allows_document(
        &self,
        app: AppId,
        hash: ComposeHash,
    ) -> Result<Option<bool>, ChainError> {
        self.flag(app.into(), view::compose_hash(hash)).await
    }

    /// Whether an app lists a device; `None`: there is no app contract.
    pub async fn lists_device(
        &self,
        app: AppId,
        device: DeviceId,
    ) -> Result<Option<bool>, ChainError> {
        self.flag(app.into(), view::device(device)).await
    }

    /// Whether an app allows every device; `None`: there is no app contract.
    pub async fn allows_any_device(&self, app: AppId) -> Result<Option<bool>, ChainError> {
        self.flag(app.into(), view::any_device()).await
    }

    /// The owner of an app; `None`: renounced.
    pub async fn owner(&self, app: AppId) -> Result<Option<Address>, ChainError> {
        Ok(returned::account(&self.call(None, app.into(), &view::owner()).await?))
    }

    /// The account that ownership is offered to.
    pub async fn pending_owner(&self, app: AppId) -> Result<Option<Address>, ChainError> {
        Ok(returned::account(&self.call(None, app.into(), &view::pending_owner()).await?))
    }

    /// The reason why a call by this account would revert; `None`: it would succeed. Nothing is sent.
    pub async fn would_revert(
        &self,
        from: Address,
        to: Address,
        data: &[u8],
    ) -> Result<Option<String>, ChainError> {
        Ok(match self.call(Some(from), to, data).await? {
            CallResult::Data(_) => None,
            CallResult::Reverted(why) => Some(returned::reason(&why)),
        })
    }

    async fn flag(&self, to: Address, data: Vec<u8>) -> Result<Option<bool>, ChainError> {
        Ok(returned::flag(&self.call(None, to, &data).await?))
    }
}

/// The app that a transaction created through a KMS contract, from that contract's own event.
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
