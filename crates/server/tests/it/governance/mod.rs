//! Apps that contracts govern.

mod anvil;
mod boot_check;
mod deploy;
mod moving;
mod plan;
mod update;
