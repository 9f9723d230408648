//! Containers as the engine lists them, and what they say about their VM.

use std::collections::HashMap;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, PortSummaryTypeEnum};
use casemate_core::id::EngineVmId;

use super::derive::{
    LABEL_AGENT, LABEL_BRIDGES, LABEL_CVM, LABEL_FILES, LABEL_NODE, LABEL_PORT, LABEL_RESTART,
    LABEL_VM,
};

/// Label with the service of containers that compose did not make.
pub(super) const LABEL_SERVICE: &str = "casemate.service";
/// Label of containers that only run a script during boot.
pub(super) const LABEL_SCRIPT: &str = "casemate.script";
/// Labels that mean something to the node, apart from those with ports.
const OWN_LABELS: [&str; 9] = [
    LABEL_AGENT,
    LABEL_BRIDGES,
    LABEL_CVM,
    LABEL_FILES,
    LABEL_NODE,
    LABEL_RESTART,
    LABEL_SCRIPT,
    LABEL_SERVICE,
    LABEL_VM,
];
const COMPOSE_NUMBER: &str = "com.docker.compose.container-number";
const COMPOSE_SERVICE: &str = "com.docker.compose.service";

/// Whether a label means something to the node.
pub(super) fn is_own_label(name: &str) -> bool {
    OWN_LABELS.contains(&name) || name.starts_with(LABEL_PORT)
}

/// One container of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub id: String,
    pub vm: EngineVmId,
    pub service: String,
    /// Which of the containers of its service it is, from 1.
    pub number: u16,
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
    /// Running or paused.
    Alive,
    /// It ended with this code and is started again in a moment.
    Restarting(i64),
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
            number: labels
                .get(COMPOSE_NUMBER)
                .and_then(|text| text.parse().ok())
                .filter(|number| *number > 0)
                .unwrap_or(1),
            state: state(summary.state, summary.status.as_deref().unwrap_or_default()),
            bindings,
            address: addresses.find_map(|address| address.parse().ok()),
            labels,
        })
    }

    /// Whether it runs or is about to.
    pub fn alive(&self) -> bool {
        self.state.alive()
    }

    /// Whether it is part of the app, not of its boot.
    pub fn of_app(&self) -> bool {
        !self.labels.contains_key(LABEL_SCRIPT)
    }

    /// Whether it is done when it ends well.
    pub fn may_end_well(&self) -> bool {
        let policy = self.labels.get(LABEL_RESTART).map_or("no", String::as_str);
        !matches!(policy, "always" | "unless-stopped")
    }

    /// Whether compose made it.
    pub fn of_compose(&self) -> bool {
        self.labels.contains_key(COMPOSE_SERVICE)
    }

    /// The port in the container behind a published one.
    pub fn target(&self, published: u16) -> Option<u16> {
        self.ports().find(|(port, _)| *port == published).map(|(_, target)| target)
    }

    /// All ports it publishes.
    pub fn published(&self) -> impl Iterator<Item = u16> {
        self.ports().map(|(port, _)| port)
    }

    /// Published ports with those in the container. Of a range every container of the service has one.
    fn ports(&self) -> impl Iterator<Item = (u16, u16)> {
        self.labels.iter().filter_map(|(label, target)| {
            let port = match label.strip_prefix(LABEL_PORT)?.split_once('-') {
                None => label.strip_prefix(LABEL_PORT)?.parse().ok()?,
                Some((first, last)) => {
                    let port = first.parse::<u16>().ok()?.checked_add(self.number - 1)?;
                    (port <= last.parse().ok()?).then_some(port)?
                }
            };
            Some((port, target.split('/').next()?.parse().ok()?))
        })
    }

    /// Its state in words.
    pub fn words(&self) -> String {
        match self.state {
            ContainerState::Created => "not started".to_owned(),
            ContainerState::Alive => "running".to_owned(),
            ContainerState::Restarting(code) => {
                format!("restarting, the last time it exited with {code}")
            }
            ContainerState::Exited(code) => format!("exited with {code}"),
        }
    }
}

impl ContainerState {
    /// Running, or about to be.
    pub fn alive(self) -> bool {
        matches!(self, Self::Alive | Self::Restarting(_))
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
        Some(Engine::RUNNING | Engine::PAUSED | Engine::STOPPING) => ContainerState::Alive,
        Some(Engine::RESTARTING) => ContainerState::Restarting(exit_code(status)),
        _ => ContainerState::Exited(exit_code(status)),
    }
}

/// Of `Exited (137) 5 minutes ago` and `Restarting (1) 2 seconds ago`.
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
    let alive = states.iter().any(|state| state.alive());
    let fine = |state: &ContainerState| state.alive() || *state == ContainerState::Exited(0);
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
            number: 1,
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
    fn of_a_range_every_container_has_one_port() {
        let mut one = container("v", ContainerState::Alive);
        one.labels.insert(format!("{LABEL_PORT}8081-8083"), "80/tcp".to_owned());
        one.labels.insert(format!("{LABEL_PORT}9000"), "90/tcp".to_owned());
        one.number = 2;
        assert_eq!(one.target(8082), Some(80));
        assert_eq!(one.target(8081), None);
        assert_eq!(one.target(9000), Some(90));
        one.number = 4;
        assert_eq!(one.published().collect::<Vec<_>>(), [9000]);
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
