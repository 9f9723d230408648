//! The pure domain of Casemate. No async, IO, clock or randomness: time and random bytes are parameters
//! ([`time`]), and every decision is a function from values to a value.
//!
//! Modules: desired state and status of a CVM ([`cvm`]), the next step of a reconciler ([`plan`]), changes of
//! a configuration ([`change`]), capabilities of nodes ([`node`]), the document a guest boots and its hash
//! ([`compose`]), sealed environment variables ([`seal`]), readiness of instances ([`ready`]), contracts
//! ([`governance`]), whether a guest gets its keys ([`boot_auth`]), registrations at dstack-gateway
//! ([`registration`]), what callers may do ([`access`]), what webhooks are sent ([`webhook`]).
//!
//! In this crate "engine" in a name ([`cvm::EngineState`], [`id::EngineVmId`]) means the software on
//! a node that runs VMs. A "container engine" is Docker or a compatible one.

pub mod access;
pub mod address;
pub mod app_template;
pub mod at_rest;
pub mod attestation;
pub mod audit;
pub mod boot_auth;
pub mod change;
pub mod compose;
pub mod create_address;
pub mod cvm;
pub mod domain;
pub mod drift;
pub mod event;
pub mod governance;
pub mod id;
pub mod image;
pub mod instance;
mod judge;
pub mod moving;
pub mod name;
pub mod node;
pub mod operation;
pub mod place;
pub mod plan;
pub mod preflight;
pub mod pubkey;
pub mod quota;
pub mod ready;
pub mod registration;
pub mod seal;
pub mod ssh_key;
pub mod stored;
pub mod time;
pub mod usage;
pub mod webhook;
