//! What a kind of node cannot do, by the names of the fields that ask for it. Placement passes such
//! nodes over; where no other is left, the field is refused.

use casemate_api::{error::ErrorCode, provision::ProvisionRequest};
use casemate_core::{
    compose::AppCompose,
    cvm::{Gpus, PortMap, Spec},
};

use casemate_engine::node::docker::derive::look_ahead;

use crate::app::{Error, fleet::FleetNode};

/// What a request asks of the kind of its node.
#[derive(Debug, Clone, Copy)]
pub struct Requirements<'a> {
    /// The request.
    pub request: &'a ProvisionRequest,
    /// Its document.
    pub compose: &'a AppCompose,
    /// Its host ports.
    pub ports: &'a [PortMap],
    /// Its GPUs.
    pub gpus: Option<&'a Gpus>,
}

/// A field that a kind of node cannot honour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The field.
    pub field: &'static str,
    /// Why not. Begins with a verb.
    pub why: String,
    /// The way out.
    pub instead: String,
}

impl Unsupported {
    /// The refusal.
    pub fn error(&self, node: &FleetNode) -> Error {
        let error = Error::field(ErrorCode::FieldNotServed, self.field, &self.why);
        error.suggest(self.instead.clone()).suggest(format!(
            "Or deploy to a node of another kind: {} is a {} node.",
            node.name, node.kind
        ))
    }
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
pub fn find_unsupported(node: &FleetNode, requirements: &Requirements<'_>) -> Option<Unsupported> {
    let is_docker = node.kind == "docker";
    let fields = if is_docker { docker(requirements).to_vec() } else { vm(requirements).to_vec() };
    let field = fields.into_iter().find(|(requirements, ..)| *requirements).map(
        |(_, field, why, instead)| Unsupported {
            field,
            why: why.to_owned(),
            instead: instead.to_owned(),
        },
    );
    field.or_else(|| host_given_away(node, requirements.compose).filter(|_| is_docker))
}

/// The first part of a configuration that is there already that this node cannot honour; by the name
/// of the field of provision.
pub fn find_unsupported_in_spec(
    node: &FleetNode,
    spec: &Spec,
    compose: &AppCompose,
) -> Option<Unsupported> {
    let request = ProvisionRequest {
        hugepages: Some(spec.resources.hugepages),
        pin_numa: Some(spec.resources.pin_numa),
        kms_urls: Some(spec.kms_urls.clone()),
        gateway_urls: Some(spec.gateway_urls.clone()),
        ..ProvisionRequest::default()
    };
    let gpus = spec.resources.gpus.as_ref();
    find_unsupported(node, &Requirements { request: &request, compose, ports: &spec.ports, gpus })
}

/// What the compose file asks of the host, on a docker node that does not grant it.
fn host_given_away(node: &FleetNode, compose: &AppCompose) -> Option<Unsupported> {
    let text = compose.docker_compose_file.as_deref()?;
    let refused = look_ahead(text, &node.observed().0.grants).err()?;
    let why = match &refused.service {
        Some(service) => format!("asks for {} in service {service}", refused.what),
        None => format!("asks for {}", refused.what),
    };
    Some(Unsupported {
        field: "compose_file.docker_compose_file",
        why: format!("{why}, which this docker node refuses"),
        instead: sentence(&refused.way_out),
    })
}

/// Clauses as a sentence.
fn sentence(clauses: &str) -> String {
    let mut rest = clauses.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(rest).chain(['.']).collect()
}

/// Refuses a changed document on the node that the CVM is on.
pub fn check_document(node: &FleetNode, compose: &AppCompose) -> Result<(), Error> {
    match host_given_away(node, compose).filter(|_| node.kind == "docker") {
        None => Ok(()),
        Some(cannot) => {
            Err(Error::field(ErrorCode::FieldNotServed, "docker_compose_file", cannot.why)
                .suggest(cannot.instead))
        }
    }
}

/// Whether it was asked for, the field, why not, the way out.
type Line = (bool, &'static str, &'static str, &'static str);

const LEAVE: &str = "Leave it out.";

fn vm(requirements: &Requirements<'_>) -> [Line; 1] {
    let plain = requirements.request.encrypted == Some(false);
    [(plain, "encrypted", "cannot be false: the guest always encrypts its disk", LEAVE)]
}

fn docker(requirements: &Requirements<'_>) -> [Line; 8] {
    let request = requirements.request;
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    [
        (
            request.hugepages == Some(true),
            "hugepages",
            "cannot be had on a docker node: there is no VM",
            LEAVE,
        ),
        (
            request.pin_numa == Some(true),
            "pin_numa",
            "cannot be had on a docker node: there is no VM",
            LEAVE,
        ),
        (requirements.gpus.is_some(), "gpus", "cannot be attached on a docker node", LEAVE),
        (
            !requirements.ports.is_empty(),
            "ports",
            "cannot be mapped on a docker node",
            "Publish the ports in the compose file and reach them through the gateway.",
        ),
        (
            given(&request.kms_urls),
            "kms_urls",
            "cannot be set on a docker node: its guests use the built-in KMS",
            LEAVE,
        ),
        (
            given(&request.gateway_urls),
            "gateway_urls",
            "cannot be set on a docker node: Casemate is its gateway",
            LEAVE,
        ),
        (
            requirements.compose.local_key_provider_enabled,
            "compose_file.local_key_provider_enabled",
            "cannot be had on a docker node: it has no sealing enclave",
            "Leave it out: the built-in KMS keeps the keys.",
        ),
        (
            request.encrypted == Some(true),
            "encrypted",
            "cannot be had on a docker node: its disks are plain directories of the host",
            LEAVE,
        ),
    ]
}
