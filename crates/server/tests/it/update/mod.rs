//! Changes of a CVM that is there.

mod lifecycle;
mod preview;
mod properties;
mod routes;
