//! Answers dstack-kms, which asks before it gives a guest its keys. The decision is in
//! [`casemate_core::boot_auth`]; here are the facts for it and the record of it.
//!
//! - **Nothing is cached.** The CVMs of the app are read for each question, so a deletion, a stop or an update
//!   counts from its commit on. What is known of nodes is the fleet's.
//! - **An answer is recorded before it is given** ([`recorder`]). If that fails, the answer is no.
//! - **Without the database nobody gets keys.** Such an answer is no denial of a CVM: it is not recorded, and the
//!   guest asks again.

mod recorder;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use casemate_core::{
    boot_auth::{
        BootRequest, Candidate, CandidateNode, Denial, Measurement, Policy, decide_app, decide_kms,
    },
    event::KeyDecision,
    id::{DeviceId, NodeId},
    time::Timestamp,
};
use casemate_engine::node::{Inventory, Tee};
use casemate_store::key_decisions::{self, BootCandidate, BootQuery};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use self::recorder::{Record, Recorder};
use super::{Ctx, Error, fleet::FleetKms};
use crate::config::ConfigError;

/// CVMs of one app that are looked at for one question; those that fit best come first.
const CANDIDATES: i64 = 64;
/// Questions that are worked on at the same time.
const CONCURRENCY: usize = 256;
/// dstack-kms waits as long as it takes, and the guest with it.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// Unknown fields are kept in the event up to this length.
const OTHER: usize = 2048;

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A guest that asks for the keys of its app.
    App,
    /// A KMS instance that starts, or asks for root keys.
    Kms,
}

impl Subject {
    const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Kms => "kms",
        }
    }
}

/// A question as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub subject: Subject,
    pub body: &'a [u8],
    /// How the KMS names itself.
    pub agent: Option<&'a str>,
}

/// The answer to a KMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub allowed: bool,
    /// Empty if allowed. The KMS gives it to the guest.
    pub reason: String,
}

impl Answer {
    /// No, without a verdict: the guest asks again.
    pub fn unavailable(why: &str) -> Self {
        Self { allowed: false, reason: format!("no decision: {why}; the guest asks again") }
    }
}

/// Decides about boots. Clones share everything.
#[derive(Debug, Clone)]
pub struct BootAuth(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ctx: Ctx,
    policy: Policy,
    /// Configured hashes of OS images by name.
    os_images: BTreeMap<String, BTreeSet<Measurement>>,
    recorder: Recorder,
    room: Semaphore,
}

/// A decision and what is recorded of it.
struct Decided {
    denial: Option<Denial>,
    record: Record,
}

impl BootAuth {
    /// Starts the task that records decisions; it ends with the last clone.
    pub fn start(ctx: &Ctx, tasks: &TaskTracker) -> Result<Self, ConfigError> {
        let config = &ctx.config.kms_webhook;
        Ok(Self(Arc::new(Shared {
            policy: config.policy()?,
            os_images: config.os_images()?,
            recorder: Recorder::start(ctx, tasks),
            room: Semaphore::new(CONCURRENCY),
            ctx: ctx.clone(),
        })))
    }

    /// The app id of the gateway that guests are told to trust.
    pub fn gateway_app_id(&self) -> &str {
        &self.0.ctx.config.kms_webhook.gateway_app_id
    }

    /// How often each answer about no known CVM was given, with the last of its kind.
    pub async fn totals(&self) -> Result<Vec<Value>, Error> {
        let totals = key_decisions::totals(&self.0.ctx.db).await?;
        let shown = totals.into_iter().map(|total| {
            json!({
                "subject": total.subject,
                "code": total.code,
                "total": total.total,
                "first_at": Timestamp::from_micros(total.first_at).to_string(),
                "last_at": Timestamp::from_micros(total.last_at).to_string(),
                "last": serde_json::from_str(&total.last).unwrap_or(Value::Null),
            })
        });
        Ok(shown.collect())
    }

    /// Decides, records and answers, within a bounded time.
    pub async fn answer(&self, question: Question<'_>) -> Answer {
        let answer = tokio::time::timeout(ANSWERS_WITHIN, self.0.answer(question)).await;
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a KMS got no decision");
                count(question.subject, "unavailable");
                Answer::unavailable("the database does not answer")
            }
            Err(_) => {
                tracing::error!("a KMS got no decision in {} s", ANSWERS_WITHIN.as_secs());
                count(question.subject, "unavailable");
                Answer::unavailable("it takes too long")
            }
        }
    }
}

fn count(subject: Subject, code: &'static str) {
    metrics::counter!("casemate_kms_webhook_decisions_total",
        "subject" => subject.as_str(), "code" => code)
    .increment(1);
}

impl Shared {
    async fn answer(&self, question: Question<'_>) -> Result<Answer, Error> {
        // It is never closed.
        let _room = self.room.acquire().await;
        let Decided { denial, record } = match BootRequest::parse(question.body) {
            Err(why) => malformed(question, &why.to_string()),
            Ok(request) => match question.subject {
                Subject::App => self.decide_app(&request, question).await?,
                Subject::Kms => of_nobody(&request, question, decide_kms(&request, &self.policy)),
            },
        };
        self.recorder.record(record).await?;
        count(question.subject, code(denial.as_ref()));
        Ok(match denial {
            None => Answer { allowed: true, reason: String::new() },
            Some(denial) => Answer { allowed: false, reason: denial.message },
        })
    }

    async fn decide_app(
        &self,
        request: &BootRequest,
        question: Question<'_>,
    ) -> Result<Decided, Error> {
        let nodes = self.nodes_with(&request.device_id);
        let asked = BootQuery {
            app: &request.app_id,
            instance: request.instance_id.as_ref(),
            compose_hash: &request.compose_hash,
            nodes: &nodes,
        };
        let found = key_decisions::candidates(&self.ctx.db, asked, CANDIDATES).await?;
        let candidates: Vec<Candidate> = found.iter().map(|cvm| self.candidate(cvm)).collect();
        let decided = decide_app(request, &candidates, &self.policy);
        let Some(cvm) = found.into_iter().find(|cvm| decided.cvm == Some(cvm.cvm)) else {
            return Ok(of_nobody(request, question, decided.denial));
        };
        let record = Record::Cvm {
            cvm: cvm.cvm,
            workspace: cvm.workspace,
            operation: cvm.operation,
            decision: described(request, question, decided.denial.as_ref()),
        };
        Ok(Decided { denial: decided.denial, record })
    }

    /// The nodes with this device, or every node if devices are not checked.
    fn nodes_with(&self, device: &DeviceId) -> Vec<NodeId> {
        let nodes = self.ctx.fleet.all();
        let fits = |inventory: &Inventory| {
            !self.policy.check_device || inventory.trusted_device_id() == Some(*device)
        };
        nodes.iter().filter(|node| fits(&node.observed().0)).map(|node| node.id).collect()
    }

    fn candidate(&self, cvm: &BootCandidate) -> Candidate {
        let kms = self.ctx.fleet.kms_of(&cvm.kms);
        let node = self.ctx.fleet.node(cvm.node).filter(|_| !cvm.node_removed);
        Candidate {
            cvm: cvm.cvm,
            instance_id: cvm.instance_id,
            other_kms: !kms.is_some_and(FleetKms::asks_webhook),
            wanted: cvm.wanted,
            boots: cvm.boots.clone(),
            node: node.map(|node| {
                let (inventory, _) = node.observed();
                CandidateNode {
                    name: node.name.clone(),
                    device_id: inventory.trusted_device_id(),
                    without_tee: is_without_tee(&inventory),
                    os_images: self.os_images(cvm, &inventory),
                }
            }),
        }
    }

    /// Known hashes of the images that a CVM may boot.
    fn os_images(
        &self,
        cvm: &BootCandidate,
        inventory: &Inventory,
    ) -> BTreeMap<String, BTreeSet<Measurement>> {
        let hashes = |name: &String| {
            let reported = inventory.trusted_image_hashes(name);
            let reported = reported.filter_map(|hash| hash.parse().ok());
            reported.chain(self.os_images.get(name).into_iter().flatten().copied()).collect()
        };
        cvm.boots.iter().map(|boot| (boot.image.clone(), hashes(&boot.image))).collect()
    }
}

/// A node that has not answered yet has no version: nothing is known of its TEE.
fn is_without_tee(inventory: &Inventory) -> bool {
    matches!(inventory.tee, Tee::None | Tee::Simulated) && !inventory.version.is_empty()
}

fn sha256(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

fn described(
    request: &BootRequest,
    question: Question<'_>,
    denial: Option<&Denial>,
) -> Box<KeyDecision> {
    let other = Some(&request.other);
    let short = |other: &&serde_json::Map<_, _>| {
        serde_json::to_string(other).is_ok_and(|text| text.len() <= OTHER)
    };
    Box::new(KeyDecision {
        allowed: denial.is_none(),
        code: denial.map(|denial| denial.code),
        message: denial.map(|denial| denial.message.clone()),
        repeats: 0,
        kms: question.agent.map(str::to_owned),
        tee_variant: request.tee_variant.clone(),
        compose_hash: request.compose_hash,
        device_id: request.device_id,
        os_image_hash: request.os_image_hash.map(|hash| hash.to_string()),
        instance_id: request.instance_id,
        tcb_status: request.tcb_status.clone(),
        advisory_ids: request.advisory_ids.clone(),
        other: other.filter(short).cloned().unwrap_or_default(),
        body_sha256: sha256(question.body),
    })
}

/// The code in totals and metrics.
fn code(denial: Option<&Denial>) -> &'static str {
    denial.map_or("allowed", |denial| denial.code.as_str())
}

/// A decision about no known CVM.
fn of_nobody(request: &BootRequest, question: Question<'_>, denial: Option<Denial>) -> Decided {
    let decision = described(request, question, denial.as_ref());
    let mut last = serde_json::to_value(decision).unwrap_or_default();
    last["app_id"] = json!(request.app_id);
    last["mr_aggregated"] = json!(request.mr_aggregated.to_string());
    total(question, denial, last)
}

/// A question that cannot be read.
fn malformed(question: Question<'_>, why: &str) -> Decided {
    let denial = Denial::malformed(why);
    let last = json!({
        "allowed": false,
        "code": denial.code,
        "message": denial.message,
        "kms": question.agent,
        "body_sha256": sha256(question.body),
    });
    total(question, Some(denial), last)
}

fn total(question: Question<'_>, denial: Option<Denial>, last: Value) -> Decided {
    let key = (question.subject.as_str(), code(denial.as_ref()));
    Decided { record: Record::Total { key, last }, denial }
}
