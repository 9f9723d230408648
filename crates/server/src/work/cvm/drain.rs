//! Before a guest goes down, requests under way are waited for: those of this process's gateway are counted here; the
//! clusters of dstack-gateway that lead to the guest are asked to send no new ones, and tell their connections.
//!
//! A cluster keeps what is set for an instance over a restart of its guest, so `status.rotation` is recorded before the
//! first call and cleared after the guest is up and was taken in again. Every call is repeatable. A cluster that does not
//! answer holds nothing up: its cause is an event, and taking the instance in again is tried until it succeeds.

use std::{sync::Arc, time::Duration};

use casemate_core::{
    cvm::{Power, Rotation, Status, VmPower},
    id::InstanceId,
    plan::Step,
    ready::{Clusters, Drain, drains_until, next_drain},
    time::Timestamp,
};
use casemate_engine::gateway::GatewayError;
use casemate_store::{Error as StoreError, cvms::Cvm, evidence};
use futures_util::future::join_all;

use super::{AfterStep, Turn};
use crate::app::{
    events::{CvmEvent, StepResult},
    fleet::FleetNode,
    gateways::{self, GatewayCluster},
};

/// Interval at which in-flight requests are counted.
const LOOK: Duration = Duration::from_millis(50);
/// Interval at which clusters are asked for their connections.
const CLUSTER_LOOK: Duration = Duration::from_millis(250);
/// Longest time of what is asked of one cluster at once.
const CLUSTER_CALL: Duration = Duration::from_secs(3);
/// When a cluster that did not take an instance in again is asked the next time.
pub(super) const REJOIN_AGAIN: Duration = Duration::from_secs(15);

/// The instance of a CVM at the clusters that lead to it.
struct Registered {
    id: InstanceId,
    clusters: Vec<Arc<GatewayCluster>>,
}

impl Registered {
    /// Asks each cluster, all at once. Returns what they said, and what could not be done, for people.
    async fn ask<'a, T, F: Future<Output = Result<T, GatewayError>>>(
        &'a self,
        limit: Duration,
        ask: impl Fn(&'a GatewayCluster, &'a InstanceId) -> F,
    ) -> (Vec<T>, Option<String>) {
        let asked = self.clusters.iter().map(|cluster| {
            let call = tokio::time::timeout(limit, ask(cluster, &self.id));
            async move {
                let why = match call.await {
                    Ok(Ok(said)) => return Some(Ok(said)),
                    // Nothing can be done there, so nothing is left undone.
                    Ok(Err(GatewayError::NoMethod(_))) => return None,
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "no answer in time".to_owned(),
                };
                Some(Err(format!("gateway {}: {why}", cluster.name)))
            }
        });
        let (mut said, mut failed) = (Vec::new(), Vec::new());
        for answer in join_all(asked).await.into_iter().flatten() {
            match answer {
                Ok(answer) => said.push(answer),
                Err(why) => failed.push(why),
            }
        }
        (said, (!failed.is_empty()).then(|| failed.join("; ")))
    }

    /// Connections to the instance through the clusters that answer.
    async fn connections(&self, limit: Duration) -> u64 {
        let asked = self.clusters.iter().map(|cluster| async {
            let found = tokio::time::timeout(limit, cluster.client.instance(&self.id)).await;
            let instance = found.ok().and_then(Result::ok).flatten();
            instance.map_or(0, |instance| instance.connections)
        });
        join_all(asked).await.into_iter().sum()
    }
}

/// Takes an instance out of the rotation of its app, if it is registered; whether it is.
async fn leave(cluster: &GatewayCluster, id: &InstanceId) -> Result<bool, GatewayError> {
    let is_registered = cluster.client.instance(id).await?.is_some();
    if is_registered {
        cluster.client.set_instance_ready(id, false).await?;
    }
    Ok(is_registered)
}

async fn join(cluster: &GatewayCluster, id: &InstanceId) -> Result<(), GatewayError> {
    cluster.client.set_instance_ready(id, true).await
}

async fn unregister(cluster: &GatewayCluster, id: &InstanceId) -> Result<(), GatewayError> {
    cluster.client.remove_instance(id).await.map(drop)
}

impl Turn<'_> {
    /// The instance at the clusters that can drain it, if there are any.
    fn draining(&self, target: &FleetNode) -> Option<Registered> {
        let id = gateways::instance_of(&self.leased.cvm)?;
        let clusters = gateways::that_drain(self.ctx, target);
        (!clusters.is_empty()).then_some(Registered { id, clusters })
    }

    /// What a turn does before a step that brings the guest down; `None`: the step. The desired state is committed, so
    /// this process starts no new requests.
    pub(super) async fn drain_first(
        &mut self,
        before: &mut (Status, Vec<CvmEvent>),
        step: &Step,
        target: &FleetNode,
    ) -> Result<Option<AfterStep>, StoreError> {
        let Cvm { id, desired, .. } = &self.leased.cvm;
        let (id, now) = (*id, self.ctx.now());
        let patience = Duration::from_secs(self.ctx.config.gateway.drain_s);
        let until = drains_until(step, desired, &self.leased.cvm.status, now, patience);
        let Some(limit) = until.map(|until| CLUSTER_CALL.min(until.since(now))) else {
            return Ok(None);
        };
        let registered = self.draining(target);
        let rotation = before.0.rotation;
        let clusters = match &registered {
            Some(registered) if rotation == Rotation::Out => {
                Clusters::Connections(registered.connections(limit).await)
            }
            Some(_) => Clusters::Connections(0),
            None => Clusters::None,
        };
        let under_way = u64::from(self.ctx.inflight.count(id));
        let pause = if registered.is_some() { CLUSTER_LOOK } else { LOOK };
        match (next_drain(until, rotation, under_way, clusters), registered) {
            (Drain::Wait(until), _) => {
                let soon = self.ctx.now().plus(pause).min(until);
                let before = std::mem::take(before);
                self.wait_for_requests(before, until, soon).await.map(Some)
            }
            (Drain::Leave(until), Some(registered)) => {
                let before = std::mem::take(before);
                self.leave(before, until, &registered, limit).await.map(Some)
            }
            (Drain::Leave(_) | Drain::Over, _) => Ok(None),
        }
    }

    async fn leave(
        &mut self,
        (mut status, mut new_events): (Status, Vec<CvmEvent>),
        until: Timestamp,
        registered: &Registered,
        limit: Duration,
    ) -> Result<AfterStep, StoreError> {
        const NAME: &str = "leave_gateway";
        status.drains_until = Some(until);
        status.rotation = Rotation::Leaving;
        new_events.push(CvmEvent::Step { name: NAME, outcome: StepResult::Intended });
        self.keep(status, new_events, true).await?;
        self.point(NAME, "intended");
        let (known, failed) = registered.ask(limit, leave).await;
        self.point(NAME, "called");
        let may_be_out = failed.is_some() || known.contains(&true);
        let rotation = if may_be_out { Rotation::Out } else { Rotation::Absent };
        let status = Status { rotation, ..self.leased.cvm.status.clone() };
        let outcome = failed.map_or(StepResult::Done, StepResult::GatewayFailed);
        self.update_status(NAME, status, vec![CvmEvent::Step { name: NAME, outcome }]);
        Ok(AfterStep::GoOn)
    }

    async fn wait_for_requests(
        &mut self,
        (mut status, mut new_events): (Status, Vec<CvmEvent>),
        until: Timestamp,
        soon: Timestamp,
    ) -> Result<AfterStep, StoreError> {
        if status.drains_until.is_none() {
            new_events.push(CvmEvent::Step { name: "drain", outcome: StepResult::Intended });
        }
        status.drains_until = Some(until);
        self.pause((status, new_events), soon).await
    }

    /// Records the end of draining, if the step was waiting for it.
    pub(super) fn end_drain(&self, step: &Step, new_events: &mut Vec<CvmEvent>) {
        let Cvm { id, status, .. } = &self.leased.cvm;
        let down = matches!(step, Step::Shutdown(..) | Step::ForceStop(..) | Step::Remove(_));
        if down && status.drains_until.is_some() && status.stopping.is_none() {
            new_events.push(CvmEvent::Step { name: "drain", outcome: StepResult::Done });
            let left = self.ctx.inflight.count(*id);
            let outcome = if left == 0 { "drained" } else { "given_up" };
            metrics::counter!("casemate_gateway_drains_total", "outcome" => outcome).increment(1);
            tracing::info!(cvm = %id, left, "requests under way were waited for");
        }
    }

    /// Has the clusters send requests to a guest that is up, or none while its app requires evidence that this boot
    /// has not shown.
    pub(super) async fn rotate(
        &mut self,
        before: &mut (Status, Vec<CvmEvent>),
        target: &FleetNode,
    ) -> Result<(), StoreError> {
        let cvm = &self.leased.cvm;
        if let Some(registered) = self.draining(target) {
            let states = evidence::states(&self.ctx.db, &cvm.spec.app_id, [cvm]).await?;
            if states.first().is_some_and(|state| !state.allows_requests()) {
                return self.keep_out(before, &registered).await;
            }
        }
        self.rejoin(before, target).await
    }

    /// Takes an instance out of the rotation until its evidence is accepted. One that is not registered yet is looked
    /// for again: not every cluster asks before it accepts a guest.
    async fn keep_out(
        &mut self,
        before: &mut (Status, Vec<CvmEvent>),
        registered: &Registered,
    ) -> Result<(), StoreError> {
        const NAME: &str = "leave_gateway";
        let is_up = before.0.observed.as_ref().is_some_and(|vm| vm.power == VmPower::Running);
        if before.0.rotation == Rotation::Out || !is_up {
            return Ok(());
        }
        let (mut status, new_events) = std::mem::take(before);
        let was_in = status.rotation.is_in();
        status.rotation = Rotation::Leaving;
        self.keep(status, new_events, true).await?;
        self.point(NAME, "intended");
        let (known, failed) = registered.ask(CLUSTER_CALL, leave).await;
        self.point(NAME, "called");
        before.0 = self.leased.cvm.status.clone();
        let is_out = failed.is_none() && known.iter().all(|known| *known);
        let is_absent = failed.is_none() && !known.contains(&true);
        before.0.rotation = match (is_out, is_absent) {
            (_, true) => Rotation::Absent,
            (true, false) => Rotation::Out,
            (false, false) => Rotation::Leaving,
        };
        if was_in || is_out {
            let outcome = failed.map_or(StepResult::Done, StepResult::GatewayFailed);
            before.1.push(CvmEvent::Step { name: NAME, outcome });
        }
        Ok(())
    }

    /// Has the clusters send requests again to a guest that is up. What fails is tried again later, at rest without
    /// an event.
    async fn rejoin(
        &mut self,
        before: &mut (Status, Vec<CvmEvent>),
        target: &FleetNode,
    ) -> Result<(), StoreError> {
        const NAME: &str = "rejoin_gateway";
        let is_up = before.0.observed.as_ref().is_some_and(|vm| vm.power == VmPower::Running);
        if before.0.rotation.is_in() || !is_up {
            return Ok(());
        }
        let registered = self.draining(target).filter(|_| before.0.rotation != Rotation::Absent);
        let Some(registered) = registered else {
            before.0.rotation = Rotation::In;
            return Ok(());
        };
        let (status, mut new_events) = std::mem::take(before);
        let is_told = self.leased.cvm.operation.is_some();
        if is_told {
            new_events.push(CvmEvent::Step { name: NAME, outcome: StepResult::Intended });
        }
        self.keep(status, new_events, true).await?;
        self.point(NAME, "intended");
        let (_, failed) = registered.ask(CLUSTER_CALL, join).await;
        self.point(NAME, "called");
        before.0 = self.leased.cvm.status.clone();
        let outcome = match failed {
            None => {
                before.0.rotation = Rotation::In;
                StepResult::Done
            }
            Some(why) => {
                tracing::warn!(cvm = %self.leased.cvm.id, why, "a guest gets no requests from a gateway yet");
                StepResult::GatewayFailed(why)
            }
        };
        if is_told || outcome == StepResult::Done {
            before.1.push(CvmEvent::Step { name: NAME, outcome });
        }
        Ok(())
    }

    /// Has the clusters forget an instance whose VM is gone for good: its address and its peer would stay.
    pub(super) async fn unregister(
        &mut self,
        before: &mut (Status, Vec<CvmEvent>),
        target: &FleetNode,
    ) -> Result<(), StoreError> {
        const NAME: &str = "leave_gateway";
        let Some(id) = gateways::instance_of(&self.leased.cvm) else { return Ok(()) };
        let mut clusters = self.ctx.gateways.of_node(target);
        clusters.retain(|one| one.features().is_none_or(|features| features.removal));
        if clusters.is_empty() {
            return Ok(());
        }
        let (status, mut new_events) = std::mem::take(before);
        new_events.push(CvmEvent::Step { name: NAME, outcome: StepResult::Intended });
        self.keep(status, new_events, true).await?;
        self.point(NAME, "removing");
        let (_, failed) = Registered { id, clusters }.ask(CLUSTER_CALL, unregister).await;
        self.point(NAME, "removed");
        before.0 = Status { rotation: Rotation::In, ..self.leased.cvm.status.clone() };
        let outcome = failed.map_or(StepResult::Done, StepResult::GatewayFailed);
        before.1.push(CvmEvent::Step { name: NAME, outcome });
        Ok(())
    }

    /// When a CVM that is done is due again, because a cluster has not taken it in yet.
    pub(super) fn rejoins_at(&self, status: &Status) -> Option<Timestamp> {
        let is_wanted = self.leased.cvm.desired.power == Power::Running;
        (is_wanted && !status.rotation.is_in()).then(|| self.ctx.now().plus(REJOIN_AGAIN))
    }
}
