//! `casemate serve` and `casemate admin`: roles, several processes on one database, nodes added and removed,
//! a prompt shutdown.

mod chains;
mod dstack_kms;
mod ending;
mod migrate;
mod nodes;
mod roles;
mod steady;
