//! Moves a CVM to another node: the same app, document, sealed environment and KMS, in a new VM with an empty disk.
//!
//! What may be is decided in [`casemate_core::moving`]; the node is chosen as for a replica ([`super::replicate`]).
//! What is accepted here is a desired state like any other:
//!
//! - Its node answers: its room is taken on the other node, the reconciler shuts its VM down, removes it, and only then
//!   gives the CVM to the other node (`work/cvm`).
//! - Its node was given up: the CVM belongs to the other node at once. Its VM is noted as left, and is removed when the
//!   host comes back ([`crate::nodes::left`]). Until then it gets no keys: its device is not that of the CVM's node.
//!
//! Where a contract governs the app it is asked first, outside of the transaction, whether the app may run on the
//! device of the other node.

use async_trait::async_trait;
use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    fleet::{MoveReply, MoveRequest, PlacedCvm},
};
use casemate_core::{
    change::Configuration,
    cvm::{DesiredState, EngineState, Phase, Power, Spec, Status, StopMode},
    id::{CvmId, CvmName, NodeId, OperationId},
    instance::InstanceSeed,
    moving::{Host, Keys, Loss, NoMove, Way, losses, way},
    node::NodeState,
    operation::OperationKind,
};
use casemate_store::{
    Tx,
    cvms::{self as stored, Cvm, Intent},
    nodes::{self, NodeRow},
    operations::Ending,
};

use super::{
    Caller, Ctx, Error,
    approval::{
        self, ApprovalHeaders, Clearance,
        flow::{self, Consent, Decision, Need, Proposal},
    },
    events::{self, CvmEvent, EventScope},
    fleet::FleetNode,
    fleet_admin,
    mutation::{IdempotencyKey, Mutation, WriteError},
    node_admin,
    replicate::target::{self, TargetRequest},
    update,
};
use crate::crash;

/// A CVM of any workspace, with its node.
pub async fn show(ctx: &Ctx, name: &str) -> Result<PlacedCvm, Error> {
    let cvm = find(ctx, name).await?;
    let rows = nodes::all(&ctx.db).await?;
    Ok(PlacedCvm {
        node: node_name(&rows, cvm.node),
        moves_to: cvm.moves_to.map(|node| node_name(&rows, node)),
        in_progress: cvm.operation.is_some(),
        cvm: fleet_admin::shown(&cvm),
    })
}

async fn find(ctx: &Ctx, name: &str) -> Result<Cvm, Error> {
    stored::anywhere(&ctx.db, &CvmName::parse(name)).await?.ok_or_else(unknown)
}

fn unknown() -> Error {
    Error::code(ErrorCode::CvmNotFound)
        .suggest("Name it by its number or its vm_uuid: casemate admin node cvms NODE lists them.")
}

fn node_name(rows: &[NodeRow], id: NodeId) -> String {
    let found = rows.iter().find(|row| row.id() == id);
    found.map_or_else(|| id.to_string(), |row| row.name.clone())
}

/// What a move would be. Nothing is done.
pub async fn dry_run(ctx: &Ctx, name: &str, request: &MoveRequest) -> Result<MoveReply, Error> {
    let id = find(ctx, name).await?.id;
    let rows = nodes::all(&ctx.db).await?;
    let mut tx = ctx.begin().await?;
    let planned = Planned::new(ctx, &mut tx, id, request, &rows).await?;
    drop(tx);
    if let Some((governed, question)) = planned.needs(ctx)? {
        Clearance::default().ask(&governed, &question).await?;
    }
    Ok(planned.reply(&rows, None))
}

/// Moves a CVM.
pub async fn move_cvm(
    ctx: &Ctx,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    name: &str,
    request: &MoveRequest,
) -> Result<(Mutation, MoveReply), WriteError> {
    let id = find(ctx, name).await?.id;
    let rows = nodes::all(&ctx.db).await.map_err(Error::from)?;
    let proposal = Move { ctx, caller, id, request, rows: &rows };
    flow::run(ctx, caller, key, &ApprovalHeaders::default(), proposal).await
}

struct Move<'a> {
    ctx: &'a Ctx,
    caller: &'a Caller,
    id: CvmId,
    request: &'a MoveRequest,
    rows: &'a [NodeRow],
}

#[async_trait]
impl Proposal for Move<'_> {
    type Done = MoveReply;

    async fn decide(
        &mut self,
        tx: &mut Tx,
        consent: &Consent,
    ) -> Result<Decision<MoveReply>, Error> {
        let Self { ctx, caller, id, request, rows } = *self;
        let planned = Planned::new(ctx, tx, id, request, rows).await?;
        let lost = losses(&planned.cvm.status);
        if !lost.is_empty() && !request.allow_data_loss {
            return Err(refuse_loss(&planned, &lost));
        }
        let verified = match planned.needs(ctx)? {
            None => None,
            Some((governed, question)) => {
                let verified = consent.clearance.of(&question, &planned.cvm);
                if verified.is_none() {
                    return Ok(Decision::Asks(vec![(governed, question)]));
                }
                verified
            }
        };
        let mut told = vec![CvmEvent::Accepted(OperationKind::Move)];
        told.extend(verified.map(CvmEvent::Verified));
        let operation = planned.write(ctx, tx, caller, told).await?;
        crash::point(|| "accept.move.before_commit".to_owned());
        Ok(Decision::Done(planned.reply(rows, Some(operation))))
    }

    /// What contracts do not allow is an error: there is nothing to prepare.
    fn is_prepared(&self) -> bool {
        true
    }
}

fn refuse_loss(planned: &Planned, lost: &[Loss]) -> Error {
    let name = &planned.cvm.spec.name;
    let words: Vec<&str> = lost.iter().map(|loss| loss.as_str()).collect();
    let why = format!(
        "{name} would lose its disk with all data and its instance id: its new VM begins with an empty disk"
    );
    Error::because(ErrorCode::DataLossRefused, why)
        .detail(ErrorDetail::value("loses", words.join(", ")))
        .suggest("Repeat it with allow_data_loss true (--yes) if that may be lost.")
}

/// A move as it can be now.
struct Planned {
    cvm: Cvm,
    way: Way,
    target: std::sync::Arc<FleetNode>,
    next: Configuration,
}

impl Planned {
    async fn new(
        ctx: &Ctx,
        tx: &mut Tx,
        id: CvmId,
        request: &MoveRequest,
        rows: &[NodeRow],
    ) -> Result<Self, Error> {
        let live = |cvm: &Cvm| cvm.desired.power != Power::Deleted;
        let cvm = tx.lock_cvm(id).await?.filter(live).ok_or_else(unknown)?;
        super::audit::before_cvm(&cvm);
        let next = update::configuration(tx, &cvm).await?;
        let document = &next.document;
        let keys = Keys::of(document.kms_enabled, document.local_key_provider_enabled);
        let way = way(keys, host(ctx, rows, cvm.node), request.given_up)
            .map_err(|why| refuse(why, &cvm, &node_name(rows, cvm.node)))?;
        let named = request.to.as_deref().map(|name| named(ctx, name)).transpose()?;
        if named == Some(cvm.node) {
            let why = format!("{} is on that node already", cvm.spec.name);
            return Err(Error::field(ErrorCode::StateConflict, "to", why)
                .suggest("Name another node, or none."));
        }
        let wanted = TargetRequest {
            named,
            beside: cvm.moves_to.unwrap_or(cvm.node),
            without: Some(cvm.node),
            kms: &cvm.kms,
            image: None,
            next: &next,
        };
        let target = target::choose(ctx, tx, &wanted).await?;
        if tx.has_left_vm(target.id, cvm.id).await? {
            let why = format!(
                "{} has a VM of it that was left there and is not removed yet",
                target.name
            );
            return Err(Error::field(ErrorCode::StateConflict, "to", why)
                .suggest("It is removed when the node answers. Name another node, or wait."));
        }
        let next = another_vm(ctx, &target, next);
        Ok(Self { cvm, way, target, next })
    }

    /// What contracts have to allow: the app on the device of the other node.
    fn needs(&self, ctx: &Ctx) -> Result<Option<Need>, Error> {
        let contracts = approval::contracts(ctx, &self.cvm.kms)?;
        Ok(contracts.map(|contracts| {
            let question =
                approval::boot_question(contracts.governed, &self.next.spec, &self.target);
            (contracts.governed.clone(), question)
        }))
    }

    fn reply(&self, rows: &[NodeRow], operation: Option<OperationId>) -> MoveReply {
        let lost = losses(&self.cvm.status);
        MoveReply {
            name: self.cvm.spec.name.clone(),
            vm_uuid: self.cvm.uuid.to_string(),
            from: node_name(rows, self.cvm.node),
            to: self.target.name.clone(),
            way: self.way.as_str().to_owned(),
            loses: lost.into_iter().map(|loss| loss.as_str().to_owned()).collect(),
            correlation_id: operation.map(|id| id.to_string()),
        }
    }

    async fn write(
        &self,
        ctx: &Ctx,
        tx: &mut Tx,
        caller: &Caller,
        mut told: Vec<CvmEvent>,
    ) -> Result<OperationId, Error> {
        let Self { cvm, way, target, next } = self;
        let (now, kind, spec) = (ctx.now(), OperationKind::Move, &next.spec);
        let desired = DesiredState {
            generation: spec.revision,
            vm: spec.vm,
            // What it has on its disk is lost either way.
            stop: StopMode::Graceful { timeout_s: spec.shutdown_timeout_s, force: true },
            ..cvm.desired
        };
        let status = match way {
            Way::RemoveFirst => Status {
                failure: None,
                attempts: 0,
                stopping: None,
                drains_until: None,
                boot_until: None,
                ..cvm.status.clone()
            },
            Way::LeaveBehind => Status { vm: spec.vm, run: cvm.status.run, ..Status::new() },
        };
        let intent = Intent {
            spec,
            sealed_env: cvm.sealed_env.as_deref(),
            desired: &desired,
            status: &status,
            phase: kind.phase(),
            due: true,
        };
        tx.set_intent(cvm, &intent, now).await?;
        if let Some(open) = cvm.operation {
            let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: None };
            events::close(tx, scope, (open.id, open.kind), &Ending::Superseded, now).await?;
        }
        let before = tx.begin_move(cvm, spec, target.id).await?;
        target::still_fits(tx, target, spec, cvm.id, &before).await?;
        if *way == Way::LeaveBehind {
            tx.end_move(cvm, now).await?;
            tx.leave_vm(cvm, now.plus(ctx.config.work.limits().create_settles), now).await?;
            let (from, to) = (cvm.node, target.id);
            told.push(CvmEvent::NodeChanged { from, to, left_behind: true });
        }
        let operation = ctx.operation_id();
        tx.open_operation(operation, cvm.id, kind, desired.generation, caller.user.id, now).await?;
        if cvm.phase != Phase::Updating {
            told.push(CvmEvent::Phase(cvm.phase, kind.phase()));
        }
        let scope =
            EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: Some(operation) };
        events::write(tx, scope, &told, now).await?;
        Ok(operation)
    }
}

/// The configuration for another VM on a node. Another VM has another instance id.
fn another_vm(ctx: &Ctx, target: &FleetNode, next: Configuration) -> Configuration {
    let takes_seeds = target.observed().0.capabilities.instance_seeds;
    let instance_seed = next.spec.instance_seed.filter(|_| takes_seeds).map(|_| {
        let mut seed = [0; 20];
        ctx.entropy.fill(&mut seed);
        InstanceSeed::from_bytes(seed)
    });
    let (revision, vm) = (next.spec.revision + 1, next.spec.vm + 1);
    Configuration { spec: Spec { revision, vm, instance_seed, ..next.spec }, ..next }
}

/// Whether the node of a CVM answers.
fn host(ctx: &Ctx, rows: &[NodeRow], id: NodeId) -> Host {
    let is_removed = rows.iter().any(|row| row.id() == id && row.state == NodeState::Removed);
    match ctx.fleet.node(id) {
        _ if is_removed => Host::Removed,
        Some(node) if node.outage().is_none() => Host::Answers,
        Some(_) | None => Host::Silent,
    }
}

fn named(ctx: &Ctx, name: &str) -> Result<NodeId, Error> {
    let found = ctx.fleet.all().into_iter().find(|node| node.name == name);
    found.map(|node| node.id).ok_or_else(|| node_admin::unknown(name))
}

fn refuse(why: NoMove, cvm: &Cvm, node: &str) -> Error {
    let has_vm = cvm.status.engine != EngineState::Absent;
    let message = format!("{} stays on {node}: {why}", cvm.spec.name);
    let error = Error::because(ErrorCode::StateConflict, message);
    match why {
        NoMove::KeysOfHost => error.suggest(
            "Deploy it again with a KMS: local_key_provider_enabled false in its compose file.",
        ),
        NoMove::Silent => error.suggest(if has_vm {
            "If the host does not come back with it running, say so: given_up true (--given-up). Its disk is lost then."
        } else {
            "If the host does not come back, say so: given_up true (--given-up)."
        }),
        NoMove::Answers => error.suggest("Leave given_up out: its VM is removed there first."),
    }
}
