//! The writes of a turn. Every write names the fence of the lease, so a holder that lost it gets an error
//! here.

use casemate_core::{
    cvm::{DesiredState, Failure, FailureCode, Phase, Power, Spec, Status, VmPower, phase},
    id::EventSeq,
    operation::OperationKind,
    time::Timestamp,
};
use casemate_store::{Error as StoreError, Tx, cvms::Intent, lease::Record, operations::Ending};

use super::{AfterStep, Turn};
use crate::{
    app::{
        events::{self, CvmEvent, EventScope},
        revisions,
        update::{self, RollbackReason},
    },
    crash,
};

impl Turn<'_> {
    /// Marks the outcome of the last step as recorded.
    fn recorded(&mut self) {
        if let Some(step) = self.leased.concluded.take() {
            self.point(step, "recorded");
        }
    }

    pub(super) fn point(&self, step: &str, place: &str) {
        let kind = self.leased.cvm.operation.map_or("rest", |open| open.kind.as_str());
        crash::point(|| format!("{kind}.{step}.{place}"));
    }

    /// Records and keeps the lease. `calling`: a call follows.
    pub(super) async fn keep(
        &mut self,
        status: Status,
        new_events: Vec<CvmEvent>,
        calling: bool,
    ) -> Result<(), StoreError> {
        let until = self.ctx.now().plus(self.lease());
        let kept = Some((until, calling));
        self.record(status, new_events, kept, Some(self.ctx.now()), false).await?;
        self.leased.lease_until = until;
        Ok(())
    }

    /// Records and gives the lease back until this time.
    pub(super) async fn release(
        &mut self,
        status: Status,
        new_events: Vec<CvmEvent>,
        due: Timestamp,
    ) -> Result<AfterStep, StoreError> {
        self.record(status, new_events, None, Some(due), false).await?;
        Ok(AfterStep::Released)
    }

    /// Records and gives the CVM to the node that it moves to.
    pub(super) async fn arrive(
        &mut self,
        status: Status,
        new_events: Vec<CvmEvent>,
    ) -> Result<AfterStep, StoreError> {
        self.record(status, new_events, None, Some(self.ctx.now()), true).await?;
        self.point("forget", "recorded");
        self.ctx.wake.notify_one();
        Ok(AfterStep::Released)
    }

    /// Records the end of the operation. Then the CVM is at rest, or a rollback or the queue starts.
    pub(super) async fn close(
        &mut self,
        status: Status,
        new_events: Vec<CvmEvent>,
        ending: &Ending,
    ) -> Result<AfterStep, StoreError> {
        let now = self.ctx.now();
        let open = self.leased.cvm.operation;
        let mut rest = phase(self.leased.cvm.desired.power, &status, None);
        let succeeded = *ending == Ending::Succeeded;
        let gone = succeeded && self.leased.cvm.desired.power == Power::Deleted;
        let record = Record {
            status: &status,
            phase: rest,
            lease_until: None,
            calling: false,
            due_at: self.rejoins_at(&status).filter(|_| succeeded),
            deleted: gone,
        };
        let mut all = std::mem::take(&mut self.leased.new_events);
        all.extend(new_events);
        let mut tx = self.ctx.db.begin().await?;
        tx.record(&self.leased.cvm, &record, now).await?;
        let back = self.roll_back(&mut tx, ending).await?;
        if self.restart_never_began(&status, ending) {
            rest = Box::pin(self.drop_restart(&mut tx)).await?.unwrap_or(rest);
        }
        if !succeeded && self.leased.cvm.moves_to.is_some() {
            rest = Box::pin(self.drop_move(&mut tx)).await?.unwrap_or(rest);
        }
        let mut newest = events::write(&mut tx, self.scope(), &all, now).await?;
        if back.is_none() {
            if let Some(open) = open {
                let what = (open.id, open.kind);
                if *ending == Ending::Succeeded {
                    revisions::record(self.ctx, &mut tx, &self.leased.cvm, &status, what).await?;
                }
                let ended = events::close(&mut tx, self.scope(), what, ending, now).await?;
                newest = newest.max(ended.unwrap_or(newest));
            }
            if rest != self.leased.cvm.phase {
                let phase = [CvmEvent::Phase(self.leased.cvm.phase, rest)];
                newest = newest.max(events::write(&mut tx, self.scope(), &phase, now).await?);
            }
        }
        newest = newest.max(back.unwrap_or(EventSeq(0)));
        if back.is_none()
            && open.is_some()
            && let Some(cvm) = tx.cvm(self.leased.cvm.id).await?.filter(|_| !gone)
        {
            let begun = update::begin_queued(self.ctx, &mut tx, &cvm).await;
            newest = newest.max(begun.map_err(|error| self.internal_error(error))?);
        }
        tx.commit().await?;
        if newest > EventSeq(0) {
            self.ctx.announce(newest);
        }
        self.recorded();
        crash::point(|| {
            format!("{}.close.recorded", open.map_or("rest", |open| open.kind.as_str()))
        });
        Ok(AfterStep::Released)
    }

    /// Starts the rollback of a failed configuration change, if the configuration before was healthy.
    async fn roll_back(
        &self,
        tx: &mut Tx,
        ending: &Ending,
    ) -> Result<Option<EventSeq>, StoreError> {
        let Ending::Failed(code, cause) = ending else { return Ok(None) };
        if !code.allows_rollback() {
            return Ok(None);
        }
        let Some(cvm) = tx.cvm(self.leased.cvm.id).await? else { return Ok(None) };
        let rollback_reason = RollbackReason::Failed(*code, cause.clone());
        let back = update::roll_back(self.ctx, tx, &cvm, &rollback_reason).await;
        Ok(back.map_err(|error| self.internal_error(error))?.map(|(_, new_events)| new_events))
    }

    /// Whether a restart was refused while the guest was up, so that it never began.
    fn restart_never_began(&self, status: &Status, ending: &Ending) -> bool {
        let restart =
            self.leased.cvm.operation.is_some_and(|open| open.kind == OperationKind::Restart);
        let up = status.observed.as_ref().is_some_and(|vm| vm.power == VmPower::Running);
        let refused = matches!(
            ending,
            Ending::Failed(FailureCode::NotAllowed | FailureCode::ChainUnavailable, _)
        );
        restart && up && refused
    }

    /// Drops the desired state of a restart that never began. Returns the phase that the CVM has then.
    async fn drop_restart(&self, tx: &mut Tx) -> Result<Option<Phase>, StoreError> {
        let Some(cvm) = tx.cvm(self.leased.cvm.id).await? else { return Ok(None) };
        let desired = DesiredState { run: cvm.status.run, ..cvm.desired };
        let failure = cvm.status.failure.clone().map(|why| Failure { rolled_back: true, ..why });
        let status = Status { failure, ..cvm.status.clone() };
        let intent = Intent {
            spec: &cvm.spec,
            sealed_env: cvm.sealed_env.as_deref(),
            desired: &desired,
            status: &status,
            phase: phase(desired.power, &status, None),
            due: false,
        };
        tx.set_intent(&cvm, &intent, self.ctx.now()).await?;
        Ok(Some(intent.phase))
    }

    /// Drops a move that failed before its VM was gone: the CVM stays where it is, with the VM that it has. A guest
    /// that is up then is no failed CVM. Returns the phase that the CVM has then.
    async fn drop_move(&self, tx: &mut Tx) -> Result<Option<Phase>, StoreError> {
        let Some(cvm) = tx.cvm(self.leased.cvm.id).await? else { return Ok(None) };
        let spec = Spec { vm: cvm.status.vm, ..cvm.spec.clone() };
        let up = cvm.status.observed.as_ref().is_some_and(|vm| vm.power == VmPower::Running);
        let mut status = cvm.status.clone();
        let mut desired = DesiredState { vm: spec.vm, ..cvm.desired };
        if up {
            desired.run = status.run;
            status.failure = status.failure.map(|failure| Failure { rolled_back: true, ..failure });
        }
        let intent = Intent {
            spec: &spec,
            sealed_env: cvm.sealed_env.as_deref(),
            desired: &desired,
            status: &status,
            phase: phase(desired.power, &status, None),
            due: false,
        };
        tx.set_intent(&cvm, &intent, self.ctx.now()).await?;
        tx.drop_move(&cvm).await?;
        Ok(Some(intent.phase))
    }

    /// Maps an error that neither the database nor a client caused.
    fn internal_error(&self, error: crate::app::Error) -> StoreError {
        match error {
            crate::app::Error::Store(error) => error,
            error => StoreError::Corrupt {
                table: "cvms",
                column: "spec",
                row: self.leased.cvm.id.to_string(),
                reason: error.to_string(),
            },
        }
    }

    const fn scope(&self) -> EventScope {
        EventScope {
            workspace: self.leased.cvm.workspace,
            cvm: self.leased.cvm.id,
            operation: match self.leased.cvm.operation {
                Some(open) => Some(open.id),
                None => None,
            },
        }
    }

    async fn record(
        &mut self,
        status: Status,
        more: Vec<CvmEvent>,
        kept: Option<(Timestamp, bool)>,
        due_at: Option<Timestamp>,
        arrives: bool,
    ) -> Result<(), StoreError> {
        let now = self.ctx.now();
        let mut new_events = std::mem::take(&mut self.leased.new_events);
        new_events.extend(more);
        let open = self.leased.cvm.operation.map(|open| open.kind);
        let new_phase = phase(self.leased.cvm.desired.power, &status, open);
        if new_phase != self.leased.cvm.phase {
            new_events.push(CvmEvent::Phase(self.leased.cvm.phase, new_phase));
        }
        let mut tx = self.ctx.db.begin().await?;
        let record = Record {
            status: &status,
            phase: new_phase,
            lease_until: kept.map(|(until, _)| until),
            calling: kept.is_some_and(|(_, calling)| calling),
            due_at,
            deleted: false,
        };
        tx.record(&self.leased.cvm, &record, now).await?;
        if arrives {
            tx.end_move(&self.leased.cvm, now).await?;
        }
        let newest = events::write(&mut tx, self.scope(), &new_events, now).await?;
        tx.commit().await?;
        if newest > EventSeq(0) {
            self.ctx.publish(newest);
        }
        self.recorded();
        self.leased.recorded.clone_from(&status);
        self.leased.cvm.status = status;
        self.leased.cvm.phase = new_phase;
        Ok(())
    }
}
