//! The methods of `Vmm`, and of the guest agents behind it.

use std::{collections::BTreeSet, sync::Arc};

use casemate_core::{
    cvm::{Boot, GpuAttach, Gpus, ObservedVm, PortMap, VmPower},
    id::{AppId, EngineVmId},
    instance::device_id,
};
use casemate_engine::node::{CallError, Mark, Node as _, VmConfig, sim::SimVm};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{Fault, Host};

/// Every path that the document names.
pub(crate) const ALL: [&str; 22] = [
    "prpc/CreateVm",
    "prpc/StartVm",
    "prpc/StopVm",
    "prpc/ShutdownVm",
    "prpc/RemoveVm",
    "prpc/UpdateVm",
    "prpc/UpgradeApp",
    "prpc/ResizeVm",
    "prpc/GetComposeHash",
    "prpc/Status",
    "prpc/GetInfo",
    "prpc/GetMeta",
    "prpc/ListImages",
    "prpc/ListGpus",
    "prpc/Version",
    "prpc/SvList",
    "prpc/GetAppEnvEncryptPubKey",
    "guest/Info",
    "guest/ListContainers",
    "guest/NetworkInfo",
    "guest/Shutdown",
    "guest/SysInfo",
];

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Refused, in these words.
    Refused(String),
    /// There is no such method.
    NoMethod(String),
    /// Nobody took the call.
    Away,
    /// Nobody knows whether it was carried out.
    Lost,
}

impl Failure {
    pub fn refused(text: &str) -> Self {
        Self::Refused(text.to_owned())
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Rejected(text) => Self::Refused(text),
            CallError::Unreachable(_) => Self::Away,
            CallError::Unknown(_) => Self::Lost,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

type Arguments = Map<String, Value>;

fn text<'a>(arguments: &'a Arguments, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn flag(arguments: &Arguments, name: &str) -> bool {
    arguments.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn number(arguments: &Arguments, name: &str) -> Option<u32> {
    arguments.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok())
}

fn texts(arguments: &Arguments, name: &str) -> Vec<String> {
    let list = arguments.get(name).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn vm_id(arguments: &Arguments) -> EngineVmId {
    EngineVmId(text(arguments, "id").to_owned())
}

/// A method of the service `Vmm`.
pub(crate) async fn vmm(
    host: &Arc<Host>,
    method: &str,
    arguments: Arguments,
) -> Result<Value, Failure> {
    let profile = &host.profile;
    let vm = vm_id(&arguments);
    match method {
        "Version" => Ok(json!({"version": profile.version, "rev": profile.rev})),
        "GetMeta" => meta(host).await,
        "ListImages" => {
            let images = host.images().iter().map(|image| {
                json!({"name": image.name, "description": "{}", "version": image.version,
                       "is_dev": image.is_dev})
            });
            Ok(json!({"images": images.collect::<Vec<_>>()}))
        }
        "ListGpus" => Ok(json!({"gpus": [], "allow_attach_all": false})),
        "GetAppEnvEncryptPubKey" => app_env_key(host, &arguments),
        "SvList" => Ok(json!({"processes": []})),
        "GetComposeHash" => {
            check_name(text(&arguments, "name"))?;
            let compose = text(&arguments, "compose_file");
            check_document(compose, "Invalid compose file")?;
            Ok(json!({"hash": hex::encode(Sha256::digest(compose.as_bytes()))}))
        }
        "CreateVm" => create(host, arguments).await,
        "UpdateVm" | "UpgradeApp" => update(host, arguments).await,
        "ResizeVm" => {
            let sizes = ["vcpu", "memory", "disk_size", "image"];
            if sizes.iter().all(|name| arguments.get(*name).is_none_or(Value::is_null)) {
                return Err(Failure::refused("resize request contains no updates"));
            }
            update(host, arguments).await.map(|_| Value::Null)
        }
        "Status" => status(host, &arguments).await,
        "GetInfo" => {
            let found = info(host, &vm).await?;
            Ok(json!({"found": found.is_some(), "info": found}))
        }
        "StartVm" => {
            Ok(host.sim.start(&vm).await.map(|()| Value::Null).map_err(wrapped("start"))?)
        }
        "StopVm" => Ok(host.sim.stop(&vm).await.map(|()| Value::Null).map_err(wrapped("stop"))?),
        "ShutdownVm" => Ok(host.sim.shutdown(&vm).await.map(|()| Value::Null)?),
        "RemoveVm" => {
            Ok(host.sim.remove(&vm).await.map(|()| Value::Null).map_err(wrapped("remove"))?)
        }
        other => Err(Failure::NoMethod(other.to_owned())),
    }
}

/// The words that dstack-vmm puts before a refusal.
fn wrapped(verb: &'static str) -> impl Fn(CallError) -> CallError {
    move |error| match error {
        CallError::Rejected(text) => CallError::Rejected(format!("Failed to {verb} VM: {text}")),
        other => other,
    }
}

/// A method of a guest agent.
pub(crate) async fn guest(
    host: &Arc<Host>,
    method: &str,
    arguments: &Arguments,
) -> Result<Value, Failure> {
    let vm = vm_id(arguments);
    let found = find(host, &vm).await?.ok_or_else(|| Failure::refused("vm not found"))?;
    if !found.serves {
        return Err(Failure::refused(
            "client error (Connect): Connection timed out (os error 110)",
        ));
    }
    match method {
        "Info" => {
            // The agent does not verify its own quote, so on TDX it says the hash of nothing.
            let device_id = host.state().device_id.unwrap_or_else(|| device_id(&[]));
            let image = host.images().iter().find(|image| image.name == found.config.image);
            let tcb = image.and_then(|image| image.os_image_hash.as_ref());
            let tcb = tcb.map(|hash| json!({"os_image_hash": hash}).to_string());
            Ok(json!({
                "version": host.profile.version,
                "app_id": found.config.app_id.to_string(),
                "instance_id": found.observed.instance_id.map(|id| id.to_string()),
                "app_cert": "", "tcb_info": tcb.unwrap_or_default(), "device_id": device_id.to_string(),
            }))
        }
        "ListContainers" => Ok(json!({"containers": host.sim.guest_containers(&vm).await?})),
        "SysInfo" => Ok(json!(host.sim.guest_system(&vm).await?)),
        "NetworkInfo" => Ok(json!({
            "dns_servers": [], "gateways": [],
            "interfaces": [
                {"name": "dstack-wg0", "addresses": [{"address": "10.8.0.2", "prefix": 32}],
                 "rx_bytes": 0, "tx_bytes": 0, "rx_errors": 0, "tx_errors": 0},
            ],
            "wg_info": "interface: dstack-wg0\n\npeer: double\n  latest handshake: 5 seconds ago\n",
        })),
        "Shutdown" => Ok(host.sim.shutdown(&vm).await.map(|()| Value::Null)?),
        other => Err(Failure::NoMethod(other.to_owned())),
    }
}

async fn meta(host: &Host) -> Result<Value, Failure> {
    let capacity = host.sim.inventory().await?.capacity;
    Ok(json!({
        "kms": {"url": "https://kms.example:8000", "urls": ["https://kms.example:8000"]},
        "gateway": {"url": "", "base_domain": host.base_domain, "port": 443, "agent_port": 8090,
                    "urls": if host.base_domain.is_empty() { json!([]) } else { json!([host.gateway_url]) }},
        "resources": {"max_cvm_number": capacity.slots, "max_allocable_vcpu": capacity.vcpu,
                      "max_allocable_memory_in_mb": capacity.memory_mb},
        "networking": {"supported_modes": ["user", "bridge"], "default_mode": "user", "default_bridge": ""},
    }))
}

/// The KMS of the host, asked through its VMM: a key that is the same for an app every time.
fn app_env_key(host: &Host, arguments: &Arguments) -> Result<Value, Failure> {
    if host.has_fault(&Fault::KmsDown) {
        return Err(Failure::refused(
            "client error (Connect): tcp connect error: Connection refused (os error 111)",
        ));
    }
    let app = text(arguments, "app_id");
    if app.len() != 40 {
        return Err(Failure::refused("Invalid app id: expected 20 bytes"));
    }
    let key = hex::encode(Sha256::digest(app.as_bytes()));
    Ok(json!({"public_key": key, "signature": "", "timestamp": 0, "signature_v1": ""}))
}

fn check_name(name: &str) -> Result<(), Failure> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_. @~!$^()".contains(c);
    if name.chars().all(good) {
        Ok(())
    } else {
        Err(Failure::Refused(format!("Invalid name: {name}")))
    }
}

/// What the VMM itself reads of a document.
fn check_document(document: &str, words: &str) -> Result<(), Failure> {
    let parsed: Value = serde_json::from_str(document)
        .map_err(|error| Failure::Refused(format!("{words}: {error}")))?;
    if parsed.get("manifest_version").is_none() {
        return Err(Failure::Refused(format!(
            "{words}: missing field `manifest_version` at line 1 column 2"
        )));
    }
    Ok(())
}

/// Without the fields that this build does not know, or that a fault drops.
fn known(host: &Host, message: &str, mut arguments: Arguments) -> Arguments {
    let (fields, ignored) = (host.profile.fields(message), host.ignored());
    arguments.retain(|name, _| fields.contains(&name.as_str()) && !ignored.contains(name));
    arguments
}

fn port(port: &Value) -> Option<PortMap> {
    let number = |name: &str| u16::try_from(port[name].as_u64()?).ok();
    Some(PortMap {
        protocol: port["protocol"].as_str().unwrap_or("tcp").to_owned(),
        host_port: number("host_port")?,
        vm_port: number("vm_port")?,
        host_address: port["host_address"]
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
    })
}

fn ports(arguments: &Arguments) -> Vec<PortMap> {
    let list = arguments.get("ports").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(port).collect()
}

fn gpus(arguments: &Arguments) -> Option<Gpus> {
    let gpus = arguments.get("gpus").filter(|gpus| !gpus.is_null())?;
    let slots = gpus["gpus"].as_array().into_iter().flatten();
    Some(Gpus {
        gpus: slots
            .map(|gpu| GpuAttach {
                slot: gpu["slot"].as_str().map(str::to_owned),
                product_id: None,
            })
            .collect(),
        attach_mode: gpus["attach_mode"].as_str().unwrap_or_default().to_owned(),
    })
}

/// The hash of a document, and the app id that follows where none is sent.
fn app_id(sent: &str, document: &str) -> Result<AppId, Failure> {
    let sent = sent.trim_start_matches("0x").to_lowercase();
    let derived = || hex::encode(&Sha256::digest(document.as_bytes())[..20]);
    let text = if sent.is_empty() { derived() } else { sent };
    text.parse().map_err(|error| Failure::Refused(format!("Invalid app id: {error}")))
}

fn sealed(arguments: &Arguments) -> Result<Option<casemate_core::seal::SealedEnv>, Failure> {
    match text(arguments, "encrypted_env") {
        "" => Ok(None),
        hex => {
            let bad = |error| Failure::Refused(format!("encrypted_env: {error}"));
            Ok(Some(hex.trim_start_matches("0x").parse().map_err(bad)?))
        }
    }
}

async fn create(host: &Arc<Host>, arguments: Arguments) -> Result<Value, Failure> {
    // Also of a build that drops them: a test asks whether they were sent.
    let sent = arguments.get("annotations").cloned();
    let arguments = known(host, "VmConfiguration", arguments);
    let name = text(&arguments, "name");
    check_name(name)?;
    let Some(mark) = Mark::parse(name) else {
        host.add_foreign(name);
        return Ok(json!({ "id": name }));
    };
    let compose = text(&arguments, "compose_file").to_owned();
    check_document(&compose, "Failed to load VM: Failed to read compose file")?;
    let size = |name: &str| number(&arguments, name).unwrap_or(0);
    let sizes =
        [("vcpu", size("vcpu")), ("memory", size("memory")), ("disk_size", size("disk_size"))];
    if host.profile.checks_first
        && let Some((name, _)) = sizes.iter().find(|(_, value)| *value == 0)
    {
        return Err(Failure::Refused(format!("{name} must be greater than 0")));
    }
    if gpus(&arguments).is_some_and(|gpus| !gpus.gpus.is_empty() || gpus.attach_mode == "all") {
        return Err(Failure::refused("GPU is not enabled"));
    }
    let config = VmConfig {
        app_id: app_id(text(&arguments, "app_id"), &compose)?,
        kms: None,
        compose_hash: casemate_core::compose::app_compose::hash(&compose),
        image: text(&arguments, "image").to_owned(),
        vcpu: size("vcpu"),
        memory_mb: size("memory"),
        disk_gb: size("disk_size"),
        ports: ports(&arguments),
        sealed_env: sealed(&arguments)?,
        env_is_new: false,
        user_config: Some(text(&arguments, "user_config").to_owned())
            .filter(|text| !text.is_empty()),
        hugepages: flag(&arguments, "hugepages"),
        pin_numa: flag(&arguments, "pin_numa"),
        gpus: None,
        kms_urls: texts(&arguments, "kms_urls"),
        gateway_urls: texts(&arguments, "gateway_urls"),
        gateway_domain: None,
        instance_seed: None,
        mark,
        compose,
    };
    let vm = host.sim.create(&config).await?;
    if let Some(annotations) = sent {
        host.state().annotations.insert(vm.0.clone(), annotations);
    }
    if !flag(&arguments, "stopped") {
        host.sim.start(&vm).await?;
    }
    Ok(json!({"id": vm.0}))
}

async fn update(host: &Arc<Host>, arguments: Arguments) -> Result<Value, Failure> {
    let arguments = known(host, "UpdateVmRequest", arguments);
    let vm = vm_id(&arguments);
    let found = find(host, &vm).await?;
    let has = found.ok_or_else(|| Failure::refused("Failed to update VM: VM not found"))?.config;
    let document = text(&arguments, "compose_file");
    if !document.is_empty() {
        check_document(document, "Invalid compose file")?;
    }
    let mut files = (*has).clone();
    if !document.is_empty() {
        document.clone_into(&mut files.compose);
        files.compose_hash = casemate_core::compose::app_compose::hash(document);
    }
    if let Some(env) = sealed(&arguments)? {
        files.sealed_env = Some(env);
    }
    if !text(&arguments, "user_config").is_empty() {
        files.user_config = Some(text(&arguments, "user_config").to_owned());
    }
    let mut whole = files.clone();
    if flag(&arguments, "update_ports") {
        whole.ports = ports(&arguments);
    }
    if flag(&arguments, "update_kms_urls") {
        whole.kms_urls = texts(&arguments, "kms_urls");
    }
    if flag(&arguments, "update_gateway_urls") {
        whole.gateway_urls = texts(&arguments, "gateway_urls");
    }
    let size = |name: &str, present: u32| number(&arguments, name).unwrap_or(present);
    whole.vcpu = size("vcpu", whole.vcpu);
    whole.memory_mb = size("memory", whole.memory_mb);
    whole.disk_gb = size("disk_size", whole.disk_gb);
    if let Some(image) = arguments.get("image").and_then(Value::as_str) {
        image.clone_into(&mut whole.image);
    }
    // An old build has written the files when it refuses the rest.
    if !host.profile.checks_first && files != *has && files != whole {
        host.sim.push(&vm, &files).await?;
    }
    host.sim.push(&vm, &whole).await?;
    let hash = hex::encode(Sha256::digest(document.as_bytes()));
    Ok(json!({"id": if document.is_empty() { "" } else { &hash[..40] }}))
}

async fn find(host: &Arc<Host>, vm: &EngineVmId) -> Result<Option<SimVm>, Failure> {
    let host = host.clone();
    let vms = tokio::task::spawn_blocking(move || host.vms()).await;
    let vms = vms.map_err(|_| Failure::Lost)??;
    Ok(vms.into_iter().find(|found| found.observed.id == *vm))
}

async fn info(host: &Arc<Host>, vm: &EngineVmId) -> Result<Option<Value>, Failure> {
    // The call that a fault of the simulator may strike.
    let listed = host.sim.list().await?;
    let shown = listed.iter().any(|(_, observed)| observed.id == *vm);
    let found = find(host, vm).await?.filter(|_| shown);
    let found = found.map(|found| vm_info(host, &found, false));
    let gone = || {
        let lies = host.has_fault(&Fault::ShowsGone);
        host.state().shown.iter().find(|shown| lies && shown["id"] == vm.0.as_str()).cloned()
    };
    Ok(found.or_else(gone))
}

async fn status(host: &Arc<Host>, arguments: &Arguments) -> Result<Value, Failure> {
    let (ids, keyword) = (texts(arguments, "ids"), text(arguments, "keyword").to_owned());
    let brief = flag(arguments, "brief");
    let listed = host.sim.list().await?;
    let own = host.clone();
    let vms = tokio::task::spawn_blocking(move || own.vms()).await;
    let vms = vms.map_err(|_| Failure::Lost)??;
    let seen: BTreeSet<&EngineVmId> = listed.iter().map(|(_, seen)| &seen.id).collect();
    let shown = vms.iter().filter(|vm| seen.contains(&vm.observed.id));
    let mut all: Vec<Value> = shown.map(|vm| vm_info(host, vm, brief)).collect();
    let mut state = host.state();
    all.extend(state.foreign.iter().cloned());
    if state.faults.contains(&Fault::ShowsGone) {
        let there: BTreeSet<&str> = all.iter().filter_map(|vm| vm["id"].as_str()).collect();
        let is_gone = |shown: &&Value| shown["id"].as_str().is_some_and(|id| !there.contains(id));
        let gone: Vec<Value> = state.shown.iter().filter(is_gone).cloned().collect();
        all.extend(gone);
    } else {
        state.shown.clone_from(&all);
    }
    drop(state);
    let wanted = |vm: &Value| {
        let has = |field: &str| vm[field].as_str().is_some_and(|text| text.contains(&keyword));
        let named = ids.is_empty() || ids.iter().any(|id| vm["id"] == id.as_str());
        named && (keyword.is_empty() || has("name") || has("id") || has("app_id"))
    };
    all.retain(wanted);
    let total = all.len();
    let (page, size) =
        (number(arguments, "page").unwrap_or(0), number(arguments, "page_size").unwrap_or(0));
    if page != 0 && size != 0 {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let skip = usize::try_from(page - 1).unwrap_or(0).saturating_mul(size);
        all = all.into_iter().skip(skip).take(size).collect();
    }
    Ok(json!({"vms": all, "port_mapping_enabled": true, "total": total}))
}

fn vm_info(host: &Host, vm: &SimVm, brief: bool) -> Value {
    let ObservedVm { id, power, boot, boot_error, shutdown_progress, instance_id, .. } =
        &vm.observed;
    let config = &vm.config;
    let status = match power {
        VmPower::Running => "running",
        VmPower::Exited => "exited",
        VmPower::Stopping => "stopping",
        VmPower::Stopped => "stopped",
        VmPower::Removing => "removing",
    };
    let failed = match boot {
        Boot::Failed(text) => Some(text.clone()),
        Boot::Unknown | Boot::Progress(_) | Boot::Done => None,
    };
    let progress = match boot {
        // A guest whose containers do not start stays where it is.
        Boot::Failed(_) => "starting containers",
        other => other.as_str(),
    };
    let app_url = instance_id.filter(|_| !host.base_domain.is_empty());
    let app_url = app_url.map(|id| format!("https://{id}-8090.{}", host.base_domain));
    let mut info = json!({
        "id": id.0, "name": config.mark.to_string(), "status": status, "uptime": uptime(host),
        "app_url": app_url, "app_id": config.app_id.to_string(),
        "instance_id": instance_id.map(|id| id.to_string()),
        "configuration": if brief { Value::Null } else { configuration(host, id, config) },
        "exited_at": "never", "boot_progress": progress,
        "boot_error": failed.or_else(|| boot_error.clone()).unwrap_or_default(),
        "shutdown_progress": shutdown_progress.clone().unwrap_or_default(),
        "image_version": config.image.rsplit('-').next(), "events": [], "interfaces": [],
    });
    if host.profile.checks_first {
        info["running"] = json!(matches!(power, VmPower::Running | VmPower::Stopping));
    }
    info
}

/// Time that passes: no two VMs and no two answers have the same.
fn uptime(host: &Host) -> String {
    let mut state = host.state();
    state.told += 1;
    format!("{}m {}s", state.told / 60, state.told % 60)
}

fn configuration(host: &Host, vm: &EngineVmId, config: &VmConfig) -> Value {
    let port = |port: &PortMap| {
        json!({"protocol": port.protocol, "host_port": port.host_port, "vm_port": port.vm_port,
               "host_address": port.host_address.clone().unwrap_or_default()})
    };
    let mut shown = json!({
        "name": config.mark.to_string(), "image": config.image, "compose_file": config.compose,
        "vcpu": config.vcpu, "memory": config.memory_mb, "disk_size": config.disk_gb,
        "ports": config.ports.iter().map(port).collect::<Vec<_>>(),
        "encrypted_env": config.sealed_env.as_ref().map(ToString::to_string).unwrap_or_default(),
        "app_id": config.app_id.to_string(), "user_config": config.user_config.clone().unwrap_or_default(),
        "hugepages": config.hugepages, "pin_numa": config.pin_numa, "gpus": null,
        "kms_urls": config.kms_urls, "gateway_urls": config.gateway_urls, "stopped": false,
        "no_tee": false, "networking": null, "networks": [], "simulated_tee": null,
    });
    if host.profile.annotations {
        shown["annotations"] = host.annotations(vm).unwrap_or_else(|| json!({}));
    }
    shown
}
