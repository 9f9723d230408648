//! `casemate serve` and `casemate admin` as whoever runs the service meets them: roles, several
//! processes on one database, nodes that come and go, a prompt end.

#[cfg(test)] // says clippy.toml: may unwrap
mod chains;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod migrate;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod process;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod steady;
