//! The wire of Casemate, exactly as clients see it: requests, replies of every API version, error
//! codes, pages. No async, no IO.
//!
//! | direction | where | how |
//! |---|---|---|
//! | in | [`body`] | bytes to a request type, leniently, with the place of every mistake |
//! | in | [`provision`], [`commit`], [`power`], [`status_batch`], [`compose_file`] | request types |
//! | in | [`cvm_patch`], [`cvm_settings`], [`compose_update`], [`network`] | requests for a change |
//! | in | [`replicate`] | requests for more machines of an app |
//! | in | [`approval`] | commits of what contracts had to allow |
//! | in | [`allowed`] | questions whether something gets an app's keys |
//! | in | [`governance`] | what is asked about contracts that govern apps |
//! | in | [`readiness`] | when an app's instances take requests |
//! | in | [`revision`] | requests to put an earlier revision in force |
//! | in | [`operation`], [`domain`], [`instance_id`] | requests about changes, domains, and instance ids |
//! | out | [`kms_admin`] | each KMS as its operator sees it |
//! | out | [`gateway_admin`] | clusters of dstack-gateway as their operator sees them |
//! | in, out | [`attestation`] | evidence of guests, requests for it, what a verifier found |
//! | in, out | [`webhook`], [`ssh_key`] | webhooks of a workspace, public keys of a user |
//! | in, out | [`node_admin`], [`fleet`] | nodes and fleet as their operator sees them |
//! | in, out | [`keys`], [`members`], [`device_login`], [`people_admin`] | API keys, workspaces and people |
//! | out | [`reply`] | reply types: the server renders them, our client reads them |
//! | out | [`error`], [`page`] | error bodies and codes, pages |
//!
//! Facts about upstream's clients were measured against the real ones; where a reply's shape looks
//! odd (a number here, the same as text there), a shipped client insists on it.

pub mod allowed;
pub mod approval;
pub mod attestation;
pub mod audit;
pub mod body;
pub mod commit;
pub mod compose_file;
pub mod compose_update;
pub mod cvm_patch;
pub mod cvm_settings;
pub mod device_login;
pub mod domain;
pub mod error;
pub mod fleet;
pub mod gateway_admin;
pub mod governance;
pub mod instance_id;
pub mod keys;
pub mod kms_admin;
pub mod kms_type;
pub mod members;
pub mod network;
pub mod node_admin;
pub mod num;
pub mod older_cli;
pub mod operation;
pub mod ownership;
pub mod page;
pub mod patch;
pub mod people_admin;
pub mod power;
pub mod preview;
pub mod provision;
pub mod quota;
pub mod readiness;
pub mod replicate;
pub mod reply;
pub mod revision;
mod spelling;
pub mod ssh_key;
pub mod status_batch;
pub mod template;
pub mod version;
pub mod webhook;
pub mod workspace;
