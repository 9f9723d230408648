//! Operations of the reference that are not served: 501, because clients read a 404 as "gone".

use std::collections::BTreeSet;

use axum::{
    Router,
    http::Method,
    routing::{MethodFilter, on},
};
use casemate_api::error::ErrorCode;

use super::{access, error::ApiError};
use crate::app::Error;

/// The operations of the reference by method and path; `cargo xtask compat` reads the same file.
const REFERENCE: &str = include_str!("../../../../conformance/operations.txt");

/// What to do instead, by the beginning of the path; the first that fits.
const INSTEAD: [(&str, &str); 7] = [
    (
        "/cvms/eliza",
        "Deploy its compose file: POST /api/v1/cvms/provision, then POST /api/v1/cvms.",
    ),
    (
        "/cvms/workload",
        "Deploy a compose file: POST /api/v1/cvms/provision, then POST /api/v1/cvms.",
    ),
    ("/cvms/provision/eliza", "Deploy its compose file: POST /api/v1/cvms/provision."),
    (
        "/cvms/{cvm_id}/pre-launch-script/upgrade-to-latest-official",
        "There is no official script here; send your own: PATCH /api/v1/cvms/{cvm_id}/pre-launch-script.",
    ),
    ("/auth", "Use an API key, or log in by device code: POST /api/v1/auth/device/code."),
    ("/profiles", "Set the name and the description alone: PUT /api/v1/profiles/me."),
    ("", "Leave this call out; /openapi.json lists what is served."),
];

/// Operations of the reference that have no row in the table of routes, sorted: path and method.
pub fn operations() -> BTreeSet<(&'static str, Method)> {
    let served: BTreeSet<_> =
        access::ROUTES.iter().map(|(method, path, _)| (*path, *method)).collect();
    REFERENCE
        .lines()
        .filter_map(|line| line.split_once(" /api/v1"))
        .filter(|(method, path)| !served.contains(&(*path, *method)))
        .filter_map(|(method, path)| Some((path, method.parse().ok()?)))
        .collect()
}

/// Adds them to the routes that are served.
pub fn add(routes: Router) -> Router {
    let operations = operations().into_iter();
    operations.fold(routes, |routes, (path, method)| {
        let Ok(filter) = MethodFilter::try_from(method.clone()) else { return routes };
        routes.route(path, on(filter, move || async move { refusal(&method, path) }))
    })
}

fn refusal(method: &Method, path: &str) -> ApiError {
    let what = format!("{method} /api/v1{path} is not served by Casemate");
    let instead = INSTEAD.iter().find(|(start, _)| path.starts_with(start));
    let instead = instead.map_or_else(String::new, |(_, instead)| (*instead).to_owned());
    Error::because(ErrorCode::FeatureNotServed, what).suggest(instead).into()
}
