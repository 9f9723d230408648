//! Readiness of instances.
//!
//! An instance with a check, on a node of this process, is checked once a request needs it. The first request
//! waits for the first check. From then on a task checks at every interval, until there was no request for
//! [`IDLE`], the CVM is no longer up, or its check changes. All state is in memory and bounded; other
//! processes, and this one after a restart, check again.
//!
//! An instance that did not answer a request is also a suspect for [`SUSPECT`] or until a check succeeds: it
//! is chosen only if there is no other.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, header},
};
use casemate_core::{
    cvm::{EngineState, serves},
    id::{CvmId, EngineVmId},
    ready::{Check, Health, Verdict},
    time::Timestamp,
};
use casemate_engine::node::Dial;
use casemate_store::cvms::{self, Cvm};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Gateway, send::root_cause};

/// Checks end after this time without a request.
const IDLE: Duration = Duration::from_mins(3);
/// How long an instance that did not answer is a suspect.
const SUSPECT: Duration = Duration::from_secs(2);
/// Maximum number of checked instances, and of suspects.
const MOST: usize = 4096;
/// A proxy on a port without a listener, as in some container engines, closes the connection within this
/// time.
const CLOSED_BY: Duration = Duration::from_millis(100);

/// Identifies one boot of an instance: the check's results are valid only for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot {
    vm: Option<EngineVmId>,
    run: i64,
    generation: i64,
    started_at: Option<Timestamp>,
}

impl Boot {
    pub(super) fn of(cvm: &Cvm) -> Self {
        let vm = match &cvm.status.engine {
            EngineState::Present { vm } => Some(vm.clone()),
            EngineState::Absent | EngineState::Creating { .. } => None,
        };
        Self {
            vm,
            run: cvm.status.run,
            generation: cvm.status.pushed,
            started_at: cvm.status.observed.as_ref().and_then(|vm| vm.started_at),
        }
    }
}

/// A checked instance. Dropping it ends the checks.
#[derive(Debug)]
struct CheckedInstance {
    boot: Boot,
    check: Check,
    health: watch::Receiver<Health>,
    /// Triggers a check now.
    poke: Arc<Notify>,
    /// Time of the last request, in microseconds.
    asked: Arc<AtomicI64>,
    _end: DropGuard,
}

/// The readiness of all known instances.
#[derive(Debug, Default)]
pub(super) struct HealthTable {
    watched: Mutex<HashMap<CvmId, CheckedInstance>>,
    suspects: Mutex<HashMap<CvmId, Timestamp>>,
}

impl HealthTable {
    fn watched(&self) -> MutexGuard<'_, HashMap<CvmId, CheckedInstance>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn suspects(&self) -> MutexGuard<'_, HashMap<CvmId, Timestamp>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks an instance that did not answer.
    pub(super) fn mark_suspect(&self, cvm: CvmId, now: Timestamp) {
        let mut suspects = self.suspects();
        if suspects.len() >= MOST {
            suspects.retain(|_, until| now < *until);
        }
        if suspects.len() < MOST {
            suspects.insert(cvm, now.plus(SUSPECT));
        }
        drop(suspects);
        if let Some(watched) = self.watched().get(&cvm) {
            watched.poke.notify_one();
        }
    }

    /// Unmarks an instance that answered.
    pub(super) fn clear_suspect(&self, cvm: CvmId) {
        self.suspects().remove(&cvm);
    }

    pub(super) fn is_suspect(&self, cvm: CvmId, now: Timestamp) -> bool {
        self.suspects().get(&cvm).is_some_and(|until| now < *until)
    }

    /// Removes an instance that is no longer up.
    pub(super) fn forget(&self, cvm: CvmId) {
        self.watched().remove(&cvm);
    }
}

impl Gateway {
    /// The ready ones of these instances; causes for the others go to `why`. Waits for the first check of an
    /// instance only if no other is ready.
    pub(super) async fn look(
        &self,
        all: Vec<(Cvm, Option<Check>)>,
        why: &mut Vec<String>,
    ) -> Vec<Cvm> {
        let (mut ready, mut unknown) = (Vec::new(), Vec::new());
        let mut not_ready = |cvm: &Cvm, check: &Check, health: &Health| {
            why.push(format!("{} is not ready: {check}: {}", cvm.spec.name, health.why));
        };
        for (cvm, check) in all {
            let Some(check) = check else {
                self.health.forget(cvm.id);
                ready.push(cvm);
                continue;
            };
            let seen = self.watch(&cvm, &check);
            let health = seen.borrow().clone();
            match health.verdict {
                Verdict::Ready => ready.push(cvm),
                Verdict::NotReady => not_ready(&cvm, &check, &health),
                Verdict::Unknown => unknown.push((cvm, check, seen)),
            }
        }
        if !ready.is_empty() {
            return ready;
        }
        let mut looks: FuturesUnordered<_> = unknown
            .into_iter()
            .map(|(cvm, check, mut seen)| async move {
                let known = seen.wait_for(|health| health.verdict != Verdict::Unknown);
                // The check has a timeout, so this ends early only if its task was ended.
                let health =
                    known.await.map_or_else(|_| Health::unknown(), |health| health.clone());
                (cvm, check, health)
            })
            .collect();
        while let Some((cvm, check, health)) = looks.next().await {
            if health.verdict == Verdict::Ready {
                return vec![cvm];
            }
            not_ready(&cvm, &check, &health);
        }
        Vec::new()
    }

    /// The readiness of an instance; starts its checks if needed.
    fn watch(&self, cvm: &Cvm, check: &Check) -> watch::Receiver<Health> {
        let (now, boot) = (self.ctx.now(), Boot::of(cvm));
        let mut watched = self.health.watched();
        if let Some(one) = watched.get(&cvm.id)
            && one.boot == boot
            && one.check == *check
        {
            one.asked.store(now.micros(), Ordering::Relaxed);
            return one.health.clone();
        }
        if watched.len() >= MOST && !watched.contains_key(&cvm.id) {
            let longest = watched.iter().min_by_key(|(_, one)| one.asked.load(Ordering::Relaxed));
            if let Some(id) = longest.map(|(id, _)| *id) {
                watched.remove(&id);
            }
        }
        let (told, health) = watch::channel(Health::unknown());
        let end = CancellationToken::new();
        let looks = CheckTask {
            gateway: self.clone(),
            cvm: cvm.clone(),
            check: check.clone(),
            poke: Arc::default(),
            asked: Arc::new(AtomicI64::new(now.micros())),
            told,
        };
        let one = CheckedInstance {
            boot,
            check: check.clone(),
            health: health.clone(),
            poke: looks.poke.clone(),
            asked: looks.asked.clone(),
            _end: end.clone().drop_guard(),
        };
        watched.insert(cvm.id, one);
        drop(watched);
        let stop = self.ctx.stop.clone();
        tokio::spawn(async move {
            let looking = Box::pin(looks.run());
            let _ = stop.run_until_cancelled(end.run_until_cancelled(looking)).await;
        });
        health
    }

    /// Checks an instance once.
    async fn probe(&self, cvm: &Cvm, check: &Check) -> Result<(), String> {
        let look = tokio::time::timeout(check.timeout(), self.reach(cvm, check)).await;
        look.unwrap_or_else(|_| Err(format!("no answer in {} s", check.timeout_s)))
    }

    async fn reach(&self, cvm: &Cvm, check: &Check) -> Result<(), String> {
        let (EngineState::Present { vm }, Some(node)) =
            (&cvm.status.engine, self.ctx.fleet.node(cvm.node))
        else {
            return Err("it has no VM".to_owned());
        };
        let address = match node.node.resolve_port(vm, check.port).await {
            Ok(Dial::Tcp(address)) => address,
            Ok(Dial::Page(_)) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let Some(path) = &check.path else {
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            let mut first = [0; 1];
            return match tokio::time::timeout(CLOSED_BY, stream.peek(&mut first)).await {
                Ok(Ok(0)) => Err("the connection is closed at once".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Ok(Ok(_)) | Err(_) => Ok(()),
            };
        };
        let host = format!("{}-{}.{}", cvm.spec.app_id, check.port, self.domain);
        let request = Request::get(format!("http://{address}{path}"))
            .header(header::HOST, host)
            .header(header::USER_AGENT, "casemate-readiness")
            .body(Body::empty())
            .map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await.map_err(|error| root_cause(&error))?;
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            Ok(())
        } else {
            Err(format!("answered {status}"))
        }
    }
}

/// The check task of one instance.
struct CheckTask {
    gateway: Gateway,
    cvm: Cvm,
    check: Check,
    poke: Arc<Notify>,
    asked: Arc<AtomicI64>,
    told: watch::Sender<Health>,
}

impl CheckTask {
    async fn run(self) {
        let table = &self.gateway.health;
        loop {
            let look = self.gateway.probe(&self.cvm, &self.check).await;
            if look.is_ok() {
                table.clear_suspect(self.cvm.id);
            }
            let good = look.is_ok();
            self.note(look);
            if self.is_idle() || (!good && !self.is_up().await) {
                break;
            }
            let _ = tokio::time::timeout(self.check.interval(), self.poke.notified()).await;
        }
        let mut watched = table.watched();
        // Another task may check the CVM by now.
        if watched.get(&self.cvm.id).is_some_and(|one| Arc::ptr_eq(&one.asked, &self.asked)) {
            watched.remove(&self.cvm.id);
        }
    }

    fn note(&self, look: Result<(), String>) {
        let before = self.told.borrow().clone();
        let after = before.after(look, self.check.threshold);
        if before.verdict != after.verdict {
            let to = if after.verdict == Verdict::Ready { "ready" } else { "not_ready" };
            metrics::counter!("casemate_gateway_readiness_total", "to" => to).increment(1);
            tracing::info!(cvm = %self.cvm.id, to, why = after.why, "readiness");
        }
        self.told.send_replace(after);
    }

    fn is_idle(&self) -> bool {
        let asked = Timestamp::from_micros(self.asked.load(Ordering::Relaxed));
        self.gateway.ctx.now().since(asked) >= IDLE
    }

    /// Whether the instance is up and still on the same boot.
    async fn is_up(&self) -> bool {
        let Cvm { workspace, id, .. } = self.cvm;
        let found = cvms::by_id(&self.gateway.ctx.db, workspace, id).await;
        found.is_ok_and(|now| {
            now.is_some_and(|now| {
                serves(now.phase, &now.desired, &now.status)
                    && Boot::of(&now) == Boot::of(&self.cvm)
            })
        })
    }
}
