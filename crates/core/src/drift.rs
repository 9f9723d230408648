//! Drift: what a node shows against what is recorded. Only a node that answers is compared, and only CVMs at
//! rest: a reconciler that works on a CVM knows better.
//!
//! Absent on purpose: the sealed environment of a VM. After a rotation of keys a guest seals it again by
//! itself.

use serde::{Deserialize, Serialize};

use crate::{
    cvm::{DesiredState, EngineState, ObservedVm, Power, Spec, Status, VmPower},
    id::{ComposeHash, DeviceId},
    image::published_hash,
};

/// A kind of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// The VM of a CVM is gone, and its disk with it.
    Lost,
    /// The VM is up or down, or has a configuration, that nobody here wanted.
    Changed,
    /// A VM carries the mark of a CVM that is not on this node.
    UnknownVm,
    /// A VM boots another OS image than its CVM has, or an image that is not the published one.
    WrongImage,
    /// Another host answers under the node's address.
    HostReplaced,
}

impl DriftKind {
    pub const ALL: [Self; 5] =
        [Self::Lost, Self::Changed, Self::UnknownVm, Self::WrongImage, Self::HostReplaced];

    /// The word in the database, on the wire and in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Changed => "changed",
            Self::UnknownVm => "unknown_vm",
            Self::WrongImage => "wrong_image",
            Self::HostReplaced => "host_replaced",
        }
    }

    /// The kind with this word; `None`: only a newer version knows it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Why it cannot be repaired; `None`: it can.
    pub const fn not_repairable(self) -> Option<&'static str> {
        match self {
            Self::Changed | Self::WrongImage => None,
            Self::Lost => Some("the disk is lost with the VM: a person has to decide"),
            Self::UnknownVm => Some("a VM that is not known here is never removed by itself"),
            Self::HostReplaced => Some("only an operator can say which host it should be"),
        }
    }
}

/// The configured reaction to a kind of drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftPolicy {
    /// It is listed, and an event.
    Alert,
    /// Also, the CVM is made as desired. That may restart its guest.
    Repair,
    /// It is not listed, and no event.
    Ignore,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    pub kind: DriftKind,
    /// For people.
    pub what: String,
}

/// The configuration of a VM as its node tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReportedConfig {
    /// Name of the OS image.
    pub image: String,
    /// SHA-256 of the document.
    pub compose_hash: ComposeHash,
    pub vcpu: u32,
    /// MiB.
    pub memory_mb: u32,
    /// GB.
    pub disk_gb: u32,
}

/// How the state of a CVM at rest differs from what is desired.
pub fn of_state(desired: &DesiredState, status: &Status, vm: Option<&ObservedVm>) -> Option<Drift> {
    let EngineState::Present { .. } = status.engine else { return None };
    let Some(vm) = vm else {
        let what = "the VM is no longer on its node".to_owned();
        return Some(Drift { kind: DriftKind::Lost, what });
    };
    // A guest that could not boot is a failure of its own.
    if status.failure.is_some() {
        return None;
    }
    let differs = match (desired.power, vm.power) {
        (Power::Running, power) => power != VmPower::Running,
        (Power::Stopped, power) => !matches!(power, VmPower::Stopped | VmPower::Exited),
        (Power::Deleted, _) => false,
    };
    let shown = format!("the node shows the VM {:?}", vm.power).to_lowercase();
    differs.then_some(Drift { kind: DriftKind::Changed, what: shown })
}

/// The configuration that the VM of a CVM should have on its node. `None`: a newer one waits for the next start, so
/// that a difference proves nothing.
pub fn expected(spec: &Spec, desired: &DesiredState, status: &Status) -> Option<ReportedConfig> {
    let is_newest = status.pushed == spec.revision && desired.generation == spec.revision;
    is_newest.then(|| ReportedConfig {
        image: spec.image.clone(),
        compose_hash: spec.compose_hash,
        vcpu: spec.resources.vcpu,
        memory_mb: spec.resources.memory_mb,
        disk_gb: spec.resources.disk_gb,
    })
}

/// How the configuration of a VM differs from the expected one.
pub fn of_config(expected: &ReportedConfig, found: &ReportedConfig) -> Vec<Drift> {
    let mut drifts = Vec::new();
    if found.image != expected.image {
        let what = format!("the VM boots {}, and its CVM has {}", found.image, expected.image);
        drifts.push(Drift { kind: DriftKind::WrongImage, what });
    }
    let fields = [
        ("compose file", found.compose_hash == expected.compose_hash),
        ("vcpu", found.vcpu == expected.vcpu),
        ("memory", found.memory_mb == expected.memory_mb),
        ("disk", found.disk_gb == expected.disk_gb),
    ];
    let others: Vec<&str> =
        fields.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect();
    if !others.is_empty() {
        let what = format!("the node has another {} for the VM", others.join(", "));
        drifts.push(Drift { kind: DriftKind::Changed, what });
    }
    drifts
}

/// Whether an image of a node is another one than the published release.
pub fn of_image(name: &str, os_image_hash: Option<&str>) -> Option<Drift> {
    let (has, published) = (os_image_hash?, published_hash(name)?);
    (has != published).then(|| Drift {
        kind: DriftKind::WrongImage,
        what: format!("{name} booted with os_image_hash {has}; the published one is {published}"),
    })
}

/// Whether another host answers than before. An unknown identity is no difference.
pub fn of_host(before: DeviceId, now: DeviceId) -> Option<Drift> {
    let unknown = DeviceId::from_bytes([0; 32]);
    (before != unknown && now != unknown && before != now).then(|| Drift {
        kind: DriftKind::HostReplaced,
        what: format!("the host has the device id {now}; it had {before}"),
    })
}

/// A VM with our mark whose CVM is not on this node.
pub fn of_unknown(name: &str) -> Drift {
    let what = format!("VM {name} carries our mark, and no CVM of this node has it");
    Drift { kind: DriftKind::UnknownVm, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cvm::{Boot, Failure, FailureCode, StopMode},
        id::EngineVmId,
        time::Timestamp,
    };

    fn desired(power: Power) -> DesiredState {
        DesiredState { power, run: 1, generation: 1, stop: StopMode::Hard, vm: 1 }
    }

    fn vm(power: VmPower) -> ObservedVm {
        ObservedVm {
            id: EngineVmId("1".to_owned()),
            power,
            boot: Boot::Done,
            boot_error: None,
            shutdown_progress: None,
            instance_id: None,
            started_at: None,
            exited_at: None,
            faults: Vec::new(),
            published: None,
        }
    }

    fn present() -> Status {
        let engine = EngineState::Present { vm: EngineVmId("1".to_owned()) };
        Status { engine, pushed: 1, ..Status::new() }
    }

    fn config() -> ReportedConfig {
        ReportedConfig {
            image: "dstack-0.6.6".to_owned(),
            compose_hash: ComposeHash::from_bytes([1; 32]),
            vcpu: 1,
            memory_mb: 2048,
            disk_gb: 20,
        }
    }

    fn kinds(drifts: &[Drift]) -> Vec<DriftKind> {
        drifts.iter().map(|drift| drift.kind).collect()
    }

    #[test]
    fn a_vm_that_is_up_or_down_unasked_is_changed_and_one_that_is_gone_lost() {
        let kind = |power, found: Option<VmPower>| {
            let vm = found.map(vm);
            of_state(&desired(power), &present(), vm.as_ref()).map(|drift| drift.kind)
        };
        let (lost, changed) = (Some(DriftKind::Lost), Some(DriftKind::Changed));
        for power in [Power::Running, Power::Stopped] {
            assert_eq!(kind(power, None), lost);
            assert_eq!(kind(power, Some(VmPower::Removing)), changed);
        }
        assert_eq!(kind(Power::Running, Some(VmPower::Running)), None);
        assert_eq!(kind(Power::Running, Some(VmPower::Stopped)), changed);
        assert_eq!(kind(Power::Running, Some(VmPower::Exited)), changed);
        assert_eq!(kind(Power::Stopped, Some(VmPower::Running)), changed);
        assert_eq!(kind(Power::Stopped, Some(VmPower::Stopped)), None);
    }

    #[test]
    fn a_failure_and_a_cvm_without_a_vm_are_no_drift() {
        let failure = Failure {
            code: FailureCode::BootFailed,
            cause: "x".to_owned(),
            at: Timestamp::from_micros(0),
            rolled_back: false,
        };
        let failed = Status { failure: Some(failure), ..present() };
        let down = vm(VmPower::Exited);
        assert_eq!(of_state(&desired(Power::Running), &failed, Some(&down)), None);
        assert_eq!(
            of_state(&desired(Power::Running), &failed, None).map(|drift| drift.kind),
            Some(DriftKind::Lost),
            "whatever failed, the VM is gone"
        );
        assert_eq!(of_state(&desired(Power::Running), &Status::new(), None), None);
    }

    #[test]
    fn a_configuration_is_compared_field_by_field() {
        assert_eq!(of_config(&config(), &config()), []);
        let image = ReportedConfig { image: "dstack-0.5.8".to_owned(), ..config() };
        assert_eq!(kinds(&of_config(&config(), &image)), [DriftKind::WrongImage]);
        let other = ReportedConfig {
            compose_hash: ComposeHash::from_bytes([2; 32]),
            vcpu: 2,
            ..image.clone()
        };
        let found = of_config(&config(), &other);
        assert_eq!(kinds(&found), [DriftKind::WrongImage, DriftKind::Changed]);
        assert_eq!(found[1].what, "the node has another compose file, vcpu for the VM");
    }

    #[test]
    fn an_image_and_a_host_are_compared_only_where_both_sides_are_known() {
        let published = published_hash("dstack-0.6.6");
        assert_eq!(of_image("dstack-0.6.6", published), None);
        assert_eq!(of_image("dstack-0.6.6", None), None);
        assert_eq!(of_image("self-made", Some("00")), None);
        assert_eq!(of_image("dstack-0.6.6", Some("00")).unwrap().kind, DriftKind::WrongImage);

        let device = |byte| DeviceId::from_bytes([byte; 32]);
        assert_eq!(of_host(device(0), device(1)), None);
        assert_eq!(of_host(device(1), device(0)), None);
        assert_eq!(of_host(device(1), device(1)), None);
        assert_eq!(of_host(device(1), device(2)).unwrap().kind, DriftKind::HostReplaced);
    }

    #[test]
    fn every_kind_is_read_back() {
        for kind in DriftKind::ALL {
            assert_eq!(DriftKind::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert_eq!(DriftKind::parse("moved"), None);
    }
}
