//! Apps that contracts govern.

mod anvil;
mod boot_check;
mod deploy;
mod plan;
mod update;
