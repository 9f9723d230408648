//! `casemate serve` and `casemate admin` as whoever runs the service meets them: roles, several
//! processes on one database, nodes that come and go, a prompt end.

mod chains;
mod ending;
mod migrate;
mod nodes;
mod roles;
mod steady;
