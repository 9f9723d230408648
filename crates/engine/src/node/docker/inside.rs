//! What the guest of a docker node would tell of itself: the containers of the CVM as the engine lists them, its
//! limits as the size of the machine, and what a process in a container sees of the host.

use std::{fs, path::Path, time::Duration};

use bollard::{models::ContainerSummary, query_parameters::StatsOptionsBuilder};
use casemate_core::cvm::Boot;
use futures_util::{StreamExt as _, future::join_all};

use super::{
    container::{Container, ContainerState},
    engine::within,
    shared::Shared,
    vm::Vm,
};
use crate::node::{CallError, GuestContainer, GuestDisk, GuestNetwork, GuestSystem};

const LIMIT: Duration = Duration::from_secs(20);

/// A guest that is not up has nothing to tell.
fn answers(vm: &Vm) -> Result<(), CallError> {
    let up = vm.record().state.started && vm.boot().0 == Boot::Done;
    if up { Ok(()) } else { Err(CallError::Rejected("the CVM is not up".to_owned())) }
}

/// The containers of the app, by name as dstack guests give them: `/dstack-web-1`.
pub(super) async fn containers(node: &Shared, vm: &Vm) -> Result<Vec<GuestContainer>, CallError> {
    answers(vm)?;
    let found = node.engine.summaries(Some(&vm.id)).await?;
    let mut told: Vec<GuestContainer> = found.into_iter().filter_map(told).collect();
    told.sort_by(|one, other| one.names.cmp(&other.names));
    Ok(told)
}

fn told(summary: ContainerSummary) -> Option<GuestContainer> {
    let container = Container::read(summary.clone()).filter(Container::of_app)?;
    Some(GuestContainer {
        id: container.id,
        names: vec![format!("/dstack-{}-{}", container.service, container.number)],
        image: summary.image.unwrap_or_default(),
        image_id: summary.image_id.unwrap_or_default(),
        command: summary.command,
        created: summary.created.unwrap_or_default(),
        state: summary.state.map(|state| state.to_string()).unwrap_or_default(),
        status: summary.status.unwrap_or_default(),
    })
}

/// The limits of the CVM with what it uses of them; kernel, load and disk are the host's. Where the engine is on
/// another host, processor model, load and disk are not known, and zero or empty.
pub(super) async fn system(node: &Shared, vm: &Vm) -> Result<GuestSystem, CallError> {
    answers(vm)?;
    let info = within(LIMIT, node.engine.docker().info()).await?;
    let record = vm.record();
    let total = u64::from(record.manifest.memory_mb) << 20;
    let used = match node.cgroups.memory_used(&vm.id) {
        Some(used) => used,
        None => memory_of_containers(node, vm).await?,
    };
    let free = total.saturating_sub(used);
    let started = record.state.started_at;
    let mut system = GuestSystem {
        os_name: info.operating_system.unwrap_or_default(),
        os_version: record.manifest.image.clone(),
        kernel_version: info.kernel_version.unwrap_or_default(),
        num_cpus: record.manifest.vcpu,
        total_memory: total,
        available_memory: free,
        used_memory: used.min(total),
        free_memory: free,
        uptime: started.map_or(0, |at| node.clock.now().since(at).as_secs()),
        ..GuestSystem::default()
    };
    if node.local {
        let root = info.docker_root_dir.unwrap_or_default();
        let driver = info.driver.unwrap_or_default();
        let disk = move || (host_processor(), host_load(), disk_of(Path::new(&root), driver));
        let read = tokio::task::spawn_blocking(disk).await;
        let (model, load, disk) = read.map_err(|error| CallError::Unknown(error.to_string()))?;
        system.cpu_model = model;
        [system.loadavg_one, system.loadavg_five, system.loadavg_fifteen] = load;
        system.disks.extend(disk);
    }
    Ok(system)
}

/// Address of the first container that has one.
pub(super) async fn network(node: &Shared, vm: &Vm) -> Result<GuestNetwork, CallError> {
    answers(vm)?;
    let containers = node.engine.containers(Some(&vm.id)).await?;
    let mut addresses = containers
        .iter()
        .filter(|one| one.of_app() && one.state == ContainerState::Alive)
        .filter_map(|one| one.address);
    Ok(GuestNetwork {
        internal_ip: addresses.next().map(|address| address.to_string()),
        latest_handshake: None,
    })
}

/// Bytes that the running containers of a VM use together, asked of the engine.
async fn memory_of_containers(node: &Shared, vm: &Vm) -> Result<u64, CallError> {
    let containers = node.engine.containers(Some(&vm.id)).await?;
    let running = containers.iter().filter(|one| one.state == ContainerState::Alive);
    let used = running.map(async |one| {
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let first = async {
            let mut stats = node.engine.docker().stats(&one.id, Some(options));
            stats.next().await.transpose()
        };
        let stats = within(LIMIT, first).await?;
        Ok(stats.and_then(|stats| stats.memory_stats?.usage).unwrap_or_default())
    });
    join_all(used).await.into_iter().sum()
}

/// `model name` of the first processor.
fn host_processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    line.map(|(_, model)| model.trim().to_owned()).unwrap_or_default()
}

/// Load over 1, 5 and 15 minutes, in hundredths.
fn host_load() -> [u32; 3] {
    load(&fs::read_to_string("/proc/loadavg").unwrap_or_default())
}

fn load(text: &str) -> [u32; 3] {
    let mut words = text.split_whitespace().map(|word| {
        let (whole, part) = word.split_once('.')?;
        let whole: u32 = whole.parse().ok()?;
        whole.checked_mul(100)?.checked_add(part.get(..2)?.parse().ok()?)
    });
    [(); 3].map(|()| words.next().flatten().unwrap_or_default())
}

/// The file system that containers write to.
fn disk_of(root: &Path, driver: String) -> Option<GuestDisk> {
    let found = rustix::fs::statvfs(root).ok()?;
    Some(GuestDisk {
        name: driver,
        mount_point: "/".to_owned(),
        total_size: found.f_blocks.saturating_mul(found.f_frsize),
        free_size: found.f_bavail.saturating_mul(found.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_in_hundredths() {
        assert_eq!(load("0.52 12.00 1.07 2/345 678\n"), [52, 1200, 107]);
        assert_eq!(load("nonsense"), [0, 0, 0]);
    }

    #[test]
    fn the_file_system_of_a_directory_has_a_size() {
        let disk = disk_of(Path::new("/"), "overlay2".to_owned()).unwrap();
        assert!(disk.total_size > 0 && disk.free_size <= disk.total_size);
        assert_eq!(disk_of(Path::new("/no/such/directory"), String::new()), None);
    }
}
