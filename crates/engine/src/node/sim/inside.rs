//! What a simulated guest tells of itself: what its configuration says, since nothing runs.

use casemate_core::{compose::docker, time::Timestamp};
use sha2::{Digest as _, Sha256};

use super::vm::Vm;
use crate::node::{GuestContainer, GuestDisk, GuestNetwork, GuestSystem};

/// One container of each service, none before the containers are up.
pub(super) fn containers(vm: &Vm, now: Timestamp) -> Vec<GuestContainer> {
    let Some(run) = vm.run.as_ref().filter(|_| vm.serves(now)) else { return Vec::new() };
    let document: serde_json::Value = serde_json::from_str(&vm.config.compose).unwrap_or_default();
    let file = document["docker_compose_file"].as_str();
    let Some(seen) = file.and_then(|file| docker::inspect(file).ok()) else { return Vec::new() };
    let container = |service: &String| {
        let image = seen.images.get(service).cloned().unwrap_or_default();
        GuestContainer {
            id: hex::encode(Sha256::digest(format!("{}/{service}/{}", vm.id, vm.runs))),
            names: vec![format!("/dstack-{service}-1")],
            image_id: format!("sha256:{}", hex::encode(Sha256::digest(&image))),
            image,
            command: None,
            created: i64::try_from(run.began.unix_seconds()).unwrap_or(i64::MAX),
            state: "running".to_owned(),
            status: format!("Up {} seconds", now.since(run.began).as_secs()),
        }
    };
    seen.services.iter().map(container).collect()
}

/// A machine of the configured size at rest.
pub(super) fn system(vm: &Vm, now: Timestamp) -> GuestSystem {
    let memory = u64::from(vm.config.memory_mb) << 20;
    let disk = u64::from(vm.config.disk_gb) << 30;
    GuestSystem {
        os_name: "simulated".to_owned(),
        os_version: vm.config.image.clone(),
        kernel_version: "none".to_owned(),
        cpu_model: "simulated".to_owned(),
        num_cpus: vm.config.vcpu,
        total_memory: memory,
        available_memory: memory,
        free_memory: memory,
        uptime: vm.run.as_ref().map_or(0, |run| now.since(run.began).as_secs()),
        disks: vec![GuestDisk {
            name: "vda".to_owned(),
            mount_point: "/".to_owned(),
            total_size: disk,
            free_size: disk,
        }],
        ..GuestSystem::default()
    }
}

/// There is no network.
pub(super) fn network() -> GuestNetwork {
    GuestNetwork::default()
}
