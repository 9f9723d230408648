//! What every use case gets: the database, time, randomness, the fleet and the way to wake workers.

use std::{ops::Deref, sync::Arc};

use casemate_core::{
    access::Access,
    at_rest::AtRestKey,
    id::{EventSeq, KeyId, OperationId},
    time::{Clock, Entropy, Timestamp},
};
use casemate_engine::{dns::Dns, outbound::Outbound};
use casemate_store::{
    Db, Tx,
    accounts::{Principal, User, Workspace},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    approval::token_rate_limit::TokenRateLimit,
    attestation::Attestation,
    audit::Refusals,
    cache::Cache,
    directory::DirectoryLength,
    error::Error,
    fleet::{Fleet, Instance},
    gateways::GatewayClusters,
    guest_facts::GuestAnswers,
    key_uses::KeyUses,
    rate_limits::RateLimits,
    templates::Catalogue,
};
use crate::{config::Config, inflight::InFlightRequests};

/// The world of a use case. One reference to it all: it is cloned several times in every request.
#[derive(Debug, Clone)]
pub struct Ctx(Arc<World>);

impl Deref for Ctx {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl From<World> for Ctx {
    fn from(world: World) -> Self {
        Self(Arc::new(world))
    }
}

/// What a [`Ctx`] refers to.
#[derive(Debug, Clone)]
pub struct World {
    /// Where everything is written down.
    pub db: Db,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Nodes and KMS.
    pub fleet: Arc<Fleet>,
    /// Clusters of dstack-gateway.
    pub gateways: Arc<GatewayClusters>,
    /// The DNS, for diagnoses.
    pub dns: Arc<dyn Dns>,
    /// What was read before and is still so.
    pub cache: Arc<Cache>,
    /// What guests told of themselves a moment ago.
    pub guests: Arc<GuestAnswers>,
    /// How many apps the public directory has.
    pub directory_length: Arc<DirectoryLength>,
    /// Requests that the gateway here has under way.
    pub inflight: Arc<InFlightRequests>,
    /// The key for secrets in the database.
    pub at_rest: Arc<AtRestKey>,
    /// Reaches webhooks.
    pub outbound: Arc<Outbound>,
    /// Reaches GitHub.
    pub github: Arc<Outbound>,
    /// What evidence is verified with.
    pub attestation: Arc<Attestation>,
    /// Wakes the task that collects evidence. Only a hint.
    pub evidence_asked: Arc<Notify>,
    /// Rows of the audit log of requests that changed nothing, not yet written.
    pub audit: Arc<Refusals>,
    /// When API keys were used, not yet written.
    pub key_uses: Arc<KeyUses>,
    /// Commit tokens, invitations and user codes of logins that nobody was given.
    pub token_rate_limit: Arc<TokenRateLimit>,
    /// Requests of each key and address.
    pub rate_limits: Arc<RateLimits>,
    /// App templates of the operator.
    pub templates: Arc<Catalogue>,
    /// Configuration.
    pub config: Arc<Config>,
    /// This process among those on the database.
    pub instance: Arc<Instance>,
    /// Addresses under which this process is reached.
    pub addresses: Arc<Addresses>,
    /// Wakes the reconcilers. Only a hint: a lost one costs a second.
    pub wake: Arc<Notify>,
    /// Place of the newest event this process knows of; readers wait on it.
    pub last_event: Arc<watch::Sender<EventSeq>>,
    /// Cancelled when the process is to end: answers without an end of their own end then.
    pub stop: CancellationToken,
}

/// Addresses as clients are told them.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// `http://127.0.0.1:8090`, without `/api/v1`.
    pub api: String,
    /// Domain of the gateway with its port: `localhost:8091`.
    pub gateway_domain: String,
    /// `http` or `https`.
    pub gateway_scheme: &'static str,
}

impl Ctx {
    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new operation id.
    pub fn operation_id(&self) -> OperationId {
        OperationId::from_uuid(self.entropy.uuid_v7(self.now()))
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> Result<Tx, Error> {
        Ok(self.db.begin().await?)
    }

    /// Commits a transaction, and announces the events that it wrote.
    pub async fn commit(&self, tx: Tx) -> Result<(), Error> {
        let last_event = tx.last_event();
        tx.commit().await?;
        if last_event > EventSeq(0) {
            self.announce(last_event);
        }
        Ok(())
    }

    /// Tells readers and reconcilers of a committed change.
    pub fn announce(&self, seq: EventSeq) {
        self.publish(seq);
        self.wake.notify_one();
    }

    /// Tells readers of a committed change.
    pub fn publish(&self, seq: EventSeq) {
        self.last_event.send_if_modified(|newest| {
            let newer = seq > *newest;
            *newest = seq.max(*newest);
            newer
        });
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub user: User,
    /// The workspace the token belongs to; everything else does not exist for them.
    pub workspace: Workspace,
    /// What they may do in it.
    pub access: Access,
    /// The API key; `None` for somebody who acts by what was decided earlier.
    pub key: Option<KeyId>,
}

impl From<Principal> for Caller {
    fn from(principal: Principal) -> Self {
        let Principal { user, workspace, access, key, .. } = principal;
        Self { user, workspace, access, key }
    }
}
