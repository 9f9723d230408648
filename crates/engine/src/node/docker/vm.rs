//! One VM in memory: what is on record, and what is under way.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use casemate_core::{
    cvm::{Boot, ServiceFault},
    id::{EngineVmId, InstanceId},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    agent::{AgentHandle, Answers, Identity},
    faults::FaultMemory,
    logs::FOLLOWED_PER_VM,
    vmdir::{Instance, Manifest, State, VmDir},
};
use crate::node::VmConfig;

/// Lines of the boot that are kept.
const MAX_LINES: usize = 300;

/// A VM of this node.
#[derive(Debug)]
pub(super) struct Vm {
    pub id: EngineVmId,
    pub dir: VmDir,
    /// Held while a call is taken, so that calls do not mix.
    pub gate: tokio::sync::Mutex<()>,
    /// Held by the job that acts on the containers.
    pub work: tokio::sync::Mutex<()>,
    /// Places of logs that are followed.
    pub followed: Arc<Semaphore>,
    disk: Mutex<()>,
    record: Mutex<Record>,
    live: Mutex<Live>,
    /// What was seen of services that do not do what they should.
    pub faults: FaultMemory,
}

/// What the directory says.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub manifest: Arc<Manifest>,
    pub state: State,
    pub instance: Instance,
    pub removing: bool,
}

impl Record {
    /// The instance id of a guest that boots now, if it has one.
    pub fn own_instance_id(&self) -> InstanceId {
        let seed = self.manifest.instance_seed.unwrap_or(self.instance.seed);
        seed.instance_id(&self.manifest.app_id)
    }
}

/// What is under way. Gone with the process, and found out again by the next one.
#[derive(Debug)]
struct Live {
    boot: Boot,
    boot_error: Option<String>,
    boot_faults: Vec<ServiceFault>,
    going_down: Option<String>,
    job: CancellationToken,
    lines: VecDeque<String>,
    agent: Option<AgentHandle>,
}

impl Vm {
    /// The VM in this directory.
    pub fn load(id: EngineVmId, dir: VmDir) -> io::Result<Self> {
        let record = Record {
            manifest: Arc::new(dir.manifest()?),
            state: dir.state()?,
            instance: dir.instance()?,
            removing: dir.removing(),
        };
        Ok(Self {
            id,
            dir,
            gate: tokio::sync::Mutex::default(),
            work: tokio::sync::Mutex::default(),
            followed: Arc::new(Semaphore::new(FOLLOWED_PER_VM)),
            disk: Mutex::default(),
            record: Mutex::new(record),
            live: Mutex::new(Live::new()),
            faults: FaultMemory::default(),
        })
    }

    pub fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    /// Records what is wanted: on disk first. Changes follow one another, also when the caller of
    /// one has gone.
    pub async fn set_state(
        self: &Arc<Self>,
        change: impl FnOnce(&mut State) + Send + 'static,
    ) -> io::Result<()> {
        self.on_disk(move |vm| {
            let mut state = vm.record().state;
            change(&mut state);
            vm.dir.write_state(&state)?;
            lock(&vm.record).state = state;
            Ok(())
        })
        .await
    }

    /// Records the instance id.
    pub async fn set_instance(self: &Arc<Self>, instance: Instance) -> io::Result<()> {
        self.on_disk(move |vm| {
            vm.dir.write_instance(&instance)?;
            lock(&vm.record).instance = instance;
            Ok(())
        })
        .await
    }

    /// Replaces the configuration.
    pub async fn set_config(
        self: &Arc<Self>,
        manifest: Manifest,
        config: VmConfig,
    ) -> io::Result<()> {
        self.on_disk(move |vm| {
            vm.dir.write_config(&manifest, &config)?;
            lock(&vm.record).manifest = Arc::new(manifest);
            Ok(())
        })
        .await
    }

    /// Records that the VM is being removed: on disk first.
    pub async fn set_removing(self: &Arc<Self>) -> io::Result<()> {
        self.on_disk(|vm| {
            vm.dir.mark_removing()?;
            lock(&vm.record).removing = true;
            Ok(())
        })
        .await
    }

    /// Runs something that touches the disk where it may block, one at a time.
    pub async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let vm = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let _turn = lock(&vm.disk);
            act(&vm)
        });
        done.await.unwrap_or_else(|error| Err(io::Error::other(error.to_string())))
    }

    /// Ends the job under way and returns the token of the next one.
    pub fn next_job(&self) -> CancellationToken {
        let mut live = lock(&self.live);
        live.job.cancel();
        live.job = CancellationToken::new();
        live.job.clone()
    }

    /// How far the boot is.
    pub fn boot(&self) -> (Boot, Option<String>) {
        let live = lock(&self.live);
        (live.boot.clone(), live.boot_error.clone())
    }

    /// Services that kept the boot from ending well.
    pub fn set_boot_faults(&self, faults: Vec<ServiceFault>) {
        lock(&self.live).boot_faults = faults;
    }

    /// Services that kept the last boot from ending well.
    pub fn boot_faults(&self) -> Vec<ServiceFault> {
        lock(&self.live).boot_faults.clone()
    }

    /// A boot begins: the last one's outcome is forgotten.
    pub fn begin_boot(&self) {
        let mut live = lock(&self.live);
        live.boot_error = None;
        live.boot_faults.clear();
        live.going_down = None;
        live.lines.clear();
        drop(live);
        self.faults.clear();
        self.progress("booting");
    }

    /// A step of the boot.
    pub fn progress(&self, step: &str) {
        lock(&self.live).boot = Boot::Progress(step.to_owned());
        self.say("boot", step);
    }

    /// The boot ended well.
    pub fn boot_done(&self) {
        lock(&self.live).boot = Boot::Done;
        self.say("boot", "done");
    }

    pub fn boot_failed(&self, cause: &str) {
        self.say("boot", cause);
        let mut live = lock(&self.live);
        live.boot = Boot::Failed(cause.to_owned());
        live.boot_error = Some(cause.to_owned());
    }

    /// Progress of going down; `None`: it is not going down any more.
    pub fn set_going_down(&self, progress: Option<&str>) {
        let mut live = lock(&self.live);
        live.going_down = progress.map(str::to_owned);
        live.boot = Boot::Unknown;
    }

    /// Progress of going down.
    pub fn going_down(&self) -> Option<String> {
        lock(&self.live).going_down.clone()
    }

    /// Keeps a line for the log.
    pub fn say(&self, who: &str, line: &str) {
        let mut live = lock(&self.live);
        if live.lines.len() == MAX_LINES {
            live.lines.pop_front();
        }
        live.lines.push_back(format!("{who} | {line}"));
    }

    /// Lines of the last boot.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.live).lines.iter().cloned().collect()
    }

    /// What the guest agent answers to `Info` and `Version`.
    pub fn agent_answers(&self) -> Answers {
        lock(&self.live).agent.as_ref().map(|agent| agent.answers.clone()).unwrap_or_default()
    }

    /// Who the guest agent speaks for; `None`: there is none now.
    pub fn agent_identity(&self) -> Option<Identity> {
        lock(&self.live).agent.as_ref().map(|agent| agent.identity.clone())
    }

    /// Replaces the guest agent.
    pub fn set_agent(&self, agent: Option<AgentHandle>) {
        lock(&self.live).agent = agent;
    }
}

impl Live {
    fn new() -> Self {
        Self {
            boot: Boot::Unknown,
            boot_error: None,
            boot_faults: Vec::new(),
            going_down: None,
            job: CancellationToken::new(),
            lines: VecDeque::new(),
            agent: None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
