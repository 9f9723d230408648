//! Instance ids: looked for where one is missing, and replaced.
//!
//! A guest makes its id of a seed. Where the node takes the seed from us, another id is an update:
//! the guest is brought down and up, and its data stay. A guest of dstack keeps the seed on its disk,
//! whose key hangs on the id: there another id means another VM with an empty disk, and nobody gets
//! that without having said `allow_data_loss`.
//!
//! What the guest told last is recorded with every look at its VM. So a missing id is one that no guest
//! has told yet; to look for it is to have the node asked again.

use casemate_api::{error::ErrorCode, reply::InstanceIdStatus};
use casemate_core::{
    change::{Change, Renew},
    cvm::Phase,
    id::{InstanceId, NodeId},
    instance::InstanceSeed,
};
use casemate_store::{
    Tx,
    cvms::{self as stored, Cvm, Filter, PageStart},
};

use super::{Caller, Ctx, Error, approval::flow::Consent, cvms, update};
use crate::view::{InstanceIdView, InstanceIdsView};

/// CVMs read at once where a workspace is gone through.
const PAGE: i64 = 100;
/// CVMs of a workspace that are looked at for one request.
const MOST_SCANNED: u64 = 10_000;

/// What is wanted of instance ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceIdOptions {
    /// Another one, also where there is one.
    pub replace: bool,
    /// Nothing is done.
    pub dry_run: bool,
    /// The disk may be lost for it.
    pub allow_data_loss: bool,
}

/// Which CVMs of a workspace, where none are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sieve {
    /// Only those that are running.
    pub running_only: bool,
    /// Only those without an id.
    pub missing_only: bool,
    /// At most so many.
    pub limit: u16,
}

impl Sieve {
    fn lets_through(self, cvm: &Cvm) -> Result<(), &'static str> {
        if self.running_only && cvm.phase != Phase::Running {
            return Err("it is not running");
        }
        if self.missing_only && cvm.instance_id.is_some() {
            return Err("it has one, and missing_only is not false");
        }
        Ok(())
    }
}

/// One CVM's. Returns what was done.
pub async fn replace_one(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    name: &str,
    wanted: InstanceIdOptions,
) -> Result<InstanceIdView, Error> {
    let cvm = cvms::find(ctx, caller, name).await?;
    settle(ctx, tx, caller, &cvm, name, wanted).await
}

/// Those of the named CVMs, or of the workspace's newest ones. What is refused for one is no obstacle
/// for another.
pub async fn many(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    names: Option<&[String]>,
    sieve: Sieve,
    wanted: InstanceIdOptions,
) -> Result<InstanceIdsView, Error> {
    let mut view = InstanceIdsView::default();
    let chosen = match names {
        Some(names) => named(ctx, caller, names, sieve, &mut view).await?,
        None => all(ctx, caller, sieve, &mut view).await?,
    };
    for (name, cvm) in chosen {
        let done = settle(ctx, tx, caller, &cvm, &name, wanted).await;
        match done {
            Ok(item) => view.items.push(item),
            Err(error @ (Error::Store(_) | Error::Internal(_))) => return Err(error),
            Err(error) => {
                let outcome = if error.is_transient() {
                    InstanceIdStatus::Conflict
                } else {
                    InstanceIdStatus::Error
                };
                view.items.push(item(Some(&cvm), &name, outcome, Some(error.words())));
            }
        }
    }
    Ok(view)
}

async fn named(
    ctx: &Ctx,
    caller: &Caller,
    names: &[String],
    sieve: Sieve,
    view: &mut InstanceIdsView,
) -> Result<Vec<(String, Cvm)>, Error> {
    let mut chosen: Vec<(String, Cvm)> = Vec::new();
    for name in names {
        let cvm = match cvms::find(ctx, caller, name).await {
            Ok(cvm) => cvm,
            Err(error @ (Error::Store(_) | Error::Internal(_))) => return Err(error),
            Err(error) => {
                let why = Some(error.words());
                view.items.push(item(None, name, InstanceIdStatus::Error, why));
                continue;
            }
        };
        view.scanned += 1;
        let again = chosen.iter().any(|(_, other)| other.id == cvm.id);
        let why = match sieve.lets_through(&cvm) {
            _ if again => "it is named twice",
            _ if chosen.len() >= usize::from(sieve.limit) => "there are more than limit",
            Err(why) => why,
            Ok(()) => {
                chosen.push((name.clone(), cvm));
                continue;
            }
        };
        view.items.push(item(Some(&cvm), name, InstanceIdStatus::Skipped, Some(why.to_owned())));
    }
    Ok(chosen)
}

async fn all(
    ctx: &Ctx,
    caller: &Caller,
    sieve: Sieve,
    view: &mut InstanceIdsView,
) -> Result<Vec<(String, Cvm)>, Error> {
    let everybody = Filter { node: None, user: None };
    let mut chosen = Vec::new();
    let mut seek = PageStart::Skip(0);
    while view.scanned < MOST_SCANNED {
        let part = stored::page(&ctx.db, caller.workspace.id, everybody, seek, PAGE).await?;
        for cvm in part.items {
            view.scanned += 1;
            if sieve.lets_through(&cvm).is_ok() {
                chosen.push((cvm.reference.to_string(), cvm));
            }
            if chosen.len() >= usize::from(sieve.limit) {
                return Ok(chosen);
            }
        }
        let Some(next) = part.next else { break };
        seek = PageStart::After(next);
    }
    Ok(chosen)
}

async fn settle(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    cvm: &Cvm,
    name: &str,
    wanted: InstanceIdOptions,
) -> Result<InstanceIdView, Error> {
    match cvm.instance_id {
        _ if wanted.replace => replace(ctx, tx, caller, cvm, name, wanted).await,
        Some(id) => {
            let same = item(Some(cvm), name, InstanceIdStatus::Unchanged, None);
            Ok(InstanceIdView { new: Some(id), ..same })
        }
        None => {
            if !wanted.dry_run {
                tx.make_due(cvm.id, ctx.now()).await?;
            }
            let why = "its guest has not told one yet; its node is asked again";
            Ok(item(Some(cvm), name, InstanceIdStatus::Skipped, Some(why.to_owned())))
        }
    }
}

async fn replace(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    cvm: &Cvm,
    name: &str,
    wanted: InstanceIdOptions,
) -> Result<InstanceIdView, Error> {
    let renew = if disk_hangs_on_id(ctx, cvm.node) {
        if !wanted.allow_data_loss {
            return Err(Error::because(
                ErrorCode::DataLossRefused,
                format!(
                    "the disk of {} hangs on its instance id: another id means another VM with an \
                     empty disk",
                    cvm.spec.name
                ),
            )
            .suggest("Repeat it with allow_data_loss true if its data may be lost."));
        }
        Renew::Vm
    } else {
        let mut seed = [0; 20];
        ctx.entropy.fill(&mut seed);
        Renew::Seed(InstanceSeed::from_bytes(seed))
    };
    let change = Change { renew: Some(renew), ..Change::default() };
    if wanted.dry_run {
        let current = tx.lock_cvm(cvm.id).await?.ok_or_else(cvms::not_found)?;
        update::preview(ctx, tx, &current, &change).await?;
        let why = Some("dry_run: nothing was done".to_owned());
        return Ok(item(Some(cvm), name, InstanceIdStatus::Updated, why));
    }
    let nothing = Consent::default();
    let accepted =
        update::accept(ctx, tx, caller, cvm.id, &change.into(), &nothing).await?.accepted()?;
    let (new, reason) = match renew {
        Renew::Seed(seed) => (Some(seed.instance_id(&cvm.spec.app_id)), None),
        Renew::Vm => (None, Some("the guest of the new VM tells it at its first boot".to_owned())),
    };
    let done = item(Some(cvm), name, InstanceIdStatus::Updated, reason);
    let correlation_id = Some(accepted.operation);
    Ok(InstanceIdView { new, by_gateway: false, correlation_id, ..done })
}

/// Whether a guest of this node keeps the seed of its id on its disk.
fn disk_hangs_on_id(ctx: &Ctx, node: NodeId) -> bool {
    ctx.fleet.node(node).is_none_or(|node| !node.observed().0.capabilities.instance_seeds)
}

fn item(
    cvm: Option<&Cvm>,
    name: &str,
    outcome: InstanceIdStatus,
    reason: Option<String>,
) -> InstanceIdView {
    let old: Option<InstanceId> = cvm.and_then(|cvm| cvm.instance_id);
    let leads = |cvm: &Cvm| cvm.spec.facts.gateway_enabled && cvm.phase == Phase::Running;
    InstanceIdView {
        cvm: cvm.map(|cvm| (cvm.id, cvm.reference.clone())),
        identifier: name.to_owned(),
        outcome,
        old,
        new: None,
        by_gateway: old.is_some() && cvm.is_some_and(leads),
        reason,
        correlation_id: None,
    }
}
