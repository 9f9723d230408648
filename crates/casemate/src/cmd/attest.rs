use std::{path::PathBuf, time::Duration};

use casemate_api::attestation::{ClaimState, CvmAttestation, EvidencePolicy, EvidenceState};
use clap::{Args, Subcommand};

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// How long the guest has for its answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// Show and export what CVMs prove about themselves.
#[derive(Debug, Subcommand)]
pub enum Attest {
    /// Show the newest evidence of a CVM and what the server found in it.
    #[command(
        after_help = "Examples:\n  casemate attest show my-app\n  casemate attest show my-app --json"
    )]
    Show {
        /// Name or id.
        cvm: String,
    },
    Export(Export),
    /// Hold back an app's requests from instances whose evidence is not accepted, or do so no longer.
    #[command(
        after_help = "Examples:\n  casemate attest require my-app-id on\n  casemate attest require my-app-id off\n  casemate attest require my-app-id"
    )]
    Require {
        /// Id of an app.
        app: String,
        /// Shows what is so if left out.
        required: Option<Switch>,
    },
    /// Print the certificate under which guests without a TEE sign their quotes.
    #[command(
        after_help = "Examples:\n  casemate attest root > root.pem\n  casemate verify my-app.bundle.json --root here=root.pem"
    )]
    Root,
}

/// Ask a CVM for new evidence and write it to a file that casemate verify checks offline.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  casemate attest export my-app\n  casemate attest export my-app --nonce $(openssl rand -hex 32) -o evidence.json\n  casemate attest export my-app -o - | jq .cvm"
)]
pub struct Export {
    /// Name or id of a CVM, or the id of an app that has one.
    cvm: String,
    /// What the quote must contain so that it is fresh: 1 to 64 bytes, hex.
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
    /// Take the evidence that the server has; do not ask the guest.
    #[arg(long, conflicts_with = "nonce")]
    latest: bool,
    /// Where to; - is standard output. NAME.bundle.json if left out.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

pub async fn run(global: &Global, command: Attest) -> Result<(), Fail> {
    match command {
        Attest::Require { app, required } => require(global, &app, required).await,
        Attest::Show { cvm } => show(global, &cvm).await,
        Attest::Export(export) => self::export(global, export).await,
        Attest::Root => {
            let pem = connect::client(global)?.development_root().await?;
            ui::line(pem.trim_end());
            Ok(())
        }
    }
}

async fn show(global: &Global, cvm: &str) -> Result<(), Fail> {
    let shown = connect::client(global)?.attestation(cvm).await?;
    if global.json {
        ui::json(&shown);
        return Ok(());
    }
    print(&shown);
    Ok(())
}

async fn require(global: &Global, app: &str, required: Option<Switch>) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let policy = match required {
        None => client.evidence_policy(app).await?,
        Some(switch) => {
            let wanted = EvidencePolicy { required: switch == Switch::On };
            client.set_evidence_policy(app, &wanted).await?
        }
    };
    if global.json {
        ui::json(&policy);
    } else if policy.required {
        ui::line("requests for this app go only to instances whose evidence is accepted");
    } else {
        ui::line("requests for this app go to every instance that is ready");
    }
    Ok(())
}

fn print(shown: &CvmAttestation) {
    if let Some(error) = &shown.error {
        ui::print_note(error);
    }
    if shown.simulated {
        ui::print_note(
            "this node has no TEE: the quote is simulated and proves nothing about hardware",
        );
    }
    let Some(verdict) = &shown.verdict else { return };
    let rows = verdict.claims.iter().map(|claim| {
        let state = match claim.state {
            ClaimState::Proven if shown.simulated => "simulated",
            ClaimState::Proven => "proven",
            ClaimState::Failed => "failed",
            ClaimState::NotShown => "not shown",
        };
        vec![claim.claim.clone(), state.to_owned(), claim.reason.clone()]
    });
    table::print(&["claim", "state", "by, or why not"], rows.collect(), "no claims");
}

async fn export(global: &Global, export: Export) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let checksum = if export.latest {
        None
    } else {
        let asked = client.request_evidence(&export.cvm, export.nonce.as_deref()).await?;
        ui::print_note("waiting for the guest …");
        let waiting = client.wait_for_evidence(&export.cvm, &asked.id);
        let answered = tokio::time::timeout(PATIENCE, waiting).await.map_err(|_| {
            let why = format!("the guest showed nothing within {} s", PATIENCE.as_secs());
            Fail::new("no_evidence", why)
                .suggest("casemate admin node check tells whether its node answers; --latest takes what there is")
        })??;
        if answered.state == EvidenceState::Failed {
            let why = answered.message.unwrap_or_else(|| "it does not say why".to_owned());
            return Err(Fail::new("no_evidence", format!("the guest shows no evidence: {why}")));
        }
        answered.checksum
    };
    let bundle = client.attestation_bundle(&export.cvm, checksum.as_deref()).await?;
    let text = serde_json::to_string_pretty(&bundle).map_err(|error| {
        Fail::new("bad_bundle", format!("the bundle cannot be written: {error}"))
    })?;
    let name = bundle["cvm"]["name"].as_str().unwrap_or("cvm");
    let path = export.output.unwrap_or_else(|| PathBuf::from(format!("{name}.bundle.json")));
    if path.as_os_str() == "-" {
        ui::line(&text);
        return Ok(());
    }
    std::fs::write(&path, text + "\n")
        .map_err(|error| Fail::new("file", format!("{}: {error}", path.display())))?;
    if global.json {
        ui::json(&serde_json::json!({ "file": path, "checksum": checksum }));
    } else {
        ui::line(format!("{} written; check it: casemate verify {0}", path.display()));
    }
    Ok(())
}
