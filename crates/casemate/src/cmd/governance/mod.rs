//! `casemate governance …`: contracts that govern apps.

#[cfg(feature = "onchain")]
mod act;
#[cfg(feature = "onchain")]
pub mod chain;
pub mod plan;
#[cfg(feature = "onchain")]
mod show;

use clap::Subcommand;

use crate::{cli::Global, fail::Fail};

/// Contracts that govern apps. APP is an app id, with or without `app_` or `0x`.
#[derive(Debug, Subcommand)]
pub enum Governance {
    /// Which transactions are missing before something boots, who signs them, or why none will help.
    #[command(after_help = "Examples:
  casemate governance plan my-shop -c docker-compose.yml     before an update
  casemate governance plan my-shop --node sim-2 --safe-batch batch.json
  casemate governance plan --kms base -c docker-compose.yml --name my-shop --signer 0x…
  casemate governance plan --app 3a1f… --compose-hash 9c2e… --json")]
    Plan(Box<plan::PlanArgs>),
    /// What the contracts say of an app, read from the chain itself.
    #[cfg(feature = "onchain")]
    #[command(after_help = "Examples:
  casemate governance show 3a1f…
  casemate governance show 3a1f… --rpc-url https://… --json")]
    Show(show::Show),
    /// Allow a document.
    #[cfg(feature = "onchain")]
    #[command(after_help = "Examples:
  casemate governance add-compose-hash 3a1f… 9c2e… --private-key-file key
  casemate governance add-compose-hash 3a1f… 9c2e… --sign-with print   for a multisig")]
    AddComposeHash(act::Document),
    /// Allow a document no more. CVMs that run it do not boot again.
    #[cfg(feature = "onchain")]
    #[command(
        after_help = "Examples:\n  casemate governance remove-compose-hash 3a1f… 9c2e… --private-key-file key"
    )]
    RemoveComposeHash(act::Document),
    /// List a device: a host on which the app may boot.
    #[cfg(feature = "onchain")]
    #[command(
        after_help = "Examples:\n  casemate governance add-device 3a1f… 77ab… --keystore k.json --password-file pw"
    )]
    AddDevice(act::Device),
    /// Strike a device off the list.
    #[cfg(feature = "onchain")]
    #[command(
        after_help = "Examples:\n  casemate governance remove-device 3a1f… 77ab… --private-key-file key"
    )]
    RemoveDevice(act::Device),
    /// Allow every device, or with --off only those on the list.
    #[cfg(feature = "onchain")]
    #[command(after_help = "Examples:
  casemate governance allow-any-device 3a1f… --private-key-file key
  casemate governance allow-any-device 3a1f… --off --private-key-file key")]
    AllowAnyDevice(act::AnyDevice),
    /// Take an app that was offered to this account.
    #[cfg(feature = "onchain")]
    #[command(
        after_help = "Examples:\n  casemate governance accept-ownership 3a1f… --private-key-file key"
    )]
    AcceptOwnership(act::Accept),
}

/// Does what was said.
pub async fn run(global: &Global, command: Governance) -> Result<(), Fail> {
    match command {
        Governance::Plan(args) => Box::pin(plan::run(global, *args)).await,
        #[cfg(feature = "onchain")]
        Governance::Show(args) => Box::pin(show::run(global, args)).await,
        #[cfg(feature = "onchain")]
        Governance::AddComposeHash(args) => Box::pin(act::add_document(global, args)).await,
        #[cfg(feature = "onchain")]
        Governance::RemoveComposeHash(args) => Box::pin(act::remove_document(global, args)).await,
        #[cfg(feature = "onchain")]
        Governance::AddDevice(args) => Box::pin(act::add_device(global, args)).await,
        #[cfg(feature = "onchain")]
        Governance::RemoveDevice(args) => Box::pin(act::remove_device(global, args)).await,
        #[cfg(feature = "onchain")]
        Governance::AllowAnyDevice(args) => Box::pin(act::any_device(global, args)).await,
        #[cfg(feature = "onchain")]
        Governance::AcceptOwnership(args) => Box::pin(act::accept(global, args)).await,
    }
}
