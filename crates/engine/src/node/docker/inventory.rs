//! What a docker node is and can take.

use bollard::models::SystemInfo;
use casemate_core::node::Capabilities;

use super::{
    cgroup::Cgroups,
    engine::within,
    shared::{Shared, os_image_hash},
};
use crate::node::{CallError, Capacity, GuestReported, Image, Inventory, Tee};

/// A container engine shares CPUs, so a node promises more than it has.
const OVERCOMMIT: u32 = 4;
const SLOTS: u32 = 64;
/// Not measured, and not enforced either.
const DISK_GB: u32 = 1000;
const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

/// The inventory, asked of the engine.
pub(super) async fn inventory(node: &Shared) -> Result<Inventory, CallError> {
    let info = within(LIMIT, node.engine.docker().info()).await?;
    node.firewall.ensure().await;
    Ok(Inventory {
        tee: Tee::None,
        version: node.version.clone(),
        device_id: node.ident.device,
        guest_reported: GuestReported::default(),
        fmspc: None,
        images: node.config.images.iter().map(|name| image(name)).collect(),
        capacity: node.config.capacity.unwrap_or_else(|| capacity(&info)),
        capabilities: Capabilities::of_container_engine(node.config.allow.clone()),
        gateway_domain: None,
        gpus: Vec::new(),
        probe: None,
        notes: notes(node),
    })
}

/// The name is all there is of an OS image here.
fn image(name: &str) -> Image {
    Image {
        name: name.to_owned(),
        version: name.rsplit('-').next().unwrap_or_default().to_owned(),
        is_dev: name.contains("-dev-"),
        os_image_hash: Some(os_image_hash(name)),
    }
}

fn capacity(info: &SystemInfo) -> Capacity {
    let cpus = u32::try_from(info.ncpu.unwrap_or(1).max(1)).unwrap_or(u32::MAX);
    let memory = info.mem_total.unwrap_or(0).max(0) / (1024 * 1024);
    Capacity {
        slots: SLOTS,
        vcpu: cpus.saturating_mul(OVERCOMMIT),
        memory_mb: u32::try_from(memory).unwrap_or(u32::MAX),
        disk_gb: DISK_GB,
    }
}

fn notes(node: &Shared) -> Vec<String> {
    let mut notes = vec![
        "no TEE: the host reads memory, disks and variables of every CVM".to_owned(),
        "for one trusted tenant: containers share the host's kernel, disk and image store"
            .to_owned(),
        "OS images are names only: containers run on the host's kernel".to_owned(),
        node.cgroups.description(),
        "disk sizes are not enforced".to_owned(),
    ];
    if !node.local {
        notes.push(
            "the engine is not on this host: bind mounts, guest agent and published ports need one that is"
                .to_owned(),
        );
    }
    if matches!(node.cgroups, Cgroups::No(_)) {
        notes.push("a CVM with several services may take its limit several times over".to_owned());
    }
    notes.extend(node.compose_note.clone());
    notes.extend(node.runc_note.clone());
    notes.extend(node.firewall.note());
    let granted = node.grants.words();
    if !granted.is_empty() {
        notes.push(format!("compose files may use: {}", granted.join(", ")));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_labels_with_stable_hashes() {
        let dev = image("dstack-dev-0.5.4");
        assert!(dev.is_dev && dev.version == "0.5.4");
        assert_ne!(dev.os_image_hash, image("dstack-0.5.4").os_image_hash);
        assert_eq!(dev.os_image_hash.map(|hash| hash.len()), Some(64));
    }

    #[test]
    fn capacity_follows_the_host() {
        let info = SystemInfo { ncpu: Some(2), mem_total: Some(8 << 30), ..SystemInfo::default() };
        let found = capacity(&info);
        assert_eq!((found.vcpu, found.memory_mb), (8, 8192));
    }
}
