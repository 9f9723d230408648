//! What an operator does with nodes: add, look, cordon, remove, give up. All of it writes rows; the
//! registry ([`crate::nodes::registry`]) makes the fleet like them. Nothing here talks to a node.

mod preflight;

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    node_admin::{AddNodeRequest, ChangeNodeRequest, ManagedNode, NodeAmount},
};
use casemate_core::{
    id::{DeviceId, NodeId},
    name::{check_labels, check_node_name, check_price},
    node::{NodeKind, NodeState},
    place::Amount,
    preflight::findings,
    time::Timestamp,
};
use casemate_engine::node::Inventory;
use casemate_store::{
    Error as StoreError,
    nodes::{self, NewNode, NodeRow, NodeUsage},
};

use super::{Ctx, Error, audit, fleet, kms_admin, mutation::Mutation};
use crate::{
    config::Role,
    nodes::{
        open::{check_dstack, files_of, is_below},
        settings::{DriverSettings, NodeSettings},
    },
};

/// Every node, by id. Of removed ones those that were given up and still have CVMs.
pub async fn all(ctx: &Ctx) -> Result<Vec<ManagedNode>, Error> {
    let (rows, taken) = (nodes::all(&ctx.db).await?, nodes::usage(&ctx.db).await?);
    let taken = |row: &NodeRow| taken.iter().find(|taken| taken.node_id == row.id).copied();
    let listed = rows.iter().filter(|row| row.state != NodeState::Removed || taken(row).is_some());
    Ok(listed.map(|row| view(ctx, row, taken(row))).collect())
}

/// The node of this name, with its pre-flight.
pub async fn one(ctx: &Ctx, name: &str) -> Result<ManagedNode, Error> {
    let named = |node: &ManagedNode| node.name == name;
    let mut node = all(ctx).await?.into_iter().find(named).ok_or_else(|| unknown(name))?;
    let facts = preflight::facts(ctx, &node);
    node.findings = findings(&facts).into_iter().map(Into::into).collect();
    Ok(node)
}

/// Has the watch of a node look now, if this process serves it.
pub async fn look_now(ctx: &Ctx, name: &str) -> Result<ManagedNode, Error> {
    let node = one(ctx, name).await?;
    if let Some(own) = ctx.fleet.own_node(NodeId(node.id)) {
        own.check_now();
    }
    Ok(node)
}

/// Adds a node, which this process opens next.
pub async fn add(
    ctx: &Ctx,
    mutation: &mut Mutation,
    request: &AddNodeRequest,
) -> Result<ManagedNode, Error> {
    check_node_name(&request.name).map_err(|why| Error::invalid("name", why))?;
    check_labels(&request.labels).map_err(|why| Error::invalid("labels", why))?;
    if let Some(price) = &request.price {
        check_price(price).map_err(|why| Error::invalid("price", why))?;
    }
    let driver = driver(ctx, request)?;
    if !ctx.config.has(Role::Worker) {
        return Err(Error::because(
            ErrorCode::StateConflict,
            "This process serves no nodes, so it cannot add one",
        )
        .suggest("Ask a process with role worker."));
    }
    let settings = NodeSettings {
        driver,
        limits: request.limits,
        labels: request.labels.clone(),
        price: request.price.clone(),
    };
    let json = settings.to_json();
    let inventory = casemate_core::stored::write(&Inventory::unknown())
        .map_err(|error| Error::Internal(format!("an inventory does not serialise: {error}")))?;
    let now = ctx.now();
    let new = NewNode {
        name: &request.name,
        kind: request.kind,
        owner: &ctx.instance.id,
        lease_expires_at: now.plus(ctx.config.work.node_missing()),
        gateway: &ctx.instance.gateway,
        region: request.region.as_deref().unwrap_or(&ctx.config.region),
        inventory: &inventory,
        pinned: settings.driver.is_pinned(),
        settings: Some(&json),
    };
    mutation.changes_nodes();
    let Some(id) = mutation.tx.add_node(&new, now).await? else {
        let why =
            format!("A node has the name {}, or had it and was of another kind", request.name);
        return Err(Error::because(ErrorCode::StateConflict, why)
            .detail(ErrorDetail::value("name", request.name.clone()))
            .suggest("Choose another name; casemate admin node list shows the ones there are."));
    };
    let row = NodeRow {
        id: id.0,
        name: request.name.clone(),
        kind: request.kind.as_str().to_owned(),
        owner: ctx.instance.id.clone(),
        lease_expires_at: new.lease_expires_at.micros(),
        gateway: ctx.instance.gateway.clone(),
        region: new.region.to_owned(),
        reachable: false,
        seen_at: now.micros(),
        state: NodeState::Active,
        pinned: new.pinned,
        settings: Some(json.clone()),
        inventory,
    };
    Ok(view(ctx, &row, None))
}

/// How the node is reached; a field of another kind is refused.
fn driver(ctx: &Ctx, request: &AddNodeRequest) -> Result<DriverSettings, Error> {
    let foreign = |field: &str| {
        Error::invalid(field, format!("is not for nodes of kind {}: leave it out", request.kind))
    };
    if request.dstack.is_some() && request.kind != NodeKind::Dstack {
        return Err(foreign("dstack"));
    }
    match request.kind {
        NodeKind::Docker | NodeKind::Dstack if request.dir.is_some() => Err(foreign("dir")),
        NodeKind::Docker => Ok(DriverSettings::Docker { host: request.host.clone() }),
        NodeKind::Sim | NodeKind::Dstack if request.host.is_some() => Err(foreign("host")),
        NodeKind::Sim => {
            let dir = request.dir.as_ref().map(std::path::PathBuf::from);
            if dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
                return Err(Error::invalid("dir", "must be an absolute path"));
            }
            Ok(DriverSettings::Sim { dir })
        }
        NodeKind::Dstack => dstack(ctx, request),
    }
}

fn dstack(ctx: &Ctx, request: &AddNodeRequest) -> Result<DriverSettings, Error> {
    let missing = || {
        Error::invalid("dstack", "is required: the address of dstack-vmm and the TEE of the host")
    };
    let access = request.dstack.as_ref().ok_or_else(missing)?;
    check_dstack(access, &request.limits).map_err(|(field, why)| Error::invalid(field, why))?;
    let dir = ctx.config.credentials_dir();
    let outside = |file: &Option<String>| file.as_deref().is_some_and(|file| !is_below(file, &dir));
    if let Some((field, _)) = files_of(access).into_iter().find(|(_, file)| outside(file)) {
        let dir = dir.display();
        return Err(Error::invalid(field, format!("must be a file in {dir} on the server"))
            .suggest(format!("Put it into {dir}, mode 0600, or configure admin.credentials_dir."))
            .suggest("Or add the node as one of [[nodes]] in the configuration of the server."));
    }
    if let Some(slug) = &access.kms {
        kms_admin::check_dstack(ctx, "dstack.kms", slug)?;
    }
    if let Some(name) = access.gateways.iter().find(|name| ctx.gateways.named(name).is_none()) {
        let why = format!("{name} is not one of [[gateways]] in the configuration of this process");
        return Err(Error::invalid("dstack.gateways", why));
    }
    Ok(DriverSettings::Dstack(access.clone()))
}

/// Lets a node take new CVMs, or none.
pub async fn set_state(
    ctx: &Ctx,
    mutation: &mut Mutation,
    name: &str,
    state: NodeState,
) -> Result<ManagedNode, Error> {
    let node = one(ctx, name).await?;
    audit::before(&node);
    mutation.changes_nodes();
    if !mutation.tx.set_node_state(NodeId(node.id), state).await? {
        return Err(Error::because(ErrorCode::StateConflict, format!("{name} is removed"))
            .suggest("Add it again with casemate admin node add."));
    }
    Ok(ManagedNode { state, ..node })
}

/// Changes labels, price and device id of a node. Its driver stays, but for the device id.
pub async fn change(
    ctx: &Ctx,
    mutation: &mut Mutation,
    name: &str,
    request: &ChangeNodeRequest,
) -> Result<ManagedNode, Error> {
    let rows = nodes::all(&ctx.db).await?;
    let row = rows.iter().find(|row| row.name == name).ok_or_else(|| unknown(name))?;
    audit::before(&one(ctx, name).await?);
    let Some(text) = &row.settings else {
        let why = format!("{name} has no settings of its own: it was started with --node");
        return Err(Error::because(ErrorCode::StateConflict, why)
            .suggest("Add it with casemate admin node add, or as one of [[nodes]]."));
    };
    let mut settings = NodeSettings::from_json(text).map_err(|why| {
        Error::because(ErrorCode::StateConflict, format!("the settings of {name}: {why}"))
            .suggest("Ask a process of the version that wrote them.")
    })?;
    for (key, value) in &request.labels {
        match value {
            Some(value) => drop(settings.labels.insert(key.clone(), value.clone())),
            None => drop(settings.labels.remove(key)),
        }
    }
    check_labels(&settings.labels).map_err(|why| Error::invalid("labels", why))?;
    match request.price.as_deref() {
        Some("") => settings.price = None,
        Some(price) => {
            check_price(price).map_err(|why| Error::invalid("price", why))?;
            settings.price = Some(price.to_owned());
        }
        None => {}
    }
    if let Some(device_id) = &request.device_id {
        set_device(&mut settings.driver, device_id)
            .map_err(|why| Error::invalid("device_id", why))?;
    }
    mutation.changes_nodes();
    let json = settings.to_json();
    if !mutation.tx.change_node_settings(row.id(), text, &json).await? {
        return Err(StoreError::Stale.into());
    }
    let taken = nodes::usage(&ctx.db).await?;
    let taken = taken.into_iter().find(|taken| taken.node_id == row.id);
    Ok(view(ctx, &NodeRow { settings: Some(json), ..row.clone() }, taken))
}

fn set_device(driver: &mut DriverSettings, device_id: &str) -> Result<(), String> {
    let DriverSettings::Dstack(access) = driver else {
        return Err("only a dstack node has one to set".to_owned());
    };
    let device_id = device_id.parse::<DeviceId>().map_err(|why| why.to_string())?;
    access.device_id = Some(device_id.to_string());
    Ok(())
}

/// Takes a node out of the fleet. One that has CVMs is refused, unless its operator gives it up: then
/// deletions of its CVMs are done, and the others have failed.
pub async fn remove(
    ctx: &Ctx,
    mutation: &mut Mutation,
    name: &str,
    give_up: bool,
) -> Result<(), Error> {
    let node = one(ctx, name).await?;
    mutation.changes_nodes();
    if mutation.tx.remove_node(NodeId(node.id), give_up).await? {
        return Ok(());
    }
    let why = format!("{name} has {} CVMs", node.taken.slots);
    Err(Error::because(ErrorCode::StateConflict, why)
        .detail(ErrorDetail::value("cvms", node.taken.slots))
        .suggest("Delete them first, and cordon the node so that it gets no new ones.")
        .suggest(
            "If the host does not come back, give it up: casemate admin node remove --give-up.",
        ))
}

pub(super) fn unknown(name: &str) -> Error {
    Error::because(ErrorCode::NotFound, format!("There is no node {name}"))
        .suggest("casemate admin node list shows the nodes.")
}

fn view(ctx: &Ctx, row: &NodeRow, taken: Option<NodeUsage>) -> ManagedNode {
    let node = ctx.fleet.node(row.id());
    let settings = row.settings.as_deref().and_then(|text| NodeSettings::from_json(text).ok());
    let inventory = node.as_ref().map(|node| node.observed().0);
    let inventory = inventory.as_deref();
    let outage = node.as_ref().and_then(|node| node.outage());
    let own = ctx.fleet.own_node(row.id());
    let (host, dir, dstack) = match settings.as_ref().map(|settings| settings.driver.clone()) {
        Some(DriverSettings::Docker { host }) => (host, None, None),
        Some(DriverSettings::Sim { dir }) => (None, dir.map(|dir| dir.display().to_string()), None),
        Some(DriverSettings::Dstack(access)) => (None, None, Some(access)),
        None => (None, None, None),
    };
    let cause = match (&outage, &node) {
        (Some(outage), _) => Some(outage.why.clone()),
        (None, Some(_)) => None,
        (None, None) if row.state == NodeState::Removed => Some("it was given up".to_owned()),
        (None, None) => Some("no running process serves it".to_owned()),
    };
    ManagedNode {
        id: row.id,
        name: row.name.clone(),
        kind: row.kind.clone(),
        state: row.state,
        region: row.region.clone(),
        tee: inventory.map_or("none", |inventory| inventory.tee.as_str()).to_owned(),
        version: inventory.map(|inventory| inventory.version.clone()).unwrap_or_default(),
        reachable: node.is_some() && outage.is_none(),
        silent_since: cause.as_ref().map(|_| {
            let seen = Timestamp::from_micros(row.seen_at);
            outage.as_ref().map_or(seen, |outage| outage.since).to_string()
        }),
        cause,
        served_here: own.is_some(),
        looks: own.map_or(0, |own| own.look_count()),
        host,
        dir,
        dstack,
        limits: settings.as_ref().map(|settings| settings.limits).unwrap_or_default(),
        capacity: amount(node.as_ref().map(|node| node.capacity()).unwrap_or_default()),
        taken: amount(taken.map(fleet::amount).unwrap_or_default()),
        images: inventory
            .map(|inventory| inventory.images.iter().map(|image| image.name.clone()).collect())
            .unwrap_or_default(),
        notes: inventory.map(|inventory| inventory.notes.clone()).unwrap_or_default(),
        labels: settings.as_ref().map(|settings| settings.labels.clone()).unwrap_or_default(),
        price: settings.and_then(|settings| settings.price),
        findings: Vec::new(),
    }
}

const fn amount(amount: Amount) -> NodeAmount {
    NodeAmount {
        slots: amount.slots,
        vcpu: amount.vcpu,
        memory_mb: amount.memory_mb,
        disk_gb: amount.disk_gb,
    }
}
