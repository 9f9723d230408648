//! One host.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use casemate_core::id::{DeviceId, EngineVmId};
use casemate_engine::node::{
    Image,
    sim::{SimNode, SimVm},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Profile;

/// What is wrong with a host beyond the faults of its simulator (`SimNode::host`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Every call waits for ever.
    Hangs,
    /// Every call gets status 503.
    Away,
    /// Fields of `CreateVm` and `UpdateVm` are dropped, and the answer is success.
    Ignores(Vec<String>),
    /// `Status` and `GetInfo` show a VM that is not there any more as running and done.
    ShowsGone,
    /// Its KMS does not answer the VMM.
    KmsDown,
}

/// A host with dstack-vmm.
#[derive(Debug)]
pub struct Host {
    /// Its build.
    pub profile: Profile,
    /// Its VMs.
    pub sim: SimNode,
    /// The token of its API; `None`: everybody may call.
    pub token: Option<String>,
    /// Domain of its gateway; empty: it has none.
    pub base_domain: String,
    /// Where guests register with that gateway.
    pub gateway_url: String,
    images: Vec<Image>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub faults: Vec<Fault>,
    /// VMs of other owners, as `Status` shows them.
    pub foreign: Vec<Value>,
    /// Annotations by the id of the VM.
    pub annotations: BTreeMap<String, Value>,
    /// What guests say of the device; `None`: what those on TDX say, which is nothing.
    pub device_id: Option<DeviceId>,
    /// Uptimes that were told.
    pub told: u64,
    /// What was last shown of VMs, for [`Fault::ShowsGone`].
    pub shown: Vec<Value>,
}

impl Host {
    /// A host of this build over a simulator with these images. Its API asks for the token.
    pub fn new(profile: Profile, sim: SimNode, images: Vec<Image>, token: Option<&str>) -> Self {
        Self {
            profile,
            sim,
            token: token.map(str::to_owned),
            base_domain: "apps.example".to_owned(),
            gateway_url: "https://gateway.example:8010".to_owned(),
            images,
            state: Mutex::default(),
        }
    }

    /// Replaces all faults.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.state().faults = faults;
    }

    /// Guests say from now on that they are on this device.
    pub fn set_device_id(&self, device_id: DeviceId) {
        self.state().device_id = Some(device_id);
    }

    /// Adds a VM that somebody else made, under this name.
    pub fn add_foreign(&self, name: &str) {
        self.state().foreign.push(serde_json::json!({
            "id": name, "name": name, "status": "running", "uptime": "1m", "boot_progress": "done",
        }));
    }

    /// Its VMs.
    pub fn vms(&self) -> std::io::Result<Vec<SimVm>> {
        self.sim.host().vms()
    }

    /// The annotations that were sent for a VM, also to a build that drops them; `None`: none were.
    pub fn annotations(&self, vm: &EngineVmId) -> Option<Value> {
        self.state().annotations.get(&vm.0).cloned()
    }

    pub(crate) fn images(&self) -> &[Image] {
        &self.images
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_fault(&self, fault: &Fault) -> bool {
        self.state().faults.contains(fault)
    }

    pub(crate) fn ignored(&self) -> Vec<String> {
        let state = self.state();
        let ignored = state.faults.iter().filter_map(|fault| match fault {
            Fault::Ignores(fields) => Some(fields.clone()),
            Fault::Hangs | Fault::Away | Fault::ShowsGone | Fault::KmsDown => None,
        });
        ignored.flatten().collect()
    }
}
