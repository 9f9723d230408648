//! The binary, as users run it. One test binary, because each one links the service to read its database.
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | `up` and client commands, on a simulated node |
//! | [`kill`] | the process killed at every recorded step of every operation |
//! | [`onchain`] | `deploy` and `governance`, on anvil |
//! | [`serve`] | `serve` and `admin`: roles, several processes, shutdown |
//! | [`process`] | a `casemate serve` process and requests to it |

#[cfg(test)] // clippy.toml allows unwrap there
mod cli;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod onchain;
#[cfg(test)]
mod process;
#[cfg(test)]
mod serve;
