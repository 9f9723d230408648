//! Carries a call out, or not, or twice, as the faults have it.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use casemate_core::{
    id::{EngineVmId, VmUuid},
    time::{Clock, Entropy, Timestamp},
};

use casemate_verify::simulate::DevelopmentRoot;

use super::{
    config::{Journal, SimConfig},
    faults::{FaultKind, Verdict},
    journal::{Answer, Call, Method},
    serial::Serial,
    session::{Session, Trouble},
    store::Store,
};
use crate::node::{CallError, Mark};

/// What all handles of a host share.
#[derive(Debug)]
pub(super) struct Shared {
    pub store: Store,
    pub config: SimConfig,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// Signs the quotes of its guests.
    pub root: OnceLock<Arc<DevelopmentRoot>>,
}

/// What a call is about.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Host,
    Mark(Mark),
    Vm(EngineVmId),
}

/// The same, looked up.
struct About {
    vm: Option<EngineVmId>,
    mark: Option<VmUuid>,
    name: Option<String>,
}

type Outcome<T> = Result<T, CallError>;

impl Shared {
    /// Does a piece of work where it may wait for files.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        if !self.store.blocks() {
            return work(self);
        }
        let shared = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&shared))
            .await
            .unwrap_or_else(|error| Err(CallError::Unknown(error.to_string())))
    }

    /// The root of its guests' quotes.
    pub(super) fn development_root(&self) -> Outcome<Arc<DevelopmentRoot>> {
        if let Some(root) = self.root.get() {
            return Ok(root.clone());
        }
        let known = DevelopmentRoot::from_seed(b"a root of simulated hosts: known");
        let known = known.map_err(|error| CallError::Rejected(error.to_string()))?;
        Ok(self.root.get_or_init(|| Arc::new(known)).clone())
    }

    /// One call, with everything that goes wrong in it.
    pub(super) fn call<T>(
        &self,
        method: Method,
        target: &Target,
        op: &impl Fn(&mut Session<'_>) -> Result<T, Trouble>,
    ) -> Outcome<T> {
        self.session(|session| {
            let about = About::look_up(session, target)?;
            let verdict = session.judge(method, about.name.as_deref())?;
            for (kind, victims) in &verdict.vm_faults {
                session.strike(*kind, victims, about.mark)?;
            }
            session.factor = verdict.factor.unwrap_or(1.0);
            session.tear = method == Method::Push && verdict.has(FaultKind::TearPush);
            let (answer, carried_out) = answer(session, &verdict, op)?;
            if self.writes_down(method, &verdict, session) {
                let at = session.now;
                let answer = Answer::of(&answer);
                session.journal(about.call(at, method, carried_out, answer, verdict.fired));
            }
            Ok(answer)
        })
    }

    /// The log of a VM, without faults and journal; `None` when it is gone.
    pub(super) async fn look_at(self: &Arc<Self>, id: &EngineVmId) -> Outcome<Option<Serial>> {
        let id = id.clone();
        let look = move |session: &mut Session<'_>| {
            let vm = session.get(&id)?;
            Ok(Ok(vm.map(|vm| Serial::of(&vm, session.now))))
        };
        self.run(|shared| shared.session(look)).await
    }

    /// Makes sure that the files can be used and that the host has its seed.
    pub(super) fn open(&self) -> io::Result<()> {
        let now = self.clock.now();
        self.store.locked(|disk| Session::begin(disk, &self.config, &*self.entropy, now)?.commit())
    }

    fn session<T>(
        &self,
        action: impl FnOnce(&mut Session<'_>) -> io::Result<Outcome<T>>,
    ) -> Outcome<T> {
        let mut committing = false;
        let result = self.store.locked(|disk| {
            let now = self.clock.now();
            let mut session = Session::begin(disk, &self.config, &*self.entropy, now)?;
            let outcome = action(&mut session)?;
            committing = true;
            session.commit()?;
            Ok(outcome)
        });
        result.unwrap_or_else(|error| {
            let text = format!("the simulated host's files: {error}");
            Err(if committing { CallError::Unknown(text) } else { CallError::Unreachable(text) })
        })
    }

    fn writes_down(&self, method: Method, verdict: &Verdict, session: &Session<'_>) -> bool {
        match self.config.journal {
            Journal::Off => false,
            Journal::Changes => {
                method.changes() || !verdict.fired.is_empty() || session.has_effects()
            }
            Journal::All => true,
        }
    }
}

/// What the caller is told, and how often the call was carried out.
fn answer<T>(
    session: &mut Session<'_>,
    verdict: &Verdict,
    op: &impl Fn(&mut Session<'_>) -> Result<T, Trouble>,
) -> io::Result<(Outcome<T>, u32)> {
    if verdict.has(FaultKind::Unreachable) {
        return Ok((Err(CallError::Unreachable(verdict.text.clone())), 0));
    }
    if verdict.has(FaultKind::Refuse) {
        return Ok((Err(CallError::Rejected(verdict.text.clone())), 0));
    }
    let lost = || CallError::Unknown("simulated fault: no answer".to_owned());
    if verdict.has(FaultKind::DropCall) {
        return Ok((Err(lost()), 0));
    }
    let mut outcome = attempt(session, op)?;
    let mut times = 1;
    if verdict.has(FaultKind::Repeat) {
        outcome = attempt(session, op)?;
        times = 2;
    }
    if verdict.has(FaultKind::LoseAnswer) || session.tear {
        outcome = Err(lost());
    }
    Ok((outcome, times))
}

fn attempt<T>(
    session: &mut Session<'_>,
    op: &impl Fn(&mut Session<'_>) -> Result<T, Trouble>,
) -> io::Result<Outcome<T>> {
    match op(session) {
        Ok(value) => Ok(Ok(value)),
        Err(Trouble::Refused(text)) => Ok(Err(CallError::Rejected(text))),
        Err(Trouble::Broken(error)) => Err(error),
    }
}

impl About {
    fn look_up(session: &mut Session<'_>, target: &Target) -> io::Result<Self> {
        let (vm, mark) = match target {
            Target::Host => (None, None),
            Target::Mark(mark) => (None, Some(mark.clone())),
            Target::Vm(id) => (Some(id.clone()), session.get(id)?.map(|vm| vm.config.mark.clone())),
        };
        let name = mark.as_ref().map(ToString::to_string);
        Ok(Self { vm, mark: mark.map(|mark| mark.uuid()), name })
    }

    fn call(
        self,
        at: Timestamp,
        method: Method,
        carried_out: u32,
        answer: Answer,
        faults: Vec<FaultKind>,
    ) -> Call {
        Call {
            n: 0,
            at,
            method,
            vm: self.vm,
            mark: self.name,
            carried_out,
            answer,
            faults,
            effects: Vec::new(),
        }
    }
}
