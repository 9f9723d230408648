//! The nodes of the fleet: rows that come and go at run time, and what this process does with those it
//! serves.
//!
//! | room | what |
//! |---|---|
//! | [`settings`] | how a node is reached and what it may take: the JSON of its row |
//! | [`open`] | from settings to a driver; the only place that knows every kind |
//! | [`registry`] | keeps the fleet in memory like the rows, and one watch per node of ours |
//! | [`watch`] | one node: connect, look, compare with what is recorded, reconcile after an outage |
//! | [`heartbeat`] | says that we serve our nodes, and ends the CVMs of nodes that were given up |
//!
//! A node has a watch task, a limit of calls and a circuit breaker of its own
//! ([`casemate_engine::node::guard`]), and its CVMs are claimed apart from those of others
//! (`work::driver`): one host that hangs delays nobody else. While a node does not answer, its CVMs
//! are not claimed: their operations wait, and the API says for what. Nothing fails for that.
//!
//! A node whose files are in an instance's data directory belongs to that instance for good. Any other
//! is leased: the worker that takes it serves it, and when that worker is gone another one does.

pub mod heartbeat;
pub mod open;
pub mod registry;
pub mod settings;
pub mod watch;
