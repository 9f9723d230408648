//! The fleet as its operator sees it: drift, what would fit, and the CVMs of a node. Nothing here talks to a
//! node.

use casemate_api::{
    error::ErrorCode,
    fleet::{
        DriftReport, NodeCvm, NodeCvms, NodeDrift, RefusedNode, SimulatedNeed, SimulatedNode,
        SimulationReply, SimulationRequest,
    },
};
use casemate_core::{
    cvm::EngineState,
    drift::DriftKind,
    id::{CvmId, NodeId},
    node::{Requirements, unsupported},
    place::{
        Amount, Candidate, Demand, Selector,
        simulate::{MOST, Simulation, simulate},
    },
    time::Timestamp,
};
use casemate_store::{
    cvms::{self, Cvm},
    drift::{self, DriftRow},
    nodes::{self, NodeRow},
};

use super::{Ctx, Error, fleet::FleetNode, kms, mutation::Mutation, node_admin, provision};
use crate::nodes::settings::NodeSettings;

/// Differences of one report.
const MOST_DRIFT: usize = 1000;
/// CVMs of one page.
const PAGE: i64 = 200;

/// The open drift of one node, or of all.
pub async fn drift(ctx: &Ctx, name: Option<&str>) -> Result<DriftReport, Error> {
    let rows = nodes::all(&ctx.db).await?;
    let node = name.map(|name| named(&rows, name)).transpose()?;
    let limit = i64::try_from(MOST_DRIFT + 1).unwrap_or(i64::MAX);
    let mut found = drift::open(&ctx.db, node.map(NodeRow::id), None, limit).await?;
    let truncated = found.len() > MOST_DRIFT;
    found.truncate(MOST_DRIFT);
    let shown = |row: DriftRow| {
        let kind = DriftKind::parse(&row.kind)?;
        Some(NodeDrift {
            node: rows.iter().find(|node| node.id == row.node_id)?.name.clone(),
            kind,
            policy: ctx.config.drift.of(kind),
            subject: row.subject,
            cvm_id: row.cvm_id,
            what: row.what,
            since: Timestamp::from_micros(row.since).to_string(),
        })
    };
    let is_meant = |id: NodeId| node.is_none_or(|node| node.id() == id);
    let silent = ctx.fleet.all().into_iter();
    let silent = silent.filter(|node| is_meant(node.id) && node.outage().is_some());
    Ok(DriftReport {
        drift: found.into_iter().filter_map(shown).collect(),
        unreachable: silent.map(|node| node.name.clone()).collect(),
        truncated,
    })
}

/// Accepts that another host answers under the address of a node.
pub async fn accept_host(ctx: &Ctx, mutation: &mut Mutation, name: &str) -> Result<(), Error> {
    let rows = nodes::all(&ctx.db).await?;
    let node = named(&rows, name)?;
    if mutation.tx.delete_drift_of_kind(node.id(), DriftKind::HostReplaced).await? == 0 {
        return Err(Error::because(
            ErrorCode::StateConflict,
            format!("{name} answers with the host it always had"),
        )
        .suggest("casemate admin node drift shows what differs."));
    }
    Ok(())
}

fn named<'r>(rows: &'r [NodeRow], name: &str) -> Result<&'r NodeRow, Error> {
    rows.iter().find(|row| row.name == name).ok_or_else(|| node_admin::unknown(name))
}

/// A page of the CVMs of a node, also of one that was given up.
pub async fn cvms_of(ctx: &Ctx, name: &str, after: i64) -> Result<NodeCvms, Error> {
    let rows = nodes::all(&ctx.db).await?;
    let node = named(&rows, name)?;
    let page = cvms::on_node(&ctx.db, node.id(), CvmId(after), PAGE + 1).await?;
    let limit = usize::try_from(PAGE).unwrap_or(usize::MAX);
    let next = page.get(limit).and_then(|_| page.get(limit - 1)).map(|last| last.id.0);
    Ok(NodeCvms { cvms: page.iter().take(limit).map(shown).collect(), next })
}

pub(super) fn shown(cvm: &Cvm) -> NodeCvm {
    let resources = &cvm.spec.resources;
    NodeCvm {
        id: cvm.id.0,
        name: cvm.spec.name.clone(),
        vm_uuid: cvm.uuid.to_string(),
        app_id: cvm.spec.app_id.to_string(),
        workspace_id: cvm.workspace.0,
        status: cvm.phase.as_str().to_owned(),
        vm_id: match &cvm.status.engine {
            EngineState::Present { vm } => Some(vm.0.clone()),
            EngineState::Absent | EngineState::Creating { .. } => None,
        },
        image: cvm.spec.image.clone(),
        vcpu: resources.vcpu,
        memory_mb: resources.memory_mb,
        disk_gb: resources.disk_gb,
        kms_id: cvm.kms.0.clone(),
        failure: cvm.status.failure.as_ref().map(|failure| failure.cause.clone()),
    }
}

/// What would fit, with the usage of now. Nothing is reserved.
pub async fn simulation(ctx: &Ctx, request: &SimulationRequest) -> Result<SimulationReply, Error> {
    if !(1..=MOST).contains(&request.count) {
        return Err(Error::invalid("count", format!("must be 1 to {MOST}")));
    }
    let rows = nodes::all(&ctx.db).await?;
    let mut without = Vec::new();
    for name in &request.without {
        without.push(named(&rows, name).map_err(|_| {
            Error::invalid("without", format!("names no node: {name}"))
                .suggest("casemate admin node list shows the nodes.")
        })?);
    }
    let taken = nodes::usage(&ctx.db).await?;
    let displaced = taken.iter().filter(|taken| without.iter().any(|row| row.id == taken.node_id));
    let displaced = displaced.map(|taken| taken.slots).sum();
    let is_left = |id: NodeId| !without.iter().any(|row| row.id() == id);
    let asks = requirements(request);
    let (mut left, mut unable): (Vec<Candidate>, Vec<RefusedNode>) = (Vec::new(), Vec::new());
    for node in ctx.fleet.all().into_iter().filter(|node| is_left(node.id)) {
        match why_not(&node, &asks) {
            None => left.push(ctx.fleet.candidate(&node, &taken)),
            Some(reason) => {
                unable.push(RefusedNode { node_id: node.id.0, node: node.name.clone(), reason });
            }
        }
    }
    let (image, found) = best(&left, &demand(ctx, request)?, request);
    let name = |id: NodeId| {
        left.iter().find(|node| node.id == id).map(|node| node.name.clone()).unwrap_or_default()
    };
    let price = |id: NodeId| {
        let settings = rows.iter().find(|row| row.id() == id)?.settings.as_deref()?;
        NodeSettings::from_json(settings).ok()?.price
    };
    let placed = found.placed.into_iter().map(|(id, count)| SimulatedNode {
        node_id: id.0,
        node: name(id),
        count,
        price: price(id),
    });
    let mut refused = unable;
    refused.extend(found.refused.into_iter().map(|(id, why)| RefusedNode {
        node_id: id.0,
        node: name(id),
        reason: why.to_string(),
    }));
    refused.sort_by_key(|node| node.node_id);
    Ok(SimulationReply {
        count: request.count,
        fits: found.fits,
        image,
        displaced,
        placed: placed.collect(),
        refused,
    })
}

fn requirements(request: &SimulationRequest) -> Requirements {
    let needs = |need| request.needs.contains(&need);
    Requirements {
        hugepages: needs(SimulatedNeed::Hugepages),
        pin_numa: needs(SimulatedNeed::PinNuma),
        gpus: request.gpus.is_some(),
        ports: needs(SimulatedNeed::Ports),
        kms_urls: needs(SimulatedNeed::OwnUrls),
        gateway_urls: needs(SimulatedNeed::OwnUrls),
        local_key_provider: needs(SimulatedNeed::LocalKeyProvider),
        sealed_env: needs(SimulatedNeed::Env),
        ..Requirements::default()
    }
}

/// Why a node is not asked at all, as in a real placement. Begins with a verb.
fn why_not(node: &FleetNode, asks: &Requirements) -> Option<String> {
    if !node.policy().takes_new {
        return Some("takes new CVMs only where it is named".to_owned());
    }
    let cannot = unsupported(asks, &node.observed().0.capabilities)?;
    Some(format!("cannot take it: {} {}", cannot.field, cannot.why))
}

fn demand(ctx: &Ctx, request: &SimulationRequest) -> Result<Demand, Error> {
    let wanted = request.instance_type.as_deref();
    let wanted = wanted.unwrap_or(&ctx.config.provision.instance_type);
    let size = provision::instance_type(ctx, wanted)?;
    let gpus = match &request.gpus {
        Some(gpus) if gpus.count == 0 => {
            return Err(Error::invalid("gpus.count", "must be at least 1"));
        }
        Some(gpus) => {
            let count = usize::try_from(gpus.count).unwrap_or(usize::MAX);
            Some((gpus.product_id.clone(), count))
        }
        None => None,
    };
    let sealed = request.needs.contains(&SimulatedNeed::Env);
    let keys = kms::choose_by_name(ctx, "kms", request.kms.as_deref(), sealed)?;
    Ok(Demand {
        node: None,
        region: request.region.clone(),
        image: request.image.clone().unwrap_or_default(),
        kms: keys.into_iter().map(|kms| kms.id.clone()).collect(),
        amount: Amount {
            slots: 1,
            vcpu: size.vcpu.into(),
            memory_mb: size.memory_mb.into(),
            disk_gb: size.disk_gb.into(),
        },
        selector: Selector { labels: request.labels.clone(), tee: request.tee.clone(), gpus },
    })
}

/// The simulation with the named image, else with the image of which most fit.
fn best(nodes: &[Candidate], demand: &Demand, request: &SimulationRequest) -> (String, Simulation) {
    if request.image.is_some() {
        return (demand.image.clone(), simulate(nodes, demand, request.count));
    }
    let mut images: Vec<&String> = nodes.iter().flat_map(|node| &node.images).collect();
    images.sort_unstable();
    images.dedup();
    let mut best: Option<(String, Simulation)> = None;
    for image in images.into_iter().rev() {
        let demand = Demand { image: image.clone(), ..demand.clone() };
        let found = simulate(nodes, &demand, request.count);
        if best.as_ref().is_none_or(|(_, best)| found.fits > best.fits) {
            let is_all = found.fits == request.count;
            best = Some((image.clone(), found));
            if is_all {
                break;
            }
        }
    }
    best.unwrap_or_else(|| (String::new(), simulate(nodes, demand, request.count)))
}
