//! What a host is. dstack-vmm reports neither its device id nor the hashes of its images; its guests do. Each
//! booted guest is asked once, one in a round.

use std::collections::{BTreeMap, BTreeSet};

use casemate_core::{
    drift::ReportedConfig,
    id::{ComposeHash, DeviceId, EngineVmId},
    instance::named_device,
    node::{Capabilities, NodeKind},
};
use sha2::{Digest, Sha256};

use super::{
    DstackConfig, DstackNode, convert,
    wire::{
        self, GetInfoResponse, GpuList, GuestInfo, Id, ImageList, Meta, StatusRequest,
        StatusResponse, TcbInfo, VersionResponse, VmInfo,
    },
};
use crate::node::{CallError, Capacity, Gpu, GuestReported, Image, Inventory, Mark, Tee};

/// VMs of one answer with configurations: each may have a document of 200 KiB and an environment of 256 KiB.
const PAGE: u32 = 50;
/// Pages that are read at most.
const PAGES: u32 = 40;

/// What the guests of a host told.
#[derive(Debug, Clone, Default)]
pub(super) struct Guests {
    /// As the operator says it, else as the last guest told it.
    device_id: Option<DeviceId>,
    /// `os_image_hash` by the name of the image.
    image_hashes: BTreeMap<String, String>,
    /// VMs that have booted.
    booted: BTreeSet<String>,
    /// Those of them that were asked.
    asked: BTreeSet<String>,
}

impl Guests {
    pub fn new(device_id: Option<DeviceId>) -> Self {
        Self { device_id, ..Self::default() }
    }

    /// Notes which VMs have booted. `all`: these are all VMs of the host.
    pub fn note_booted(&mut self, vms: &[VmInfo], all: bool) {
        let is_up = |vm: &&VmInfo| vm.status == "running" && vm.boot_progress == "done";
        if all {
            self.booted = vms.iter().filter(is_up).map(|vm| vm.id.clone()).collect();
            // One that boots again is asked again.
            let booted = &self.booted;
            self.asked.retain(|vm| booted.contains(vm));
        } else {
            self.booted.extend(vms.iter().filter(is_up).map(|vm| vm.id.clone()));
        }
    }

    fn next(&mut self) -> Option<String> {
        let next = self.booted.difference(&self.asked).next().cloned()?;
        self.asked.insert(next.clone());
        Some(next)
    }
}

impl DstackNode {
    /// Asks one guest that was not asked since it booted. A guest that does not answer changes nothing.
    pub(super) async fn ask_a_guest(&self) {
        let Some(vm) = self.known().guests.next() else { return };
        let Ok(told) = self.vmm.guest::<GuestInfo>("Info", &vm).await else { return };
        let hash =
            serde_json::from_str::<TcbInfo>(&told.tcb_info).ok().map(|tcb| tcb.os_image_hash);
        let hash = hash.filter(|hash| !hash.is_empty());
        let image = match &hash {
            Some(_) => self.image_of(&vm).await,
            None => None,
        };
        let mut known = self.known();
        let device_id = told.device_id.parse().ok().and_then(named_device);
        if let (Some(device_id), None) = (device_id, self.config.device_id) {
            known.guests.device_id = Some(device_id);
        }
        if let (Some(hash), Some(image)) = (hash, image) {
            known.guests.image_hashes.insert(image, hash);
        }
    }

    async fn image_of(&self, vm: &str) -> Option<String> {
        let request = Id { id: vm.to_owned() };
        let found: GetInfoResponse = self.vmm.call("GetInfo", &request).await.ok()?;
        found.info?.configuration.map(|configuration| configuration.image)
    }

    /// The configurations of all our VMs, page by page.
    pub(super) async fn read_configs(
        &self,
    ) -> Result<Vec<(Mark, EngineVmId, ReportedConfig)>, CallError> {
        let mut all = Vec::new();
        for page in 1..=PAGES {
            let request = StatusRequest { page, page_size: PAGE, ..StatusRequest::default() };
            let vms = self.vmm.call::<_, StatusResponse>("Status", &request).await?.vms;
            let is_last = vms.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            all.extend(vms.iter().filter_map(config));
            if is_last {
                break;
            }
        }
        Ok(all)
    }
}

fn config(vm: &VmInfo) -> Option<(Mark, EngineVmId, ReportedConfig)> {
    let has = vm.configuration.as_ref()?;
    let config = ReportedConfig {
        image: has.image.clone(),
        compose_hash: ComposeHash::from_bytes(Sha256::digest(has.compose_file.as_bytes()).into()),
        vcpu: has.vcpu,
        memory_mb: has.memory,
        disk_gb: has.disk_size,
    };
    Some((convert::mark(vm)?, EngineVmId(vm.id.clone()), config))
}

pub(super) fn inventory(
    config: &DstackConfig,
    build: &VersionResponse,
    meta: &Meta,
    images: ImageList,
    gpus: &GpuList,
    guests: &Guests,
) -> Inventory {
    let mut notes = Vec::new();
    if matches!(config.tee, Tee::None | Tee::Simulated) {
        notes.push("no TEE: whoever runs the host can read the memory of its CVMs".to_owned());
    }
    if guests.device_id.is_none() {
        notes.push(
            "device id unknown: dstack-vmm does not tell it, and neither do guests on TDX"
                .to_owned(),
        );
    }
    if images.images.is_empty() {
        notes.push("no OS image: put one into the image directory of the host".to_owned());
    }
    if meta.kms.urls.is_empty() && meta.kms.url.is_empty() {
        notes.push("no KMS is configured on this node".to_owned());
    }
    let gateway_domain = match (meta.gateway.base_domain.as_str(), meta.gateway.port) {
        ("", _) => {
            notes.push("no gateway is configured on this node".to_owned());
            None
        }
        (domain, 0 | 443) => Some(domain.to_owned()),
        (domain, port) => Some(format!("{domain}:{port}")),
    };
    if !gpus.gpus.is_empty() {
        let free = gpus.gpus.iter().filter(|gpu| gpu.is_free).count();
        notes.push(format!("GPUs: {} of {} free", free, gpus.gpus.len()));
    }
    let resources = &meta.resources;
    Inventory {
        tee: config.tee,
        version: build.version.clone(),
        device_id: guests.device_id.unwrap_or_else(|| DeviceId::from_bytes([0; 32])),
        guest_reported: GuestReported { device_id: config.device_id.is_none(), image_hashes: true },
        fmspc: None,
        images: images.images.into_iter().map(|info| image(info, guests)).collect(),
        capacity: Capacity {
            slots: resources.max_cvm_number,
            vcpu: resources.max_allocable_vcpu,
            memory_mb: resources.max_allocable_memory_in_mb,
            // Disks are sparse and dstack-vmm does not say how much room there is: the operator's limit counts.
            disk_gb: u32::MAX,
        },
        capabilities: Capabilities {
            gpus: !gpus.gpus.is_empty(),
            sealed_env: config.sealed_env,
            ..Capabilities::of_vm_host(NodeKind::Dstack)
        },
        gateway_domain,
        gpus: gpus.gpus.iter().map(gpu).collect(),
        probe: None,
        notes,
    }
}

fn image(image: wire::ImageInfo, guests: &Guests) -> Image {
    let os_image_hash = guests.image_hashes.get(&image.name).cloned();
    Image { name: image.name, version: image.version, is_dev: image.is_dev, os_image_hash }
}

fn gpu(gpu: &wire::GpuInfo) -> Gpu {
    Gpu { slot: gpu.slot.clone(), product_id: gpu.product_id.clone(), is_free: gpu.is_free }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(id: &str, progress: &str) -> VmInfo {
        VmInfo {
            id: id.to_owned(),
            status: "running".to_owned(),
            boot_progress: progress.to_owned(),
            ..VmInfo::default()
        }
    }

    #[test]
    fn each_booted_guest_is_asked_once_a_boot() {
        let mut guests = Guests::new(None);
        let all = [vm("a", "done"), vm("b", "starting containers"), vm("c", "done")];
        guests.note_booted(&all, true);
        assert_eq!((guests.next().as_deref(), guests.next().as_deref()), (Some("a"), Some("c")));
        assert_eq!(guests.next(), None);
        guests.note_booted(&all, true);
        assert_eq!(guests.next(), None);
        guests.note_booted(&[vm("c", "done")], true);
        guests.note_booted(&[vm("a", "done")], false);
        assert_eq!((guests.next().as_deref(), guests.next()), (Some("a"), None));
    }
}
