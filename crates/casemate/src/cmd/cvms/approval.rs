//! Changes that the app's contract must allow first: `--prepare-only` and `cvms commit-update`.

use casemate_api::{approval::CommitTokenRequest, cvm_patch::CvmPatch, reply::Accepted};
use casemate_client::{ApprovalRequired, Client, EnvGuard};
use casemate_core::id::{ComposeHash, TxHash};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    CvmArg,
    change::{follow, warn},
};
use crate::{cli::Global, connect, fail::Fail, ui};

/// Commits a prepared update after the app's contract allows it.
#[derive(Debug, Args)]
pub struct CommitUpdate {
    #[command(flatten)]
    one: CvmArg,
    /// Commit token; no API key is needed.
    #[arg(long, required_unless_present = "compose_hash")]
    token: Option<SecretString>,
    /// Compose hash of the prepared update, for use with an API key instead of a token.
    #[arg(long, value_name = "HASH")]
    compose_hash: Option<ComposeHash>,
    /// Transaction that registered the hash. Without it, only the state of the contract is checked.
    #[arg(long, value_name = "HASH")]
    transaction: Option<TxHash>,
    /// Wait for the update to finish; needs an API key.
    #[arg(long, short)]
    wait: bool,
    /// Timeout in seconds.
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    timeout: u64,
}

pub async fn commit(global: &Global, args: &CommitUpdate) -> Result<(), Fail> {
    let cvm = &args.one.cvm;
    let (client, operation) = if let Some(token) = &args.token {
        let client =
            if args.wait { connect::client(global)? } else { connect::client_without_key(global)? };
        let request = CommitTokenRequest {
            token: Some(token.expose_secret().to_owned()),
            compose_hash: args.compose_hash.map(|hash| hash.to_string()),
            transaction_hash: args.transaction.map(|hash| format!("0x{hash}")),
        };
        let done = client.commit_update(cvm, &request).await?;
        (client, done.correlation_id)
    } else {
        let client = connect::client(global)?;
        let hash = args.compose_hash.ok_or_else(|| Fail::usage("--compose-hash is missing"))?;
        let done = client.confirm_cvm_patch(cvm, hash, args.transaction).await?;
        (client, done.correlation_id)
    };
    if args.wait {
        follow(global, &client, cvm, cvm, &operation, args.timeout).await?;
    }
    if global.json {
        ui::json(&json!({ "correlation_id": operation, "waited": args.wait }));
    } else {
        ui::line(format!(
            "{cvm}: {} ({operation})",
            if args.wait { "updated" } else { "accepted" }
        ));
    }
    Ok(())
}

/// Prepares a change and prints what the contract must allow. If nothing has to be allowed, the change is
/// applied and its operation returned.
pub async fn prepare(
    global: &Global,
    client: &Client,
    (id, name): (&str, &str),
    patch: &CvmPatch,
    guard: EnvGuard,
) -> Result<Option<Accepted>, Fail> {
    let error = match client.prepare_cvm_patch(id, patch, guard).await {
        Ok(accepted) => {
            if !global.json {
                ui::print_note("note: no approval is needed, so the update is applied immediately");
            }
            warn(global, &accepted.course);
            return Ok(Some(accepted));
        }
        Err(error) => error,
    };
    let Some(required) = ApprovalRequired::of(&error) else { return Err(error.into()) };
    let required = required?;
    let facts = facts(&required);
    if global.json {
        let facts = facts.into_iter().map(|(name, value)| (name.replace(' ', "_"), value.into()));
        let facts: serde_json::Map<String, Value> = facts.collect();
        ui::json(&json!({ "name": name, "prepared": facts, "next": next_steps(name, &required) }));
        return Ok(None);
    }
    ui::line(format!("{name}: prepared, not applied yet"));
    for (fact, value) in facts {
        ui::line(format!("  {fact}: {value}"));
    }
    for what in next_steps(name, &required) {
        ui::line(format!("  next: {what}"));
    }
    Ok(None)
}

/// The error for a change that contracts must allow first.
pub fn approval_needed(name: &str, required: &ApprovalRequired) -> Fail {
    let fail = Fail::new(
        "approval-needed",
        format!("{name} was not changed: the app's contract must allow the new document first"),
    );
    let fail =
        facts(required).into_iter().fold(fail, |fail, (fact, value)| fail.detail(fact, value));
    next_steps(name, required).into_iter().fold(fail, Fail::suggest)
}

fn facts(required: &ApprovalRequired) -> Vec<(&'static str, String)> {
    let status = required.status.map(|status| {
        let word = |allowed: bool| if allowed { "allowed" } else { "not allowed" };
        let (hash, device) = (status.compose_hash_allowed, status.device_id_allowed);
        format!("hash {}, device {}", word(hash), word(device))
    });
    let shown = |secret: &Option<SecretString>| {
        secret.as_ref().map(|secret| secret.expose_secret().to_owned())
    };
    [
        ("compose hash", Some(format!("0x{}", required.compose_hash))),
        ("app contract", Some(format!("0x{}", required.app))),
        ("device", Some(format!("0x{}", required.device))),
        ("chain", Some(required.chain_id.to_string())),
        ("on chain", status),
        ("commit url", shown(&required.commit_url)),
        ("commit token", shown(&required.commit_token)),
    ]
    .into_iter()
    .filter_map(|(fact, value)| value.map(|value| (fact, value)))
    .collect()
}

/// The next steps: the owner's transaction, then the commit.
fn next_steps(name: &str, required: &ApprovalRequired) -> Vec<String> {
    let ApprovalRequired { compose_hash, app, device, .. } = required;
    let mut steps = Vec::new();
    let status = required.status;
    if status.is_none_or(|status| !status.compose_hash_allowed) {
        steps.push(format!(
            "as the contract's owner, allow the hash: casemate governance add-compose-hash {app} {compose_hash}"
        ));
    }
    if status.is_some_and(|status| !status.device_id_allowed) {
        steps.push(format!("allow the device: casemate governance add-device {app} {device}"));
    }
    steps.push(match &required.commit_token {
        Some(token) => {
            format!("casemate cvms commit-update {name} --token {}", token.expose_secret())
        }
        None => format!("casemate cvms commit-update {name} --compose-hash {compose_hash} --wait"),
    });
    steps
}

#[cfg(test)]
mod tests {
    use casemate_api::reply::OnchainStatus;
    use casemate_core::id::{Address, AppId, DeviceId};

    use super::*;

    fn required(status: Option<OnchainStatus>) -> ApprovalRequired {
        ApprovalRequired {
            compose_hash: ComposeHash::from_bytes([0x11; 32]),
            app: AppId::from_bytes([0x22; 20]),
            device: DeviceId::from_bytes([0x33; 32]),
            chain_id: 8453,
            kms_contract: Address::from_bytes([0x44; 20]),
            commit_token: None,
            commit_url: None,
            status,
        }
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_else() {
        let all = approval_needed("my-app", &required(None)).text();
        assert!(all.contains("add-compose-hash 2222"), "{all}");
        assert!(!all.contains("add-device"), "not known to be missing: {all}");
        assert!(all.contains("--compose-hash 1111"), "{all}");
        let status = OnchainStatus {
            compose_hash_allowed: true,
            device_id_allowed: false,
            is_allowed: false,
        };
        let one = ApprovalRequired { commit_token: Some("tok".into()), ..required(Some(status)) };
        let text = approval_needed("my-app", &one).text();
        assert!(!text.contains("add-compose-hash"), "{text}");
        assert!(text.contains("add-device 2222") && text.contains("--token tok"), "{text}");
    }
}
