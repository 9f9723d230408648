//! The nodes of the fleet: rows that change at run time, and the tasks of this process for the nodes that it
//! serves.
//!
//! | module | contents |
//! |---|---|
//! | [`settings`] | connection settings and limits of a node: the JSON of its row |
//! | [`open`] | creates a driver from settings; the only place that knows every kind |
//! | [`registry`] | syncs the fleet in memory with the rows, and runs one watch per own node |
//! | [`watch`] | one node: connect, list, compare with what is recorded, reconcile after an outage |
//! | `differences` | what changed at a VM, as events |
//! | [`heartbeat`] | renews leases of nodes, and ends the operations on nodes that were given up |
//!
//! Every node has its own watch task, call limit and circuit breaker ([`casemate_engine::node::guard`]), and
//! its CVMs are claimed separately (`work::driver`), so one host that hangs does not delay others. While a
//! node does not answer, its CVMs are not claimed: their operations wait, and the API shows the cause. They
//! do not fail.
//!
//! A node with files in a process's data directory is pinned to that process. Any other node is leased: one
//! worker serves it, and when that worker is gone, another one takes over.

mod differences;
pub mod heartbeat;
pub mod open;
pub mod registry;
pub mod settings;
pub mod watch;
