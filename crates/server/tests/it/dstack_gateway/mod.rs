//! Clusters of dstack-gateway, as doubles behind sockets.
//!
//! | module | what it shows |
//! |---|---|
//! | [`stage`] | a world with clusters |
//! | [`drain`] | a guest leaves the clusters before it goes down, and comes back |
//! | [`auth`] | which guests the clusters may accept |
//! | [`evidence`] | an instance gets requests only with evidence, where that is required |
//! | [`shown`] | what an operator and the users of a CVM are shown |

mod auth;
mod drain;
mod evidence;
mod shown;
mod stage;
