//! Clusters of dstack-gateway, as doubles behind sockets.
//!
//! | module | what it shows |
//! |---|---|
//! | [`stage`] | a world with clusters |
//! | [`drain`] | a guest leaves the clusters before it goes down, and comes back |
//! | [`auth`] | which guests the clusters may accept |
//! | [`shown`] | what an operator and the users of a CVM are shown |

mod auth;
mod drain;
mod shown;
mod stage;
