//! What the contract of an app has to allow first: told, and committed.

use casemate_api::{
    approval::{Approval, CommitTokenRequest},
    reply::Accepted,
};
use casemate_client::{Client, Prepared};
use casemate_core::id::ComposeHash;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{
    One,
    change::{follow, warn},
};
use crate::{cli::Global, connect, fail::Fail, ui};

/// Commits what was prepared, once the app's contract allows it.
#[derive(Debug, Args)]
pub struct CommitUpdate {
    #[command(flatten)]
    one: One,
    /// The commit token, which needs no API key.
    #[arg(long, required_unless_present = "compose_hash")]
    token: Option<SecretString>,
    /// The compose hash that was prepared; with an API key it does without a token.
    #[arg(long, value_name = "HASH")]
    compose_hash: Option<ComposeHash>,
    /// The transaction that registered it; else the state of the contract decides alone.
    #[arg(long, value_name = "HASH")]
    transaction: Option<String>,
    /// Wait for its end; needs an API key.
    #[arg(long, short)]
    wait: bool,
    /// Wait this many seconds at most.
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    timeout: u64,
}

/// `casemate cvms commit-update`.
pub async fn commit(global: &Global, args: CommitUpdate) -> Result<(), Fail> {
    let cvm = &args.one.cvm;
    let (client, operation) = match &args.token {
        Some(token) => {
            let client =
                if args.wait { connect::client(global)? } else { connect::without_key(global)? };
            let request = CommitTokenRequest {
                token: Some(token.expose_secret().to_owned()),
                compose_hash: args.compose_hash.map(|hash| hash.to_string()),
                transaction_hash: args.transaction.clone(),
            };
            let done = client.commit_update(cvm, &request).await?;
            (client, done.correlation_id)
        }
        None => {
            let client = connect::client(global)?;
            let hash = args.compose_hash.ok_or_else(|| Fail::usage("--compose-hash is missing"))?;
            let done = client.confirm_cvm(cvm, &hash, args.transaction.as_deref()).await?;
            (client, done.correlation_id)
        }
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

/// Tells what became of a change that was only to be prepared. Returns the operation of one that was
/// applied, as nothing had to be allowed.
pub fn prepared(global: &Global, name: &str, prepared: Prepared) -> Option<Accepted> {
    let approval = match prepared {
        Prepared::Applied(accepted) => {
            if !global.json {
                ui::note("note: nothing has to be approved, so it is applied at once");
            }
            warn(global, &accepted.course);
            return Some(*accepted);
        }
        Prepared::Approval(approval) => approval,
    };
    if global.json {
        ui::json(&json!({ "prepared": approval }));
        return None;
    }
    ui::line(format!("{name}: prepared; nothing is changed yet"));
    for (fact, value) in facts(&approval) {
        ui::line(format!("  {fact}: {value}"));
    }
    for what in next(name, &approval) {
        ui::line(format!("  next: {what}"));
    }
    None
}

/// The failure of a change that contracts have to allow first.
pub fn needed(name: &str, approval: &Approval) -> Fail {
    let mut fail = Fail::new(
        "approval-needed",
        format!(
            "{name} is not changed yet: the app's contract has to allow the new document first"
        ),
    );
    for (fact, value) in facts(approval) {
        fail = fail.detail(fact, value);
    }
    for what in next(name, approval) {
        fail = fail.suggest(what);
    }
    fail
}

fn facts(approval: &Approval) -> Vec<(&'static str, String)> {
    let kms = approval.kms_info.as_ref();
    let chain = kms.and_then(|kms| kms.chain_id).map(|id| id.to_string());
    let status = approval.onchain_status.map(|status| {
        let word = |allowed: bool| if allowed { "allowed" } else { "not allowed" };
        let (hash, device) = (status.compose_hash_allowed, status.device_id_allowed);
        format!("hash {}, device {}", word(hash), word(device))
    });
    [
        ("compose hash", Some(format!("0x{}", approval.compose_hash))),
        ("app contract", Some(format!("0x{}", approval.app_id))),
        ("device", approval.device_id.map(|device| format!("0x{device}"))),
        ("chain", chain),
        ("on chain now", status),
        ("to be approved at", approval.commit_url.clone()),
        ("commit token", approval.commit_token.clone()),
    ]
    .into_iter()
    .filter_map(|(fact, value)| value.map(|value| (fact, value)))
    .collect()
}

/// What is to be done: by the contract's owner, then here.
fn next(name: &str, approval: &Approval) -> Vec<String> {
    let Approval { compose_hash, app_id, .. } = approval;
    let mut steps = Vec::new();
    let status = approval.onchain_status;
    if status.is_none_or(|status| !status.compose_hash_allowed) {
        steps.push(format!("have the owner call addComposeHash(0x{compose_hash}) on 0x{app_id}."));
    }
    if let Some(device) = approval.device_id
        && status.is_some_and(|status| !status.device_id_allowed)
    {
        steps.push(format!("have the owner call addDevice(0x{device}) on 0x{app_id}."));
    }
    steps.push(match &approval.commit_token {
        Some(token) => format!("casemate cvms commit-update {name} --token {token}"),
        None => {
            format!("casemate cvms commit-update {name} --compose-hash 0x{compose_hash} --wait")
        }
    });
    steps
}

/// Prepares a change and tells of it.
pub async fn prepare(
    global: &Global,
    client: &Client,
    (id, name): (&str, &str),
    patch: &casemate_api::cvm_patch::CvmPatch,
    guard: casemate_client::EnvGuard,
) -> Result<Option<Accepted>, Fail> {
    Ok(prepared(global, name, client.prepare_cvm(id, patch, guard).await?))
}

#[cfg(test)]
mod tests {
    use casemate_api::reply::OnchainStatus;
    use casemate_core::id::{AppId, DeviceId};

    use super::*;

    fn approval() -> Approval {
        Approval {
            compose_hash: ComposeHash::from_bytes([0x11; 32]),
            app_id: AppId::from_bytes([0x22; 20]),
            device_id: Some(DeviceId::from_bytes([0x33; 32])),
            kms_info: None,
            commit_token: None,
            commit_url: None,
            api_commit_url: None,
            onchain_status: None,
        }
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_else() {
        let all = needed("my-app", &approval()).text();
        assert!(all.contains("addComposeHash(0x1111"), "{all}");
        assert!(!all.contains("addDevice"), "not known to be missing: {all}");
        assert!(all.contains("--compose-hash 0x1111"), "{all}");
        let status = OnchainStatus {
            compose_hash_allowed: true,
            device_id_allowed: false,
            is_allowed: false,
        };
        let one = Approval {
            onchain_status: Some(status),
            commit_token: Some("tok".to_owned()),
            ..approval()
        };
        let text = needed("my-app", &one).text();
        assert!(!text.contains("call addComposeHash"), "{text}");
        assert!(text.contains("addDevice(0x3333") && text.contains("--token tok"), "{text}");
    }
}
