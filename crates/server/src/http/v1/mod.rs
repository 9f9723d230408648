//! `/api/v1`: upstream's routes, and below `/casemate` our own.

mod account;
mod apps;
mod catalogue;
mod cvms;
mod deploy;
mod kms;
mod logs;
mod power;
mod state;

use axum::{
    Router,
    routing::{get, post},
};

use crate::app::Ctx;

/// Every route of the API.
pub fn router() -> Router<Ctx> {
    Router::new()
        .route("/auth/me", get(account::me))
        .route("/teepods/available", get(catalogue::nodes))
        .route("/instance-types", get(catalogue::instance_types))
        .route("/instance-types/{family}", get(catalogue::instance_type_family))
        .route("/os-images", get(catalogue::os_images))
        .route("/kms", get(kms::list))
        .route("/kms/phala/next_app_id", get(kms::next_app_ids))
        .route("/kms/{kms}", get(kms::one))
        .route("/kms/{kms}/nodes", get(kms::nodes))
        .route("/kms/{kms}/pubkey/{app}", get(kms::pubkey))
        .route("/kms/{kms}/pubkey/{app}/timestamped", get(kms::timestamped_pubkey))
        .route("/cvms/provision", post(deploy::provision))
        .route("/cvms", post(deploy::provision_or_commit).get(cvms::list))
        .route("/cvms/paginated", get(cvms::page))
        .route("/cvms/{cvm}", get(cvms::detail).delete(power::delete))
        .route("/cvms/{cvm}/state", get(state::state))
        .route("/cvms/{cvm}/start", post(power::start))
        .route("/cvms/{cvm}/stop", post(power::stop))
        .route("/cvms/{cvm}/shutdown", post(power::shutdown))
        .route("/cvms/{cvm}/restart", post(power::restart))
        .route("/cvms/{cvm}/compose_file", get(cvms::compose_file))
        .route("/cvms/{cvm}/docker-compose.yml", get(cvms::docker_compose))
        .route("/cvms/{cvm}/pre-launch-script", get(cvms::pre_launch_script))
        .route("/status/batch", post(cvms::status_batch))
        .route("/apps", get(apps::page))
        .route("/apps/{app}", get(apps::one))
        .route("/apps/{app}/cvms", get(apps::cvms))
        .route("/casemate/cvms/{cvm}/logs", get(logs::follow))
}
