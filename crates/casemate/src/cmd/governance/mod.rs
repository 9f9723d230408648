//! `casemate governance`: contracts that govern apps.

#[cfg(feature = "onchain")]
mod act;
#[cfg(feature = "onchain")]
pub mod chain;
#[cfg(feature = "onchain")]
mod claim;
pub mod plan;
#[cfg(feature = "onchain")]
mod show;

use clap::Subcommand;

use crate::{cli::Global, fail::Fail};

/// Show and change what the contracts of an app allow. APP is an app id, with or without `app_` or `0x`.
#[derive(Debug, Subcommand)]
pub enum Governance {
    /// Show which transactions are missing for a boot and who must sign them.
    #[command(after_help = "Examples:
  casemate governance plan my-shop -c docker-compose.yml     before an update
  casemate governance plan my-shop --node sim-2 --safe-batch batch.json
  casemate governance plan --kms base -c docker-compose.yml --name my-shop --signer 0x…
  casemate governance plan --app 3a1f… --compose-hash 9c2e… --json")]
    Plan(Box<plan::PlanArgs>),
    /// Show what the contracts say about an app, read directly from the chain.
    #[cfg(feature = "onchain")]
    #[command(after_help = "Examples:
  casemate governance show 3a1f…
  casemate governance show 3a1f… --rpc-url https://… --json")]
    Show(show::Show),
    /// Allow a compose hash.
    #[cfg(feature = "onchain")]
    #[command(after_help = "Examples:
  casemate governance add-compose-hash 3a1f… 9c2e… --private-key-file key
  casemate governance add-compose-hash 3a1f… 9c2e… --sign-with print   for a multisig")]
    AddComposeHash(act::Document),
    /// Disallow a compose hash. CVMs that run it cannot boot again.
    #[cfg(feature = "onchain")]
    #[command(
        after_help = "Examples:\n  casemate governance remove-compose-hash 3a1f… 9c2e… --private-key-file key"
    )]
    RemoveComposeHash(act::Document),
    /// Allow a device: a host on which the app may boot.
    #[cfg(feature = "onchain")]
    #[command(
        after_help = "Examples:\n  casemate governance add-device 3a1f… 77ab… --keystore k.json --password-file pw"
    )]
    AddDevice(act::Device),
    /// Disallow a device.
    #[cfg(feature = "onchain")]
    #[command(
        after_help = "Examples:\n  casemate governance remove-device 3a1f… 77ab… --private-key-file key"
    )]
    RemoveDevice(act::Device),
    /// Allow every device, or with --off only listed devices.
    #[cfg(feature = "onchain")]
    #[command(after_help = "Examples:
  casemate governance allow-any-device 3a1f… --private-key-file key
  casemate governance allow-any-device 3a1f… --off --private-key-file key")]
    AllowAnyDevice(act::AnyDevice),
    /// Prove that the owner of an app's contract wants your workspace to have the app.
    #[cfg(feature = "onchain")]
    #[command(after_help = "Examples:
  casemate governance claim 3a1f… --kms base --private-key-file key
  casemate governance claim 3a1f… --kms base --keystore wallet.json --password-file pw --json")]
    Claim(claim::Claim),
    /// Accept the ownership of an app that was offered to this account.
    #[cfg(feature = "onchain")]
    #[command(
        after_help = "Examples:\n  casemate governance accept-ownership 3a1f… --private-key-file key"
    )]
    AcceptOwnership(act::Accept),
}

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
        Governance::Claim(args) => claim::run(global, args).await,
        #[cfg(feature = "onchain")]
        Governance::AcceptOwnership(args) => Box::pin(act::accept(global, args)).await,
    }
}
