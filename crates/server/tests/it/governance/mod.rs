//! Apps that contracts govern.

mod anvil;
mod boot_check;
mod deploy;
mod moving;
mod ownership;
mod plan;
mod update;
