//! What the engine says of containers and volumes, in the terms of the comparison.

use bollard::models::{ContainerInspectResponse, HostConfig, SystemInfo, Volume};

use super::{Created, CreatedMount, CreatedVolume, EngineDefaults, expected::capability};
use crate::node::docker::derive::LABEL_VM;

const COMPOSE_SERVICE: &str = "com.docker.compose.service";

/// The engine's defaults.
pub(in crate::node::docker) fn defaults(info: &SystemInfo) -> EngineDefaults {
    let options = info.security_options.as_deref().unwrap_or_default();
    EngineDefaults {
        private_cgroups: options.iter().any(|option| option == "name=cgroupns"),
        runtime: info.default_runtime.clone().unwrap_or_default(),
    }
}

pub(in crate::node::docker) fn container(found: ContainerInspectResponse) -> Created {
    let config = found.config.unwrap_or_default();
    let check = config.healthcheck.and_then(|check| check.interval);
    let labels = config.labels.unwrap_or_default();
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let networks = found.network_settings.and_then(|settings| settings.networks);
    let mounts = found.mounts.unwrap_or_default().into_iter().map(|mount| CreatedMount {
        kind: mount.typ.unwrap_or_default(),
        name: mount.name.unwrap_or_default(),
        source: mount.source.unwrap_or_default(),
        target: mount.destination.unwrap_or_default(),
        writable: mount.rw.unwrap_or(true),
        propagation: mount.propagation.unwrap_or_default(),
    });
    let host = found.host_config.unwrap_or_default();
    Created {
        id: found.id.unwrap_or_default(),
        service: label(COMPOSE_SERVICE),
        vm: label(LABEL_VM),
        image: found.image.unwrap_or_default(),
        mounts: mounts.collect(),
        tmpfs: host.tmpfs.iter().flatten().map(|(target, _)| target.clone()).collect(),
        networks: networks.unwrap_or_default().into_keys().collect(),
        devices: devices(&host),
        network_mode: host.network_mode.unwrap_or_default(),
        pid: host.pid_mode.unwrap_or_default(),
        ipc: host.ipc_mode.unwrap_or_default(),
        uts: host.uts_mode.unwrap_or_default(),
        userns: host.userns_mode.unwrap_or_default(),
        cgroup: host.cgroupns_mode.map(|mode| mode.to_string()).unwrap_or_default(),
        cgroup_parent: host.cgroup_parent.unwrap_or_default(),
        privileged: host.privileged.unwrap_or_default(),
        cap_add: host.cap_add.unwrap_or_default().iter().map(|one| capability(one)).collect(),
        security_opt: host.security_opt.unwrap_or_default(),
        runtime: host.runtime.unwrap_or_default(),
        volumes_from: host.volumes_from.unwrap_or_default(),
        check_interval: check.unwrap_or_default(),
    }
}

fn devices(host: &HostConfig) -> Vec<String> {
    let mapped =
        host.devices.iter().flatten().map(|one| one.path_on_host.clone().unwrap_or_default());
    let rules = host.device_cgroup_rules.iter().flatten().cloned();
    let asked = host
        .device_requests
        .iter()
        .flatten()
        .map(|one| format!("request to {}", one.driver.as_deref().unwrap_or("any driver")));
    mapped.chain(rules).chain(asked).collect()
}

pub(in crate::node::docker) fn volume(found: Volume) -> CreatedVolume {
    CreatedVolume {
        name: found.name,
        driver: found.driver,
        vm: found.labels.get(LABEL_VM).cloned(),
        options: found.options.into_iter().collect(),
    }
}
