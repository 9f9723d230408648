//! What somebody may want of a CVM, and what goes wrong on its host.

use casemate_core::change::{Change, Renew, Set};
use casemate_engine::node::sim::{FaultKind, Faults};
use casemate_server::app::power::Verb;

use crate::simulation::{common::COMPOSE, dice::Dice};

/// Names of variables that somebody may seal.
const NAMES: [&str; 5] = ["A", "B", "C", "D", "G"];

/// One thing that somebody does.
#[derive(Debug, Clone)]
pub enum Want {
    Change(Box<Change>),
    /// Puts what was in force before in force again.
    Redeploy {
        /// Counted from the newest, over and over.
        revision: u32,
        /// Seals variables anew.
        seals: bool,
        /// Takes the variables that there are for those of the revision.
        allows: bool,
    },
    /// Call off: what is under way, or one of the changes asked for.
    CancelOpen,
    CancelAny,
    Power(Verb),
}

pub fn want(dice: &mut Dice) -> Want {
    match dice.below(100) {
        0..56 => Want::Change(Box::new(change(dice))),
        56..64 => Want::Redeploy {
            revision: dice.below(1000),
            seals: dice.chance(20),
            allows: dice.chance(60),
        },
        64..69 => Want::CancelOpen,
        69..74 => Want::CancelAny,
        74..81 => Want::Power(Verb::Stop),
        81..90 => Want::Power(Verb::Start),
        90..94 => Want::Power(Verb::Shutdown),
        94..99 => Want::Power(Verb::Restart { force: dice.chance(50) }),
        _ => Want::Power(Verb::Delete),
    }
}

/// What somebody does who sees something under way; it is not to wait.
pub fn interruption(dice: &mut Dice) -> Want {
    match dice.below(8) {
        0 => Want::Power(Verb::Stop),
        1 => Want::Power(Verb::Start),
        2 => Want::Power(Verb::Restart { force: true }),
        3..6 => Want::CancelOpen,
        _ => want(dice),
    }
}

fn change(dice: &mut Dice) -> Change {
    let mut change = Change::default();
    let fields = if dice.chance(60) { 1 } else { 2 + dice.below(3) };
    for _ in 0..fields {
        name_one(dice, &mut change);
    }
    change
}

fn name_one(dice: &mut Dice, change: &mut Change) {
    match dice.below(16) {
        0 => change.vcpu = Some(1 + dice.below(4)),
        1 => change.memory_mb = Some(1000 + dice.below(4000)),
        2 => change.disk_gb = Some(20 + 5 * dice.below(8)),
        3 => change.listed = Some(dice.chance(50)),
        4 => change.name = Some(format!("name-{}", dice.below(1000))),
        5 => change.user_config = Set::To(format!("{{\"n\":{}}}", dice.below(1000))),
        6 => change.shutdown_timeout_s = Some(10 + dice.below(20)),
        7 => change.allow_force_stop = Some(dice.chance(70)),
        8 => change.pre_launch_script = Some(dice.pick(&["", "true", "echo hi"]).to_owned()),
        9 => change.public_logs = Some(dice.chance(50)),
        10 => {
            let url = format!("https://kms-{}.example", dice.below(100));
            change.kms_urls = Some(vec![url]);
            change.at_next_start = dice.chance(50);
        }
        11 | 12 => env(dice, change),
        13 => change.renew = Some(Renew::Vm),
        _ => change.docker_compose_file = Some(compose(dice)),
    }
}

/// Most requests seal what they name and let that in; some leave one of these out.
fn env(dice: &mut Dice, change: &mut Change) {
    let count = usize::try_from(dice.below(4)).unwrap_or(0);
    let names: Vec<String> = NAMES[..count].iter().map(|&name| name.to_owned()).collect();
    if dice.chance(85) {
        change.env_keys = Some(names.clone());
        change.sealed_env = Set::To(sealed(dice));
    }
    if dice.chance(85) {
        change.allowed_envs = Some(names);
    }
}

/// What looks like sealed variables.
pub fn sealed(dice: &mut Dice) -> String {
    let bytes: Vec<u8> = (0..12).flat_map(|_| dice.roll().to_le_bytes()).collect();
    hex::encode(bytes)
}

fn compose(dice: &mut Dice) -> String {
    let mut text = COMPOSE.replace("1.36", &format!("1.{}", dice.below(40)));
    match dice.below(100) {
        0..10 => text.push_str("x-sim-boot: fail\n"),
        10..14 => text.push_str("x-sim-boot: never\n"),
        14..18 => text.push_str("x-sim-boot: deny\n"),
        18..23 => text.push_str("x-sim-boot: exit\n"),
        23..26 => text.push_str("x-sim-boot: warn\n"),
        _ => {}
    }
    match dice.below(100) {
        0..5 => text.push_str("x-sim-shutdown: never\n"),
        5..10 => text.push_str("x-sim-shutdown: ignore\n"),
        _ => {}
    }
    text
}

/// Faults of a host for a while.
pub fn faults(dice: &mut Dice) -> Faults {
    const KINDS: [FaultKind; 11] = [
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
    ];
    let mut faults = Faults::default();
    if dice.chance(25) {
        return faults;
    }
    for _ in 0..=dice.below(4) {
        let probability = f64::from(1 + dice.below(15)) / 100.0;
        faults.random.insert(dice.pick(&KINDS), probability);
    }
    if dice.chance(2) {
        faults.random.insert(FaultKind::Vanish, 0.02);
    }
    faults
}
