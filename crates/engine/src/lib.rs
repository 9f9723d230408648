//! Everything outside the process, behind traits: nodes that run CVMs ([`node`]) and the KMS
//! ([`kms`]). Each call says with its error whether it may have happened ([`error::CallError`]).

pub mod error;
pub mod kms;
pub mod node;
