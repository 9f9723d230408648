//! The service in process: the real router, store and reconcilers over simulated nodes, on a clock that only tests
//! move. One binary, so that it is linked once; its modules mirror `src/app`.
//!
//! | module | what it shows |
//! |---|---|
//! | [`fields`] | `docs/fields.md`, row by row |
//! | [`deploy`], [`update`], [`revisions`], [`instance_ids`] | the life of one CVM |
//! | [`move_lives`] | CVMs between nodes: one VM, whatever happens |
//! | [`replicas`], [`replica_lives`] | several CVMs of an app |
//! | [`governance`] | apps that contracts govern |
//! | [`lists`], [`app_events`], [`config_reads`], [`cache`] | reads |
//! | [`client_routes`] | what clients call beyond the reference |
//! | [`guest_facts`] | what guests tell of themselves |
//! | [`listener`] | connections over real sockets |
//! | [`gateway`], [`readiness`] | requests to apps |
//! | [`kms_webhook`] | which guests get their keys, asked as dstack-kms asks |
//! | [`dstack_gateway`] | clusters of dstack-gateway: draining, registrations, endpoints |
//! | [`quotas`], [`limits`] | what a workspace, a key and an address may take |
//! | [`audit`] | the audit log |
//! | [`nodes`] | a fleet with bad hosts, the registry, what an operator does |
//! | [`webhooks`], [`ssh_keys`] | what is sent to others, and read from GitHub |
//! | [`simulation`] | random lives from seeds, with faults |
//! | [`access`], [`people`] | who may do what; keys, members, logins |
//! | [`console`], [`openapi`] | pages, and the API's description |
//! | [`requirements`] | every reply in every version against what official clients insist on |

#![cfg(test)]

mod access;
mod app_events;
mod attestation;
mod audit;
mod cache;
mod client_routes;
mod config_reads;
mod console;
mod deploy;
mod dstack_gateway;
mod fields;
mod gateway;
mod governance;
mod guest_facts;
mod instance_ids;
mod kms_webhook;
mod limits;
mod listener;
mod lists;
mod move_lives;
mod nodes;
mod openapi;
mod people;
mod quotas;
mod readiness;
mod replica_lives;
mod replicas;
mod requirements;
mod revisions;
mod simulation;
mod ssh_keys;
mod templates;
mod update;
mod webhooks;

// A world: database, nodes, clock, requests.
use casemate_testing::world as common;
