//! `casemate deploy` and `casemate governance` as an owner of apps meets them: the real binary against a
//! real server and anvil with the doubles of the contracts. Needs `scripts/test-env.sh chain` (node, anvil).

#[cfg(test)] // says clippy.toml: may unwrap
mod acting;
#[cfg(test)]
mod chain;
#[cfg(test)]
mod deploying;
#[cfg(test)]
#[expect(dead_code, reason = "of what starts processes, a part is used here")]
#[path = "../serve/process.rs"]
mod process;
#[cfg(test)]
mod recorder;
#[cfg(test)]
mod refusing;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod updating;
