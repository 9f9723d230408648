//! Changes of a CVM that is there.

mod lifecycle;
mod properties;
mod routes;
