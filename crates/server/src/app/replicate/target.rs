//! Which node takes the machine, and why each other one was refused.

use std::sync::Arc;

use casemate_api::error::{ErrorCode, ErrorDetail};
use casemate_core::{
    change::Configuration,
    cvm::{PortMap, Spec},
    id::{CvmId, KmsId, NodeId},
    node::{NodeState, Part, Unsupported},
    place::{Candidate, Demand, NoPlace, Refusal, Selector, admit, place},
};
use casemate_store::{Error as StoreError, Tx, nodes::NodeUsage};

use crate::app::{Ctx, Error, fleet, fleet::FleetNode, provision};

/// What is to be placed, and where it may go.
#[derive(Debug, Clone, Copy)]
pub struct TargetRequest<'a> {
    /// This node and no other.
    pub named: Option<NodeId>,
    /// Otherwise this one, if it can.
    pub beside: NodeId,
    /// Never this one.
    pub without: Option<NodeId>,
    /// The KMS that the app has its keys from.
    pub kms: &'a KmsId,
    /// The OS image that the request names.
    pub image: Option<&'a str>,
    /// The whole configuration.
    pub next: &'a Configuration,
}

/// Why a node does not take the machine.
#[derive(Debug, Clone)]
enum NodeRefusal {
    /// Its kind cannot do what the configuration asks.
    Kind(Unsupported),
    /// Another CVM has a host port there.
    Port(PortMap),
    /// It gets no CVMs unless it is named.
    Unasked,
    /// Everything else.
    Place(Refusal),
}

type Refused = Vec<(Arc<FleetNode>, NodeRefusal)>;

/// Chooses the node.
pub async fn choose(
    ctx: &Ctx,
    tx: &mut Tx,
    request: &TargetRequest<'_>,
) -> Result<Arc<FleetNode>, Error> {
    let nodes = match request.named {
        Some(id) => vec![provision::node(ctx, id)?],
        None => ctx.fleet.all(),
    };
    let nodes: Vec<_> = nodes.into_iter().filter(|node| request.without != Some(node.id)).collect();
    if nodes.is_empty() {
        return Err(Error::code(ErrorCode::NoEngine)
            .suggest("Start casemate with --node docker or --node sim, or add one with casemate admin node add."));
    }
    let mut refused: Refused = Vec::new();
    let mut able = Vec::new();
    let spec = &request.next.spec;
    for node in nodes {
        let why = if request.named.is_none() && !node.policy().takes_new {
            Some(NodeRefusal::Unasked)
        } else if let Some(cannot) =
            provision::find_unsupported_in_spec(&node, spec, &request.next.document)
        {
            Some(NodeRefusal::Kind(cannot))
        } else if spec.ports.is_empty() {
            None
        } else {
            clash(&spec.ports, &tx.ports_on_node(node.id, None).await?).map(NodeRefusal::Port)
        };
        match why {
            Some(why) => refused.push((node, why)),
            None => able.push(node),
        }
    }
    let taken = tx.node_usage().await?;
    let candidates: Vec<Candidate> =
        able.iter().map(|node| ctx.fleet.candidate(node, &taken)).collect();
    match best(&candidates, request) {
        Ok(id) => provision::node(ctx, id),
        Err(not) => {
            for (name, why) in not {
                if let Some(node) = able.iter().find(|node| node.name == name) {
                    refused.push((node.clone(), NodeRefusal::Place(why)));
                }
            }
            refused.sort_by_key(|(node, _)| node.id);
            Err(refusal(request, &refused))
        }
    }
}

/// The node of the source if it fits, else the one with most left.
fn best(
    nodes: &[Candidate],
    request: &TargetRequest<'_>,
) -> Result<NodeId, Vec<(String, Refusal)>> {
    let spec = &request.next.spec;
    let anywhere = Demand {
        node: None,
        region: None,
        image: spec.image.clone(),
        kms: vec![request.kms.clone()],
        amount: provision::amount(&spec.resources),
        selector: Selector::default(),
    };
    let beside = Demand { node: Some(request.beside), ..anywhere.clone() };
    place(nodes, &beside).or_else(|_| place(nodes, &anywhere)).map_err(|why| match why {
        NoPlace::Refused(refused) => refused,
        NoPlace::UnknownNode(_) => Vec::new(),
    })
}

/// The first of these host ports that another CVM has.
fn clash(ports: &[PortMap], taken: &[PortMap]) -> Option<PortMap> {
    let same = |a: &PortMap, b: &PortMap| (&a.protocol, a.host_port) == (&b.protocol, b.host_port);
    ports.iter().find(|port| taken.iter().any(|other| same(other, port))).cloned()
}

/// Checks what was read against what the writes have found: the node's row is taken from there on.
/// [`StoreError::Stale`]: another CVM came in between.
pub async fn still_fits(
    tx: &mut Tx,
    node: &FleetNode,
    spec: &Spec,
    cvm: CvmId,
    before: &NodeUsage,
) -> Result<(), Error> {
    let wanted = provision::amount(&spec.resources);
    let room = admit(node.capacity(), fleet::amount(*before), wanted);
    let port = match spec.ports.as_slice() {
        [] => None,
        ports => clash(ports, &tx.ports_on_node(node.id, Some(cvm)).await?),
    };
    if room.is_err() || port.is_some() || before.state != NodeState::Active {
        return Err(StoreError::Stale.into());
    }
    Ok(())
}

impl NodeRefusal {
    const fn code(&self, request: &TargetRequest<'_>) -> ErrorCode {
        match self {
            Self::Kind(_) => ErrorCode::FieldNotServed,
            Self::Port(_) => ErrorCode::StateConflict,
            Self::Unasked => ErrorCode::NodeNotAccessible,
            Self::Place(Refusal::Image(_)) if request.image.is_none() => {
                ErrorCode::ReplicaImageNotAvailable
            }
            Self::Place(why) => provision::refusal_code(why),
        }
    }

    const fn field(&self, request: &TargetRequest<'_>) -> &'static str {
        match self {
            Self::Kind(cannot) => cannot.field,
            Self::Port(_) => "ports",
            Self::Unasked => "node_id",
            Self::Place(Refusal::Image(_)) if request.image.is_some() => "os_image",
            Self::Place(why) => provision::refused_field(why),
        }
    }

    /// Begins with a verb.
    fn words(&self) -> String {
        match self {
            Self::Kind(cannot) => format!("cannot take it: {} {}", cannot.field, cannot.why),
            Self::Port(port) => format!(
                "cannot take it: host port {}/{} is taken by another CVM of the node",
                port.host_port, port.protocol
            ),
            Self::Unasked => "takes new CVMs only where it is named".to_owned(),
            Self::Place(why) => why.to_string(),
        }
    }

    fn way_out(&self, node: &FleetNode) -> String {
        match self {
            Self::Kind(cannot) if cannot.part == Part::Document => cannot.instead.clone(),
            Self::Kind(_) => {
                format!("Name a node of another kind: {} is a {} node.", node.name, node.kind)
            }
            Self::Port(_) => "Name another node, or take the port off the CVM that has it: \
                PUT /api/v1/cvms/{id}/ports."
                .to_owned(),
            Self::Unasked => format!("Name it to use it: node_id {}.", node.id),
            Self::Place(Refusal::Image(_)) => {
                let (inventory, _) = node.observed();
                let names: Vec<&str> =
                    inventory.images.iter().map(|image| image.name.as_str()).collect();
                format!("Name as os_image what {} has: {}.", node.name, names.join(", "))
            }
            Self::Place(Refusal::Kms(_)) => "An app keeps its KMS: name a node that takes keys \
                from it; GET /api/v1/teepods/available lists the KMS of each node."
                .to_owned(),
            Self::Place(_) => {
                "See GET /api/v1/teepods/available for what is left on each node.".to_owned()
            }
        }
    }
}

/// What all nodes say is what is wrong; of several reasons none is the one.
fn refusal(request: &TargetRequest<'_>, refused: &Refused) -> Error {
    let code = refused.first().map(|(_, why)| why.code(request));
    let same = |code: &ErrorCode| refused.iter().all(|(_, why)| why.code(request) == *code);
    let code = code.filter(same).unwrap_or(ErrorCode::ResourceNotAvailable);
    let reasons: Vec<String> =
        refused.iter().map(|(node, why)| format!("{} {}", node.name, why.words())).collect();
    let all = reasons.join("; ");
    let mut error = match (request.named, refused.as_slice()) {
        (Some(_), [_]) => Error::because(code, all.clone()),
        _ => Error::because(code, format!("no node takes this: {all}")),
    };
    let field = refused.first().map(|(_, why)| why.field(request));
    let agreed = |field: &&str| refused.iter().all(|(_, why)| why.field(request) == *field);
    if let Some(field) = field.filter(agreed) {
        error = error.detail(ErrorDetail::message(field, all));
    }
    let mut said: Vec<String> = Vec::new();
    for (node, why) in refused {
        error = error.detail(ErrorDetail::message(node.name.clone(), why.words()));
        let way_out = why.way_out(node);
        if !said.contains(&way_out) {
            error = error.suggest(way_out.clone());
            said.push(way_out);
        }
    }
    error
}
