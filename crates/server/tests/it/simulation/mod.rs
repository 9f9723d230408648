//! A thousand lives of a CVM, each decided by its seed: random changes, cancellations and verbs,
//! processes that die or are held up in any call, hosts with faults. When all has healed, the CVM has
//! the newest configuration that was accepted and worked, or a recorded failure; nothing
//! acknowledged is lost, two VMs never ran, no operation is open.
//!
//! The same lives pass on simulated hosts and through the dstack driver, on doubles of dstack-vmm of every version.
//!
//! A life that fails prints its seed; `SIMULATION_SEED=… cargo test -p casemate-server --test it
//! simulation::` lives it again and tells what happens. `SIMULATION_LIVES` sets how many there are.
//!
//! | module | what it holds |
//! |---|---|
//! | [`dice`] | chance |
//! | [`wants`] | what is asked of a CVM, what goes wrong on its host |
//! | [`frail`] | where processes die and are held up |
//! | [`host`] | the kinds of host |
//! | [`life`] | one life |
//! | [`model`] | what must hold |

use crate::common;
pub mod dice;
pub mod frail;
pub mod host;
mod life;
pub mod model;
mod wants;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use casemate_dstack_double::Profile;
use casemate_server::app::power::Verb;
use common::Parts;
use dice::Loaded;
use host::Host;
use life::Life;
use wants::Want;

const LIVES: u64 = 1000;
/// Lives through the dstack driver: each call crosses a socket.
const DSTACK_LIVES: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var_os(variable)?;
    Some(value.to_str().and_then(|text| text.parse().ok()).unwrap())
}

fn live(seed: u64, host: Host, template: (&Path, &str), trace: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async { Box::pin(Life::begin(seed, host, template, trace).await.live()).await });
}

/// A closed database as after a first start, and its key.
fn template() -> (tempfile::TempDir, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let parts = Parts::fresh(dir, std::sync::Arc::new(Loaded::new(0))).await;
        parts.db.close().await;
        (parts.dir.unwrap(), parts.key)
    })
}

/// A call that lands after a newer desired state was taken up would undo it: the node does not know our fences.
#[test]
fn nobody_works_for_a_newer_desired_state_while_a_call_for_the_older_is_under_way() {
    let (dir, key) = template();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for want in [Want::Power(Verb::Stop), Want::Power(Verb::Delete), Want::CancelOpen] {
        for call in 0..8 {
            let made = (dir.path(), key.as_str());
            runtime.block_on(async {
                let life = Life::begin(0, Host::Simulated, made, false).await;
                Box::pin(life.interrupted(call, &want)).await;
            });
        }
    }
}

#[test]
fn every_life_ends_well_or_says_why_not() {
    every_life(LIVES, |_| Host::Simulated);
}

#[test]
fn every_life_on_dstack_ends_well_or_says_why_not() {
    every_life(DSTACK_LIVES, |seed| {
        let profiles = Profile::ALL;
        Host::Dstack(profiles[usize::try_from(seed).unwrap() % profiles.len()].clone())
    });
}

fn every_life(lives: u64, host: impl Fn(u64) -> Host + Sync) {
    let (dir, key) = template();
    let made = (dir.path(), key.as_str());
    if let Some(seed) = number("SIMULATION_SEED") {
        return live(seed, host(seed), made, true);
    }
    let lives = number("SIMULATION_LIVES").unwrap_or(lives);
    let (next, failed) = (AtomicU64::new(0), std::sync::Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= lives {
                        return;
                    }
                    let life = || live(seed, host(seed), made, false);
                    if catch_unwind(AssertUnwindSafe(life)).is_err() {
                        eprintln!("^ SIMULATION_SEED={seed}");
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {lives} lives, by seed: {failed:?}", failed.len());
}
