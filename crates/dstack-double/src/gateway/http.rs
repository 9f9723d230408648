//! Routes of a cluster.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, Method, Request, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{any, post, put},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::{GatewayDouble, GatewayFault, Registered, methods::admin};
use crate::{
    http::{answer, arguments, is_allowed},
    methods::Failure,
};

/// The admin listener and, for `Info`, the public one.
pub fn gateway_router(gateway: Arc<GatewayDouble>) -> Router {
    Router::new()
        .route("/prpc/{method}", any(prpc))
        .layer(middleware::from_fn_with_state(gateway.clone(), admit))
        .with_state(gateway.clone())
        .route("/public/prpc/Info", any(info).with_state(gateway))
}

/// Not a part of dstack-gateway: `PUT /double/faults` replaces the faults, a JSON list of [`GatewayFault`];
/// `POST /double/register` registers an instance.
pub fn gateway_control(gateway: Arc<GatewayDouble>) -> Router {
    #[derive(Debug, Deserialize)]
    struct Registration {
        instance_id: String,
        #[serde(flatten)]
        record: Registered,
    }
    async fn faults(
        State(gateway): State<Arc<GatewayDouble>>,
        Json(faults): Json<Vec<GatewayFault>>,
    ) {
        gateway.set_faults(faults);
    }
    async fn register(State(gateway): State<Arc<GatewayDouble>>, Json(new): Json<Registration>) {
        gateway.register(&new.instance_id, new.record);
    }
    Router::new()
        .route("/double/faults", put(faults))
        .route("/double/register", post(register))
        .with_state(gateway)
}

async fn admit(
    State(gateway): State<Arc<GatewayDouble>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    if gateway.has_fault(&GatewayFault::Hangs) {
        std::future::pending::<()>().await;
    }
    if gateway.has_fault(&GatewayFault::Away) {
        return (StatusCode::SERVICE_UNAVAILABLE, "no gateway").into_response();
    }
    if !is_allowed(gateway.token.as_deref(), &request) {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"dstack-gateway admin\"")];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    }
    next.run(request).await
}

async fn prpc(
    State(gateway): State<Arc<GatewayDouble>>,
    Path(method): Path<String>,
    query: RawQuery,
    (verb, headers): (Method, HeaderMap),
    body: Bytes,
) -> Response {
    let method = method.strip_prefix("Admin.").unwrap_or(&method);
    let outcome = match arguments(&verb, query.0.as_deref(), &headers, &body) {
        Ok(_) if gateway.has_fault(&GatewayFault::Refuses(method.to_owned())) => {
            Err(Failure::refused("refused by a fault"))
        }
        Ok(arguments) => admin(&gateway, method, &arguments),
        Err(failure) => Err(failure),
    };
    let outcome = match outcome {
        Ok(_) if gateway.has_fault(&GatewayFault::Loses(method.to_owned())) => Err(Failure::Lost),
        outcome => outcome,
    };
    answer(gateway.profile.unknown_method, outcome)
}

async fn info(State(gateway): State<Arc<GatewayDouble>>) -> Response {
    Json(json!({
        "base_domain": "apps.example", "external_port": 443,
        "app_address_ns_prefix": "_dstack-app-address", "version": gateway.profile.version,
    }))
    .into_response()
}
