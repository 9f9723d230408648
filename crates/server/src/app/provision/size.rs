//! How large a CVM is, which OS image it boots and which node takes it.

use std::sync::Arc;

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    provision::ProvisionRequest,
};
use casemate_core::{
    cvm::Resources,
    place::{Amount, Candidate, Demand, NoPlace, Refusal, place as choose},
};
use casemate_engine::node::Image;
use casemate_store::nodes;

use crate::{
    app::{Ctx, Error, fleet::FleetNode},
    config::InstanceType,
};

/// Where a deployment fits.
#[derive(Debug)]
pub struct Match {
    /// The node.
    pub node: Arc<FleetNode>,
    /// The image, as that node has it.
    pub image: Image,
    /// CPU, memory and disk.
    pub resources: Resources,
}

/// Finds size, image and node for a request.
pub async fn place(ctx: &Ctx, request: &ProvisionRequest) -> Result<Match, Error> {
    let resources = resources(ctx, request)?;
    if ctx.fleet.nodes.is_empty() {
        return Err(Error::code(ErrorCode::NoEngine)
            .suggest("Start casemate with --node docker or --node sim."));
    }
    let image = image(ctx, request)?;
    let demand = Demand {
        node: request.node_id,
        region: request.region.clone().filter(|region| !region.is_empty()),
        image,
        amount: amount(&resources),
    };
    let taken = nodes::taken(&ctx.db).await?;
    let candidates: Vec<Candidate> =
        ctx.fleet.nodes.values().map(|node| node.candidate(&taken)).collect();
    let id = choose(&candidates, &demand).map_err(|why| no_place(&why, &demand))?;
    let node = super::node(ctx, id)?;
    let images = node.seen().0.images;
    let image = images
        .into_iter()
        .find(|image| image.name == demand.image)
        .ok_or_else(|| Error::code(ErrorCode::ImageNotFound))?;
    Ok(Match { node, image, resources })
}

/// What these resources take from a node.
pub fn amount(resources: &Resources) -> Amount {
    Amount {
        slots: 1,
        vcpu: resources.vcpu.into(),
        memory_mb: resources.memory_mb.into(),
        disk_gb: resources.disk_gb.into(),
    }
}

/// The instance type is the default only where neither a type nor vcpu nor memory is given.
fn resources(ctx: &Ctx, request: &ProvisionRequest) -> Result<Resources, Error> {
    let wanted = request.instance_type.as_deref().filter(|name| !name.is_empty());
    let custom = request.vcpu.is_some() || request.memory.is_some();
    let named = match wanted {
        Some(name) => Some(instance_type(ctx, name)?),
        None if custom => None,
        None => Some(instance_type(ctx, &ctx.config.provision.instance_type)?),
    };
    // Without a type what was not said comes from the smallest size on offer.
    let base = match named {
        Some(size) => size,
        None => instance_type(ctx, &ctx.config.provision.instance_type)?,
    };
    let positive = |field: &str, value: u32| match value {
        0 => Err(Error::invalid(field, "must be at least 1")),
        value => Ok(value),
    };
    let vcpu = positive("vcpu", request.vcpu.unwrap_or(base.vcpu))?;
    let memory_mb = positive("memory", request.memory.unwrap_or(base.memory_mb))?;
    let disk_gb = positive("disk_size", request.disk_size.unwrap_or(base.disk_gb))?;
    let is_that_type =
        named.is_some_and(|size| size.vcpu == vcpu && size.memory_mb == memory_mb);
    Ok(Resources {
        instance_type: named.filter(|_| is_that_type).map(|size| size.id.clone()),
        vcpu,
        memory_mb,
        disk_gb,
        hugepages: false,
        pin_numa: false,
        gpus: None,
    })
}

fn instance_type<'c>(ctx: &'c Ctx, name: &str) -> Result<&'c InstanceType, Error> {
    let sizes = &ctx.config.instance_types;
    sizes.iter().find(|size| size.id == name).ok_or_else(|| {
        let known: Vec<&str> = sizes.iter().map(|size| size.id.as_str()).collect();
        Error::field(ErrorCode::InstanceTypeNotFound, "instance_type", format!("{name} does not exist"))
            .suggest(format!("Available: {}.", known.join(", ")))
    })
}

/// The image by name; `prefer_dev` turns it into its sibling with or without login tools. Without a
/// name: the newest one, with login tools unless `prefer_dev` is false.
fn image(ctx: &Ctx, request: &ProvisionRequest) -> Result<String, Error> {
    let mut known: Vec<Image> = Vec::new();
    let eligible =
        ctx.fleet.nodes.values().filter(|node| request.node_id.is_none_or(|id| id == node.id));
    for image in eligible.flat_map(|node| node.seen().0.images) {
        if !known.iter().any(|other| other.name == image.name) {
            known.push(image);
        }
    }
    let Some(name) = request.image.as_deref().filter(|name| !name.is_empty()) else {
        let dev = request.prefer_dev.unwrap_or(true);
        let newest =
            known.iter().filter(|image| image.is_dev == dev).max_by_key(|image| version(&image.version));
        return newest.map(|image| image.name.clone()).ok_or_else(|| {
            Error::field(ErrorCode::ImageNotFound, "prefer_dev", format!("= {dev} matches no image"))
        });
    };
    let available = || {
        let names: Vec<&str> = known.iter().map(|image| image.name.as_str()).collect();
        format!("Available: {}.", names.join(", "))
    };
    let named = known.iter().find(|image| image.name == name).ok_or_else(|| {
        Error::field(ErrorCode::ImageNotFound, "image", format!("{name} is not on any node"))
            .suggest(available())
    })?;
    match request.prefer_dev {
        Some(dev) if dev != named.is_dev => {
            let sibling =
                known.iter().find(|image| image.is_dev == dev && image.version == named.version);
            sibling.map(|image| image.name.clone()).ok_or_else(|| {
                Error::field(
                    ErrorCode::IncompatibleConfiguration,
                    "prefer_dev",
                    format!("= {dev} contradicts image {name}, which has no such sibling"),
                )
                .suggest(available())
            })
        }
        _ => Ok(named.name.clone()),
    }
}

fn version(text: &str) -> Vec<u32> {
    text.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

fn no_place(why: &NoPlace, demand: &Demand) -> Error {
    let refused = match why {
        NoPlace::UnknownNode(id) => {
            return Error::field(ErrorCode::NodeNotFound, "node_id", format!("names no node: {id}"));
        }
        NoPlace::Refused(refused) => refused,
    };
    let code = match refused.as_slice() {
        [(_, only)] => refusal_code(only),
        _ => ErrorCode::ResourceNotAvailable,
    };
    let reasons: Vec<String> = refused.iter().map(|(node, why)| format!("{node} {why}")).collect();
    let mut error = Error::because(code, format!("no node takes this: {}", reasons.join("; ")));
    for (node, why) in refused {
        error = error.detail(ErrorDetail::message(node.clone(), why.to_string()));
    }
    match &demand.region {
        Some(region) => error.suggest(format!("Leave out region {region}, or see GET /api/v1/teepods/available.")),
        None => error.suggest("See GET /api/v1/teepods/available for what is left on each node."),
    }
}

/// The code of one node's refusal.
pub const fn refusal_code(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::Unreachable => ErrorCode::NodeNotAccessible,
        Refusal::Region(_) => ErrorCode::ResourceNotAvailable,
        Refusal::Image(_) => ErrorCode::ImageNotFound,
        Refusal::Slots(_) => ErrorCode::InsufficientSlots,
        Refusal::Vcpu { .. } => ErrorCode::InsufficientVcpu,
        Refusal::Memory { .. } => ErrorCode::InsufficientMemory,
        Refusal::Disk { .. } => ErrorCode::ResourceNotAvailable,
    }
}
