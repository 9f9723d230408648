//! Everything outside the process, behind traits: nodes that run CVMs ([`node`]), the KMS ([`kms`]),
//! clusters of dstack-gateway ([`gateway`]), URLs that users gave ([`outbound`]), the DNS ([`dns`]) and the chains whose contracts govern apps
//! ([`chain`]). Each call to a node or the KMS says with its error whether it may have
//! happened ([`error::CallError`]).

pub mod chain;
pub mod collateral;
pub mod dns;
pub mod error;
pub mod files;
pub mod gateway;
pub mod kms;
pub mod node;
pub mod outbound;
