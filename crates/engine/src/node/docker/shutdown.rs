//! Going down: at once, with grace, for good. What is wanted is on disk before anything happens, so
//! that the next process goes on where this one ended.

use std::{io, sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{build, container::Container, derive::Limits, script::stage, shared::Shared, vm::Vm};
use crate::error::CallError;

/// Longer than any shutdown the control plane waits for.
const GRACE: Duration = Duration::from_secs(1300);
/// A boot that is cut off may have started more containers meanwhile: look again this often.
const ROUNDS: usize = 20;
const BETWEEN: Duration = Duration::from_millis(100);
const RETRY_FROM: Duration = Duration::from_secs(1);
const RETRY_TO: Duration = Duration::from_secs(30);

/// Kills every container of a VM. No container is told to end.
pub(super) async fn kill_all(node: &Shared, vm: &Vm) -> Result<(), CallError> {
    for _ in 0..ROUNDS {
        let containers = node.engine.containers(Some(&vm.id)).await?;
        let done = containers.iter().all(|one| one.of_app() && !one.alive());
        let killed = join_all(containers.iter().map(|one| kill(node, one))).await;
        if done {
            return Ok(());
        }
        killed.into_iter().collect::<Result<(), CallError>>()?;
        tokio::time::sleep(BETWEEN).await;
    }
    Err(CallError::Unknown("containers keep coming up".to_owned()))
}

/// A killed container must not come back with the engine.
async fn kill(node: &Shared, container: &Container) -> Result<(), CallError> {
    if !container.of_app() {
        return node.engine.remove(&container.id).await;
    }
    node.engine.set_restart(container, false).await?;
    if container.alive() { node.engine.kill(&container.id).await } else { Ok(()) }
}

/// Ends every container with the time it has for that, the ones that depend on others first.
pub(super) async fn shut_down(node: Arc<Shared>, vm: Arc<Vm>) {
    if let Err(error) = end_all(&node, &vm).await {
        tracing::warn!(vm = %vm.id, %error, "a shutdown did not go through");
        vm.say("boot", &format!("shutdown: {error}"));
    }
    vm.set_agent(None);
    node.ports.clear(&vm.id);
    vm.set_going_down(None);
}

async fn end_all(node: &Shared, vm: &Vm) -> Result<(), CallError> {
    let project = vm.record().manifest.project();
    if let Err(error) = node.compose.stop(&project, GRACE).await {
        tracing::warn!(vm = %vm.id, %error, "compose stop failed, the engine stops each container");
    }
    let containers = node.engine.containers(Some(&vm.id)).await?;
    let alive = containers.iter().filter(|one| one.alive() && one.of_app());
    let stopped = join_all(alive.map(|one| node.engine.stop(&one.id, GRACE))).await;
    stopped.into_iter().collect::<Result<(), CallError>>()?;
    let rest = join_all(containers.iter().map(|one| retire(node, one))).await;
    rest.into_iter().collect()
}

async fn retire(node: &Shared, container: &Container) -> Result<(), CallError> {
    if container.of_app() {
        node.engine.set_restart(container, false).await
    } else {
        node.engine.remove(&container.id).await
    }
}

async fn delete(node: &Shared, vm: &Arc<Vm>) -> Result<(), String> {
    match vm.on_disk(|vm| vm.dir.delete()).await {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        other => return other.map_err(|error| error.to_string()),
    }
    let record = vm.record();
    let (vcpu, memory_mb) = (record.manifest.vcpu, record.manifest.memory_mb);
    let limits = Limits::PerService { vcpu, memory_mb, pids: node.config.pids };
    stage(node, vm, &limits, &record.manifest.project()).sweep().await?;
    vm.on_disk(|vm| vm.dir.delete()).await.map_err(|error| error.to_string())
}

/// Kills in the background until nothing lives, for a VM that went down hard before a crash.
pub(super) async fn finish_off(node: Arc<Shared>, vm: Arc<Vm>) {
    if let Err(error) = kill_all(&node, &vm).await {
        tracing::warn!(vm = %vm.id, %error, "a stopped VM still has running containers");
    }
    vm.set_going_down(None);
}

/// Removes the VM with everything it has; tries until it is gone.
pub(super) async fn remove(node: Arc<Shared>, vm: Arc<Vm>) {
    vm.set_agent(None);
    node.ports.clear(&vm.id);
    let mut pause = RETRY_FROM;
    while let Err(error) = remove_once(&node, &vm).await {
        tracing::warn!(vm = %vm.id, %error, "a VM is not removed yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_TO);
    }
    node.forget(&vm.id);
}

async fn remove_once(node: &Shared, vm: &Arc<Vm>) -> Result<(), String> {
    let text = |error: CallError| error.to_string();
    let containers = node.engine.containers(Some(&vm.id)).await.map_err(text)?;
    let removed = join_all(containers.iter().map(|one| node.engine.remove(&one.id))).await;
    removed.into_iter().collect::<Result<(), CallError>>().map_err(text)?;
    if !node.engine.containers(Some(&vm.id)).await.map_err(text)?.is_empty() {
        return Err("containers are still there".to_owned());
    }
    node.engine.remove_rest(&vm.id).await.map_err(text)?;
    build::remove_images(&node.engine, &vm.id).await?;
    let (groups, id) = (node.cgroups.clone(), vm.id.clone());
    let gone = vm.on_disk(move |_| groups.remove(&id)).await.map_err(|error| error.to_string())?;
    if !gone {
        return Err("processes are still in its control group".to_owned());
    }
    delete(node, vm).await.map_err(|error| format!("work directory: {error}"))
}
