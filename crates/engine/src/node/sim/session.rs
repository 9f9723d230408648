//! One call on a simulated host: everything it reads, and everything it changes, gathered until it
//! is committed as one.

use std::io;

use casemate_core::{
    id::{EngineVmId, VmUuid},
    time::{Entropy, Timestamp},
};

use super::{
    boot::Circumstances,
    config::SimConfig,
    draw::draw,
    faults::{Faults, Tally, Verdict},
    journal::{Call, Effect, Method},
    store::{Changes, Disk, Host, Key, Which},
    vm::Vm,
};

/// Why a call did not do what it was asked.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The host refused.
    Refused(String),
    /// The host's own files.
    Broken(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Trouble {
    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }
}

/// A call under way.
pub(super) struct Session<'a> {
    pub config: &'a SimConfig,
    pub entropy: &'a dyn Entropy,
    pub now: Timestamp,
    /// How much slower boots are that begin now.
    pub factor: f64,
    /// Whether `push` is to stop half-way.
    pub tear: bool,
    disk: &'a mut dyn Disk,
    host: Host,
    /// Whether `host` is to be saved. The number of a call that left no trace is used again.
    host_changed: bool,
    changes: Changes,
    effects: Vec<Effect>,
}

impl<'a> Session<'a> {
    pub(super) fn begin(
        disk: &'a mut dyn Disk,
        config: &'a SimConfig,
        entropy: &'a dyn Entropy,
        now: Timestamp,
    ) -> io::Result<Self> {
        let known = disk.host()?;
        let host_changed = known.is_none();
        let host = known.unwrap_or_else(|| Host::new(config, entropy));
        Ok(Self {
            config,
            entropy,
            now,
            factor: 1.0,
            tear: false,
            disk,
            host,
            host_changed,
            changes: Changes::default(),
            effects: Vec::new(),
        })
    }

    /// Those VMs, the oldest first.
    pub(super) fn keys(&mut self, which: Which<'_>) -> io::Result<Vec<Key>> {
        let mut keys = self.disk.keys(which)?;
        keys.extend(self.changes.puts.values().map(Vm::key).filter(|key| which.fits(key)));
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| !self.changes.drops.contains(key));
        Ok(keys)
    }

    /// One VM, unless it is gone by now; then its file goes too.
    pub(super) fn load(&mut self, key: &Key) -> io::Result<Option<Vm>> {
        let vm = match self.changes.puts.get(&key.seq) {
            Some(vm) => vm.clone(),
            None => self.disk.vm(key)?,
        };
        if vm.gone(self.now) {
            self.drop_vm(&vm);
            return Ok(None);
        }
        Ok(Some(vm))
    }

    /// Something of each of those VMs, which are in memory one after the other.
    fn each<T>(&mut self, which: Which<'_>, of: impl Fn(Vm) -> T) -> io::Result<Vec<T>> {
        let mut all = Vec::new();
        for key in self.keys(which)? {
            all.extend(self.load(&key)?.map(&of));
        }
        Ok(all)
    }

    pub(super) fn all<T>(&mut self, of: impl Fn(Vm) -> T) -> io::Result<Vec<T>> {
        self.each(Which::All, of)
    }

    pub(super) fn marked(&mut self, mark: VmUuid) -> io::Result<Vec<Vm>> {
        self.each(Which::Marked(mark), |vm| vm)
    }

    pub(super) fn get(&mut self, id: &EngineVmId) -> io::Result<Option<Vm>> {
        Ok(self.each(Which::Id(id), |vm| vm)?.pop())
    }

    pub(super) fn put(&mut self, vm: Vm) {
        self.changes.puts.insert(vm.seq, vm);
    }

    pub(super) fn drop_vm(&mut self, vm: &Vm) {
        self.changes.puts.remove(&vm.seq);
        self.changes.drops.insert(vm.key());
    }

    pub(super) fn record_effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn seed(&self) -> u64 {
        self.host.seed
    }

    /// The number of the next VM.
    pub(super) fn next_seq(&mut self) -> u64 {
        self.host.made += 1;
        self.host_changed = true;
        self.host.made
    }

    pub(super) fn circumstances(&self, vm: &Vm) -> Circumstances<'a> {
        Circumstances {
            config: self.config,
            seed: self.host.seed,
            vm: vm.seq,
            run: vm.runs,
            factor: self.factor,
        }
    }

    /// Gives the call its number, and tells what goes wrong in it, by `faults.json`.
    pub(super) fn judge(&mut self, method: Method, name: Option<&str>) -> io::Result<Verdict> {
        self.host.calls += 1;
        let Some(text) = self.disk.faults()? else { return Ok(Verdict::default()) };
        let faults = Faults::read(&text).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("faults.json: {error}"))
        })?;
        if faults.faults.is_empty() && faults.random.is_empty() {
            return Ok(Verdict::default());
        }
        let (seed, call) = (self.host.seed, self.host.calls);
        let before = self.host.tally.clone();
        let tally = &mut self.host.tally;
        tally.turn_to(&text, &faults);
        let verdict = faults.judge(tally, method, name, |what| draw(seed, what, call, 0));
        // Without a new number for the next call, the same chance would come again.
        self.host_changed |= *tally != before || !faults.random.is_empty();
        Ok(verdict)
    }

    pub(super) fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// Puts the call into the journal, with its number and effects.
    pub(super) fn journal(&mut self, call: Call) {
        self.host_changed = true;
        let effects = std::mem::take(&mut self.effects);
        self.changes.call = Some(Call { n: self.host.calls, effects, ..call });
    }

    pub(super) fn commit(mut self) -> io::Result<()> {
        if self.host_changed {
            self.changes.host = Some(self.host);
        }
        if self.changes.is_empty() { Ok(()) } else { self.disk.commit(self.changes) }
    }
}

impl Host {
    fn new(config: &SimConfig, entropy: &dyn Entropy) -> Self {
        let seed = config.seed.unwrap_or_else(|| entropy.u64());
        Self { seed, made: 0, calls: 0, tally: Tally::default() }
    }
}
