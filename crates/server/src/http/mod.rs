//! Routes. A handler reads the request into a use case's terms, calls it, and renders what it gives
//! for the version asked for; nothing else. [`middleware`] does what is the same for all of them.

pub mod access;
pub mod audit;
pub mod client_address;
pub mod error;
pub mod extract;
pub mod middleware;
pub mod not_served;
pub mod openapi;
pub mod ops;
pub mod render;
pub mod reply;
pub mod v1;

use axum::{Router, middleware::from_fn_with_state};

use crate::{app::Ctx, config::Role, console, telemetry::Metrics};

/// Everything the HTTP listener answers, as far as this process has the role for it.
pub fn router(ctx: Ctx, metrics: Metrics) -> Router {
    let decide = from_fn_with_state(ctx.clone(), access::decide);
    let (api, _) = v1::router().route_layer(decide).with_state(ctx.clone()).split_for_parts();
    let mut routes = ops::router(ctx.clone(), metrics);
    if ctx.config.has(Role::Api) {
        routes = routes.nest("/api/v1", not_served::add(api)).merge(ops::about_the_api());
    }
    if ctx.config.has(Role::Console) {
        routes = routes.merge(console::router(ctx.clone()));
    }
    let routes =
        routes.fallback(error::no_such_route).method_not_allowed_fallback(error::no_such_method);
    middleware::wrap(routes, ctx)
}
