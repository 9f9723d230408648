//! Random sequences of calls, faults and time: made from a seed, done to any world, told as text.

use super::*;
use crate::node::sim::{FaultKind, Faults, Method};

/// One thing that is done to a world. VMs are named by the order in which they were first seen.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Create(u8, &'static str),
    Push(usize, u8, &'static str, u32),
    Start(usize),
    Stop(usize),
    Shutdown(usize),
    Remove(usize),
    Dial(usize),
    Find(u8),
    List,
    Pass(i64),
    Faults(Box<Faults>),
    Calm,
    /// Another process takes over.
    Reopen,
}

const TEXTS: [&str; 7] = [
    "",
    "plain",
    "# x-sim-boot: fail",
    "# x-sim-boot: never",
    "# x-sim-boot: exit",
    "# x-sim-shutdown: never",
    "# x-sim-shutdown: ignore",
];

const KINDS: [FaultKind; 12] = [
    FaultKind::LoseAnswer,
    FaultKind::DropCall,
    FaultKind::Repeat,
    FaultKind::Refuse,
    FaultKind::Unreachable,
    FaultKind::TearPush,
    FaultKind::SlowBoot,
    FaultKind::RebootHost,
    FaultKind::RestartVmm,
    FaultKind::CrashGuest,
    FaultKind::StopBehindBack,
    FaultKind::Vanish,
];

const METHODS: [Method; 6] =
    [Method::Create, Method::Push, Method::Start, Method::Shutdown, Method::Remove, Method::Find];

/// So many acts, always the same for one seed.
pub(super) fn acts(seed: u64, count: usize) -> Vec<Act> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    (0..count).map(|_| act(&mut rng)).collect()
}

fn below(rng: &mut ChaCha20Rng, bound: usize) -> usize {
    usize::try_from(rng.next_u32()).unwrap() % bound
}

fn pick<T: Copy>(rng: &mut ChaCha20Rng, of: &[T]) -> T {
    of[below(rng, of.len())]
}

fn act(rng: &mut ChaCha20Rng) -> Act {
    let vm = below(rng, 6);
    let mark = u8::try_from(below(rng, 3)).unwrap();
    match below(rng, 30) {
        0..4 => Act::Create(mark, pick(rng, &TEXTS)),
        4..7 => Act::Push(vm, mark, pick(rng, &TEXTS), rng.next_u32() % 3 + 1),
        7..12 => Act::Start(vm),
        12 | 13 => Act::Stop(vm),
        14 | 15 => Act::Shutdown(vm),
        16 | 17 => Act::Remove(vm),
        18 => Act::Dial(vm),
        19 => Act::Find(mark),
        20 => Act::List,
        21..26 => Act::Pass(pick(rng, &[1, 100, 300, 700, 2000])),
        26 => Act::Faults(Box::new(vec![fault(rng), fault(rng)].into())),
        27 => {
            let random = [(pick(rng, &KINDS), 0.2), (pick(rng, &KINDS), 0.2)].into();
            Act::Faults(Box::new(Faults { random, ..Faults::default() }))
        }
        28 => Act::Calm,
        _ => Act::Reopen,
    }
}

fn fault(rng: &mut ChaCha20Rng) -> Fault {
    let fault = Fault::new(pick(rng, &KINDS)).after(rng.next_u32() % 2);
    let fault = fault.times(rng.next_u32() % 3);
    match below(rng, 3) {
        0 => fault.on(pick(rng, &METHODS)),
        1 => fault.of(pick(rng, &["app-1", "app-2", "none"])),
        _ => fault,
    }
}

/// A world with a history.
pub(super) struct Trace {
    pub world: World,
    pub reopen: Box<dyn Fn(&World) -> World>,
    /// Every VM ever seen, in the order in which they were first seen.
    pub known: Vec<EngineVmId>,
}

impl Trace {
    fn vm(&self, n: usize) -> EngineVmId {
        self.known.get(n).cloned().unwrap_or_else(|| EngineVmId(format!("unknown-{n}")))
    }

    /// Does it, and tells what was answered.
    pub async fn act(&mut self, act: &Act) -> String {
        let node = &self.world.node;
        let told = match act {
            Act::Create(n, text) => format!("{:?}", node.create(&config(*n, text)).await),
            Act::Push(vm, n, text, vcpu) => {
                let new = VmConfig { vcpu: *vcpu, ..config(*n, text) };
                format!("{:?}", node.push(&self.vm(*vm), &new).await)
            }
            Act::Start(vm) => format!("{:?}", node.start(&self.vm(*vm)).await),
            Act::Stop(vm) => format!("{:?}", node.stop(&self.vm(*vm)).await),
            Act::Shutdown(vm) => format!("{:?}", node.shutdown(&self.vm(*vm)).await),
            Act::Remove(vm) => format!("{:?}", node.remove(&self.vm(*vm)).await),
            Act::Dial(vm) => format!("{:?}", node.resolve_port(&self.vm(*vm), 80).await),
            Act::Find(n) => format!("{:?}", node.find(&mark(*n)).await),
            Act::List => format!("{:?}", node.list().await),
            Act::Pass(millis) => {
                self.world.pass(*millis);
                String::new()
            }
            Act::Faults(faults) => format!("{:?}", self.world.host.set_faults((**faults).clone())),
            Act::Calm => format!("{:?}", self.world.host.clear_faults()),
            Act::Reopen => {
                self.world = (self.reopen)(&self.world);
                String::new()
            }
        };
        for vm in self.world.host.vms().unwrap() {
            if !self.known.contains(&vm.observed.id) {
                self.known.push(vm.observed.id);
            }
        }
        told
    }
}
