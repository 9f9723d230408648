//! Services that do not do what they should. What a container is comes from the engine's list; whether its
//! health check fails from the engine's filter. A container that is started again and again runs for a
//! moment each time: it counts as looping until it has run for a while.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use casemate_core::{
    cvm::{FaultKind, ServiceFault},
    time::Timestamp,
};

use super::{
    container::{Container, ContainerState},
    logs,
    shared::Shared,
    vm::Vm,
};

/// A container that was not started again for so long loops no longer.
pub(super) const CALM: Duration = Duration::from_mins(1);

/// Faults that were seen, by container, and when they were seen last.
#[derive(Debug, Default)]
pub(super) struct FaultMemory(Mutex<HashMap<String, (ServiceFault, Timestamp)>>);

impl FaultMemory {
    /// Forgets everything.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (ServiceFault, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &str) -> Option<(ServiceFault, Timestamp)> {
        self.lock().get(id).cloned()
    }

    /// Keeps what was seen now; what was not seen is forgotten.
    fn replace(&self, seen: HashMap<String, (ServiceFault, Timestamp)>) {
        *self.lock() = seen;
    }
}

/// The services of a VM that do not do what they should, in the order of their names. `unhealthy` are the
/// containers whose health check fails.
pub(super) async fn look(
    node: &Shared,
    vm: &Vm,
    containers: &[Container],
    unhealthy: &BTreeSet<String>,
    calm: Duration,
) -> Vec<ServiceFault> {
    let now = node.clock.now();
    let mut seen = HashMap::new();
    for container in containers.iter().filter(|one| one.vm == vm.id && one.of_app()) {
        let known = vm.faults.get(&container.id);
        let Some((kind, at)) = judge(container, unhealthy, known.as_ref(), now, calm) else {
            continue;
        };
        let fault = match known {
            Some((known, _)) if known.kind == kind => known,
            _ => {
                let log = logs::last_lines(node, container).await;
                ServiceFault { service: container.service.clone(), kind, log, at: now }
            }
        };
        seen.insert(container.id.clone(), (fault, at));
    }
    let mut faults: Vec<ServiceFault> = seen.values().map(|(fault, _)| fault.clone()).collect();
    faults.sort_by(|one, other| one.service.cmp(&other.service));
    vm.faults.replace(seen);
    faults
}

/// What is wrong with a container, and when it was last seen to be.
fn judge(
    container: &Container,
    unhealthy: &BTreeSet<String>,
    known: Option<&(ServiceFault, Timestamp)>,
    now: Timestamp,
    calm: Duration,
) -> Option<(FaultKind, Timestamp)> {
    let kind = match container.state {
        // A job that ends well and is started again, as its policy says, does what it should.
        ContainerState::Restarting(0) => return None,
        ContainerState::Restarting(code) => FaultKind::Restarting { code },
        ContainerState::Created => FaultKind::NotStarted,
        ContainerState::Exited(0) if container.may_end_well() => return None,
        ContainerState::Exited(code) => FaultKind::Exited { code },
        ContainerState::Alive => {
            let looped = known.filter(|(fault, at)| {
                matches!(fault.kind, FaultKind::Restarting { .. }) && now.since(*at) < calm
            });
            if let Some((fault, at)) = looped {
                return Some((fault.kind.clone(), *at));
            }
            return unhealthy.contains(&container.id).then_some((FaultKind::Unhealthy, now));
        }
    };
    Some((kind, now))
}

/// Faults as one sentence.
pub(super) fn describe(faults: &[ServiceFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::docker::container::tests::container;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(0).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_container_loops_until_it_was_calm_for_a_while() {
        let judge_at = |state, known: Option<&(ServiceFault, Timestamp)>, now| {
            judge(&container("v", state), &BTreeSet::new(), known, now, CALM)
        };
        let kind = FaultKind::Restarting { code: 1 };
        let seen = judge_at(ContainerState::Restarting(1), None, at(10));
        assert_eq!(seen, Some((kind.clone(), at(10))));
        let fault = ServiceFault {
            service: "web".to_owned(),
            kind: kind.clone(),
            log: Vec::new(),
            at: at(10),
        };
        let known = (fault, at(10));
        assert_eq!(judge_at(ContainerState::Alive, Some(&known), at(20)), Some((kind, at(10))));
        assert_eq!(judge_at(ContainerState::Alive, Some(&known), at(70)), None);
        assert_eq!(judge_at(ContainerState::Alive, None, at(20)), None);
        assert_eq!(judge_at(ContainerState::Restarting(0), None, at(20)), None);
    }

    #[test]
    fn what_ended_well_and_may_is_no_fault() {
        let judge = |state, policy: &str, unhealthy: &[&str]| {
            let mut one = container("v", state);
            one.labels.insert("casemate.restart".to_owned(), policy.to_owned());
            let unhealthy = unhealthy.iter().map(|id| (*id).to_owned()).collect();
            judge(&one, &unhealthy, None, at(1), CALM).map(|(kind, _)| kind)
        };
        assert_eq!(judge(ContainerState::Exited(0), "no", &[]), None);
        assert_eq!(judge(ContainerState::Exited(0), "on-failure:2", &[]), None);
        let exited = |code| Some(FaultKind::Exited { code });
        assert_eq!(judge(ContainerState::Exited(0), "always", &[]), exited(0));
        assert_eq!(judge(ContainerState::Exited(9), "no", &[]), exited(9));
        assert_eq!(judge(ContainerState::Created, "no", &[]), Some(FaultKind::NotStarted));
        assert_eq!(judge(ContainerState::Alive, "no", &["c"]), Some(FaultKind::Unhealthy));
        assert_eq!(judge(ContainerState::Alive, "no", &["d"]), None);
    }
}
