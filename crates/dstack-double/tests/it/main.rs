//! The double, and the driver against it over real sockets.

mod contract;
mod driver;
mod stage;
