//! A docker node on a real engine, with a real Compose v2. Without them these tests fail and say how
//! to get them.

mod apps;
mod boot;
mod builds;
mod crash;
mod escape_spellings;
mod escapes;
mod faults;
mod host_access;
mod life;
mod neighbours;
mod private_images;
mod world;
