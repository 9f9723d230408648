//! The admin API of a dstack-gateway cluster. Its nodes replicate what is set at one of them.
//!
//! The cluster learns of an instance from the guest itself, which registers while it boots. Casemate looks at
//! it, takes an instance out of rotation before its guest goes down, and removes what a deleted instance leaves
//! behind.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | the client and its errors |
//! | [`types`] | what the cluster tells |
//! | `wire` | the messages |
//!
//! | method | builds |
//! |---|---|
//! | `Status`, `GetInfo`, `GetMeta`, `GetInstanceHandshakes`, `*ZtDomain*` | all since 0.5.8 |
//! | `Get`, `Set`, `ClearInstancePortPolicy` | since 0.5.9 |
//! | `SetInstanceReady`, `RemoveCvm`, `ListRejectedInstances` | since 0.6.0 |
//!
//! A method that a build does not have is [`GatewayError::NoMethod`]; [`Gateway::features`] tells it beforehand and
//! changes nothing. `SetInstanceReady` acts on names of apps only: an instance id leads to its instance whatever is set.

pub mod types;
mod wire;

use std::time::Duration;

use casemate_core::id::InstanceId;
use serde::{Serialize, de::DeserializeOwned};

pub use self::types::{
    Certificate, Domain, Features, GatewayNode, Handshake, Instance, Meta, NewDomain, PolicySource,
    PortPolicy, PortRule, Removed, Snapshot, Status,
};
use self::wire::Nothing;
use crate::node::dstack::{
    AccessFiles, Credential, OpenError, VmmAddress,
    client::{PrpcClient, PrpcError, Trust},
};

/// The longest answer that is read: 20,000 instances are below it.
const LONGEST_ANSWER: usize = 16 << 20;
/// How a build says that it has no such method: newer ones with status 404, older ones with 400.
const NO_METHOD: &str = "Service not found";

/// How a cluster is reached.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Admin listener of one of its nodes.
    pub admin: VmmAddress,
    /// Its `auth_token` or the password of a user, and certificates that are trusted instead of those of the system.
    pub files: AccessFiles,
    /// Public RPC listener, which alone tells the version.
    pub rpc: Option<VmmAddress>,
    /// How long one call may take.
    pub timeout: Duration,
}

/// A call that did not return its answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// It did not happen: nobody was there to take it.
    #[error("{0}")]
    Unreachable(String),
    /// It did not happen: our credential is not accepted, or cannot be read.
    #[error("{0}")]
    Denied(String),
    /// It did not happen: this build has no such method.
    #[error("this dstack-gateway has no {0}: update it")]
    NoMethod(&'static str),
    /// It did not happen: the gateway refused it, in these words.
    #[error("{0}")]
    Refused(String),
    /// It may have happened.
    #[error("{0}")]
    Unknown(String),
}

/// A cluster.
#[derive(Debug)]
pub struct Gateway {
    admin: PrpcClient,
    rpc: Option<PrpcClient>,
    config: GatewayConfig,
}

impl Gateway {
    /// Reads the files that the settings name. Nothing is asked of the cluster yet.
    pub async fn open(config: GatewayConfig) -> Result<Self, OpenError> {
        let credential = config.files.credential().await?;
        let ca = config.files.certificates().await?;
        let client = |address: &VmmAddress, credential: Credential| {
            let trust = ca.as_deref().map_or(Trust::System, Trust::Only);
            let client = PrpcClient::new(address.clone(), credential, trust, config.timeout);
            client
                .map(|client| client.with_longest_answer(LONGEST_ANSWER))
                .map_err(OpenError::Client)
        };
        let admin = client(&config.admin, credential)?;
        let rpc = match &config.rpc {
            Some(address) => Some(client(address, Credential::None)?),
            None => None,
        };
        Ok(Self { admin, rpc, config })
    }

    /// Reads the credential again: a token that was rotated is in the same file.
    pub async fn renew_credential(&self) -> Result<(), GatewayError> {
        match self.config.files.credential().await {
            Ok(credential) => {
                self.admin.set_credential(credential);
                Ok(())
            }
            Err(error) => Err(GatewayError::Denied(error.to_string())),
        }
    }

    async fn ask<Q: Serialize + Sync, R: DeserializeOwned>(
        &self,
        method: &'static str,
        request: &Q,
    ) -> Result<R, GatewayError> {
        let answer = self.admin.post(&format!("prpc/{method}"), request).await;
        answer.map_err(|error| gateway_error(&self.config.admin, method, error))
    }

    /// The node that answers, its peers, and every registered instance.
    pub async fn status(&self) -> Result<Status, GatewayError> {
        Ok(self.ask::<_, wire::StatusResponse>("Status", &Nothing {}).await?.into())
    }

    /// How many instances are registered, and how many of them are connected.
    pub async fn meta(&self) -> Result<Meta, GatewayError> {
        let meta: wire::GetMetaResponse = self.ask("GetMeta", &Nothing {}).await?;
        Ok(Meta { registered: meta.registered, online: meta.online })
    }

    /// A registered instance.
    pub async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, GatewayError> {
        let request = wire::Id { id: id.to_string() };
        let found: wire::GetInfoResponse = self.ask("GetInfo", &request).await?;
        Ok(found.info.filter(|_| found.found).and_then(types::instance))
    }

    /// When each node of the cluster last shook hands with an instance.
    pub async fn handshakes(&self, id: &InstanceId) -> Result<Vec<Handshake>, GatewayError> {
        let request = wire::InstanceId { instance_id: id.to_string() };
        let found: wire::Handshakes = self.ask("GetInstanceHandshakes", &request).await?;
        Ok(found.handshakes.into_iter().map(Handshake::from).collect())
    }

    /// The domains it serves, the preferred ones first.
    pub async fn domains(&self) -> Result<Vec<Domain>, GatewayError> {
        let found: wire::Domains = self.ask("ListZtDomains", &Nothing {}).await?;
        let mut domains: Vec<Domain> = found.domains.into_iter().map(Domain::from).collect();
        domains.sort_by(|one, other| {
            (other.priority, &one.domain).cmp(&(one.priority, &other.domain))
        });
        Ok(domains)
    }

    /// Serves another domain, and has its certificate issued.
    pub async fn add_domain(&self, domain: &NewDomain) -> Result<Domain, GatewayError> {
        let request = wire::DomainConfig::from(domain);
        Ok(self.ask::<_, wire::DomainInfo>("AddZtDomain", &request).await?.into())
    }

    /// Serves a domain no longer.
    pub async fn delete_domain(&self, domain: &str) -> Result<(), GatewayError> {
        self.told("DeleteZtDomain", &wire::DomainName { domain }).await
    }

    /// The policy for the ports of an instance that is in force, and who set it.
    pub async fn port_policy(
        &self,
        id: &InstanceId,
    ) -> Result<(Option<PortPolicy>, PolicySource), GatewayError> {
        let request = wire::InstanceId { instance_id: id.to_string() };
        let found: wire::GetPortPolicyResponse =
            self.ask("GetInstancePortPolicy", &request).await?;
        Ok((found.effective.map(PortPolicy::from), PolicySource::parse(&found.source)))
    }

    /// Overrides the policy that the instance reports; survives its updates.
    pub async fn set_port_policy(
        &self,
        id: &InstanceId,
        policy: &PortPolicy,
    ) -> Result<(), GatewayError> {
        let request =
            wire::SetPortPolicy { instance_id: id.to_string(), policy: policy.clone().into() };
        self.told("SetInstancePortPolicy", &request).await
    }

    /// Ends the override.
    pub async fn clear_port_policy(&self, id: &InstanceId) -> Result<(), GatewayError> {
        let request = wire::InstanceId { instance_id: id.to_string() };
        self.told("ClearInstancePortPolicy", &request).await
    }

    /// Takes an instance into the rotation of its app, or out of it. The setting outlives the guest. Repeatable.
    /// Refused if the instance is not registered.
    pub async fn set_instance_ready(
        &self,
        id: &InstanceId,
        ready: bool,
    ) -> Result<(), GatewayError> {
        let request = wire::SetReady { instance_id: id.to_string(), ready };
        self.told("SetInstanceReady", &request).await
    }

    /// Removes the record of an instance, its address and its peer. Repeatable. A guest that is still up registers
    /// again.
    pub async fn remove_instance(&self, id: &InstanceId) -> Result<Removed, GatewayError> {
        let request = wire::InstanceId { instance_id: id.to_string() };
        let removed: wire::RemoveCvmResponse = self.ask("RemoveCvm", &request).await?;
        Ok(Removed { had_record: removed.record_existed, was_local: removed.removed_locally })
    }

    async fn told<Q: Serialize + Sync>(
        &self,
        method: &'static str,
        request: &Q,
    ) -> Result<(), GatewayError> {
        self.ask::<_, serde::de::IgnoredAny>(method, request).await.map(drop)
    }

    /// Whether the build has a method: asked in a way that changes nothing.
    async fn has(&self, method: &'static str) -> Result<bool, GatewayError> {
        // An instance with an empty id is registered nowhere.
        let request = wire::InstanceId { instance_id: String::new() };
        match self.ask::<_, serde::de::IgnoredAny>(method, &request).await {
            Ok(_) | Err(GatewayError::Refused(_)) => Ok(true),
            Err(GatewayError::NoMethod(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Features that the oldest build does not have.
    pub async fn features(&self, status: &Status) -> Result<Features, GatewayError> {
        Ok(Features {
            rotation: status.has_rotation,
            // `RemoveCvm` came with it, and this one only reads.
            removal: self.has("ListRejectedInstances").await?,
            port_policy: self.has("GetInstancePortPolicy").await?,
        })
    }

    /// The version; `None`: no public listener is configured.
    pub async fn version(&self) -> Result<Option<String>, GatewayError> {
        let (Some(rpc), Some(address)) = (&self.rpc, &self.config.rpc) else { return Ok(None) };
        let info = rpc.post::<_, wire::InfoResponse>("prpc/Info", &Nothing {}).await;
        let info = info.map_err(|error| gateway_error(address, "Info", error))?;
        Ok(Some(info.version))
    }

    /// Everything that is shown of a cluster.
    pub async fn look(&self) -> Result<Snapshot, GatewayError> {
        self.renew_credential().await?;
        let status = self.status().await?;
        let features = self.features(&status).await?;
        let (meta, domains) = (self.meta().await?, self.domains().await?);
        // The cluster works without this listener.
        let version = self.version().await.unwrap_or_default();
        Ok(Snapshot { status, meta, domains, features, version })
    }
}

fn gateway_error(address: &VmmAddress, method: &'static str, error: PrpcError) -> GatewayError {
    let unknown = |why: String| GatewayError::Unknown(format!("{address}: {why}"));
    match error {
        PrpcError::NoConnection(why) | PrpcError::Unavailable(why) => {
            GatewayError::Unreachable(format!("{address}: {why}"))
        }
        PrpcError::Unauthorized(status) => GatewayError::Denied(format!(
            "{address} does not accept the credential ({status}): check token_file"
        )),
        PrpcError::Refused(why) if why.starts_with(NO_METHOD) => GatewayError::NoMethod(method),
        PrpcError::Refused(why) => GatewayError::Refused(why),
        PrpcError::Failed(status, why) => unknown(format!("{status}: {why}")),
        PrpcError::Silent(seconds) => unknown(format!("no answer within {seconds} s")),
        PrpcError::Broken => unknown("the connection broke".to_owned()),
        PrpcError::TooLong(most) => unknown(format!("the answer is longer than {most} bytes")),
        PrpcError::Unreadable { why, .. } => {
            unknown(format!("{method} answered what is no answer: {why}"))
        }
    }
}
