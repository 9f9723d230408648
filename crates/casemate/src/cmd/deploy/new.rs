//! A new app, or an app whose contract is there and which has no CVM yet.

use casemate_api::{
    commit::CommitRequest,
    governance::GovernancePlanRequest,
    provision::ProvisionRequest,
    reply::{KmsNode, Provisioned},
};
use casemate_client::{
    Client,
    onchain::{Key, deployed_app},
};
use casemate_core::{
    governance::plan::{Call, Transaction, checksummed},
    id::{Address, AppId, ComposeHash, DeviceId, InvalidId, TxHash},
};
use serde_json::{Value, json};

use super::{Deploy, finish};
use crate::{
    cli::Global,
    cmd::{
        governance::{
            chain::carry_out,
            plan::{ask, choose_kms, show, write_batch},
        },
        replicas::node,
    },
    fail::Fail,
    ui,
    up::{deploy::request, project::Project},
    vars::{self, Vars},
};

/// What has to be allowed, and by which contracts.
#[derive(Debug)]
struct Governed {
    chain_id: u64,
    contract: Address,
    /// Names the KMS in paths and in the commit.
    kms: String,
    hash: ComposeHash,
    device: DeviceId,
}

/// The contract of an app, and how it came to be.
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
    wanted.node_id = node(client, args.node.as_deref()).await?;
    wanted.app_id = args.app_id;
    choose_kms(&mut wanted, args.kms.as_deref());
    let provisioned = client.provision(&wanted).await?;
    if !global.json {
        for warning in &provisioned.warnings {
            ui::print_note(format!("note: {warning}"));
        }
    }
    let Some(governed) = Governed::of(&provisioned)? else {
        return plain(global, client, args, &provisioned, &vars).await;
    };
    match (args.app_id, key) {
        (Some(app), _) => {
            commit(global, client, args, &governed, app, &Contract::default(), &vars).await
        }
        (None, Some(key)) => {
            let (app, contract) = make(global, args, key, &governed).await?;
            let made = commit(global, client, args, &governed, app, &contract, &vars).await;
            made.map_err(|fail| {
                fail.detail("app contract", checksummed(app.into())).suggest(format!(
                    "The contract is there and paid: repeat this with --app-id {}.",
                    checksummed(app.into())
                ))
            })
        }
        (None, None) => print(global, client, args, wanted, &governed).await,
    }
}

impl Governed {
    /// What a provision says of contracts; `None`: none governs the app.
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
        Fail::new("not-understood", format!("provision answered with a {what} that is none: {why}"))
    })
}

/// The contract of the app, made by a transaction that is signed here.
async fn make(
    global: &Global,
    args: &Deploy,
    key: &Key,
    governed: &Governed,
) -> Result<(AppId, Contract), Fail> {
    let rpc = args.signing.open(governed.chain_id).await?;
    let call = Call::DeployAndRegisterApp {
        owner: args.owner.unwrap_or_else(|| key.address()),
        any_device: args.allow_any_device,
        device: Some(governed.device),
        hash: governed.hash,
    };
    // To an address without code a transaction succeeds, and does nothing.
    if !rpc.overview(governed.contract, AppId::from_bytes([0; 20])).await?.kms_exists {
        let why = format!("there is no contract of a KMS at {}", checksummed(governed.contract));
        return Err(
            Fail::new("no-kms-contract", why).detail("chain", governed.chain_id.to_string())
        );
    }
    let transaction = Transaction { to: governed.contract, call };
    let mined = carry_out(global, &args.signing, &rpc, key, transaction).await?;
    let hash = mined.hash;
    let app = deployed_app(&mined.logs, governed.contract, key.address()).ok_or_else(|| {
        Fail::new(
            "no-app",
            "the transaction succeeded, and the contract of the KMS says of no app in it",
        )
        .detail("transaction", format!("0x{hash}"))
    })?;
    if !global.json {
        ui::print_note(format!("app {}", checksummed(app.into())));
    }
    Ok((app, Contract { deployer: Some(key.address()), transaction: Some(hash) }))
}

/// The second phase of a deployment under contracts.
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

/// The second phase of a deployment that no contract governs.
async fn plain(
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

/// What somebody else has to sign. The provision stays, so that the commit finds it.
async fn print(
    global: &Global,
    client: &Client,
    args: &Deploy,
    wanted: ProvisionRequest,
    governed: &Governed,
) -> Result<(), Fail> {
    let owner = args.owner.ok_or_else(|| {
        Fail::usage("nobody signs here, and nobody is named who is to own the app")
            .suggest("Name the account that is to own it with --owner, a Safe for example.")
            .suggest("Or sign here: --private-key-file, --keystore or PRIVATE_KEY.")
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
        "Once it is executed, its event AppDeployedViaFactory names the app; then, within 14 days:",
    );
    ui::print_note("  casemate deploy … --app-id 0x…");
    Ok(())
}
