//! Booting: from a sealed configuration to running containers, with the progress words of a dstack
//! guest. Everything a boot does can be done again, so a boot that a crash cut off is simply started
//! anew. A failed boot leaves the VM up with its message, as a guest would sit there: what to do
//! about it is for the control plane to say.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use casemate_core::{
    compose,
    cvm::{Boot, FaultKind, ServiceFault},
    seal::SealedEnv,
};
use serde_json::Value;
use tokio::sync::SemaphorePermit;

use super::{
    agent,
    archive::Archive,
    build::BuildRoom,
    compose::Model,
    container::Container,
    derive::{self, AGENT_DIR, DeriveInput, Derived, GuestSource, Limits},
    document::{Document, Program},
    env::{self, GuestEnv},
    faults::{self, CALM},
    guestfs,
    images::{self, Puller},
    inspection, scan,
    script::{MAIN, Stage, stage},
    shared::Shared,
    vm::{Record, Vm},
    vmdir::{Instance, Manifest},
};
use crate::error::CallError;

/// How often what was started is looked at before it counts as up, and how far apart.
const SETTLE_LOOKS: usize = 10;
/// The same where a service is started again when it ends: a slow first end must not pass for running.
const SETTLE_LOOKS_RESTARTED: usize = 15;
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// A container that was started again counts as up when it has run for so long.
const SETTLE_CALM: Duration = Duration::from_secs(3);
/// A container that is started again and again for so long is a failed boot.
const SETTLE_LOOP: Duration = Duration::from_secs(20);

/// The configuration of a VM as its boot reads it.
struct Config {
    record: Record,
    text: String,
    document: Document,
    program: Program,
    sealed: Option<SealedEnv>,
    for_user: Option<Vec<u8>>,
}

/// Boots a VM; the outcome is in the VM.
pub(super) async fn boot(node: Arc<Shared>, vm: Arc<Vm>) {
    let limit = Duration::from_secs(node.config.boot_timeout_s.into());
    let outcome = match tokio::time::timeout(limit, steps(&node, &vm)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Err(format!("boot was not done within {} s: last step: {}", limit.as_secs(), step(&vm)))
        }
    };
    node.ports.clear(&vm.id);
    let run = node.host_run.clone();
    let recorded = match outcome {
        Ok(()) => vm
            .set_state(move |state| (state.booted, state.host_run) = (state.started, run))
            .await
            .map_err(|error| error.to_string()),
        Err(cause) => Err(cause),
    };
    match recorded {
        Ok(()) => vm.boot_done(),
        Err(cause) => vm.boot_failed(&cause),
    }
}

fn step(vm: &Vm) -> String {
    match vm.boot().0 {
        Boot::Progress(step) => step,
        other => other.as_str().to_owned(),
    }
}

/// A place among the boots that work on this host at one time. Given up before anything that the
/// tenant decides how long it takes: scripts, reading the compose file, and services that wait for
/// one another.
async fn turn(node: &Shared) -> Result<SemaphorePermit<'_>, String> {
    node.boots.acquire().await.map_err(|_| "the node is closing".to_owned())
}

async fn steps(node: &Arc<Shared>, vm: &Arc<Vm>) -> Result<(), String> {
    let working = turn(node).await?;
    let config = load(vm).await?;
    vm.progress("requesting app keys");
    let mut env = keys(node, vm, &config).await?;
    vm.progress("preparing files");
    let limits = prepare(node, vm, &config).await?;
    clear(node, vm, &config.program).await?;
    separate(node, vm).await.map_err(|error| error.to_string())?;
    drop(working);
    let outcome = run(node, vm, &config, &mut env, &limits).await;
    match outcome {
        Ok(()) => Ok(()),
        Err(cause) => Err(env.scrub(&cause).await),
    }
}

async fn load(vm: &Arc<Vm>) -> Result<Config, String> {
    let read =
        vm.on_disk(|vm| Ok((vm.dir.compose()?, vm.dir.sealed_env()?, vm.dir.user_config()?))).await;
    let (text, sealed, for_user) = read.map_err(|error| format!("configuration: {error}"))?;
    let record = vm.record();
    check_hash(&text, &record)?;
    let document = Document::parse(&text)?;
    let program = document.program()?;
    Ok(Config { record, text, document, program, sealed, for_user })
}

/// The document must be the one that was promised.
pub(super) fn check_hash(text: &str, record: &Record) -> Result<(), String> {
    let (found, promised) = (compose::app_compose::hash(text), record.manifest.compose_hash);
    if found == promised {
        return Ok(());
    }
    Err(format!("app-compose.json has hash {found}, but {promised} was promised: push it again"))
}

/// Opens the environment, tells the instance id, and lets the guest agent speak.
async fn keys(node: &Arc<Shared>, vm: &Arc<Vm>, config: &Config) -> Result<GuestEnv, String> {
    let owner = config.record.manifest.key_owner();
    let key = node.keys.env_secret(&owner).map_err(|error| error.to_string())?;
    let (mut env, notes) = env::open(config.sealed.as_ref(), &config.document, || key)?;
    for note in &notes {
        vm.say("boot", note);
    }
    let instance_id = (!config.document.no_instance_id).then(|| config.record.own_instance_id());
    let seed = config.record.instance.seed;
    vm.set_instance(Instance { seed, instance_id }).await.map_err(|error| error.to_string())?;
    node.serve_agent(vm).await.map_err(|error| format!("guest agent: {error}"))?;
    provide(&mut env, config, instance_id.map(|id| id.to_string()));
    Ok(env)
}

/// What every guest of Phala Cloud finds in its environment.
fn provide(env: &mut GuestEnv, config: &Config, instance_id: Option<String>) {
    let manifest = &config.record.manifest;
    let app = manifest.app_id.to_string();
    let of_document = config.document.default_gateway_domain.clone();
    if let Some(domain) = of_document.or_else(|| manifest.gateway_domain.clone()) {
        env.provide("DSTACK_APP_DOMAIN", format!("{app}.{domain}"));
        env.provide("DSTACK_GATEWAY_DOMAIN", domain);
    }
    env.provide("DSTACK_APP_ID", app);
    env.provide("DSTACK_APP_NAME", config.document.name.clone());
    if let Some(id) = instance_id {
        env.provide("DSTACK_INSTANCE_ID", id);
    }
}

async fn prepare(node: &Arc<Shared>, vm: &Arc<Vm>, config: &Config) -> Result<Limits, String> {
    let manifest = Arc::clone(&config.record.manifest);
    let (groups, id, pids) = (node.cgroups.clone(), vm.id.clone(), node.config.pids);
    let (text, for_user) = (config.text.clone(), config.for_user.clone());
    let compose_file = match &config.program {
        Program::Compose(file) => Some(file.clone()),
        Program::Bash(_) => None,
    };
    let prepared = vm.on_disk(move |vm| {
        let root = vm.dir.root();
        guestfs::furnish(
            &root,
            &format!("{}\n", manifest.project()),
            &format!("{}\n", id.0.replace('-', "")),
        )?;
        guestfs::put(&root, "/dstack/app-compose.json", text.as_bytes())?;
        match for_user {
            Some(text) => guestfs::put(&root, "/dstack/user_config", &text)?,
            None => guestfs::take_file(&root, "/dstack/user_config")?,
        }
        if let Some(file) = compose_file {
            guestfs::put(&root, "/dstack/docker-compose.yaml", file.as_bytes())?;
        }
        groups.limits(&id, manifest.vcpu, manifest.memory_mb, pids)
    });
    prepared.await.map_err(|error| format!("files of the guest: {error}"))
}

async fn run(
    node: &Arc<Shared>,
    vm: &Arc<Vm>,
    config: &Config,
    env: &mut GuestEnv,
    limits: &Limits,
) -> Result<(), String> {
    let project = config.record.manifest.project();
    let stage = stage(node, vm, limits, &project);
    let ran = scripts(vm, config, env, &stage).await;
    if matches!(config.program, Program::Compose(_)) {
        stage.remove_network().await?;
    }
    ran?;
    match &config.program {
        Program::Bash(script) => {
            vm.progress("running main script");
            let _working = turn(node).await?;
            stage.start_main(script, env).await
        }
        Program::Compose(file) => {
            vm.progress("starting containers");
            let read = read(node, config, file, env).await?;
            let working = turn(node).await?;
            let plan = plan(node, vm, config, read, env, limits).await?;
            drop(working);
            launch(node, vm, &project, &plan, env).await
        }
    }
}

/// Runs the scripts that come before the program.
async fn scripts(
    vm: &Vm,
    config: &Config,
    env: &mut GuestEnv,
    stage: &Stage<'_>,
) -> Result<(), String> {
    for script in config.document.init_scripts() {
        vm.progress("init-script");
        stage.run("init-script", &script, env).await?;
    }
    if let Some(script) = config.document.pre_launch() {
        vm.progress("pre-launch");
        let exports = stage.run("pre-launch", script, env).await?;
        env.extend(exports);
    }
    Ok(())
}

/// Removes what a cut-off boot left of its scripts, and what belongs to the other kind of program.
async fn clear(node: &Shared, vm: &Vm, program: &Program) -> Result<(), String> {
    let bash = matches!(program, Program::Bash(_));
    let containers =
        node.engine.containers(Some(&vm.id)).await.map_err(|error| error.to_string())?;
    let main = |one: &Container| one.service == MAIN && !one.of_compose();
    for container in containers.iter().filter(|one| bash || !one.of_app() || main(one)) {
        node.engine.remove(&container.id).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Before anything of the guest runs: the host's services are closed to it, as far as the node's
/// configuration says. Networks from before that was changed have names which say otherwise.
async fn separate(node: &Shared, vm: &Vm) -> Result<(), CallError> {
    node.firewall.ensure().await;
    let bridges = node.config.host_access.bridge_prefix();
    let stale = node.engine.networks_without(&vm.id, bridges).await?;
    if stale.is_empty() {
        return Ok(());
    }
    for container in node.engine.containers(Some(&vm.id)).await?.iter().filter(|one| one.alive()) {
        node.engine.kill(&container.id).await?;
    }
    for network in stale {
        node.engine.remove_network(&network).await?;
    }
    Ok(())
}

/// The compose file as compose understands it, and what compose warns of. The file can make compose
/// take long, so the boot holds no place meanwhile.
async fn read(
    node: &Shared,
    config: &Config,
    file: &str,
    env: &GuestEnv,
) -> Result<(Value, Vec<String>), String> {
    let text = scan::scan(file).map_err(|refused| refused.to_string())?;
    let vars = env.for_compose(file)?;
    let project = config.record.manifest.project();
    let read = node.compose.read(&project, &text, &vars, env.get("COMPOSE_PROFILES"));
    read.await.map_err(|error| error.to_string())
}

/// From the compose file to what the engine will be told.
async fn plan(
    node: &Shared,
    vm: &Arc<Vm>,
    config: &Config,
    (model, warnings): (Value, Vec<String>),
    env: &GuestEnv,
    limits: &Limits,
) -> Result<Plan, String> {
    let manifest = &config.record.manifest;
    let project = manifest.project();
    let wanted = derive::guest_sources(&model);
    let sources = sources(vm, wanted.clone()).await?;
    let as_text = |path| guestfs::as_text(path).map_err(|error| error.to_string());
    let (root, run) = (as_text(vm.dir.root())?, as_text(vm.dir.run())?);
    let input = DeriveInput {
        vm: &vm.id,
        cvm: manifest.mark().ok_or("the VM has lost its name")?.uuid(),
        node: &node.ident.node,
        grants: &node.grants,
        sources: &sources,
        root: &root,
        run: &run,
        project: &project,
        limits,
        log_mb: node.config.log_mb,
        host_access: node.config.host_access,
        ports: &manifest.ports,
        sealed_env: config.sealed.as_ref().map(SealedEnv::as_bytes).unwrap_or_default(),
    };
    let derived = derive::derive(model, &input).map_err(|refused| refused.to_string())?;
    for warning in warnings.iter().chain(&derived.warnings) {
        vm.say("boot", &env.scrub(warning).await);
    }
    for one in &derived.published {
        vm.say("boot", &format!("port {} is {}:{}", one.port, one.service, one.target));
    }
    Ok(Plan { derived, wanted, sources })
}

/// What a boot is about to tell the engine.
struct Plan {
    derived: Derived,
    wanted: Vec<GuestSource>,
    /// Where the wanted paths lay on the host when they were looked at.
    sources: BTreeMap<String, String>,
}

/// Finds and makes what bind mounts need.
async fn sources(
    vm: &Arc<Vm>,
    wanted: Vec<GuestSource>,
) -> Result<BTreeMap<String, String>, String> {
    let found = vm.on_disk(move |vm| {
        let root = vm.dir.root();
        let mut found = BTreeMap::new();
        for source in wanted {
            let guest = PathBuf::from(&source.path);
            let host = if source.must_exist {
                guestfs::resolve(&root, &guest)?
            } else {
                guestfs::source(&root, &guest)?
            };
            if host.exists() {
                found.insert(source.path, guestfs::as_text(host)?);
            }
        }
        Ok(found)
    });
    found.await.map_err(|error| format!("bind mounts: {error}"))
}

/// Makes the containers, looks at what was made, puts into them what they need, then starts them.
async fn launch(
    node: &Shared,
    vm: &Arc<Vm>,
    project: &str,
    plan: &Plan,
    env: &GuestEnv,
) -> Result<(), String> {
    let derived = &plan.derived;
    let limit = Duration::from_secs(node.config.boot_timeout_s.into());
    let puller = Puller {
        engine: &node.engine,
        private: &node.private_images,
        vm: &vm.id,
        app: vm.record().manifest.app_id.to_string(),
        login: images::login(env),
        allowed: &node.config.registries,
    };
    for image in &derived.images {
        puller.pull(image).await.map_err(|cause| {
            let kind = FaultKind::NoImage { image: image.name.clone() };
            let (service, at) = (image.service.clone(), node.clock.now());
            vm.set_boot_faults(vec![ServiceFault { service, kind, log: Vec::new(), at }]);
            format!("service {}: {cause}", image.service)
        })?;
    }
    build_images(node, vm, project, derived).await?;
    let value = |name: &str| env.get(name).unwrap_or_default().to_owned();
    let passed =
        derived.pass_env.iter().map(|(alias, name)| (alias.clone(), value(name))).collect();
    let mut model = derived.model.clone();
    bound_checks(node, vm, &mut model).await?;
    let model = Model::new(&model, passed).map_err(|error| error.to_string())?;
    let working = turn(node).await?;
    node.compose.create(project, &model, limit).await.map_err(|error| error.to_string())?;
    if let Err(cause) = inspect(node, vm, project, plan).await {
        let removed = node.engine.remove_project(project).await;
        removed.map_err(|error| format!("{cause}; they cannot be removed: {error}"))?;
        return Err(cause);
    }
    let containers =
        node.engine.containers(Some(&vm.id)).await.map_err(|error| error.to_string())?;
    for container in &containers {
        equip(node, container, derived).await?;
    }
    drop(working);
    match node.compose.start(project, &model, limit).await {
        Ok(()) => settle(node, vm).await,
        Err(error) => Err(not_started(node, vm, &error.to_string()).await),
    }
}

/// A check that an image brings along must not start a process all the time.
async fn bound_checks(node: &Shared, vm: &Vm, model: &mut Value) -> Result<(), String> {
    for (service, image) in derive::checked_by_images(model) {
        let found = images::inspect(&node.engine, &image).await?;
        let check = found.and_then(|image| image.config?.healthcheck);
        if check.and_then(|check| check.interval).is_some_and(derive::is_too_often) {
            derive::check_seldom(model, &service);
            let raised = "the interval of its image's health check is raised to 1s";
            vm.say("boot", &format!("service {service}: {raised}"));
        }
    }
    Ok(())
}

/// Builds what is built in the network of the CVM.
async fn build_images(
    node: &Shared,
    vm: &Arc<Vm>,
    project: &str,
    derived: &Derived,
) -> Result<(), String> {
    if derived.builds.is_empty() {
        return Ok(());
    }
    vm.progress("building images");
    let Manifest { vcpu, memory_mb, .. } = *vm.record().manifest;
    let limits = Limits::PerService { vcpu, memory_mb, pids: node.config.pids };
    let stage = stage(node, vm, &limits, project);
    let network = stage.network().await?;
    let socket = node.engine_host.strip_prefix("unix://");
    let room = BuildRoom {
        engine: &node.engine,
        vm: &vm.id,
        network: &network,
        vcpu,
        memory_mb,
        group: socket.zip(node.cgroups.group_of(&vm.id)),
    };
    for one in &derived.builds {
        room.build(one)
            .await
            .map_err(|cause| format!("service {}: the build failed: {cause}", one.service))?;
    }
    stage.remove_network().await
}

/// Why compose did not start everything: services that failed, if there are any.
async fn not_started(node: &Shared, vm: &Vm, said: &str) -> String {
    let containers = node.engine.containers(Some(&vm.id)).await.unwrap_or_default();
    let unhealthy = node.engine.unhealthy(Some(&vm.id)).await.unwrap_or_default();
    let mut faults = faults::look(node, vm, &containers, &unhealthy, CALM).await;
    // What waits for a service that failed is not what is wrong.
    faults.retain(|fault| fault.kind != FaultKind::NotStarted);
    if faults.is_empty() {
        return said.to_owned();
    }
    let cause = faults::describe(&faults);
    vm.set_boot_faults(faults);
    format!("{cause}, and other services wait for it")
}

/// Compares what was created with what was derived. From here on only these containers can write into
/// the guest's files, and the derivation refused a source inside a directory that they write to: paths
/// that are still the same stay the same until the engine mounts them.
async fn inspect(node: &Shared, vm: &Arc<Vm>, project: &str, plan: &Plan) -> Result<(), String> {
    let (containers, volumes) =
        node.engine.created(project).await.map_err(|error| error.to_string())?;
    let expected = &plan.derived.expected;
    inspection::compare(expected, &node.engine_defaults, &containers, &volumes)
        .map_err(|mismatch| mismatch.to_string())?;
    // A name may lead to another image than when it was looked at.
    let app = vm.record().manifest.app_id.to_string();
    if let Some(one) =
        containers.iter().find(|one| !node.private_images.allows_id(&one.image, &app))
    {
        let service = &one.service;
        return Err(format!(
            "service {service}: its image was replaced by one that another app pulled with its login, and \
             the containers were removed: start again"
        ));
    }
    if sources(vm, plan.wanted.clone()).await? != plan.sources {
        return Err("bind mounts: a path of the guest changed while the containers were created, \
                    and they were removed: start again, and change links only in scripts"
            .to_owned());
    }
    let sockets = vm.on_disk(|vm| agent::sockets_are_sockets(&vm.dir.run())).await;
    match sockets {
        Ok(true) => Ok(()),
        Ok(false) => Err("the guest agent's directory has something else than sockets, and the \
                          containers were removed: start again"
            .to_owned()),
        Err(error) => Err(format!("guest agent: {error}")),
    }
}

/// Looks whether what was started stays up: a service that nobody would start again and that ends at
/// once, not well, is a failed boot. One that ends well has done what it was there for. One that is
/// started again and again may be waiting for another: it has some time to calm down.
async fn settle(node: &Shared, vm: &Vm) -> Result<(), String> {
    let begun = node.clock.now();
    let mut looks = 0;
    loop {
        let containers =
            node.engine.containers(Some(&vm.id)).await.map_err(|error| error.to_string())?;
        let found = faults::look(node, vm, &containers, &BTreeSet::new(), SETTLE_CALM).await;
        let (looping, ended): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|fault| matches!(fault.kind, FaultKind::Restarting { .. }));
        if !ended.is_empty() {
            let cause = faults::describe(&ended);
            vm.set_boot_faults(ended);
            return Err(format!("right after the start, {cause}"));
        }
        if looping.is_empty() {
            looks += 1;
            let over = !containers.iter().any(|one| one.of_app() && one.alive());
            let restarts = containers.iter().any(|one| one.of_app() && !one.may_end_well());
            let enough = if restarts { SETTLE_LOOKS_RESTARTED } else { SETTLE_LOOKS };
            if over || looks >= enough {
                vm.faults.clear();
                return Ok(());
            }
        } else if node.clock.now().since(begun) >= SETTLE_LOOP {
            let cause = faults::describe(&looping);
            vm.set_boot_faults(looping);
            return Err(cause);
        } else if looks > 0 {
            looks = 0;
            vm.progress(&format!("waiting: {}", faults::describe(&looping)));
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}

/// Puts the links to the agent's sockets into a container and switches its restart policy on.
async fn equip(node: &Shared, container: &Container, derived: &Derived) -> Result<(), String> {
    let links: Vec<_> =
        derived.links.iter().filter(|link| link.service == container.service).collect();
    if !links.is_empty() {
        let mut archive = Archive::default();
        for link in links {
            let target = format!("{AGENT_DIR}/{}", link.socket);
            let added = archive.link(&link.path, &target);
            added.map_err(|error| format!("path {} for a socket: {error}", link.path))?;
        }
        let bytes = archive.finish().map_err(|error| error.to_string())?;
        let put = node.engine.upload(&container.id, bytes).await;
        put.map_err(|error| format!("guest agent's socket in {}: {error}", container.service))?;
    }
    node.engine.set_restart(container, true).await.map_err(|error| error.to_string())
}
