//! The Casemate service.
//!
//! | room | what is in it | must not use |
//! |---|---|---|
//! | [`app`] | use cases: transaction scripts | axum |
//! | [`http`] | routes | the store, the engine |
//! | [`view`] | what use cases tell of, the same for every version of the API | http |
//! | [`console`] | pages for people | the store, the engine |
//! | [`work`] | reconcilers | http |
//! | [`nodes`] | the registry of nodes and one watch per node | http |
//! | [`gateway`] | host names to CVMs | http |
//! | [`kms_webhook`] | answers to dstack-kms, which asks before it gives keys | the store, the engine, work |
//! | [`gateway_auth`] | the listener that dstack-gateway asks before it accepts a guest | http |
//! | [`listener_token`] | the token of those two listeners | – |
//! | [`gateway_watch`] | looks at clusters of dstack-gateway | http |
//! | [`inflight`] | requests that the gateway has under way | – |
//! | [`peer_sync`] | what other processes on the database do | http |
//! | [`serve`] | starting and stopping all of it | – |
//!
//! [`system`] is the only place with a real clock and real randomness, [`config`] the only one that
//! reads the environment.

pub mod app;
pub mod config;
pub mod console;
pub mod crash;
pub mod gateway;
pub mod gateway_auth;
pub mod gateway_watch;
pub mod http;
pub mod inflight;
pub mod kms_webhook;
pub mod listener_token;
pub mod nodes;
pub mod peer_sync;
pub mod serve;
pub mod system;
pub mod telemetry;
pub mod view;
pub mod work;
