//! The nodes of the fleet: rows that change at run time, and the tasks of this process for the nodes that it
//! serves.
//!
//! | module | contents |
//! |---|---|
//! | [`settings`] | connection settings and limits of a node: the JSON of its row |
//! | [`open`] | creates a driver from settings; the only place that knows every kind |
//! | [`registry`] | syncs the fleet in memory with the rows, and runs one watch per own node |
//! | [`kms_watch`] | looks at each dstack-kms, which the guests of dstack nodes take their keys from |
//! | [`watch`] | one node: connect, list, reconcile after an outage |
//! | `compare` | what a node shows against what is recorded |
//! | `differences` | what changed at a VM, as events |
//! | [`drift`] | what a node shows and nobody wanted: listed, told, repaired by policy |
//! | [`heartbeat`] | renews leases of nodes, and ends the operations on nodes that were given up |
//! | [`left`] | VMs that CVMs left on hosts that did not answer |
//!
//! Every node has its own watch task, call limit and circuit breaker ([`casemate_engine::node::guard`]), and
//! its CVMs are claimed separately (`work::driver`), so one host that hangs does not delay others. While a
//! node does not answer, its CVMs are not claimed: their operations wait, and the API shows the cause. They
//! do not fail.
//!
//! A node with files in a process's data directory is pinned to that process. Any other node is leased: one
//! worker serves it, and when that worker is gone, another one takes over.

mod compare;
mod differences;
pub mod drift;
pub mod heartbeat;
pub mod kms_watch;
pub mod left;
pub mod open;
pub mod registry;
pub mod settings;
pub mod watch;
