//! Containers as the engine lists them, and what they say about their VM.

use std::collections::HashMap;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, PortSummaryTypeEnum};
use casemate_core::id::EngineVmId;

use super::derive::{LABEL_PORT, LABEL_RESTART, LABEL_VM};

/// Label with the service of containers that compose did not make.
pub(super) const LABEL_SERVICE: &str = "casemate.service";
/// Label of containers that only run a script during boot.
pub(super) const LABEL_SCRIPT: &str = "casemate.script";
const COMPOSE_SERVICE: &str = "com.docker.compose.service";

/// One container of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub id: String,
    pub vm: EngineVmId,
    pub service: String,
    pub state: ContainerState,
    pub labels: HashMap<String, String>,
    /// (port in the container, port of the loopback), TCP only.
    pub bindings: Vec<(u16, u16)>,
    /// Address in its first network.
    pub address: Option<std::net::IpAddr>,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContainerState {
    /// Made, never started.
    Created,
    /// Running, paused, or on its way up again.
    Alive,
    /// Ended with this code.
    Exited(i64),
}

impl Container {
    /// Reads a line of the engine's list; `None` when it is not ours.
    pub fn read(summary: ContainerSummary) -> Option<Self> {
        let labels = summary.labels.unwrap_or_default();
        let service = labels.get(LABEL_SERVICE).or_else(|| labels.get(COMPOSE_SERVICE))?.clone();
        let ports = summary.ports.unwrap_or_default();
        let bindings = ports
            .iter()
            .filter(|port| port.typ == Some(PortSummaryTypeEnum::TCP))
            .filter(|port| port.ip.as_deref().is_some_and(reachable_at_loopback))
            .filter_map(|port| Some((port.private_port, port.public_port?)))
            .collect();
        let networks = summary.network_settings.and_then(|settings| settings.networks);
        let mut addresses = networks.into_iter().flatten().filter_map(|(_, end)| end.ip_address);
        Some(Self {
            id: summary.id?,
            vm: EngineVmId(labels.get(LABEL_VM)?.clone()),
            service,
            state: state(summary.state, summary.status.as_deref().unwrap_or_default()),
            bindings,
            address: addresses.find_map(|address| address.parse().ok()),
            labels,
        })
    }

    /// Whether it runs or is about to.
    pub fn alive(&self) -> bool {
        self.state == ContainerState::Alive
    }

    /// Whether it is part of the app, not of its boot.
    pub fn of_app(&self) -> bool {
        !self.labels.contains_key(LABEL_SCRIPT)
    }

    /// Whether nobody starts it again when it ends.
    pub fn runs_once(&self) -> bool {
        self.labels.get(LABEL_RESTART).is_none_or(|policy| matches!(policy.as_str(), "" | "no"))
    }

    /// Whether compose made it.
    pub fn of_compose(&self) -> bool {
        self.labels.contains_key(COMPOSE_SERVICE)
    }

    /// The port in the container behind a published one.
    pub fn target(&self, published: u16) -> Option<u16> {
        self.labels.get(&format!("{LABEL_PORT}{published}"))?.split('/').next()?.parse().ok()
    }

    /// All ports it publishes.
    pub fn published(&self) -> impl Iterator<Item = u16> {
        self.labels.keys().filter_map(|label| label.strip_prefix(LABEL_PORT)?.parse().ok())
    }

    /// Its state in words.
    pub fn words(&self) -> String {
        match self.state {
            ContainerState::Created => "not started".to_owned(),
            ContainerState::Alive => "running".to_owned(),
            ContainerState::Exited(code) => format!("exited with {code}"),
        }
    }
}

/// `0.0.0.0` and `::` are mapped host ports, and the loopback is one of their addresses.
fn reachable_at_loopback(ip: &str) -> bool {
    matches!(ip, "127.0.0.1" | "0.0.0.0" | "")
}

fn state(state: Option<ContainerSummaryStateEnum>, status: &str) -> ContainerState {
    use ContainerSummaryStateEnum as Engine;
    match state {
        Some(Engine::CREATED) => ContainerState::Created,
        Some(Engine::RUNNING | Engine::PAUSED | Engine::RESTARTING | Engine::STOPPING) => {
            ContainerState::Alive
        }
        _ => ContainerState::Exited(exit_code(status)),
    }
}

/// Of `Exited (137) 5 minutes ago`.
fn exit_code(status: &str) -> i64 {
    let inside = status.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    inside.and_then(|(code, _)| code.parse().ok()).unwrap_or(-1)
}

/// What all containers of a VM together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Together {
    /// There are none.
    None,
    /// Some run, or all ended well.
    Fine {
        /// Some of them failed or never started.
        partly: bool,
    },
    /// Nothing runs, and not because it was done.
    Dead,
}

/// Judges the containers of an app.
pub(super) fn together<'a>(containers: impl IntoIterator<Item = &'a Container>) -> Together {
    let states: Vec<ContainerState> =
        containers.into_iter().filter(|one| one.of_app()).map(|one| one.state).collect();
    let alive = states.contains(&ContainerState::Alive);
    let fine =
        |state: &ContainerState| matches!(state, ContainerState::Alive | ContainerState::Exited(0));
    match (states.is_empty(), states.iter().all(fine)) {
        (true, _) => Together::None,
        (_, true) => Together::Fine { partly: false },
        (_, false) if alive => Together::Fine { partly: true },
        _ => Together::Dead,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A container of a VM.
    pub(in crate::node::docker) fn container(vm: &str, state: ContainerState) -> Container {
        Container {
            id: "c".to_owned(),
            vm: EngineVmId(vm.to_owned()),
            service: "web".to_owned(),
            state,
            labels: HashMap::new(),
            bindings: Vec::new(),
            address: None,
        }
    }

    #[test]
    fn exit_codes_are_read_from_the_status() {
        assert_eq!(exit_code("Exited (137) 5 minutes ago"), 137);
        assert_eq!(exit_code("Dead"), -1);
    }

    #[test]
    fn an_app_is_dead_when_nothing_runs_and_something_failed() {
        use ContainerState::{Alive, Created, Exited};
        let all = |states: &[ContainerState]| {
            let containers: Vec<Container> =
                states.iter().map(|state| container("v", *state)).collect();
            together(&containers)
        };
        assert_eq!(all(&[]), Together::None);
        assert_eq!(all(&[Alive, Exited(0)]), Together::Fine { partly: false });
        assert_eq!(all(&[Exited(0)]), Together::Fine { partly: false });
        assert_eq!(all(&[Alive, Exited(1)]), Together::Fine { partly: true });
        assert_eq!(all(&[Alive, Created]), Together::Fine { partly: true });
        assert_eq!(all(&[Exited(0), Exited(137)]), Together::Dead);
    }
}
