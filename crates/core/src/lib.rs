//! The pure domain of Casemate. No async, no IO, no clock, no randomness: time and random bytes are
//! passed in ([`time`]), and every decision is a function from values to a value.
//!
//! Where to look: what a CVM should be and is ([`cvm`]), the next step towards it ([`plan`]), the
//! configuration that a change leads to ([`change`]), what a node can take ([`node`]), the document a guest boots and its hash
//! ([`compose`]), sealed environment variables ([`seal`]),
//! whether an instance takes requests ([`ready`]), what contracts allow ([`governance`]).

pub mod change;
pub mod compose;
pub mod create_address;
pub mod cvm;
pub mod domain;
pub mod event;
pub mod governance;
pub mod id;
pub mod instance;
pub mod name;
pub mod node;
pub mod operation;
pub mod place;
pub mod plan;
pub mod pubkey;
pub mod ready;
pub mod seal;
pub mod stored;
pub mod time;
pub mod usage;
