//! How large a CVM is, which OS image it boots and which node takes it.

use std::{cmp::Reverse, sync::Arc};

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    provision::ProvisionRequest,
};
use casemate_core::{
    cvm::Resources,
    node::Unsupported,
    place::{Amount, Candidate, Demand, NoPlace, Refusal, Selector, place as choose},
};
use casemate_engine::node::Image;
use casemate_store::nodes;

use super::{
    allowed_images::AllowedImages,
    capabilities::{self, RequestedSetup},
};
use crate::{
    app::{
        Ctx, Error,
        fleet::{FleetKms, FleetNode},
    },
    config::InstanceType,
};

/// Where a deployment fits.
#[derive(Debug)]
pub struct Match<'a> {
    pub node: Arc<FleetNode>,
    /// The image, as that node has it.
    pub image: Image,
    /// CPU, memory and disk.
    pub resources: Resources,
    /// The KMS of its keys.
    pub kms: &'a FleetKms,
}

/// Finds size, image and node for a request. Nodes of a kind that cannot do what it asks are passed
/// over; where no other is left, the field is refused.
/// `kms`: its keys come from one of these; the node that is chosen says from which, and an earlier one is
/// preferred where it can use several.
pub async fn place<'a>(
    ctx: &Ctx,
    setup: &RequestedSetup<'_>,
    kms: &[&'a FleetKms],
    allowed: &AllowedImages,
) -> Result<Match<'a>, Error> {
    let request = setup.request;
    let resources = resources(ctx, request)?;
    if ctx.fleet.all().is_empty() {
        return Err(Error::code(ErrorCode::NoEngine)
            .suggest("Start casemate with --node docker or --node sim, or add one with casemate admin node add."));
    }
    let (able, unable) = able(ctx, setup)?;
    let images = images(&able, request, allowed)?;
    let taken = nodes::usage(&ctx.db).await?;
    let mut refused = None;
    for image in images {
        let demand = Demand {
            node: request.node_id,
            region: region(request).map(str::to_owned),
            image: image.name.clone(),
            kms: kms.iter().map(|kms| kms.id.clone()).collect(),
            amount: amount(&resources),
            selector: Selector::default(),
        };
        // The image of one name may be another one on another node.
        let boots = able.iter().filter(|node| allowed.boots_on(node, &image.name));
        let candidates: Vec<Candidate> =
            boots.map(|node| ctx.fleet.candidate(node, &taken)).collect();
        match choose(&candidates, &demand) {
            Ok(id) => {
                let node = super::node(ctx, id)?;
                let own =
                    node.observed().0.images.iter().find(|own| own.name == image.name).cloned();
                let kms = kms.iter().find(|kms| ctx.fleet.node_uses(&node, &kms.id));
                let kms = kms.ok_or(casemate_store::Error::Stale)?;
                return Ok(Match { node, image: own.unwrap_or(image), resources, kms });
            }
            Err(why) if refused.is_none() => refused = Some(no_place(&why, &demand)),
            Err(_) => {}
        }
    }
    let mut error = refused.unwrap_or_else(|| Error::code(ErrorCode::ImageNotFound));
    for (node, cannot) in unable {
        let why = format!("{} {}", cannot.field, cannot.why);
        error = error.detail(ErrorDetail::message(node.name.clone(), why));
    }
    Err(error)
}

/// Nodes that can do what is asked, and those that cannot.
type Sorted = (Vec<Arc<FleetNode>>, Vec<(Arc<FleetNode>, Unsupported)>);

/// The nodes that are meant by `node_id` and `region`, sorted.
fn able(ctx: &Ctx, setup: &RequestedSetup<'_>) -> Result<Sorted, Error> {
    let request = setup.request;
    if let Some(id) = request.node_id {
        super::node(ctx, id)?;
    }
    let region = region(request);
    let meant = |node: &Arc<FleetNode>| {
        request.node_id.map_or_else(|| node.policy().takes_new, |id| id == node.id)
            && region.is_none_or(|region| region.eq_ignore_ascii_case(&node.region))
    };
    let (mut able, mut unable) = (Vec::new(), Vec::new());
    for node in ctx.fleet.all().into_iter().filter(meant) {
        match capabilities::find_unsupported(&node, setup) {
            None => able.push(node),
            Some(cannot) => unable.push((node, cannot)),
        }
    }
    match unable.first() {
        Some((node, cannot)) if able.is_empty() => Err(capabilities::refusal(cannot, node)),
        // Placement then says of each node that it stands elsewhere.
        None if able.is_empty() => Ok((ctx.fleet.all(), unable)),
        _ => Ok((able, unable)),
    }
}

fn region(request: &ProvisionRequest) -> Option<&str> {
    request.region.as_deref().filter(|region| !region.is_empty())
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
    // Without a type, what was not said comes from the default one.
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
    let is_that_type = named.is_some_and(|size| size.vcpu == vcpu && size.memory_mb == memory_mb);
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

/// An instance type of the catalogue.
pub fn instance_type<'c>(ctx: &'c Ctx, name: &str) -> Result<&'c InstanceType, Error> {
    let sizes = &ctx.config.instance_types;
    sizes.iter().find(|size| size.id == name).ok_or_else(|| {
        let known: Vec<&str> = sizes.iter().map(|size| size.id.as_str()).collect();
        Error::field(
            ErrorCode::InstanceTypeNotFound,
            "instance_type",
            format!("{name} does not exist"),
        )
        .suggest(format!("Available: {}.", known.join(", ")))
    })
}

/// The images that will do, best first. A name stands for itself; `prefer_dev` turns it into its
/// sibling with or without login tools. Without a name: the newest first, and with login tools before
/// without, unless `prefer_dev` wants one kind only. Where a contract decides, only what it does not refuse, and
/// those for production first.
fn images(
    nodes: &[Arc<FleetNode>],
    request: &ProvisionRequest,
    allowed: &AllowedImages,
) -> Result<Vec<Image>, Error> {
    let mut known: Vec<Image> = Vec::new();
    for image in nodes.iter().flat_map(|node| node.observed().0.images.clone()) {
        match known.iter_mut().find(|other| other.name == image.name) {
            None => known.push(image),
            // On another node there may be another image of this name.
            Some(other)
                if allowed.says(other) != Some(true) && allowed.says(&image) == Some(true) =>
            {
                *other = image;
            }
            Some(_) => {}
        }
    }
    let available = || {
        let names: Vec<&str> = known.iter().map(|image| image.name.as_str()).collect();
        format!("Available: {}.", names.join(", "))
    };
    let Some(name) = request.image.as_deref().filter(|name| !name.is_empty()) else {
        let wanted = |image: &&Image| request.prefer_dev.is_none_or(|dev| dev == image.is_dev);
        let mut fit: Vec<Image> = known.iter().filter(wanted).cloned().collect();
        if allowed.is_governed() {
            let all = fit.clone();
            allowed.sort(&mut fit, |image| version(&image.version));
            if fit.is_empty() && !all.is_empty() {
                return Err(allowed.refusal(None, &all));
            }
        } else {
            fit.sort_by_cached_key(|image| Reverse((image.is_dev, version(&image.version))));
        }
        return match (fit.is_empty(), request.prefer_dev) {
            (false, _) => Ok(fit),
            (true, Some(dev)) => {
                let why = format!("= {dev} matches no image");
                Err(Error::field(ErrorCode::ImageNotFound, "prefer_dev", why).suggest(available()))
            }
            (true, None) => {
                Err(Error::because(ErrorCode::ImageNotFound, "no node has an OS image"))
            }
        };
    };
    let named = known.iter().find(|image| image.name == name).ok_or_else(|| {
        let why = format!("{name} is on no node that could take this");
        Error::field(ErrorCode::ImageNotFound, "image", why).suggest(available())
    })?;
    let checked = |image: &Image| {
        let boots = |node: &Arc<FleetNode>| {
            node.observed().0.images.iter().any(|own| own.name == image.name)
                && allowed.boots_on(node, &image.name)
        };
        if nodes.iter().any(boots) {
            Ok(vec![image.clone()])
        } else {
            Err(allowed.refusal(Some(&image.name), &known))
        }
    };
    let Some(dev) = request.prefer_dev.filter(|dev| *dev != named.is_dev) else {
        return checked(named);
    };
    let sibling = known.iter().find(|image| image.is_dev == dev && image.version == named.version);
    match sibling {
        Some(sibling) => checked(sibling),
        None => Err(Error::field(
            ErrorCode::IncompatibleConfiguration,
            "prefer_dev",
            format!("= {dev} contradicts image {name}, which has no such sibling"),
        )
        .suggest(available())),
    }
}

fn version(text: &str) -> Vec<u32> {
    text.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

fn no_place(why: &NoPlace, demand: &Demand) -> Error {
    let refused = match why {
        NoPlace::UnknownNode(id) => {
            return Error::field(
                ErrorCode::NodeNotFound,
                "node_id",
                format!("names no node: {id}"),
            );
        }
        NoPlace::Refused(refused) => refused,
    };
    // What all nodes say is what is wrong; of several reasons none is the one.
    let same = |code: &ErrorCode| refused.iter().all(|(_, why)| refusal_code(why) == *code);
    let code = refused.first().map(|(_, why)| refusal_code(why)).filter(same);
    let code = code.unwrap_or(ErrorCode::ResourceNotAvailable);
    let reasons: Vec<String> = refused.iter().map(|(node, why)| format!("{node} {why}")).collect();
    let mut error = Error::because(code, format!("no node takes this: {}", reasons.join("; ")));
    let field = refused.first().map(|(_, why)| refused_field(why));
    if let Some(field) =
        field.filter(|field| refused.iter().all(|(_, why)| refused_field(why) == *field))
    {
        error = error.detail(ErrorDetail::message(field, reasons.join("; ")));
    }
    for (node, why) in refused {
        error = error.detail(ErrorDetail::message(node.clone(), why.to_string()));
    }
    if refused.iter().any(|(_, why)| matches!(why, Refusal::Kms(_))) {
        error = error.suggest(
            "Leave out the KMS, or name one of the node: GET /api/v1/teepods/available lists them.",
        );
    }
    match &demand.region {
        Some(region) => error
            .suggest(format!("Leave out region {region}, or see GET /api/v1/teepods/available.")),
        None => error.suggest("See GET /api/v1/teepods/available for what is left on each node."),
    }
}

/// The field that would have to be another one.
pub const fn refused_field(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Closed(_)
        | Refusal::Unreachable
        | Refusal::Slots(_)
        | Refusal::Label { .. }
        | Refusal::Tee(_) => "node_id",
        Refusal::Gpus { .. } => "gpus",
        Refusal::Region(_) => "region",
        Refusal::Kms(_) => "kms_id",
        Refusal::Image(_) => "image",
        Refusal::Vcpu { .. } => "vcpu",
        Refusal::Memory { .. } => "memory",
        Refusal::Disk { .. } => "disk_size",
    }
}

/// The code of one node's refusal.
pub const fn refusal_code(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::Closed(_) | Refusal::Unreachable => ErrorCode::NodeNotAccessible,
        Refusal::Kms(_) => ErrorCode::KmsNotFound,
        Refusal::Region(_)
        | Refusal::Disk { .. }
        | Refusal::Label { .. }
        | Refusal::Tee(_)
        | Refusal::Gpus { .. } => ErrorCode::ResourceNotAvailable,
        Refusal::Image(_) => ErrorCode::ImageNotFound,
        Refusal::Slots(_) => ErrorCode::InsufficientSlots,
        Refusal::Vcpu { .. } => ErrorCode::InsufficientVcpu,
        Refusal::Memory { .. } => ErrorCode::InsufficientMemory,
    }
}
