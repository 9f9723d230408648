//! A node that another process serves: known by its row, reached only through that process' gateway.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use casemate_core::{
    attestation::{GuestEvidence, ReportData},
    cvm::ObservedVm,
    id::EngineVmId,
    node::NodeKind,
    time::Timestamp,
};
use casemate_engine::node::{
    CallError, Dial, DialError, Inventory, LogQuery, LogStream, Mark, Node, VmConfig,
};
use casemate_store::nodes::NodeRow;

use super::{FleetNode, NodePolicy};

impl FleetNode {
    /// The node of a row; `None` where what it told of itself cannot be read.
    pub fn remote(row: &NodeRow, served: bool, policy: NodePolicy) -> Option<Self> {
        let inventory: Inventory = casemate_core::stored::read(&row.inventory).ok()?;
        let kind = NodeKind::parse(&row.kind)?;
        let node = RemoteNode {
            name: row.name.clone(),
            gateway: row.gateway.parse().ok().filter(|_| served),
        };
        let node = Self::new(row.id(), &row.name, kind, &row.region, Arc::new(node), inventory);
        let silent = match (served, row.reachable) {
            (true, true) => None,
            (true, false) => Some((row.seen_at, "it does not answer the process that serves it")),
            (false, _) => Some((row.lease_expires_at, "no running process serves it")),
        };
        if let Some((since, why)) = silent {
            node.record_answer(Err(why.to_owned()), Timestamp::from_micros(since));
        }
        node.set_policy(policy);
        Some(node)
    }
}

#[derive(Debug)]
struct RemoteNode {
    name: String,
    gateway: Option<SocketAddr>,
}

impl RemoteNode {
    fn why(&self) -> String {
        format!("{} is served by another process", self.name)
    }

    fn call<T>(&self) -> Result<T, CallError> {
        Err(CallError::Unreachable(self.why()))
    }
}

#[async_trait]
impl Node for RemoteNode {
    async fn inventory(&self) -> Result<Inventory, CallError> {
        self.call()
    }
    async fn list(&self) -> Result<Vec<(Mark, ObservedVm)>, CallError> {
        self.call()
    }
    async fn find(&self, _: &Mark) -> Result<Vec<ObservedVm>, CallError> {
        self.call()
    }
    async fn create(&self, _: &VmConfig) -> Result<EngineVmId, CallError> {
        self.call()
    }
    async fn push(&self, _: &EngineVmId, _: &VmConfig) -> Result<(), CallError> {
        self.call()
    }
    async fn start(&self, _: &EngineVmId) -> Result<(), CallError> {
        self.call()
    }
    async fn stop(&self, _: &EngineVmId) -> Result<(), CallError> {
        self.call()
    }
    async fn shutdown(&self, _: &EngineVmId) -> Result<(), CallError> {
        self.call()
    }
    async fn remove(&self, _: &EngineVmId) -> Result<(), CallError> {
        self.call()
    }
    /// The gateway of the process that has the node answers for it; the host name goes along.
    async fn resolve_port(&self, _: &EngineVmId, _: u16) -> Result<Dial, DialError> {
        self.gateway.map(Dial::Tcp).ok_or_else(|| DialError::Unreachable(self.why()))
    }
    async fn evidence(
        &self,
        _: &EngineVmId,
        _: Option<&ReportData>,
    ) -> Result<GuestEvidence, CallError> {
        self.call()
    }
    async fn logs(&self, _: &EngineVmId, _: LogQuery) -> Result<LogStream, CallError> {
        self.call()
    }
}
