//! Chooses the instance for a request.

use std::collections::HashSet;

use axum::http::StatusCode;
use casemate_core::{
    cvm::{EngineState, serves},
    id::{CvmId, VmUuid},
    ready::{Candidate, Check, choose},
    registration::EvidenceState,
};
use casemate_engine::node::{Dial, DialError};
use casemate_store::{
    cvms::{self, Cvm},
    evidence,
    freshness::Moment,
    readiness,
};

use super::{Gateway, OwnResponse, health::Boot, target::Target};
use crate::inflight::InFlightGuard;

/// Number of attempts, if instances change during the choice.
const ROUNDS: usize = 8;

/// The target of a request, and the instances it may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct PickRequest<'a> {
    pub target: &'a Target,
    /// The CVM named by another gateway; it must be on a node of this process.
    pub only: Option<VmUuid>,
    /// Instances that did not answer.
    pub tried: &'a HashSet<CvmId>,
}

/// A chosen instance, with the request counted.
#[derive(Debug)]
pub(super) struct PickedInstance {
    pub cvm: Cvm,
    pub dial: Dial,
    pub in_flight_guard: InFlightGuard,
    /// The instance is reached through another process's gateway.
    pub elsewhere: bool,
}

impl Gateway {
    /// Chooses an instance that is up and ready, and counts the request.
    pub(super) async fn pick(
        &self,
        request: &PickRequest<'_>,
    ) -> Result<PickedInstance, OwnResponse> {
        let mut refused = request.tried.clone();
        let mut why = None;
        for _ in 0..ROUNDS {
            let moment = self.ctx.db.moment();
            let found = self.instances(request).await?;
            let open: Vec<Cvm> =
                found.into_iter().filter(|cvm| !refused.contains(&cvm.id)).collect();
            let ready = match self.ready(request.target, open).await {
                Ok(ready) => ready,
                Err(own) => return Err(why.unwrap_or(own)),
            };
            let now = self.ctx.now();
            let candidates: Vec<Candidate> = ready
                .iter()
                .map(|cvm| Candidate {
                    in_flight: self.ctx.inflight.count(cvm.id),
                    is_suspect: self.health.is_suspect(cvm.id, now),
                })
                .collect();
            let Some(at) = choose(&candidates, self.ctx.entropy.u64()) else { break };
            let cvm = &ready[at];
            let in_flight_guard = self.ctx.inflight.enter(cvm.id);
            // The request is counted now, so a reconciler waits for it. If the CVM does not serve any more,
            // another instance is chosen.
            if !self.still_serves(cvm, moment).await? {
                continue;
            }
            match self.resolve_port(cvm, request.target.port).await {
                Ok(dial) => {
                    let elsewhere = !self.ctx.fleet.own().contains_key(&cvm.node);
                    return Ok(PickedInstance {
                        cvm: cvm.clone(),
                        dial,
                        in_flight_guard,
                        elsewhere,
                    });
                }
                Err(own) => {
                    refused.insert(cvm.id);
                    why = why.or(Some(own));
                }
            }
        }
        Err(why.unwrap_or_else(|| {
            OwnResponse::unavailable(format!(
                "the instances of {} change too fast",
                request.target.id
            ))
        }))
    }

    /// All instances of the target.
    async fn instances(&self, request: &PickRequest<'_>) -> Result<Vec<Cvm>, OwnResponse> {
        let id = &request.target.id;
        let found =
            cvms::for_gateway(&self.ctx.db, id.as_bytes()).await.map_err(|e| database(&e))?;
        if found.is_empty() {
            return Err(OwnResponse::new(
                StatusCode::NOT_FOUND,
                format!("no app or instance {id}"),
            ));
        }
        let open: Vec<Cvm> =
            found.into_iter().filter(|cvm| cvm.spec.facts.gateway_enabled).collect();
        if open.is_empty() {
            let why = format!("{id} has the gateway switched off");
            return Err(OwnResponse::new(StatusCode::NOT_FOUND, why));
        }
        let Some(only) = request.only else { return Ok(open) };
        let own = self.ctx.fleet.own();
        let ours = |cvm: &Cvm| cvm.uuid == only && own.contains_key(&cvm.node);
        let meant: Vec<Cvm> = open.into_iter().filter(ours).collect();
        if meant.is_empty() {
            return Err(OwnResponse::unavailable(format!(
                "{only} is no instance of {id} that is served here"
            )));
        }
        Ok(meant)
    }

    /// The instances that are up and ready; an error with the cause if there are none.
    async fn ready(&self, target: &Target, all: Vec<Cvm>) -> Result<Vec<Cvm>, OwnResponse> {
        let mut why: Vec<String> = Vec::new();
        let mut up = Vec::with_capacity(all.len());
        let by_app = all.iter().any(|cvm| cvm.spec.app_id == target.id);
        for cvm in all {
            if serves(cvm.phase, &cvm.desired, &cvm.status) {
                up.push(cvm);
            } else {
                self.health.forget(cvm.id);
                why.push(format!("{} is {}", cvm.spec.name, cvm.phase.as_str()));
            }
        }
        if by_app && !up.is_empty() {
            up = self.with_accepted_evidence(target, up, &mut why).await?;
        }
        let ready = if by_app && !up.is_empty() {
            let declared = readiness::of_app(&self.ctx.db, &target.id).await;
            let declared = declared.map_err(|error| database(&error))?;
            let checked = |cvm: Cvm| {
                // For other nodes, the gateway of the owning process checks readiness.
                let here = self.ctx.fleet.own().contains_key(&cvm.node);
                let check = declared.as_ref().or(cvm.spec.facts.readiness.as_ref());
                let check: Option<Check> = check.filter(|_| here).cloned();
                (cvm, check)
            };
            self.look(up.into_iter().map(checked).collect(), &mut why).await
        } else {
            up
        };
        if !ready.is_empty() {
            return Ok(ready);
        }
        let more = why.len().saturating_sub(3);
        why.truncate(3);
        if more > 0 {
            why.push(format!("and {more} more"));
        }
        Err(OwnResponse::unavailable(why.join("; ")))
    }

    /// Those of these instances whose evidence is accepted, where the app requires it.
    async fn with_accepted_evidence(
        &self,
        target: &Target,
        mut up: Vec<Cvm>,
        why: &mut Vec<String>,
    ) -> Result<Vec<Cvm>, OwnResponse> {
        let states = evidence::states(&self.ctx.db, &target.id, &up).await;
        let mut states = states.map_err(|error| database(&error))?.into_iter();
        up.retain(|cvm| {
            let what = match states.next() {
                Some(EvidenceState::NotRequired | EvidenceState::Accepted) => return true,
                Some(EvidenceState::Refused) => "is not accepted",
                Some(EvidenceState::NotSeen) | None => "was not seen yet",
            };
            why.push(format!("the evidence of {} {what}", cvm.spec.name));
            false
        });
        Ok(up)
    }

    /// Whether a CVM that was read after `moment` still serves, on the same boot.
    async fn still_serves(&self, cvm: &Cvm, moment: Moment) -> Result<bool, OwnResponse> {
        let db = &self.ctx.db;
        if let Some(stamp) = db.stamp(cvm, moment)
            && db.is_current(cvm.id, stamp).await.map_err(|error| database(&error))?
        {
            return Ok(true);
        }
        let now = cvms::by_id(db, cvm.workspace, cvm.id).await.map_err(|error| database(&error))?;
        Ok(now.is_some_and(|now| {
            serves(now.phase, &now.desired, &now.status) && Boot::of(&now) == Boot::of(cvm)
        }))
    }

    async fn resolve_port(&self, cvm: &Cvm, port: u16) -> Result<Dial, OwnResponse> {
        let name = &cvm.spec.name;
        let EngineState::Present { vm } = &cvm.status.engine else {
            return Err(OwnResponse::unavailable(format!("{name} is {}", cvm.phase.as_str())));
        };
        let node = self.ctx.fleet.node(cvm.node).ok_or_else(|| {
            OwnResponse::unavailable(format!("the node of {name} is not served by this process"))
        })?;
        let dialled = node.node.resolve_port(vm, port).await;
        if let Ok(Dial::Tcp(address)) = &dialled
            && Some(*address) == self.own
        {
            return Err(OwnResponse::unavailable(format!("{name}: its node is not served")));
        }
        dialled.map_err(|error| match error {
            DialError::NotPublished { .. } => {
                OwnResponse::new(StatusCode::NOT_FOUND, format!("{name}: {error}"))
            }
            DialError::NotUp(why) => OwnResponse::unavailable(format!("{name}: {why}")),
            DialError::Unreachable(why) => OwnResponse::unavailable(format!("{name}: node: {why}")),
        })
    }
}

fn database(error: &casemate_store::Error) -> OwnResponse {
    tracing::error!(error = error as &dyn std::error::Error, "gateway look-up failed");
    OwnResponse::unavailable("the database does not answer")
}
