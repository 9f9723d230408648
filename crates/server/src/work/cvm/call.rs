//! One call to a node: recorded as intent before it, and with its outcome after it.

use casemate_core::{
    cvm::{EngineState, FailureCode, Status, Stopping},
    id::EngineVmId,
    operation::OperationKind,
    plan::{Limits, Step},
};
use casemate_engine::node::{CallError, Mark, Node, VmConfig};
use casemate_store::{Error as StoreError, provisions, revisions};

use super::{AWAY_LOOK, AfterStep, LOOK_LEAST, LOOK_MOST, Turn, bounded};
use crate::app::{
    events::{CvmEvent, StepResult},
    fleet::FleetNode,
};

impl Turn<'_> {
    /// Records the intent, makes the call, records the outcome.
    pub(super) async fn execute(
        &mut self,
        (status, mut new_events): (Status, Vec<CvmEvent>),
        step: Step,
        target: &FleetNode,
        mark: &Mark,
        limits: &Limits,
    ) -> Result<AfterStep, StoreError> {
        let name = step.name();
        self.end_drain(&step, &mut new_events);
        let intent = Status { drains_until: None, ..self.intended_status(status, &step, limits) };
        new_events.push(CvmEvent::Step { name, outcome: StepResult::Intended });
        self.keep(intent, new_events, true).await?;
        self.point(name, "intended");
        let outcome = self.call(&step, &*target.node, mark).await?;
        self.point(name, "called");
        self.conclude(&step, outcome).await
    }

    /// The status that records the intent of the next step.
    fn intended_status(&self, mut status: Status, step: &Step, limits: &Limits) -> Status {
        let now = self.ctx.now();
        match step {
            Step::CreateStopped => {
                status.engine = EngineState::Creating {
                    until: now.plus(limits.create_settles),
                    generation: self.leased.cvm.desired.generation,
                };
                status.vm = self.leased.cvm.desired.vm;
                status.offered = self.leased.cvm.desired.generation;
                status.attempts += 1;
            }
            Step::Start(_) => {
                status.run = self.leased.cvm.desired.run;
                status.boot_until = Some(now.plus(limits.boot));
                status.stopping = None;
                status.attempts += 1;
            }
            Step::Shutdown(_, stopping) => status.stopping = Some(*stopping),
            Step::ForceStop(_, stopping) => {
                status.stopping = Some(*stopping);
                status.attempts += 1;
            }
            Step::Push(_) => status.offered = self.leased.cvm.desired.generation,
            // The newer configuration has cost the disk, or will: it cannot be rolled back.
            Step::Remove(_) if status.vm < self.leased.cvm.desired.vm => {
                status.offered = self.leased.cvm.desired.generation;
            }
            Step::Remove(_)
            | Step::Forget
            | Step::Adopt(_)
            | Step::Wait(_)
            | Step::Done
            | Step::Fail(..) => {}
        }
        status
    }

    async fn call(
        &self,
        step: &Step,
        node: &dyn Node,
        mark: &Mark,
    ) -> Result<Result<Option<EngineVmId>, CallError>, StoreError> {
        let ctx = self.ctx;
        let nothing = |outcome: Result<(), CallError>| outcome.map(|()| None);
        Ok(match step {
            Step::CreateStopped => {
                let config = self.config(mark).await?;
                bounded(ctx, node.create(&config)).await.map(Some)
            }
            Step::Push(vm) => {
                let config = self.config(mark).await?;
                nothing(bounded(ctx, node.push(vm, &config)).await)
            }
            Step::Start(vm) => nothing(bounded(ctx, node.start(vm)).await),
            Step::Shutdown(vm, _) => nothing(bounded(ctx, node.shutdown(vm)).await),
            Step::ForceStop(vm, _) => nothing(bounded(ctx, node.stop(vm)).await),
            Step::Remove(vm) => nothing(bounded(ctx, node.remove(vm)).await),
            Step::Forget | Step::Adopt(_) | Step::Wait(_) | Step::Done | Step::Fail(..) => Ok(None),
        })
    }

    async fn config(&self, mark: &Mark) -> Result<VmConfig, StoreError> {
        let spec = &self.leased.cvm.spec;
        let corrupt = |column, reason: String| StoreError::Corrupt {
            table: "cvms",
            column,
            row: self.leased.cvm.id.to_string(),
            reason,
        };
        let document = provisions::document(&self.ctx.db, &spec.compose_hash).await?;
        let compose = document
            .ok_or_else(|| corrupt("compose_hash", "its document is missing".to_owned()))?;
        let sealed_env =
            self.leased.cvm.sealed_env.as_deref().map(str::parse).transpose().map_err(
                |why: casemate_core::seal::InvalidSealedEnv| corrupt("sealed_env", why.to_string()),
            )?;
        // What was accepted is compared, never with what is on the node. A rollback takes a failed one away again.
        let in_force = revisions::newest_sealed_env(&self.ctx.db, self.leased.cvm.id).await?;
        let open = self.leased.cvm.operation.map(|open| open.kind);
        let env_is_new =
            in_force != self.leased.cvm.sealed_env || open == Some(OperationKind::Rollback);
        Ok(VmConfig {
            mark: mark.clone(),
            app_id: spec.app_id,
            kms: Some(self.leased.cvm.kms.clone()),
            compose,
            compose_hash: spec.compose_hash,
            image: spec.image.clone(),
            vcpu: spec.resources.vcpu,
            memory_mb: spec.resources.memory_mb,
            disk_gb: spec.resources.disk_gb,
            ports: spec.ports.clone(),
            sealed_env,
            env_is_new,
            user_config: spec.user_config.clone(),
            hugepages: spec.resources.hugepages,
            pin_numa: spec.resources.pin_numa,
            gpus: spec.resources.gpus.clone(),
            kms_urls: self.kms_urls(),
            gateway_urls: spec.gateway_urls.clone(),
            gateway_domain: Some(self.ctx.addresses.gateway_domain.clone()),
            instance_seed: spec.instance_seed,
        })
    }

    /// Those of the owner, else those of its KMS; none: the node has its own.
    fn kms_urls(&self) -> Vec<String> {
        let cvm = &self.leased.cvm;
        if !cvm.spec.kms_urls.is_empty() || cvm.spec.env_public_key.is_none() {
            return cvm.spec.kms_urls.clone();
        }
        let kms = self.ctx.fleet.kms_of(&cvm.kms);
        kms.map(|kms| kms.guest_urls().to_vec()).unwrap_or_default()
    }

    /// The status after a call.
    async fn conclude(
        &mut self,
        step: &Step,
        outcome: Result<Option<EngineVmId>, CallError>,
    ) -> Result<AfterStep, StoreError> {
        let name = step.name();
        let mut status = self.leased.cvm.status.clone();
        match outcome {
            Ok(made) => {
                match (step, made) {
                    (Step::CreateStopped, Some(vm)) => {
                        if let EngineState::Creating { generation, .. } = status.engine {
                            status.pushed = generation;
                        }
                        status.engine = EngineState::Present { vm };
                        status.pushed_boot = Some(self.leased.cvm.spec.boot_identity());
                        status.attempts = 0;
                    }
                    (Step::Push(_), _) => {
                        status.pushed = self.leased.cvm.desired.generation;
                        status.pushed_boot = Some(self.leased.cvm.spec.boot_identity());
                    }
                    (Step::Shutdown(..) | Step::ForceStop(..), _) => {
                        status.stopping =
                            status.stopping.map(|down| Stopping { sent: true, ..down });
                    }
                    _ => {}
                }
                let new_events = vec![CvmEvent::Step { name, outcome: StepResult::Done }];
                self.update_status(name, status, new_events);
                Ok(AfterStep::GoOn)
            }
            Err(CallError::Rejected(why)) => self.rejected(step, status, why).await,
            Err(CallError::Unreachable(why)) => {
                if matches!(step, Step::CreateStopped) {
                    status.engine = EngineState::Absent;
                }
                // It was not carried out, so it does not count as an attempt.
                if matches!(step, Step::CreateStopped | Step::Start(_) | Step::ForceStop(..)) {
                    status.attempts = status.attempts.saturating_sub(1);
                }
                self.put_off(step, status, StepResult::NodeUnreachable(why)).await
            }
            Err(CallError::Unknown(why)) => {
                self.put_off(step, status, StepResult::OutcomeUnknown(why)).await
            }
        }
    }

    /// The node refused. For a VM that is going down anyway this is no failure: the next observation decides.
    async fn rejected(
        &mut self,
        step: &Step,
        mut status: Status,
        why: String,
    ) -> Result<AfterStep, StoreError> {
        match step {
            Step::Remove(_) => self.put_off(step, status, StepResult::Refused(why)).await,
            // A guest that cannot be asked to shut down is powered off at the deadline.
            Step::Shutdown(..) => {
                let now = self.ctx.now();
                status.stopping = Some(Stopping { until: now, forced: false, sent: true });
                self.put_off(step, status, StepResult::Refused(why)).await
            }
            _ => {
                if matches!(step, Step::CreateStopped) {
                    status.engine = EngineState::Absent;
                }
                self.fail((status, Vec::new()), FailureCode::Refused, why).await
            }
        }
    }

    async fn put_off(
        &mut self,
        step: &Step,
        status: Status,
        outcome: StepResult,
    ) -> Result<AfterStep, StoreError> {
        tracing::info!(cvm = %self.leased.cvm.id, step = step.name(), why = outcome.message(), "step not done");
        let tries = status.attempts.min(6);
        let pause = match outcome {
            StepResult::NodeUnreachable(_) => AWAY_LOOK,
            _ => LOOK_LEAST.saturating_mul(1 << tries).min(LOOK_MOST),
        };
        let new_events = vec![CvmEvent::Step { name: step.name(), outcome }];
        let due = self.ctx.now().plus(pause);
        self.release(status, new_events, due).await
    }
}
