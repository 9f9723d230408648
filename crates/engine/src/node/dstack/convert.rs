//! Between our words and those of dstack-vmm. Pure.

use std::collections::BTreeMap;

use casemate_core::{
    cvm::{Boot, Gpus, ObservedVm, PortMap, VmPower},
    id::EngineVmId,
    seal::EpochEnvelope,
};
use sha2::{Digest, Sha256};

use super::{
    features::Features,
    wire::{Configuration, GpuConfig, GpuSlot, NewVm, Port, UpdateVm, VmInfo},
};
use crate::node::{Mark, Tee, VmConfig};

/// The annotation that carries our mark, where the build has annotations.
pub(super) const MARK: &str = "casemate.mark";
/// Where host ports listen if nothing else is said: `UpdateVm` needs an address.
const LOOPBACK: &str = "127.0.0.1";

/// A configuration that a node cannot take: the build has no field for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dstack-vmm of this node has no {field}: update the node, or leave it out")]
pub(super) struct NoField {
    /// The field that is missing.
    pub field: &'static str,
}

fn needs(
    features: &Features,
    message: &str,
    field: &'static str,
    wanted: bool,
) -> Result<(), NoField> {
    if wanted && !features.has_field(message, field) {
        return Err(NoField { field });
    }
    Ok(())
}

/// `CreateVm` of a stopped VM.
pub(super) fn new_vm<'a>(
    config: &'a VmConfig,
    tee: Tee,
    features: &Features,
) -> Result<NewVm<'a>, NoField> {
    let need = |field, wanted| needs(features, "VmConfiguration", field, wanted);
    need("hugepages", config.hugepages)?;
    need("pin_numa", config.pin_numa)?;
    need("gpus", config.gpus.is_some())?;
    need("kms_urls", !config.kms_urls.is_empty())?;
    need("gateway_urls", !config.gateway_urls.is_empty())?;
    need("stopped", true)?;
    need("no_tee", tee == Tee::None)?;
    need("simulated_tee", tee == Tee::Simulated)?;
    let annotations = if features.has_field("VmConfiguration", "annotations") {
        BTreeMap::from([(MARK, config.mark.to_string())])
    } else {
        BTreeMap::new()
    };
    Ok(NewVm {
        name: config.mark.to_string(),
        image: &config.image,
        compose_file: &config.compose,
        vcpu: config.vcpu,
        memory: config.memory_mb,
        disk_size: config.disk_gb,
        ports: ports(&config.ports),
        encrypted_env: encrypted_env(config),
        app_id: config.app_id.to_string(),
        user_config: config.user_config.as_deref().unwrap_or_default(),
        hugepages: config.hugepages,
        pin_numa: config.pin_numa,
        gpus: config.gpus.as_ref().map(gpus),
        kms_urls: &config.kms_urls,
        gateway_urls: &config.gateway_urls,
        stopped: true,
        no_tee: tee == Tee::None,
        simulated_tee: (tee == Tee::Simulated).then_some("dstack-tdx"),
        annotations,
    })
}

/// What turns the configuration that a VM has into the one it should have: first its size and image, for
/// which it must be off, then the rest. Older builds write files before they check a request, so a call
/// that may be refused comes first and alone. `None`: nothing to do.
pub(super) fn updates(
    vm: &EngineVmId,
    has: &Configuration,
    config: &VmConfig,
    features: &Features,
) -> Result<[Option<UpdateVm>; 2], NoField> {
    let need = |field, wanted| needs(features, "UpdateVmRequest", field, wanted);
    let nothing = UpdateVm { id: vm.0.clone(), ..UpdateVm::default() };
    let size = UpdateVm {
        vcpu: (has.vcpu != config.vcpu).then_some(config.vcpu),
        memory: (has.memory != config.memory_mb).then_some(config.memory_mb),
        disk_size: (has.disk_size != config.disk_gb).then_some(config.disk_gb),
        image: (has.image != config.image).then(|| config.image.clone()),
        gpus: config.gpus.as_ref().map(gpus).filter(|gpus| has.gpus.as_ref() != Some(gpus)),
        ..nothing.clone()
    };
    need("vcpu", size.vcpu.is_some())?;
    need("memory", size.memory.is_some())?;
    need("disk_size", size.disk_size.is_some())?;
    need("image", size.image.is_some())?;
    need("gpus", size.gpus.is_some())?;
    let changed =
        |has: &str, wanted: &str| if has == wanted { String::new() } else { wanted.to_owned() };
    let wanted_ports = ports(&config.ports);
    let other_ports = !same_ports(&has.ports, &wanted_ports);
    let other_kms = has.kms_urls != config.kms_urls;
    let other_gateway = has.gateway_urls != config.gateway_urls;
    need("update_kms_urls", other_kms)?;
    need("update_gateway_urls", other_gateway)?;
    let rest = UpdateVm {
        compose_file: changed(&has.compose_file, &config.compose),
        encrypted_env: env_to_send(&has.encrypted_env, config),
        user_config: changed(&has.user_config, config.user_config.as_deref().unwrap_or_default()),
        update_ports: other_ports,
        ports: if other_ports { wanted_ports } else { Vec::new() },
        update_kms_urls: other_kms,
        kms_urls: if other_kms { config.kms_urls.clone() } else { Vec::new() },
        update_gateway_urls: other_gateway,
        gateway_urls: if other_gateway { config.gateway_urls.clone() } else { Vec::new() },
        ..nothing.clone()
    };
    let some = |update: UpdateVm| (update != nothing).then_some(update);
    Ok([some(size), some(rest)])
}

/// Fields of a VM that are not as they were sent. The environment is not compared: after a rotation of
/// keys a guest seals it again by itself.
pub(super) fn differences(has: &Configuration, config: &VmConfig) -> Vec<&'static str> {
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    let compared = [
        ("compose_file", digest(&has.compose_file) == digest(&config.compose)),
        ("vcpu", has.vcpu == config.vcpu),
        ("memory", has.memory == config.memory_mb),
        ("disk_size", has.disk_size == config.disk_gb),
        ("image", has.image == config.image),
        ("ports", same_ports(&has.ports, &ports(&config.ports))),
        ("encrypted_env", config.sealed_env.is_none() || !has.encrypted_env.is_empty()),
        ("user_config", config.user_config.as_ref().is_none_or(|text| *text == has.user_config)),
        ("hugepages", has.hugepages == config.hugepages),
        ("pin_numa", has.pin_numa == config.pin_numa),
        (
            "gpus",
            config.gpus.as_ref().is_none_or(|wanted| has.gpus.as_ref() == Some(&gpus(wanted))),
        ),
        ("kms_urls", config.kms_urls.is_empty() || has.kms_urls == config.kms_urls),
        ("gateway_urls", config.gateway_urls.is_empty() || has.gateway_urls == config.gateway_urls),
    ];
    compared.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

/// The variables to send; empty: those there stay. After a rotation of keys a guest seals them again for the new epochs
/// by itself, in another envelope. These are those that it was given, so only new ones replace them.
fn env_to_send(has: &str, config: &VmConfig) -> String {
    let ours = encrypted_env(config);
    let of_guest = hex::decode(has).is_ok_and(|has| EpochEnvelope::recognise(&has).is_some());
    if ours == has || (of_guest && !config.env_is_new) { String::new() } else { ours }
}

fn encrypted_env(config: &VmConfig) -> String {
    config.sealed_env.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn ports(ports: &[PortMap]) -> Vec<Port> {
    let port = |port: &PortMap| Port {
        protocol: port.protocol.clone(),
        host_port: port.host_port,
        vm_port: port.vm_port,
        host_address: port.host_address.clone().unwrap_or_else(|| LOOPBACK.to_owned()),
    };
    ports.iter().map(port).collect()
}

/// In any order, and with an empty address for that of the node.
fn same_ports(a: &[Port], b: &[Port]) -> bool {
    let sorted = |ports: &[Port]| {
        let address = |text: &str| if text.is_empty() { LOOPBACK } else { text }.to_owned();
        let key = |p: &Port| (p.protocol.clone(), p.host_port, p.vm_port, address(&p.host_address));
        let mut keys: Vec<_> = ports.iter().map(key).collect();
        keys.sort();
        keys
    };
    sorted(a) == sorted(b)
}

fn gpus(gpus: &Gpus) -> GpuConfig {
    let slots = gpus.gpus.iter().filter_map(|gpu| gpu.slot.clone());
    let attach_mode = match gpus.attach_mode.as_str() {
        "" => "listed",
        mode => mode,
    };
    GpuConfig {
        gpus: slots.map(|slot| GpuSlot { slot }).collect(),
        attach_mode: attach_mode.to_owned(),
    }
}

/// Whose VM this is; `None`: not ours.
pub(super) fn mark(info: &VmInfo) -> Option<Mark> {
    Mark::parse(&info.name)
}

/// What a guest reports, in 0.5 and 0.6, when its compose file did not come up.
const CONTAINERS_FAILED: &str = "failed to start containers";

/// A VM as it shows itself; `None`: in a state that no build known here has.
pub(super) fn observed(info: &VmInfo) -> Option<ObservedVm> {
    let power = match info.status.as_str() {
        "running" => VmPower::Running,
        "exited" => VmPower::Exited,
        "stopping" => VmPower::Stopping,
        "stopped" => VmPower::Stopped,
        "removing" => VmPower::Removing,
        _ => return None,
    };
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Some(ObservedVm {
        id: EngineVmId(info.id.clone()),
        power,
        boot: match info.boot_progress.as_str() {
            // Forgotten by a restarted VMM, or never told: an image without a shared directory, or a start
            // of a VM that ran already.
            "" | "N/A" | "running" => Boot::Unknown,
            "done" => Boot::Done,
            // Its last word: a guest does not try a second time, and says nothing more.
            "starting containers" if info.boot_error == CONTAINERS_FAILED => Boot::Failed(format!(
                "{CONTAINERS_FAILED}; the serial log of the guest has the reason"
            )),
            progress => Boot::Progress(progress.to_owned()),
        },
        boot_error: text(&info.boot_error),
        shutdown_progress: text(&info.shutdown_progress),
        instance_id: info.instance_id.as_deref().and_then(|id| id.parse().ok()),
        started_at: None,
        exited_at: None,
        faults: Vec::new(),
        published: None,
    })
}

#[cfg(test)]
mod tests {
    use casemate_core::id::{AppId, VmUuid};
    use serde_json::json;

    use super::*;

    fn config() -> VmConfig {
        VmConfig {
            mark: Mark::new("web", VmUuid::from_uuid(uuid::Uuid::from_bytes([7; 16]))),
            app_id: AppId::from_bytes([1; 20]),
            kms: None,
            compose: "{}".to_owned(),
            compose_hash: casemate_core::compose::app_compose::hash("{}"),
            image: "dstack-0.6.6".to_owned(),
            vcpu: 2,
            memory_mb: 2048,
            disk_gb: 20,
            ports: vec![PortMap {
                protocol: "tcp".to_owned(),
                host_port: 20000,
                vm_port: 80,
                host_address: None,
            }],
            sealed_env: None,
            env_is_new: false,
            user_config: None,
            hugepages: false,
            pin_numa: false,
            gpus: None,
            kms_urls: Vec::new(),
            gateway_urls: Vec::new(),
            gateway_domain: None,
            instance_seed: None,
        }
    }

    fn had() -> Configuration {
        serde_json::from_value(json!({
            "image": "dstack-0.6.6", "compose_file": "{}", "vcpu": 2, "memory": 2048, "disk_size": 20,
            "ports": [{"protocol": "tcp", "host_port": 20000, "vm_port": 80, "host_address": "127.0.0.1"}],
        }))
        .unwrap()
    }

    fn newest() -> Features {
        let fields = |names: &[&str]| -> serde_json::Value {
            json!({"properties": names.iter().map(|n| ((*n).to_owned(), json!({}))).collect::<serde_json::Map<_, _>>()})
        };
        Features::of_document(&json!({
            "paths": {"/prpc/CreateVm": {}},
            "components": {"schemas": {
                "vmm.VmConfiguration": fields(&["hugepages", "pin_numa", "gpus", "kms_urls", "gateway_urls",
                    "stopped", "no_tee", "simulated_tee", "annotations"]),
                "vmm.UpdateVmRequest": fields(&["vcpu", "memory", "disk_size", "image", "gpus",
                    "update_kms_urls", "update_gateway_urls"]),
            }},
        }))
        .unwrap()
    }

    #[test]
    fn a_vm_is_made_stopped_under_our_mark() {
        let config = config();
        let sent = serde_json::to_value(new_vm(&config, Tee::Tdx, &newest()).unwrap()).unwrap();
        assert_eq!(sent["stopped"], true);
        assert_eq!(sent["name"], config.mark.to_string());
        assert_eq!(sent["annotations"][MARK], config.mark.to_string());
        assert_eq!(sent["app_id"], "01".repeat(20));
        for field in ["no_tee", "simulated_tee", "gpus"] {
            assert_eq!(sent.get(field), None, "{field} is not sent");
        }
    }

    #[test]
    fn a_field_goes_only_to_a_build_that_has_it() {
        let config = config();
        let sent =
            serde_json::to_value(new_vm(&config, Tee::Tdx, &Features::oldest()).unwrap()).unwrap();
        assert_eq!(sent.get("annotations"), None);
        let refused = new_vm(&config, Tee::Simulated, &Features::oldest()).unwrap_err();
        assert_eq!(refused.field, "simulated_tee");
    }

    #[test]
    fn an_update_says_only_what_is_different_and_sizes_go_first() {
        let id = EngineVmId("1".to_owned());
        let of = |config: &VmConfig| updates(&id, &had(), config, &newest()).unwrap();
        assert_eq!(of(&config()), [None, None]);
        let [size, rest] = of(&VmConfig { vcpu: 4, compose: "{\"a\":1}".to_owned(), ..config() });
        assert_eq!(serde_json::to_value(size).unwrap(), json!({"id": "1", "vcpu": 4}));
        assert_eq!(
            serde_json::to_value(rest).unwrap(),
            json!({"id": "1", "compose_file": "{\"a\":1}"})
        );
        let [size, rest] = of(&VmConfig { ports: Vec::new(), ..config() });
        assert_eq!(size, None);
        assert_eq!(serde_json::to_value(rest).unwrap(), json!({"id": "1", "update_ports": true}));
    }

    #[test]
    fn what_was_ignored_is_named() {
        assert_eq!(differences(&had(), &config()), Vec::<&str>::new());
        let silent = Configuration { ports: Vec::new(), vcpu: 1, ..had() };
        assert_eq!(differences(&silent, &config()), ["vcpu", "ports"]);
        let wants = VmConfig { hugepages: true, user_config: Some("x".to_owned()), ..config() };
        assert_eq!(differences(&had(), &wants), ["user_config", "hugepages"]);
    }

    #[test]
    fn what_a_guest_sealed_again_is_replaced_by_new_variables_only() {
        let envelope =
            json!({"version": 1, "root_epoch": 1, "app_epoch": 0, "enc": "", "ciphertext": ""});
        let resealed = hex::encode(envelope.to_string());
        let (old, new) = ("07".repeat(80), "08".repeat(80));
        let wants = |sealed: &str, env_is_new| VmConfig {
            sealed_env: Some(sealed.parse().unwrap()),
            env_is_new,
            ..config()
        };
        for (has, config, sent) in [
            (&resealed, wants(&old, false), ""),
            (&resealed, wants(&new, true), new.as_str()),
            (&old, wants(&old, false), ""),
            (&old, wants(&new, true), new.as_str()),
            // An update that failed half-way left it.
            (&new, wants(&old, false), old.as_str()),
            (&String::new(), wants(&old, false), old.as_str()),
        ] {
            assert_eq!(env_to_send(has, &config), sent);
        }
    }

    #[test]
    fn a_guest_that_seals_its_environment_again_is_no_difference() {
        let sealed = "07".repeat(80).parse().unwrap();
        let wants = VmConfig { sealed_env: Some(sealed), ..config() };
        assert_eq!(differences(&had(), &wants), ["encrypted_env"], "it has none");
        let has = Configuration { encrypted_env: "ff".to_owned(), ..had() };
        assert_eq!(differences(&has, &wants), Vec::<&str>::new());
    }

    #[test]
    fn only_done_is_done() {
        let info = |status: &str, progress: &str| VmInfo {
            id: "1".to_owned(),
            status: status.to_owned(),
            boot_progress: progress.to_owned(),
            boot_error: "sticky".to_owned(),
            ..VmInfo::default()
        };
        let boot = |progress| observed(&info("running", progress)).unwrap().boot;
        assert_eq!(boot("done"), Boot::Done);
        assert_eq!(boot("requesting app keys"), Boot::Progress("requesting app keys".to_owned()));
        for forgotten in ["", "N/A", "running"] {
            assert_eq!(boot(forgotten), Boot::Unknown);
        }
        assert_eq!(observed(&info("paused", "done")), None);
    }

    #[test]
    fn a_guest_whose_containers_did_not_start_has_said_its_last_word() {
        let boot = |progress: &str, error: &str| {
            let (status, progress) = ("running".to_owned(), progress.to_owned());
            let error = error.to_owned();
            let info =
                VmInfo { status, boot_progress: progress, boot_error: error, ..VmInfo::default() };
            observed(&info).unwrap().boot
        };
        let failed = boot("starting containers", "failed to start containers");
        assert!(matches!(failed, Boot::Failed(why) if why.contains("serial log")));
        let goes_on = Boot::Progress("starting containers".to_owned());
        assert_eq!(boot("starting containers", "registration failed"), goes_on);
        assert_eq!(boot("done", "failed to start containers"), Boot::Done, "by hand, in the guest");
    }
}
