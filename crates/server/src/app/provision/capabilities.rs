//! What a node cannot do, by the names of the fields that ask for it. The rules are
//! [`casemate_core::node::unsupported`]; this gathers what a request or a configuration asks. Placement passes
//! nodes over that cannot; where no other is left, the field is refused.

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    provision::ProvisionRequest,
};
use casemate_core::{
    compose::{AppCompose, problem::Place},
    cvm::{Gpus, PortMap, Spec},
    node::{self, Capabilities, Part, Unsupported},
};
use casemate_engine::node::docker::derive::{Refused, look_ahead};

use super::compose::place_value;
use crate::app::{Error, fleet::FleetNode};

/// What a request asks of its node.
#[derive(Debug, Clone, Copy)]
pub struct RequestedSetup<'a> {
    pub request: &'a ProvisionRequest,
    /// Its document.
    pub compose: &'a AppCompose,
    /// Its host ports.
    pub ports: &'a [PortMap],
    /// Its GPUs.
    pub gpus: Option<&'a Gpus>,
}

/// The refusal of a field that this node cannot honour.
pub fn refusal(unsupported: &Unsupported, node: &FleetNode) -> Error {
    let error = Error::field(ErrorCode::FieldNotServed, unsupported.field, &unsupported.why);
    with_places(error, unsupported.field, &unsupported.places)
        .suggest(unsupported.instead.clone())
        .suggest(format!(
            "Or deploy to a node of another kind: {} is a {} node.",
            node.name, node.kind
        ))
}

/// Says what is refused place by place, where the places are known.
fn with_places(error: Error, field: &str, places: &[(Place, String)]) -> Error {
    if places.is_empty() {
        return error;
    }
    let details = places.iter().map(|(place, what)| ErrorDetail {
        field: field.to_owned(),
        value: Some(place_value(place)),
        message: Some(what.clone()),
    });
    error.with_details(details.collect())
}

/// Refuses what no node does.
pub fn refuse_what_none_can(request: &ProvisionRequest) -> Result<(), Error> {
    if request.experimental_vpc_server_app_id.is_none() {
        return Ok(());
    }
    let why = "is not served: there is no VPC here";
    Err(Error::field(ErrorCode::FieldNotServed, "experimental_vpc_server_app_id", why)
        .suggest("Leave it out."))
}

/// The first field that this node cannot honour.
pub fn find_unsupported(node: &FleetNode, setup: &RequestedSetup<'_>) -> Option<Unsupported> {
    let RequestedSetup { request, compose, ports, gpus } = setup;
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let asks = node::Requirements {
        hugepages: request.hugepages == Some(true),
        pin_numa: request.pin_numa == Some(true),
        gpus: gpus.is_some(),
        ports: !ports.is_empty(),
        kms_urls: given(&request.kms_urls),
        gateway_urls: given(&request.gateway_urls),
        local_key_provider: compose.local_key_provider_enabled,
        encrypted: request.encrypted,
        sealed_env: request.encrypted_env.is_some() || given(&request.env_keys),
        clears_user_config: false,
        clears_sealed_env: false,
    };
    unsupported(node, &asks, compose)
}

/// The first part of a configuration that is there already that this node cannot honour; by the name
/// of the field of provision.
pub fn find_unsupported_in_spec(
    node: &FleetNode,
    spec: &Spec,
    compose: &AppCompose,
) -> Option<Unsupported> {
    let asks = node::Requirements {
        hugepages: spec.resources.hugepages,
        pin_numa: spec.resources.pin_numa,
        gpus: spec.resources.gpus.is_some(),
        ports: !spec.ports.is_empty(),
        kms_urls: !spec.kms_urls.is_empty(),
        gateway_urls: !spec.gateway_urls.is_empty(),
        local_key_provider: compose.local_key_provider_enabled,
        encrypted: None,
        sealed_env: !spec.env_keys.is_empty(),
        clears_user_config: false,
        clears_sealed_env: false,
    };
    unsupported(node, &asks, compose)
}

fn unsupported(
    node: &FleetNode,
    asks: &node::Requirements,
    compose: &AppCompose,
) -> Option<Unsupported> {
    let (inventory, _) = node.observed();
    node::unsupported(asks, &inventory.capabilities)
        .or_else(|| compose_refusal(&inventory.capabilities, compose))
}

/// What the compose file asks of the host, on a node whose operator does not grant it.
fn compose_refusal(capabilities: &Capabilities, compose: &AppCompose) -> Option<Unsupported> {
    let grants = capabilities.compose_grants.as_deref()?;
    let text = compose.docker_compose_file.as_deref()?;
    let refused = look_ahead(text, grants);
    let asks: Vec<String> = refused.iter().map(Refused::asks).collect();
    let mut ways_out: Vec<String> = Vec::new();
    for way_out in refused.iter().map(|one| sentence(&one.way_out)) {
        if !ways_out.contains(&way_out) {
            ways_out.push(way_out);
        }
    }
    (!refused.is_empty()).then(|| Unsupported {
        part: Part::Document,
        field: "compose_file.docker_compose_file",
        why: format!("is refused by this docker node: {}", asks.join("; ")),
        instead: ways_out.join(" "),
        places: refused.iter().map(|one| (place(one), one.asks())).collect(),
    })
}

fn place(refused: &Refused) -> Place {
    Place {
        service: refused.service.clone(),
        field: refused.field.clone().unwrap_or_default(),
        line: refused.line.unwrap_or_default(),
    }
}

/// Clauses as a sentence.
fn sentence(clauses: &str) -> String {
    let mut rest = clauses.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(rest).chain(['.']).collect()
}

/// Refuses a changed document on the node that the CVM is on.
pub fn check_document(node: &FleetNode, compose: &AppCompose) -> Result<(), Error> {
    match compose_refusal(&node.observed().0.capabilities, compose) {
        None => Ok(()),
        Some(refused) => {
            const FIELD: &str = "docker_compose_file";
            let error = Error::field(ErrorCode::FieldNotServed, FIELD, refused.why);
            Err(with_places(error, FIELD, &refused.places).suggest(refused.instead))
        }
    }
}
