//! The store on both databases: each body is written once. See docs/database.md.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod apps;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod commit;
#[cfg(test)]
mod commit_tokens;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod events;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod freshness;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod key_decisions;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod model;
#[cfg(test)]
mod moves;
#[cfg(test)]
mod newer;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod people;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod provisions;
#[cfg(test)]
mod readiness;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod revisions;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod ssh_keys;
#[cfg(test)]
mod webhooks;
#[cfg(test)]
mod world;
