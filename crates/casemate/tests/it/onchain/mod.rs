//! `casemate deploy` and `casemate governance`: the binary against a real server and anvil with the doubles
//! of the contracts. Needs `scripts/test-env.sh chain` (node, anvil).

mod acting;
mod adding;
mod chain;
mod deploying;
mod recorder;
mod refusing;
mod stage;
mod updating;
