//! What an operator sets at a cluster of dstack-gateway: its domains, and who may reach the ports of an instance. The
//! cluster is asked at once, and outside of any transaction: nothing of it is kept here.

use casemate_api::{
    error::ErrorCode,
    gateway_admin::{
        GatewayDomain, GatewayHandshake, GatewayInstanceDetail, GatewayPort, GatewayPortPolicy,
        NewGatewayDomain,
    },
};
use casemate_core::id::InstanceId;
use casemate_engine::gateway::{GatewayError, NewDomain, PolicySource, PortPolicy, PortRule};

use super::{
    Ctx, Error,
    gateways::{self, GatewayCluster},
};

/// Most ports of one policy.
const MOST_PORTS: usize = 1024;

fn failed(cluster: &GatewayCluster, error: &GatewayError) -> Error {
    let why = format!("gateway {}: {error}", cluster.name);
    match error {
        GatewayError::Refused(_) => Error::because(ErrorCode::StateConflict, why),
        GatewayError::NoMethod(_) => Error::because(ErrorCode::FeatureNotServed, why)
            .suggest("Update dstack-gateway: casemate admin gateway show has its version."),
        GatewayError::Unreachable(_) | GatewayError::Denied(_) | GatewayError::Unknown(_) => {
            Error::because(ErrorCode::NodeUnreachable, why).suggest(
                "casemate admin gateway show says what was seen of it last. Repeat it then.",
            )
        }
    }
}

fn instance_id(text: &str) -> Result<InstanceId, Error> {
    text.parse().map_err(|why| Error::invalid("instance_id", why))
}

/// Serves another domain.
pub async fn add_domain(
    ctx: &Ctx,
    name: &str,
    request: NewGatewayDomain,
) -> Result<GatewayDomain, Error> {
    let cluster = gateways::named(ctx, name)?;
    let domain = NewDomain {
        domain: request.domain,
        port: request.port.unwrap_or(443),
        priority: request.priority.unwrap_or(0),
        dns_credential: request.dns_credential,
    };
    let added = cluster.client.add_domain(&domain).await;
    added.map(|domain| gateways::domain(&domain)).map_err(|error| failed(cluster, &error))
}

/// Serves a domain no longer.
pub async fn delete_domain(ctx: &Ctx, name: &str, domain: &str) -> Result<(), Error> {
    let cluster = gateways::named(ctx, name)?;
    let configured = cluster.base_domains.iter().map(|one| one.split(':').next().unwrap_or(one));
    if configured.clone().any(|one| one == domain) {
        let why = format!("{domain} is one of base_domains of {name}: URLs of apps have it");
        return Err(Error::because(ErrorCode::StateConflict, why)
            .suggest("Take it out of [[gateways]] in the configuration first."));
    }
    cluster.client.delete_domain(domain).await.map_err(|error| failed(cluster, &error))
}

/// What a cluster tells of an instance now.
pub async fn instance(ctx: &Ctx, name: &str, id: &str) -> Result<GatewayInstanceDetail, Error> {
    let (cluster, id) = (gateways::named(ctx, name)?, instance_id(id)?);
    let handshakes = cluster.client.handshakes(&id).await;
    let handshakes = handshakes.map_err(|error| failed(cluster, &error))?;
    let (policy, source) = match cluster.client.port_policy(&id).await {
        Ok(found) => found,
        Err(GatewayError::NoMethod(_)) => (None, PolicySource::None),
        Err(error) => return Err(failed(cluster, &error)),
    };
    let shown = |policy: PortPolicy| GatewayPortPolicy {
        ports: policy.ports.into_iter().map(shown_port).collect(),
        restricted: policy.restricted,
    };
    Ok(GatewayInstanceDetail {
        instance_id: id.to_string(),
        handshakes: handshakes
            .into_iter()
            .map(|one| GatewayHandshake { node: one.node, at: one.at.map(|at| at.to_string()) })
            .collect(),
        port_policy: policy.map(shown),
        port_policy_source: source.as_str().to_owned(),
    })
}

const fn shown_port(rule: PortRule) -> GatewayPort {
    GatewayPort { port: rule.port, proxy_protocol: rule.proxy_protocol }
}

/// Overrides the policy that an instance reports; `None`: no longer.
pub async fn set_port_policy(
    ctx: &Ctx,
    name: &str,
    id: &str,
    policy: Option<&GatewayPortPolicy>,
) -> Result<(), Error> {
    let (cluster, id) = (gateways::named(ctx, name)?, instance_id(id)?);
    let done = match policy {
        Some(policy) if policy.ports.len() > MOST_PORTS => {
            return Err(Error::invalid("ports", format!("must be at most {MOST_PORTS}")));
        }
        Some(policy) => {
            let rule =
                |one: &GatewayPort| PortRule { port: one.port, proxy_protocol: one.proxy_protocol };
            let ports = policy.ports.iter().map(rule).collect();
            let policy = PortPolicy { ports, restricted: policy.restricted };
            cluster.client.set_port_policy(&id, &policy).await
        }
        None => cluster.client.clear_port_policy(&id).await,
    };
    done.map_err(|error| failed(cluster, &error))
}
