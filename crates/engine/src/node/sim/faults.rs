//! Faults on demand. `faults.json` in the host's directory is read again for every call, so a test
//! can change it while the process under test runs:
//!
//! ```json
//! {
//!   "faults": [
//!     {"fault": "lose_answer", "method": "create", "mark": "web", "count": 1},
//!     {"fault": "refuse", "method": "start", "text": "no more GPUs", "skip": 2},
//!     {"fault": "reboot_host", "method": "find"}
//!   ],
//!   "random": {"lose_answer": 0.05, "drop_call": 0.05, "restart_vmm": 0.01}
//! }
//! ```
//!
//! A fault is at work in the calls it matches: those of its `method` (absent: any) for VMs with
//! `mark` in their name (absent: any call), the first `skip` of them left out, and then `count`
//! times (absent: once; `null`: always). Counting starts anew when the text of the file changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{draw::happens, journal::Method};

/// The faults of a host.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Faults that strike when they match.
    pub faults: Vec<Fault>,
    /// Faults that strike any call with this probability, drawn from the host's seed.
    pub random: BTreeMap<FaultKind, f64>,
    /// Not read; a place to make two files differ.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The call is carried out; the caller is told `Unknown`.
    LoseAnswer,
    /// The call is not carried out; the caller is told `Unknown`.
    DropCall,
    /// The call is carried out twice; the caller gets the second answer.
    Repeat,
    /// The call is refused with `text`.
    Refuse,
    /// The call is not carried out; the caller is told `Unreachable`.
    Unreachable,
    /// `push` replaces the document and nothing else; the caller is told `Unknown`.
    TearPush,
    /// Boots that begin in this call take `factor` times as long.
    SlowBoot,
    /// Before the call: the machine reboots. Guests are cut off, wanted ones boot again with what
    /// is on their disks, and what the host knew of earlier boots is forgotten.
    RebootHost,
    /// Before the call: dstack-vmm is restarted. Guests go on, the host forgets what they said.
    RestartVmm,
    /// Before the call: the guest's process dies and stays dead (`exited`).
    CrashGuest,
    /// Before the call: somebody else stops the VM.
    StopBehindBack,
    /// Before the call: the VM is gone with its disk.
    Vanish,
}

impl FaultKind {
    /// Whether it befalls VMs and not the call.
    const fn hits_vms(self) -> bool {
        match self {
            Self::RebootHost
            | Self::RestartVmm
            | Self::CrashGuest
            | Self::StopBehindBack
            | Self::Vanish => true,
            Self::LoseAnswer
            | Self::DropCall
            | Self::Repeat
            | Self::Refuse
            | Self::Unreachable
            | Self::TearPush
            | Self::SlowBoot => false,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::LoseAnswer => "lose_answer",
            Self::DropCall => "drop_call",
            Self::Repeat => "repeat",
            Self::Refuse => "refuse",
            Self::Unreachable => "unreachable",
            Self::TearPush => "tear_push",
            Self::SlowBoot => "slow_boot",
            Self::RebootHost => "reboot_host",
            Self::RestartVmm => "restart_vmm",
            Self::CrashGuest => "crash_guest",
            Self::StopBehindBack => "stop_behind_back",
            Self::Vanish => "vanish",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub fault: FaultKind,
    /// In which calls; `None`: any.
    #[serde(default)]
    pub method: Option<Method>,
    /// Part of the VM's name. For faults that befall VMs (`crash_guest`, `stop_behind_back`,
    /// `vanish`) it names the VMs, whatever the call is about; without it they befall the VMs of
    /// the call, and every VM when the call is about none.
    #[serde(default)]
    pub mark: Option<String>,
    /// That many matching calls go well first.
    #[serde(default)]
    pub skip: u32,
    /// How often it strikes; `None`: always.
    #[serde(default = "once")]
    pub count: Option<u32>,
    /// What `refuse` and `unreachable` say.
    #[serde(default = "default_text")]
    pub text: String,
    /// How much slower `slow_boot` is.
    #[serde(default = "default_factor")]
    pub factor: f64,
}

const ONCE: Option<u32> = Some(1);

fn once() -> Option<u32> {
    ONCE
}
fn default_text() -> String {
    "simulated fault".to_owned()
}
const fn default_factor() -> f64 {
    10.0
}

impl Fault {
    /// A fault that strikes the next call, whatever it is.
    pub fn new(fault: FaultKind) -> Self {
        Self {
            fault,
            method: None,
            mark: None,
            skip: 0,
            count: ONCE,
            text: default_text(),
            factor: default_factor(),
        }
    }

    /// Only in this method.
    #[must_use]
    pub fn on(self, method: Method) -> Self {
        Self { method: Some(method), ..self }
    }

    /// Only VMs with this in their name.
    #[must_use]
    pub fn of(self, mark: impl Into<String>) -> Self {
        Self { mark: Some(mark.into()), ..self }
    }

    /// Lets that many matching calls go well first.
    #[must_use]
    pub fn after(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// Strikes that often.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { count: Some(count), ..self }
    }

    /// Strikes every time.
    #[must_use]
    pub fn always(self) -> Self {
        Self { count: None, ..self }
    }

    fn matches(&self, method: Method, name: Option<&str>) -> bool {
        let this_method = self.method.is_none_or(|wanted| wanted == method);
        let this_vm = self.fault.hits_vms()
            || self.mark.as_ref().is_none_or(|part| name.is_some_and(|name| name.contains(part)));
        this_method && this_vm
    }

    /// Whether it strikes, having matched `before` times already.
    fn due(&self, before: u32) -> bool {
        before >= self.skip && self.count.is_none_or(|count| before - self.skip < count)
    }
}

impl From<Vec<Fault>> for Faults {
    fn from(faults: Vec<Fault>) -> Self {
        Self { faults, ..Self::default() }
    }
}

/// How often each fault of a file has matched.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Hash of the file that is counted.
    of: String,
    matched: Vec<u32>,
}

/// Which VMs a fault befalls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Victims {
    /// Those of the call, or all if it is about none.
    OfCall,
    /// Those with this in their name.
    Named(String),
    /// One, by this draw.
    Any(u64),
}

/// What goes wrong in one call.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Verdict {
    pub fired: Vec<FaultKind>,
    pub vm_faults: Vec<(FaultKind, Victims)>,
    pub text: String,
    pub factor: Option<f64>,
}

impl Verdict {
    pub(super) fn has(&self, kind: FaultKind) -> bool {
        self.fired.contains(&kind)
    }

    fn add(&mut self, fault: &Fault, victims: Victims) {
        self.fired.push(fault.fault);
        match fault.fault {
            kind if kind.hits_vms() => self.vm_faults.push((kind, victims)),
            FaultKind::Refuse | FaultKind::Unreachable => self.text.clone_from(&fault.text),
            FaultKind::SlowBoot => self.factor = Some(fault.factor),
            _ => {}
        }
    }
}

impl Faults {
    /// Reads `faults.json`.
    pub(super) fn read(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// What goes wrong in this call. `tally` is brought up to date; `chance` draws by purpose.
    pub(super) fn judge(
        &self,
        tally: &mut Tally,
        method: Method,
        name: Option<&str>,
        chance: impl Fn(&str) -> u64,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        for (fault, matched) in self.faults.iter().zip(&mut tally.matched) {
            if fault.matches(method, name) {
                if fault.due(*matched) {
                    let victims = fault.mark.clone().map_or(Victims::OfCall, Victims::Named);
                    verdict.add(fault, victims);
                }
                *matched = matched.saturating_add(1);
            }
        }
        for (kind, probability) in &self.random {
            let luck = chance(kind.name());
            if happens(*probability, luck) {
                verdict.add(&Fault::new(*kind), Victims::Any(luck));
            }
        }
        verdict
    }
}

impl Tally {
    /// Makes this the tally of `faults`, read from `text`.
    pub(super) fn turn_to(&mut self, text: &str, faults: &Faults) {
        let of = hex::encode(Sha256::digest(text));
        if self.of != of {
            *self = Self { of, matched: vec![0; faults.faults.len()] };
        }
    }
}
