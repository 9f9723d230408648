//! Proves that the owner of an app's contract wants the workspace to have the app.

use casemate_api::ownership::OwnershipProof;
use casemate_core::governance::plan::checksummed;
use clap::Args;

use super::chain::Signing;
use crate::{cli::Global, connect, fail::Fail, ui};

/// An app of another workspace is transferred, unless it has live CVMs there. Nothing is sent to the chain. Where the
/// owner's key is elsewhere, --sign-with print prints the text; sign it as a personal message (EIP-191) within 15
/// minutes and send it with --signature and --issued-at.
#[derive(Debug, Args)]
pub struct Claim {
    /// App id: the address of the app's contract.
    #[arg(value_name = "APP")]
    app: String,
    /// The KMS whose contract the app is registered with; see `casemate kms ls`.
    #[arg(long, value_name = "KMS")]
    kms: String,
    /// A signature made elsewhere: 65 bytes in hex.
    #[arg(long, value_name = "HEX", requires = "issued_at")]
    signature: Option<String>,
    /// `issued_at` of the text that was signed elsewhere.
    #[arg(long, value_name = "TIME", requires = "signature")]
    issued_at: Option<String>,
    #[command(flatten)]
    signing: Signing,
}

pub async fn run(global: &Global, args: Claim) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let proof = if let (Some(signature), Some(issued_at)) = (args.signature, args.issued_at) {
        OwnershipProof { kms_id: args.kms, issued_at, signature }
    } else {
        let text = client.ownership_message(&args.app, &args.kms).await?;
        let Some(key) = args.signing.key()? else {
            if global.json {
                ui::json(&text);
            } else {
                ui::line(&text.message);
                ui::print_note(format!(
                    "send it with --issued-at {} --signature …",
                    text.issued_at
                ));
            }
            return Ok(());
        };
        let signer = checksummed(key.address());
        if text.owner.as_deref().is_none_or(|owner| !owner.eq_ignore_ascii_case(&signer)) {
            let owner = text.owner.unwrap_or_else(|| "nobody".to_owned());
            return Err(Fail::usage(format!("the contract is owned by {owner}, not by {signer}"))
                .suggest("Sign with the key of the owner."));
        }
        if !args.signing.yes {
            ui::print_note(&text.message);
            if !ui::confirm(&format!("sign this as {signer}?")) {
                return Err(Fail::usage("nothing was signed").suggest("Confirm, or give --yes."));
            }
        }
        let signature = key.sign_message(&text.message)?;
        OwnershipProof { kms_id: args.kms, issued_at: text.issued_at, signature }
    };
    let owned = client.prove_ownership(&args.app, &proof).await?;
    if global.json {
        ui::json(&owned);
    } else {
        let how = if owned.transferred { " now: it was another workspace's" } else { "" };
        ui::line(format!("App {} belongs to workspace {}{how}.", owned.app_id, owned.workspace));
    }
    Ok(())
}
