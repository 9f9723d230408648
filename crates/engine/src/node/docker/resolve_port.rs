//! Where the gateway reaches a published port. The engine chooses free ports of the loopback, and
//! other ones whenever a container starts again, so an answer is kept for a moment only: long enough
//! for a burst of requests, too short for the number to become another container's.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use casemate_core::{
    cvm::{Boot, ServiceFault},
    id::EngineVmId,
    time::Timestamp,
};

use super::{container::Container, script::MAIN, shared::Shared, vm::Vm};
use crate::node::{Dial, DialError};

const KEPT: Duration = Duration::from_secs(1);
/// More than this many answers are not kept.
const MAX_KEPT: usize = 10_000;

/// Answers of the last moment.
#[derive(Debug, Default)]
pub(super) struct PortCache(Mutex<HashMap<(EngineVmId, u16), (SocketAddr, Timestamp)>>);

impl PortCache {
    /// Forgets a VM.
    pub fn clear(&self, vm: &EngineVmId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _), _| id != vm);
    }

    fn get(&self, vm: &EngineVmId, port: u16, now: Timestamp) -> Option<SocketAddr> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (address, at) = kept.get(&(vm.clone(), port))?;
        (now.since(*at) < KEPT && now >= *at).then_some(*address)
    }

    fn put(&self, vm: &EngineVmId, port: u16, address: SocketAddr, now: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, (_, at)| now.since(*at) < KEPT);
        }
        if kept.len() < MAX_KEPT {
            kept.insert((vm.clone(), port), (address, now));
        }
    }
}

/// Where a published port is.
pub(super) async fn resolve_port(node: &Shared, vm: &Vm, port: u16) -> Result<Dial, DialError> {
    if !vm.record().state.started {
        return Err(DialError::NotUp("the CVM is not started".to_owned()));
    }
    let now = node.clock.now();
    if let Some(address) = node.ports.get(&vm.id, port, now) {
        return Ok(Dial::Tcp(address));
    }
    let containers = node.engine.containers(Some(&vm.id)).await;
    let containers = containers.map_err(|error| DialError::Unreachable(error.to_string()))?;
    let address = find(&containers, port, &vm.boot().0).map_err(|error| plain(error, vm))?;
    node.ports.put(&vm.id, port, address, now);
    Ok(Dial::Tcp(address))
}

/// A visitor is told which services failed, and not what they wrote.
fn plain(error: DialError, vm: &Vm) -> DialError {
    let faults = vm.boot_faults();
    match (error, vm.boot().0) {
        (DialError::NotUp(_), Boot::Failed(_)) if !faults.is_empty() => {
            let faults: Vec<String> = faults.iter().map(ServiceFault::summary).collect();
            DialError::NotUp(format!("the boot failed: {}", faults.join("; ")))
        }
        (error, _) => error,
    }
}

/// The address of a published port among the containers of a VM.
fn find(containers: &[Container], port: u16, boot: &Boot) -> Result<SocketAddr, DialError> {
    let app: Vec<&Container> = containers.iter().filter(|one| one.of_app()).collect();
    if let Some(main) = app.iter().find(|one| one.service == MAIN && !one.of_compose()) {
        return open(main, port);
    }
    let behind: Vec<&&Container> = app.iter().filter(|one| one.target(port).is_some()).collect();
    if let Some(bound) = behind.iter().find_map(|one| bound(one, port)) {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), bound));
    }
    match (behind.first(), boot) {
        (Some(one), _) => {
            Err(DialError::NotUp(format!("container {} is {}", one.service, one.words())))
        }
        (None, Boot::Progress(step)) => {
            Err(DialError::NotUp(format!("the CVM is booting: {step}")))
        }
        (None, Boot::Failed(cause)) => Err(DialError::NotUp(format!("the boot failed: {cause}"))),
        (None, _) => {
            let mut published: Vec<u16> = app.iter().flat_map(|one| one.published()).collect();
            published.sort_unstable();
            published.dedup();
            Err(DialError::NotPublished { port, published })
        }
    }
}

fn bound(container: &Container, port: u16) -> Option<u16> {
    let target = container.target(port)?;
    let found = container.bindings.iter().find(|(private, _)| *private == target);
    found.filter(|_| container.alive()).map(|(_, public)| *public)
}

/// The main script of runner `bash` publishes nothing: it has the machine's ports.
fn open(main: &Container, port: u16) -> Result<SocketAddr, DialError> {
    match main.address.filter(|_| main.alive()) {
        Some(address) => Ok(SocketAddr::new(address, port)),
        None => Err(DialError::NotUp(format!("the main script is {}", main.words()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::docker::container::{ContainerState, tests::container};

    fn web(state: ContainerState) -> Container {
        let mut web = container("v", state);
        web.labels.insert("casemate.port.8080".to_owned(), "80/tcp".to_owned());
        web.bindings = vec![(80, 32768)];
        web
    }

    #[test]
    fn a_published_port_is_found_and_others_are_told() {
        let up = [web(ContainerState::Alive)];
        assert_eq!(find(&up, 8080, &Boot::Done), Ok("127.0.0.1:32768".parse().unwrap()));
        let missing = DialError::NotPublished { port: 80, published: vec![8080] };
        assert_eq!(find(&up, 80, &Boot::Done), Err(missing));
    }

    #[test]
    fn what_is_down_says_so() {
        let text =
            |containers: &[Container], boot| find(containers, 8080, &boot).unwrap_err().to_string();
        assert_eq!(
            text(&[web(ContainerState::Exited(1))], Boot::Done),
            "container web is exited with 1"
        );
        let boot = Boot::Progress("pre-launch".to_owned());
        assert_eq!(text(&[], boot), "the CVM is booting: pre-launch");
        assert_eq!(text(&[], Boot::Failed("no image".to_owned())), "the boot failed: no image");
    }

    #[test]
    fn answers_are_kept_for_a_moment() {
        let cache = PortCache::default();
        let (vm, address) = (EngineVmId("v".to_owned()), "127.0.0.1:1".parse().unwrap());
        let at = Timestamp::from_micros(10);
        cache.put(&vm, 80, address, at);
        assert_eq!(cache.get(&vm, 80, at), Some(address));
        assert_eq!(cache.get(&vm, 80, at.plus(KEPT)), None);
        cache.clear(&vm);
        assert_eq!(cache.get(&vm, 80, at), None);
    }
}
