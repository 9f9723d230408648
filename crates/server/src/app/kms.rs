//! Which KMS a client means, and what there is to know of it. There is the built-in one, each dstack-kms of
//! the configuration, and the built-in one under each contract. Several may be of one kind: where a client says
//! a kind only, those that no contract governs are all meant, and its node decides.

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    kms_type::KmsType,
    provision::ProvisionRequest,
    reply::{
        KmsInspection, KmsKeys, KmsOnchain, KmsSelf, KmsTeepod, KmsTeepodImage, KmsVerification,
        OnchainContract, OnchainDevice, OnchainKms, OnchainOsImage,
    },
};
use casemate_core::{
    governance::Question,
    id::{AppId, ComposeHash, DeviceId, KmsId},
};
use casemate_engine::kms::SignedEnvKey;
use casemate_store::provisions;

use super::{
    Ctx, Error, catalogue,
    fleet::{Fleet, FleetKms, FleetNode, Governed},
    governance,
    provision::kms_failed,
    views,
};
use crate::view::{KmsView, contracts};

/// Every KMS; the built-in one comes first.
pub fn all(ctx: &Ctx) -> Vec<KmsView> {
    ctx.fleet.all_kms().map(views::kms).collect()
}

/// The KMS that holds the keys of something there is. It is asked what its contract says, so one that is
/// not configured here is an error and never none.
pub fn of<'a>(ctx: &'a Ctx, id: &KmsId) -> Result<&'a FleetKms, Error> {
    ctx.fleet.kms_of(id).ok_or_else(|| {
        let why = format!("the KMS {id} is not configured here any more");
        Error::because(ErrorCode::KmsUnreachable, why).suggest(
            "Whoever runs this service has to put its [[kms.contracts]] or [[kms.dstack]] back.",
        )
    })
}

/// The one KMS that a text in this field means: by [`named`].
pub fn called<'a>(ctx: &'a Ctx, field: &str, name: &str) -> Result<&'a FleetKms, Error> {
    one(ctx, field, name, &named(&ctx.fleet, name))
}

/// The KMS that a text in this field means: one, or all of a kind that no contract governs, the default
/// first.
pub fn meant<'a>(ctx: &'a Ctx, field: &str, name: &str) -> Result<Vec<&'a FleetKms>, Error> {
    narrow(ctx, field, name, named(&ctx.fleet, name))
}

/// One of a list, or all of them if no contract governs any.
fn narrow<'a>(
    ctx: &Ctx,
    field: &str,
    text: &str,
    found: Vec<&'a FleetKms>,
) -> Result<Vec<&'a FleetKms>, Error> {
    if found.len() > 1 && found.iter().all(|kms| kms.governed.is_none()) {
        return Ok(found);
    }
    one(ctx, field, text, &found).map(|only| vec![only])
}

/// What has a name of its own, else what is of this kind.
fn named<'a>(fleet: &'a Fleet, name: &str) -> Vec<&'a FleetKms> {
    let own = by_own_name(fleet, name);
    match name.parse::<KmsType>() {
        Ok(kind) if own.is_empty() => fleet.all_kms().filter(|kms| kms.kind() == kind).collect(),
        _ => own,
    }
}

/// By id or slug, else by contract: its address, `kc_…`, or its slug.
fn by_own_name<'a>(fleet: &'a Fleet, name: &str) -> Vec<&'a FleetKms> {
    let own = |kms: &&FleetKms| kms.id.as_ref() == name || kms.slug == name;
    match fleet.all_kms().find(own) {
        Some(kms) => vec![kms],
        None => fleet.all_kms().filter(|kms| serves_contract(kms, name)).collect(),
    }
}

/// Whether a text means the contract of a KMS. The KMS without one has words for it.
fn serves_contract(kms: &FleetKms, text: &str) -> bool {
    let contract = contracts(&[views::kms(kms)]);
    let by_address = || {
        let governed = kms.governed.as_ref();
        governed.is_some_and(|governed| text.parse() == Ok(governed.contract))
    };
    contract.iter().any(|contract| contract.is_called(text)) || by_address()
}

/// The KMS that a provision may have its keys from, the preferred one first: those that it asks for; where it
/// asks for none, that of the node that it names, or any that no contract governs. What it says in several
/// fields has to mean the same.
///
/// `sealed`: it brings variables. They are sealed to the key of one KMS: the default one, if it names none.
pub fn choose<'a>(
    ctx: &'a Ctx,
    request: &ProvisionRequest,
    sealed: bool,
) -> Result<Vec<&'a FleetKms>, Error> {
    let kind = request.kms.map(KmsType::as_str);
    let said = [
        ("kms", kind),
        ("kms_id", request.kms_id.as_deref()),
        ("kms_contract", request.kms_contract.as_deref()),
        ("kms_contract_id", request.kms_contract_id.as_deref()),
    ];
    let mut fit: Vec<&FleetKms> = ctx.fleet.all_kms().collect();
    let mut last = None;
    for (field, text) in said {
        let Some(text) = text else { continue };
        let meant = match field {
            "kms" | "kms_id" => named(&ctx.fleet, text),
            _ => by_own_name(&ctx.fleet, text),
        };
        fit.retain(|kms| meant.iter().any(|other| other.id == kms.id));
        if fit.is_empty() {
            return one(ctx, field, text, &fit).map(|only| vec![only]);
        }
        last = Some((field, text));
    }
    match last {
        Some((field, text)) => fit = narrow(ctx, field, text, fit)?,
        None if request.node_id.is_none() => fit.retain(|kms| kms.governed.is_none()),
        None => {}
    }
    Ok(or_default(ctx, fit, sealed))
}

/// The KMS that CVMs may have their keys from where a name is all that is known of them; as [`choose`].
pub fn choose_by_name<'a>(
    ctx: &'a Ctx,
    field: &str,
    name: Option<&str>,
    sealed: bool,
) -> Result<Vec<&'a FleetKms>, Error> {
    let fit = match name {
        Some(name) => meant(ctx, field, name)?,
        None => ctx.fleet.all_kms().filter(|kms| kms.governed.is_none()).collect(),
    };
    Ok(or_default(ctx, fit, sealed))
}

fn or_default<'a>(ctx: &'a Ctx, mut fit: Vec<&'a FleetKms>, sealed: bool) -> Vec<&'a FleetKms> {
    if fit.is_empty() {
        fit.push(&ctx.fleet.kms);
    }
    if sealed {
        fit.truncate(1);
    }
    fit
}

/// The only KMS of a list; otherwise why a text in a field does not do, with the way out.
fn one<'a>(
    ctx: &Ctx,
    field: &str,
    text: &str,
    found: &[&'a FleetKms],
) -> Result<&'a FleetKms, Error> {
    let list = |all: &mut dyn Iterator<Item = &FleetKms>| -> String {
        let words: Vec<String> = all.map(|kms| format!("{} ({})", kms.slug, kms.kind())).collect();
        words.join(", ")
    };
    match found {
        [only] => Ok(*only),
        [] => {
            let error =
                Error::field(ErrorCode::KmsNotFound, field, format!("names no KMS here: {text}"))
                    .suggest(format!("Use kms_id with one of {}.", list(&mut ctx.fleet.all_kms())));
            Err(if text.parse().is_ok_and(KmsType::is_onchain) {
                error.suggest("Whoever runs this service adds one with `casemate admin kms add`.")
            } else {
                error
            })
        }
        several => {
            let why = format!("means several KMS: {text}");
            let error = Error::field(ErrorCode::KmsNotFound, field, why)
                .suggest(format!("Choose one by kms_id: {}.", list(&mut several.iter().copied())));
            Err(several
                .iter()
                .fold(error, |error, kms| error.detail(ErrorDetail::value("kms_id", &*kms.slug))))
        }
    }
}

/// The key that environments of an app are sealed to, with its signatures.
pub async fn env_key(ctx: &Ctx, reference: &str, app: &str) -> Result<SignedEnvKey, Error> {
    let meant = all_in_path(ctx, reference)?;
    let bare = app.strip_prefix("app_").unwrap_or(app);
    let app: AppId = bare
        .parse()
        .map_err(|why| Error::field(ErrorCode::InvalidRequest, "app_id", format!("is {why}")))?;
    let kms = match meant.as_slice() {
        [only] => *only,
        several => {
            let of_app = provisions::kms_of_app(&ctx.db, &app).await?;
            let own = several.iter().find(|kms| of_app.as_ref() == Some(&kms.id));
            own.or(several.first()).copied().ok_or_else(|| missing(reference))?
        }
    };
    let key = kms.kms.env_public_key(&app, ctx.now().unix_seconds()).await;
    key.map_err(|error| kms_failed(kms, &error))
}

/// The KMS that a path names: of several of a kind the default one. What names none is not found; what names
/// several under contracts is refused.
pub fn in_path<'a>(ctx: &'a Ctx, reference: &str) -> Result<&'a FleetKms, Error> {
    all_in_path(ctx, reference)?.first().copied().ok_or_else(|| missing(reference))
}

fn all_in_path<'a>(ctx: &'a Ctx, reference: &str) -> Result<Vec<&'a FleetKms>, Error> {
    if named(&ctx.fleet, reference).is_empty() {
        return Err(missing(reference));
    }
    meant(ctx, "kms_id", reference)
}

/// No KMS is called that.
pub fn missing(reference: &str) -> Error {
    Error::because(ErrorCode::NotFound, format!("no KMS {reference} here"))
        .detail(ErrorDetail::value("kms_id", reference))
        .suggest("List them with GET /api/v1/kms.")
}

/// What the contracts of KMS on the chains of a kind allow of the nodes here.
pub async fn on_chain(ctx: &Ctx, chain: &str) -> Result<OnchainKms, Error> {
    let kind = chain.parse::<KmsType>().ok().filter(|kind| kind.is_onchain()).ok_or_else(|| {
        Error::field(ErrorCode::InvalidRequest, "chain", format!("is no chain here: {chain}"))
            .suggest("Use ethereum or base.")
    })?;
    let governed: Vec<&Governed> = ctx
        .fleet
        .all_kms()
        .filter_map(|kms| kms.governed.as_ref())
        .filter(|governed| governed.kind == kind)
        .collect();
    let mut contracts = Vec::with_capacity(governed.len());
    for governed in &governed {
        contracts.push(contract_on_chain(ctx, governed).await);
    }
    let well_known = if kind == KmsType::Base { 8453 } else { 1 };
    Ok(OnchainKms {
        chain_name: kind.to_string(),
        chain_id: governed.first().map_or(well_known, |governed| governed.chain.chain_id()),
        contracts,
    })
}

async fn contract_on_chain(ctx: &Ctx, governed: &Governed) -> OnchainContract {
    let (devices, images) = (hosts(ctx), catalogue::os_images(ctx));
    let hashes: Vec<[u8; 32]> =
        images.iter().filter_map(|image| hash(image.os_image_hash.as_deref())).collect();
    let ids: Vec<DeviceId> = devices.iter().map(|(device, _)| *device).collect();
    let said = governance::kms_allows(governed, &ids, &hashes).await.ok();
    let device = |(at, (device, node)): (usize, (DeviceId, String))| OnchainDevice {
        device_id: device.to_string(),
        node_name: Some(node),
        on_chain_allowed: said.as_ref().and_then(|(devices, _)| devices.get(at).copied()),
    };
    let allowed = |image: Option<&str>| {
        let hash = hash(image)?;
        let at = hashes.iter().position(|other| *other == hash)?;
        said.as_ref()?.1.get(at).copied()
    };
    OnchainContract {
        contract_address: views::contract(governed.contract),
        chain_id: governed.chain.chain_id(),
        chain_name: governed.kind.to_string(),
        devices: devices.into_iter().enumerate().map(device).collect(),
        os_images: images
            .into_iter()
            .map(|image| OnchainOsImage {
                on_chain_allowed: allowed(image.os_image_hash.as_deref()),
                name: image.name,
                version: image.version,
                os_image_hash: image.os_image_hash,
            })
            .collect(),
    }
}

/// Every host of a node once, with the names of the nodes there.
fn hosts(ctx: &Ctx) -> Vec<(DeviceId, String)> {
    let mut hosts: Vec<(DeviceId, String)> = Vec::new();
    for node in ctx.fleet.all() {
        let device = node.observed().0.device_id;
        match hosts.iter_mut().find(|(other, _)| *other == device) {
            Some((_, names)) => *names = format!("{names}, {}", node.name),
            None => hosts.push((device, node.name.clone())),
        }
    }
    hosts
}

fn hash(text: Option<&str>) -> Option<[u8; 32]> {
    let text = text?;
    let mut hash = [0; 32];
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut hash).ok()?;
    Some(hash)
}

/// A KMS from every side: what it says of itself, the nodes whose guests it serves, and what its contract
/// says. No node is asked: it is what they told last.
pub async fn inspect(ctx: &Ctx, reference: &str) -> Result<KmsInspection, Error> {
    let kms = in_path(ctx, reference)?;
    let view = views::kms(kms);
    let on_chain = match &kms.governed {
        None => None,
        Some(governed) => Some(contract_says(ctx, governed).await),
    };
    let told = kms.remote.as_ref().map(|remote| remote.observed());
    let silent = told.as_ref().and_then(|told| told.outage.as_ref()).map(|why| why.why.clone());
    let said_of_guest = match kms.remote {
        None => "the KMS runs in this service, in no guest",
        Some(_) => "Casemate does not ask the guest agent of this KMS",
    };
    let meta = told.as_ref().and_then(|told| told.meta.as_ref());
    let own = ctx.fleet.all().into_iter().filter(|node| ctx.fleet.node_uses(node, &kms.id));
    Ok(KmsInspection {
        id: view.id.to_string(),
        slug: view.slug,
        endpoint: view.url.clone(),
        kms_type: view.kind.to_string(),
        db_version: view.version.clone(),
        rpc: (kms.remote.is_none() || meta.is_some()).then(|| KmsSelf {
            version: view.version,
            is_dev: meta.is_none_or(|meta| meta.is_dev),
            chain_id: meta.map_or(view.chain_id, |meta| meta.chain_id),
            kms_contract_address: meta
                .map_or(view.kms_contract_address, |meta| meta.contract.clone()),
            gateway_app_id: meta.map_or(view.gateway_app_id, |meta| meta.gateway_app_id.clone()),
            bootstrap_info: KmsKeys {
                k256_pubkey: kms.signing_key(),
                ca_pubkey: kms.ca_key().unwrap_or_default(),
                quote_length: 0,
                eventlog_length: 0,
            },
            version_synced: true,
        }),
        rpc_error: silent.or_else(|| told.as_ref().and_then(|told| told.meta_error.clone())),
        guest_agent: None,
        guest_agent_error: Some(said_of_guest.to_owned()),
        teepods: own.map(|node| teepod(&node, &view.url)).collect(),
        on_chain,
    })
}

fn teepod(node: &FleetNode, url: &str) -> KmsTeepod {
    let (inventory, reachable) = node.observed();
    let image = |image: &casemate_engine::node::Image| KmsTeepodImage {
        name: image.name.clone(),
        version: image.version.clone(),
        is_dev: image.is_dev,
    };
    KmsTeepod {
        id: node.id.0,
        name: node.name.clone(),
        teepod_version_db: Some(inventory.version.clone()),
        teepod_version_real: reachable.then(|| inventory.version.clone()),
        kms_url: Some(url.to_owned()),
        kms_urls: vec![url.to_owned()],
        available_os_images: inventory.images.iter().map(image).collect(),
        error: (!reachable).then(|| "the node does not answer".to_owned()),
    }
}

async fn contract_says(ctx: &Ctx, governed: &Governed) -> KmsOnchain {
    // Of no app: whether the contract answers is the same for all.
    let nobody = Question {
        kms: governed.contract,
        app: AppId::from_bytes([0; 20]),
        hash: ComposeHash::from_bytes([0; 32]),
        device: DeviceId::from_bytes([0; 32]),
        os_image: None,
        transaction: None,
    };
    let state = match governance::state(governed, &nobody).await {
        Ok(state) => state,
        Err(fault) => {
            return KmsOnchain { error: Some(fault.to_string()), ..KmsOnchain::default() };
        }
    };
    let seen = contract_on_chain(ctx, governed).await;
    let all = |said: Vec<Option<bool>>| {
        let known: Option<Vec<bool>> = said.into_iter().collect();
        known.map(|known| known.iter().all(|allowed| *allowed))
    };
    let images = seen.os_images.iter().filter(|image| image.os_image_hash.is_some());
    KmsOnchain {
        exists: Some(state.kms_exists),
        block_number: Some(state.block.number),
        verification: KmsVerification {
            device_id_allowed: all(seen.devices.iter().map(|one| one.on_chain_allowed).collect()),
            os_image_allowed: all(images.map(|image| image.on_chain_allowed).collect()),
            ..KmsVerification::default()
        },
        error: None,
    }
}
