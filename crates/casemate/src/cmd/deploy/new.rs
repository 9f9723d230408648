//! Deploys a new app, or the first CVM of an app whose contract exists.

use casemate_api::{
    commit::CommitRequest,
    fleet::{SimulatedNeed, SimulationRequest},
    governance::GovernancePlanRequest,
    provision::ProvisionRequest,
    reply::{KmsNode, Provisioned},
};
use casemate_client::{
    Client,
    onchain::{ChainError, Deployment, Key, Rpc, deployed_app},
};
use casemate_core::{
    governance::plan::{Call, Transaction, checksummed},
    id::{Address, AppId, ComposeHash, DeviceId, InvalidId, NodeId, TxHash},
};
use serde_json::{Value, json};

use super::{Deploy, finish};
use crate::{
    cli::Global,
    cmd::{
        governance::{
            chain::{carry_out, wait_for_earlier},
            plan::{ask, choose_kms, show, stop_if_blocked, write_batch},
        },
        replicas::node,
    },
    fail::Fail,
    ui,
    up::{deploy::request, project::Project},
    vars::{self, Vars},
};

/// How many earlier apps of an account are looked at.
const EARLIER: usize = 20;

/// The KMS contract of a governed app, with the hash and the device that contracts must allow.
#[derive(Debug)]
struct Governed {
    chain_id: u64,
    contract: Address,
    /// The KMS's name in URLs and in the commit request.
    kms: String,
    hash: ComposeHash,
    device: DeviceId,
}

/// The contract of an app, and whether this command created it.
#[derive(Debug, Default)]
struct Contract {
    deployer: Option<Address>,
    transaction: Option<TxHash>,
}

pub async fn deploy(
    global: &Global,
    client: &Client,
    args: &Deploy,
    project: &Project,
    key: Option<&Key>,
) -> Result<(), Fail> {
    let vars = vars::collect(&project.dir, args.env_file.as_deref(), &args.env)?;
    let mut wanted = request(project, &vars);
    wanted.instance_type.clone_from(&args.instance_type);
    wanted.node_id = chosen_node(client, args).await?;
    wanted.app_id = args.app_id;
    wanted.image.clone_from(&args.image);
    choose_kms(&mut wanted, args.kms.as_deref());
    let provisioned = client.provision(&wanted).await?;
    if !global.json {
        for warning in &provisioned.warnings {
            ui::print_note(format!("note: {warning}"));
        }
    }
    let Some(governed) = Governed::of(&provisioned)? else {
        return commit_ungoverned(global, client, args, &provisioned, &vars).await;
    };
    match (args.app_id, key) {
        (Some(app), _) => {
            commit(global, client, args, &governed, app, &Contract::default(), &vars).await
        }
        (None, Some(key)) => {
            let owner = args.owner.unwrap_or_else(|| key.address());
            let planned = GovernancePlanRequest {
                provision: Some(Box::new(wanted)),
                allow_any_device: args.allow_any_device.then_some(true),
                signer: Some(owner),
                ..GovernancePlanRequest::default()
            };
            stop_if_blocked(client, &planned).await?;
            let (app, contract) = create_app(global, args, key, &governed).await?;
            let made = commit(global, client, args, &governed, app, &contract, &vars).await;
            made.map_err(|fail| {
                fail.detail("app contract", checksummed(app.into())).suggest(format!(
                    "The contract exists and is paid for. Run the command again with --app-id {}.",
                    checksummed(app.into())
                ))
            })
        }
        (None, None) => print(global, client, args, wanted, &governed).await,
    }
}

/// The node that is named, or one with the labels and the TEE that are asked for: provision has no fields for
/// them, so the server is asked where such a CVM would fit.
async fn chosen_node(client: &Client, args: &Deploy) -> Result<Option<NodeId>, Fail> {
    if args.node_labels.is_empty() && args.tee.is_none() {
        return node(client, args.node.as_deref()).await;
    }
    let seals = !args.env.is_empty() || args.env_file.is_some();
    let needs = seals.then_some(SimulatedNeed::Env);
    let request = SimulationRequest {
        instance_type: args.instance_type.clone(),
        count: 1,
        without: Vec::new(),
        region: None,
        image: None,
        labels: args.node_labels.iter().cloned().collect(),
        tee: args.tee.clone(),
        gpus: None,
        kms: args.kms.clone(),
        needs: needs.into_iter().collect(),
    };
    let found = client.simulate_placement(&request).await?;
    if let Some(chosen) = found.placed.first() {
        return Ok(Some(NodeId(chosen.node_id)));
    }
    let reasons = found.refused.iter().map(|node| format!("{} {}", node.node, node.reason));
    let reasons: Vec<String> = reasons.collect();
    Err(Fail::new("no_such_node", format!("no node takes this: {}", reasons.join("; "))))
}

impl Governed {
    /// Reads the contracts from a provision; `None` if the app is not contract-governed.
    fn of(provisioned: &Provisioned) -> Result<Option<Self>, Fail> {
        let Some(kms) = &provisioned.kms_info else { return Ok(None) };
        let KmsNode { chain_id: Some(chain_id), kms_contract_address: Some(contract), .. } = kms
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            chain_id: *chain_id,
            contract: read("contract of a KMS", contract)?,
            kms: kms.slug.clone().unwrap_or_else(|| kms.id.clone()),
            hash: read("compose hash", &provisioned.compose_hash)?,
            device: read("device id", provisioned.device_id.as_deref().unwrap_or_default())?,
        }))
    }
}

fn read<T: std::str::FromStr<Err = InvalidId>>(what: &str, text: &str) -> Result<T, Fail> {
    let bare = text.strip_prefix("app_").unwrap_or(text);
    bare.parse().map_err(|why: InvalidId| {
        Fail::new("not-understood", format!("the server sent an invalid {what}: {why}"))
    })
}

/// Creates the app contract with a transaction signed here.
async fn create_app(
    global: &Global,
    args: &Deploy,
    key: &Key,
    governed: &Governed,
) -> Result<(AppId, Contract), Fail> {
    let rpc = args.signing.open(governed.chain_id).await?;
    wait_for_earlier(global, &rpc, key.address()).await?;
    let earlier =
        if args.new_app { None } else { earlier_app(global, &rpc, args, key, governed).await? };
    if let Some(Deployment { app, transaction }) = earlier {
        if !global.json {
            ui::print_note(format!(
                "app {}, deployed by this account in 0x{transaction}, allows this already; --new-app deploys another",
                checksummed(app.into())
            ));
        }
        let contract = Contract { deployer: Some(key.address()), transaction: Some(transaction) };
        return Ok((app, contract));
    }
    let call = Call::DeployAndRegisterApp {
        owner: args.owner.unwrap_or_else(|| key.address()),
        any_device: args.allow_any_device,
        device: Some(governed.device),
        hash: governed.hash,
    };
    // A transaction to an address without code would succeed and do nothing.
    if !rpc.overview(governed.contract, AppId::from_bytes([0; 20])).await?.kms_exists {
        let why = format!("no KMS contract at {}", checksummed(governed.contract));
        return Err(
            Fail::new("no-kms-contract", why).detail("chain", governed.chain_id.to_string())
        );
    }
    let transaction = Transaction { to: governed.contract, call };
    let mined = carry_out(global, &args.signing, &rpc, key, transaction).await?;
    let hash = mined.hash;
    let app = deployed_app(&mined.logs, governed.contract, key.address()).ok_or_else(|| {
        Fail::new("no-app", "the transaction succeeded, but has no app event of the KMS contract")
            .detail("transaction", format!("0x{hash}"))
    })?;
    if !global.json {
        ui::print_note(format!("app {}", checksummed(app.into())));
    }
    Ok((app, Contract { deployer: Some(key.address()), transaction: Some(hash) }))
}

/// The app that this account deployed lately for the same owner and that allows the same: the command was
/// interrupted, or is repeated.
async fn earlier_app(
    global: &Global,
    rpc: &Rpc,
    args: &Deploy,
    key: &Key,
    governed: &Governed,
) -> Result<Option<Deployment>, Fail> {
    let owner = args.owner.unwrap_or_else(|| key.address());
    let deployments = match rpc.deployments(governed.contract, key.address()).await {
        Ok(deployments) => deployments,
        Err(ChainError::Refused(why)) => {
            if !global.json {
                ui::print_note(format!(
                    "the endpoint does not tell which apps this account deployed before: {why}"
                ));
            }
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    for deployment in deployments.into_iter().take(EARLIER) {
        let app = deployment.app;
        if rpc.owner(app).await? != Some(owner)
            || rpc.allows_document(app, governed.hash).await? != Some(true)
        {
            continue;
        }
        let any_device = rpc.allows_any_device(app).await? == Some(true);
        let fits = if args.allow_any_device {
            any_device
        } else {
            any_device || rpc.lists_device(app, governed.device).await? == Some(true)
        };
        if fits {
            return Ok(Some(deployment));
        }
    }
    Ok(None)
}

/// Commits a deployment under a governed KMS.
async fn commit(
    global: &Global,
    client: &Client,
    args: &Deploy,
    governed: &Governed,
    app: AppId,
    contract: &Contract,
    vars: &Vars,
) -> Result<(), Fail> {
    let address = checksummed(app.into());
    let key = if vars.is_empty() {
        None
    } else {
        Some(client.kms_pubkey(&governed.kms, &address).await?.public_key)
    };
    let transaction = contract.transaction.map(|hash| format!("0x{hash}"));
    let request = CommitRequest {
        app_id: Some(app),
        compose_hash: governed.hash,
        encrypted_env: vars::sealed(vars, key.as_deref())?,
        env_keys: (!vars.is_empty()).then(|| vars::names(vars)),
        kms_id: Some(governed.kms.clone()),
        contract_address: Some(address.clone()),
        deployer_address: contract.deployer.map(checksummed),
        transaction_hash: transaction.clone(),
    };
    let vm = client.commit(&request).await?;
    let reply = json!({
        "outcome": "created",
        "id": vm.id,
        "name": vm.name,
        "app_id": app.to_string(),
        "app_contract": address,
        "compose_hash": governed.hash.to_string(),
        "chain_id": governed.chain_id,
        "transaction_hash": transaction,
    });
    finish(global, client, args, &vm.id.to_string(), reply).await
}

/// Commits a deployment under an ungoverned KMS.
async fn commit_ungoverned(
    global: &Global,
    client: &Client,
    args: &Deploy,
    provisioned: &Provisioned,
    vars: &Vars,
) -> Result<(), Fail> {
    let app = provisioned.app_id.as_deref().map(|text| read("app id", text)).transpose()?;
    let request = CommitRequest {
        app_id: app,
        compose_hash: read("compose hash", &provisioned.compose_hash)?,
        encrypted_env: vars::sealed(vars, provisioned.app_env_encrypt_pubkey.as_deref())?,
        env_keys: (!vars.is_empty()).then(|| vars::names(vars)),
        kms_id: None,
        contract_address: None,
        deployer_address: None,
        transaction_hash: None,
    };
    let vm = client.commit(&request).await?;
    let reply = json!({
        "outcome": "created",
        "id": vm.id,
        "name": vm.name,
        "app_id": app.map(|app| app.to_string()),
        "app_contract": Value::Null,
        "compose_hash": provisioned.compose_hash,
        "chain_id": Value::Null,
        "transaction_hash": Value::Null,
    });
    finish(global, client, args, &vm.id.to_string(), reply).await
}

/// Prints the transactions that somebody else has to sign. The provision stays valid for the commit.
async fn print(
    global: &Global,
    client: &Client,
    args: &Deploy,
    wanted: ProvisionRequest,
    governed: &Governed,
) -> Result<(), Fail> {
    let owner = args.owner.ok_or_else(|| {
        Fail::usage("no signing key and no owner for the new app")
            .suggest("Set the owner with --owner, for example to a Safe.")
            .suggest("Or sign with --private-key-file, --keystore or PRIVATE_KEY.")
    })?;
    let plan = ask(
        client,
        &GovernancePlanRequest {
            provision: Some(Box::new(wanted)),
            allow_any_device: args.allow_any_device.then_some(true),
            signer: Some(owner),
            ..GovernancePlanRequest::default()
        },
    )
    .await?;
    if let Some(file) = &args.safe_batch {
        write_batch(file, plan.safe_batch.as_ref())?;
    }
    if global.json {
        ui::json(&json!({
            "outcome": "to_be_signed",
            "compose_hash": governed.hash.to_string(),
            "chain_id": governed.chain_id,
            "kms_contract": checksummed(governed.contract),
            "plan": plan,
        }));
        return Ok(());
    }
    show(&plan);
    ui::print_note(
        "After it is executed, take the app id from its event AppDeployedViaFactory. Then run within 14 days:",
    );
    ui::print_note("  casemate deploy … --app-id 0x…");
    Ok(())
}
