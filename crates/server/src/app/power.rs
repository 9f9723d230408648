//! Start, stop, shutdown, restart, delete: each is a new desired state, an operation and an event.
//!
//! A power verb supersedes the *steps* under way: the open operation closes as superseded and the new
//! desired state is what reconcilers work for from then on. The newest configuration stays, and changes that
//! wait keep waiting; only a deletion discards them. A verb whose end is reached already makes nothing.

use casemate_core::{
    cvm::{DesiredState, Phase, Power, StopMode},
    id::CvmId,
    operation::OperationKind,
    time::Timestamp,
};
use casemate_store::{Tx, cvms::Cvm, operations::Ending};

use super::{
    Caller, Ctx, Error,
    events::{self, CvmEvent, EventScope},
    views,
};
use crate::{crash, view::CvmView};

/// What to do with the power of a CVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Boot it.
    Start,
    /// Power it off.
    Stop,
    /// Ask the guest to go down, then power it off.
    Shutdown,
    /// Down and up.
    Restart {
        /// Without asking the guest.
        force: bool,
    },
    /// Remove it with all data.
    Delete,
}

impl Verb {
    const fn kind(self) -> OperationKind {
        match self {
            Self::Start => OperationKind::Start,
            Self::Stop => OperationKind::Stop,
            Self::Shutdown => OperationKind::Shutdown,
            Self::Restart { .. } => OperationKind::Restart,
            Self::Delete => OperationKind::Delete,
        }
    }

    /// Whether the CVM is where this verb leads, or on its way there.
    fn is_done(self, cvm: &Cvm) -> bool {
        let open = cvm.operation.map(|operation| operation.kind);
        match self {
            Self::Start => match open {
                Some(OperationKind::Create | OperationKind::Start | OperationKind::Restart) => true,
                Some(kind) => kind.keeps_power() && cvm.desired.power == Power::Running,
                None => cvm.phase == Phase::Running && cvm.desired.power == Power::Running,
            },
            Self::Stop => match open {
                Some(kind) => kind == OperationKind::Stop,
                None => cvm.phase == Phase::Stopped,
            },
            Self::Shutdown => match open {
                Some(kind) => matches!(kind, OperationKind::Shutdown | OperationKind::Stop),
                None => cvm.phase == Phase::Stopped,
            },
            Self::Restart { .. } => false,
            // A delete that failed may be asked for again.
            Self::Delete => cvm.desired.power == Power::Deleted && open.is_some(),
        }
    }

    fn desired(self, cvm: &Cvm) -> DesiredState {
        let graceful = StopMode::Graceful {
            timeout_s: cvm.spec.shutdown_timeout_s,
            force: cvm.spec.allow_force_stop,
        };
        let old = cvm.desired;
        // A start brings in what was left for it.
        let newest = old.generation.max(cvm.spec.revision);
        match self {
            Self::Start => {
                DesiredState { power: Power::Running, generation: newest, stop: graceful, ..old }
            }
            Self::Stop => DesiredState { power: Power::Stopped, stop: StopMode::Hard, ..old },
            Self::Shutdown => DesiredState { power: Power::Stopped, stop: graceful, ..old },
            Self::Restart { force } => DesiredState {
                power: Power::Running,
                run: old.run.max(cvm.status.run) + 1,
                generation: newest,
                stop: if force { StopMode::Hard } else { graceful },
                ..old
            },
            Self::Delete => DesiredState { power: Power::Deleted, stop: StopMode::Hard, ..old },
        }
    }
}

/// What a verb did.
#[derive(Debug)]
pub struct Done {
    /// The CVM with its document.
    pub view: CvmView,
    /// Whether it did anything.
    pub changed: bool,
}

/// Applies a verb to a CVM of the caller's workspace.
pub async fn apply(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    id: CvmId,
    verb: Verb,
) -> Result<Done, Error> {
    let cvm = tx
        .lock_cvm(id)
        .await?
        .filter(|cvm| cvm.workspace == caller.workspace.id)
        .ok_or_else(super::cvms::not_found)?;
    super::audit::before_cvm(&cvm);
    let changed = !verb.is_done(&cvm);
    if changed {
        change(ctx, tx, caller, &cvm, verb).await?;
    }
    let cvm = tx.cvm(id).await?.ok_or_else(super::cvms::not_found)?;
    let document = super::cvms::document(ctx, &cvm).await?;
    let view = views::with_document(views::cvm(ctx, caller, &cvm), &document);
    Ok(Done { view, changed })
}

async fn change(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    cvm: &Cvm,
    verb: Verb,
) -> Result<(), Error> {
    if cvm.desired.power == Power::Deleted && verb != Verb::Delete {
        return Err(super::cvms::not_found());
    }
    let (now, kind) = (ctx.now(), verb.kind());
    let desired = verb.desired(cvm);
    let mut status = cvm.status.clone();
    status.failure = None;
    status.attempts = 0;
    status.stopping = None;
    status.drains_until = None;
    status.boot_until = None;
    let phase = kind.phase();
    tx.set_desired(cvm, &desired, &status, phase, now).await?;
    let mut cvm_events = Vec::new();
    if let Some(open) = cvm.operation {
        let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: None };
        events::close(tx, scope, (open.id, open.kind), &Ending::Superseded, now).await?;
    }
    if verb == Verb::Delete {
        drop_what_waits(tx, cvm, now).await?;
    }
    let operation = ctx.operation_id();
    tx.open_operation(operation, cvm.id, kind, desired.generation, caller.user.id, now).await?;
    cvm_events.push(CvmEvent::Accepted(kind));
    if phase != cvm.phase {
        cvm_events.push(CvmEvent::Phase(cvm.phase, phase));
    }
    let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: Some(operation) };
    events::write(tx, scope, &cvm_events, now).await?;
    crash::point(|| format!("accept.{}.before_commit", kind.as_str()));
    Ok(())
}

async fn drop_what_waits(tx: &mut Tx, cvm: &Cvm, now: Timestamp) -> Result<(), Error> {
    for operation in tx.open_changes(cvm.id).await? {
        let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: None };
        let what = (operation, OperationKind::Update);
        events::close(tx, scope, what, &Ending::Superseded, now).await?;
    }
    Ok(())
}
