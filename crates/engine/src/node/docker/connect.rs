//! Taking up a node: the engine, the directory, and what was under way when the last process ended.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use bollard::Docker;
use casemate_core::time::{Clock, Entropy};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ConnectError, DockerConfig, GuestKeys, agent,
    boot::boot,
    cgroup::Cgroups,
    client::{ClientEnv, find_compose},
    compose::Compose,
    container::{Container, Together, together},
    derive::{Grants, LABEL_AGENT},
    engine::{Engine, within},
    firewall::Firewall,
    inspection, logs,
    private_images::PrivateImages,
    resolve_port::PortCache,
    shared::{BOOTS, Ident, Shared},
    shutdown,
    vm::Vm,
    vmdir::{Down, VmDir, make_dir, take_stock},
};
use crate::{
    error::CallError,
    files::{self, PRIVATE},
    node::development,
};

/// A new text for every start of the host.
const HOST_RUN: &str = "/proc/sys/kernel/random/boot_id";
/// First version that knows `content` in `configs`.
const INLINE_CONFIGS: [u32; 3] = [2, 23, 1];
const ANSWER: Duration = Duration::from_secs(10);

/// Everything a node needs, found and checked. Nothing is started yet.
pub(super) async fn open(
    config: DockerConfig,
    keys: Arc<dyn GuestKeys>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Arc<Shared>, ConnectError> {
    let grants = Grants::parse(&config.allow).map_err(ConnectError::Config)?;
    let root = keys.development_root();
    let root = root.map_err(|error| ConnectError::Config(error.to_string()))?;
    let client = ClientEnv::find(&config).await;
    let docker = connect(&client.host).await?;
    let found = find_compose(&config, &client).await?;
    let info = within(ANSWER, docker.info()).await.map_err(|error| ConnectError::Engine {
        host: client.host.clone(),
        cause: error.to_string(),
    })?;
    let version = format!(
        "docker {}, compose {}",
        info.server_version.as_deref().unwrap_or("?"),
        found.version
    );
    let engine_defaults = inspection::read::defaults(&info);
    let compose_note = compose_note(&found.version);
    let runc_note = runc_version(&docker).await.and_then(|version| runc_note(&version));
    let driver = info.cgroup_driver.map(|driver| driver.to_string()).unwrap_or_default();
    let local = client.is_local();
    let firewall = Firewall::find(config.host_access, &docker, local).await;
    firewall.ensure().await;
    let (dir, random) = (config.dir.clone(), Arc::clone(&entropy));
    let prepared = tokio::task::spawn_blocking(move || {
        let groups = Cgroups::find(local, &driver);
        let lock = lock(&dir)?;
        let ident = prepare(&dir, random.as_ref())?;
        Ok((ident, groups, lock, PrivateImages::load(&dir)?))
    });
    let unusable = |error: &dyn std::fmt::Display| {
        ConnectError::Config(format!("directory {} cannot be used: {error}", config.dir.display()))
    };
    let prepared = prepared.await.map_err(|error| unusable(&error))?;
    let (ident, cgroups, lock, private_images) =
        prepared.map_err(|error: io::Error| unusable(&error))?;
    Ok(Arc::new(Shared {
        grants,
        engine: Engine::new(docker, ident.node.clone()),
        engine_defaults,
        engine_host: client.host.clone(),
        compose: Compose::new(found, client),
        cgroups,
        firewall,
        private_images,
        vms_dir: config.dir.join("vms"),
        ident,
        version,
        compose_note,
        runc_note,
        host_run: fs::read_to_string(HOST_RUN).unwrap_or_default().trim().to_owned(),
        local,
        root: Arc::new(root),
        keys,
        clock,
        entropy,
        agent_limits: agent::Limits::default(),
        boots: Semaphore::new(BOOTS),
        followed: Arc::new(Semaphore::new(logs::FOLLOWED)),
        tracker: TaskTracker::new(),
        closing: CancellationToken::new(),
        ports: PortCache::default(),
        vms: RwLock::default(),
        lock: Mutex::new(Some(lock)),
        config,
    }))
}

fn compose_note(version: &str) -> Option<String> {
    let parts = version.split(['.', '-', '+']).map_while(|part| part.parse().ok());
    let found: Vec<u32> = parts.take(3).collect();
    (!found.is_empty() && found.as_slice() < INLINE_CONFIGS.as_slice()).then(|| {
        format!("Compose {version} does not know inline configs (content:); 2.23.1 and newer do")
    })
}

/// The version of runc, as far as the engine tells it.
async fn runc_version(docker: &Docker) -> Option<String> {
    let version = within(ANSWER, docker.version()).await.ok()?;
    let components = version.components.unwrap_or_default();
    components.into_iter().find(|one| one.name == "runc").map(|runc| runc.version)
}

/// First versions of runc that do not follow a container's links to device files.
const SAFE_RUNC: [[u32; 3]; 2] = [[1, 2, 8], [1, 3, 3]];

fn runc_note(version: &str) -> Option<String> {
    let numbers = version.split(['.', '-', '+', '~']).map_while(|part| part.parse().ok());
    let found: Vec<u32> = numbers.take(3).collect();
    let [major, minor, _] = *found.as_slice() else { return None };
    let safe = SAFE_RUNC.iter().find(|safe| safe[..2] == [major, minor]).unwrap_or(&SAFE_RUNC[0]);
    // Release candidates of 1.4.0 before the third have the fault too.
    let candidate = ["1.4.0-rc.1", "1.4.0-rc.2"].iter().any(|rc| version.starts_with(rc));
    (found.as_slice() < safe.as_slice() || candidate).then(|| {
        format!(
            "runc {version} lets a container with a writable bind mount create device files on the \
             host (CVE-2025-52565, CVE-2025-52881): update it"
        )
    })
}

async fn connect(host: &str) -> Result<Docker, ConnectError> {
    let docker = Docker::connect_with_host(host).map_err(|error| no_engine(host, &error))?;
    let late = |_| ConnectError::Engine { host: host.to_owned(), cause: "no answer".to_owned() };
    let version = tokio::time::timeout(ANSWER, docker.negotiate_version()).await.map_err(late)?;
    version.map_err(|error| no_engine(host, &error))
}

fn no_engine(host: &str, error: &bollard::errors::Error) -> ConnectError {
    let mut cause = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        cause = inner.to_string();
        source = inner.source();
    }
    ConnectError::Engine { host: host.to_owned(), cause }
}

/// Two processes on one directory would boot everything twice.
fn lock(dir: &Path) -> io::Result<File> {
    make_dir(dir, 0o700)?;
    let file = File::create(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(io::Error::other("another process uses it")),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Makes the directory and the node's own id.
fn prepare(dir: &Path, entropy: &dyn Entropy) -> io::Result<Ident> {
    make_dir(&dir.join("vms"), 0o711)?;
    let file = dir.join("node-id");
    let node = if let Some(bytes) = files::read(&file)? {
        String::from_utf8_lossy(&bytes).trim().to_owned()
    } else {
        let id = entropy.uuid_v4().to_string();
        files::write(&file, format!("{id}\n").as_bytes(), PRIVATE)?;
        id
    };
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let host = if machine.trim().is_empty() { node.as_str() } else { machine.trim() };
    let named = Sha256::digest(format!("casemate docker node: {host}"));
    let mut ppid = [0; 16];
    ppid.copy_from_slice(&named[..16]);
    Ok(Ident { node, ppid, device: development::device_id(&ppid) })
}

/// Takes up every VM of the directory and goes on with what was under way.
pub(super) async fn resume(node: &Arc<Shared>) -> Result<(), ConnectError> {
    let vms_dir = node.vms_dir.clone();
    let failed =
        |error: &dyn std::fmt::Display| ConnectError::Config(format!("taking up VMs: {error}"));
    let loaded = tokio::task::spawn_blocking(move || load_all(&vms_dir)).await;
    let vms = loaded.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let containers = node.engine.containers(None).await.map_err(|error| match error {
        CallError::Rejected(cause) | CallError::Unreachable(cause) | CallError::Unknown(cause) => {
            ConnectError::Engine { host: "the engine".to_owned(), cause }
        }
    })?;
    for vm in vms {
        let vm = Arc::new(vm);
        node.add(Arc::clone(&vm));
        let own: Vec<&Container> = containers.iter().filter(|one| one.vm == vm.id).collect();
        resume_one(node, &vm, &own).await;
    }
    Ok(())
}

fn load_all(vms_dir: &Path) -> io::Result<Vec<Vm>> {
    let mut vms = Vec::new();
    for id in take_stock(vms_dir)? {
        let dir = VmDir::of(vms_dir, &id);
        if dir.manifest().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            && !dir.removing()
        {
            // The last of a removal: everything else is gone already.
            dir.delete()?;
            continue;
        }
        match Vm::load(id.clone(), dir) {
            Ok(vm) => vms.push(vm),
            Err(error) => tracing::error!(vm = %id, %error, "a VM cannot be taken up"),
        }
    }
    Ok(vms)
}

async fn resume_one(node: &Arc<Shared>, vm: &Arc<Vm>, containers: &[&Container]) {
    let record = vm.record();
    let fine = together(containers.iter().copied()) == Together::Fine { partly: false };
    let alive = containers.iter().any(|one| one.alive());
    let same_run = record.state.host_run == node.host_run;
    match (record.removing, record.state.started) {
        (true, _) => node.spawn(vm, shutdown::remove(Arc::clone(node), Arc::clone(vm))),
        (false, true) if record.state.booted && fine && same_run => {
            take_over(node, vm, containers).await;
        }
        (false, true) => {
            vm.begin_boot();
            node.spawn(vm, boot(Arc::clone(node), Arc::clone(vm)));
        }
        (false, false) if alive => {
            vm.set_going_down(Some("powering off"));
            match record.state.down {
                Down::Graceful => {
                    node.spawn(vm, shutdown::shut_down(Arc::clone(node), Arc::clone(vm)));
                }
                Down::Hard => {
                    node.spawn(vm, shutdown::finish_off(Arc::clone(node), Arc::clone(vm)));
                }
            }
        }
        (false, false) => {}
    }
}

/// The containers went on without us. Only the guest agent is new, and containers that have its
/// socket itself mounted must be restarted to find it.
async fn take_over(node: &Arc<Shared>, vm: &Arc<Vm>, containers: &[&Container]) {
    vm.boot_done();
    if let Err(error) = node.serve_agent(vm).await {
        tracing::error!(vm = %vm.id, %error, "the guest agent cannot be served");
    }
    let stale = containers.iter().filter(|one| one.alive() && one.labels.contains_key(LABEL_AGENT));
    let stale: Vec<String> = stale.map(|one| one.id.clone()).collect();
    if stale.is_empty() {
        return;
    }
    let engine = node.engine.clone();
    node.spawn(vm, async move {
        for id in stale {
            if let Err(error) = engine.restart(&id).await {
                tracing::warn!(%error, "a container still has a dead agent socket");
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_runc_that_follow_links_to_devices_are_noted() {
        for old in ["1.1.5+ds1", "1.0.0-rc93", "1.2.7", "1.3.0", "1.3.2-1~deb13u1", "1.4.0-rc.2"] {
            let note = runc_note(old).unwrap_or_else(|| panic!("{old}"));
            assert!(note.starts_with(&format!("runc {old} lets")), "{note}");
        }
        for fine in ["1.2.8", "1.2.9", "1.3.3", "1.4.0-rc.3", "1.4.0", "1.5.1", "2.0.0", "", "dev"]
        {
            assert_eq!(runc_note(fine), None, "{fine}");
        }
    }

    #[test]
    fn old_versions_of_compose_are_noted() {
        assert_eq!(compose_note("2.26.1-4"), None);
        assert_eq!(compose_note("5.0.0"), None);
        assert_eq!(compose_note("dev"), None);
        assert!(compose_note("2.17.3").is_some() && compose_note("2.23.0+ds1").is_some());
    }
}
