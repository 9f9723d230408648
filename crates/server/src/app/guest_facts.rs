//! What running guests tell of themselves, asked of their node while a client waits: it is read, changes nothing,
//! and takes at most [`LIMIT`]. Everybody who asks about a CVM at one time gets one answer, which is kept for
//! [`KEPT`], so that a page that polls costs its node no more than one that does not.

use std::{future::Future, sync::Arc, time::Duration};

use casemate_api::reply::{
    Container, CvmComposition, CvmNetwork, CvmStats, Disk, Endpoint, SystemInfo,
};
use casemate_core::{
    cvm::{Boot, EngineState, VmPower},
    id::{CvmId, EngineVmId},
};
use casemate_engine::node::{CallError, GuestContainer, GuestNetwork, GuestSystem, Node};
use casemate_store::cvms::Cvm;
use moka::future::Cache;

use super::{Caller, Ctx, Error, cvms, views};
use crate::view::PublicUrl;

/// Longest wait for a guest.
const LIMIT: Duration = Duration::from_secs(5);
/// How long an answer, or the lack of one, is shown.
const KEPT: Duration = Duration::from_secs(2);
/// CVMs whose answers are kept.
const CVMS: u64 = 1000;

/// Answers of guests. An error is a sentence for people.
#[derive(Debug)]
pub struct GuestAnswers {
    containers: Answers<Vec<GuestContainer>>,
    system: Answers<GuestSystem>,
    network: Answers<GuestNetwork>,
}

type Answer<T> = Result<Arc<T>, Arc<str>>;
type Answers<T> = Cache<CvmId, Answer<T>>;

impl Default for GuestAnswers {
    fn default() -> Self {
        Self { containers: answers(), system: answers(), network: answers() }
    }
}

fn answers<T: Send + Sync + 'static>() -> Answers<T> {
    Cache::builder().max_capacity(CVMS).time_to_live(KEPT).build()
}

/// `GET /cvms/{id}/stats`.
pub async fn stats(ctx: &Ctx, caller: &Caller, text: &str) -> Result<CvmStats, Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    let ask = async |node: Arc<dyn Node>, vm| node.guest_system(&vm).await;
    let (told, error) = answer(ctx, &cvm, &ctx.guests.system, ask).await;
    let view = views::cvm(ctx, caller, &cvm);
    Ok(CvmStats {
        is_online: told.is_some(),
        is_public: view.public_sysinfo,
        error,
        sysinfo: told.as_deref().map(system),
        status: Some(view.phase.into()),
        in_progress: view.in_progress,
        boot_progress: view.boot_progress,
        boot_error: view.boot_error,
    })
}

/// `GET /cvms/{id}/network`.
pub async fn network(ctx: &Ctx, caller: &Caller, text: &str) -> Result<CvmNetwork, Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    let ask = async |node: Arc<dyn Node>, vm| node.guest_network(&vm).await;
    let (told, error) = answer(ctx, &cvm, &ctx.guests.network, ask).await;
    let view = views::cvm(ctx, caller, &cvm);
    let url = |url: PublicUrl| Endpoint { app: url.app, instance: url.instance };
    Ok(CvmNetwork {
        is_online: told.is_some(),
        is_public: view.public_sysinfo,
        error,
        internal_ip: told.as_ref().and_then(|told| told.internal_ip.clone()),
        latest_handshake: told.as_ref().and_then(|told| told.latest_handshake.clone()),
        public_urls: told.is_some().then(|| view.public_urls.into_iter().map(url).collect()),
    })
}

/// `GET /cvms/{id}/composition`.
pub async fn composition(ctx: &Ctx, caller: &Caller, text: &str) -> Result<CvmComposition, Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    let document = cvms::document(ctx, &cvm).await?;
    let ask = async |node: Arc<dyn Node>, vm| node.guest_containers(&vm).await;
    let (told, error) = answer(ctx, &cvm, &ctx.guests.containers, ask).await;
    let view = views::with_document(views::cvm(ctx, caller, &cvm), &document);
    Ok(CvmComposition {
        is_online: told.is_some(),
        is_public: view.public_sysinfo,
        error,
        docker_compose_file: view.docker_compose_file,
        manifest_version: Some(view.manifest_version),
        version: view.os.version,
        runner: Some(view.runner),
        features: Some(view.features),
        containers: told.map(|containers| containers.iter().map(container).collect()),
    })
}

fn system(told: &GuestSystem) -> SystemInfo {
    let disks = told.disks.iter().map(|disk| Disk {
        name: disk.name.clone(),
        mount_point: disk.mount_point.clone(),
        total_size: disk.total_size,
        free_size: disk.free_size,
    });
    SystemInfo {
        os_name: told.os_name.clone(),
        os_version: told.os_version.clone(),
        kernel_version: told.kernel_version.clone(),
        cpu_model: told.cpu_model.clone(),
        num_cpus: told.num_cpus,
        total_memory: told.total_memory,
        available_memory: told.available_memory,
        used_memory: told.used_memory,
        free_memory: told.free_memory,
        total_swap: told.total_swap,
        used_swap: told.used_swap,
        free_swap: told.free_swap,
        uptime: told.uptime,
        loadavg_one: told.loadavg_one,
        loadavg_five: told.loadavg_five,
        loadavg_fifteen: told.loadavg_fifteen,
        disks: disks.collect(),
    }
}

fn container(told: &GuestContainer) -> Container {
    Container {
        id: told.id.clone(),
        names: told.names.clone(),
        image: told.image.clone(),
        image_id: told.image_id.clone(),
        command: told.command.clone(),
        created: told.created,
        state: told.state.clone(),
        status: told.status.clone(),
        log_endpoint: None,
    }
}

/// The VM whose guest can be asked; `None`: the CVM is down, or boots.
fn up(cvm: &Cvm) -> Option<EngineVmId> {
    let EngineState::Present { vm } = &cvm.status.engine else { return None };
    let observed = cvm.status.observed.as_ref()?;
    (observed.power == VmPower::Running && observed.boot == Boot::Done).then(|| vm.clone())
}

/// What the guest told, else why it did not. Of a CVM that is not up there is neither: nobody was asked.
async fn answer<T, F>(
    ctx: &Ctx,
    cvm: &Cvm,
    kept: &Answers<T>,
    ask: impl FnOnce(Arc<dyn Node>, EngineVmId) -> F,
) -> (Option<Arc<T>>, Option<String>)
where
    T: Send + Sync + 'static,
    F: Future<Output = Result<T, CallError>>,
{
    let Some(vm) = up(cvm) else { return (None, None) };
    let asked = async {
        let Some(node) = ctx.fleet.node(cvm.node) else {
            return Err("the CVM's node is not configured any more".into());
        };
        match tokio::time::timeout(LIMIT, ask(Arc::clone(&node.node), vm)).await {
            Ok(Ok(told)) => Ok(Arc::new(told)),
            Ok(Err(CallError::Rejected(why))) => Err(why.into()),
            Ok(Err(error)) => Err(error.to_string().into()),
            Err(_) => Err(format!("the guest gave no answer for {LIMIT:?}").into()),
        }
    };
    match kept.get_with(cvm.id, asked).await {
        Ok(told) => (Some(told), None),
        Err(why) => (None, Some(why.to_string())),
    }
}
