//! `/api/v1`: upstream's routes, and below `/casemate` our own. Each handler says its path itself.

mod account;
mod apps;
mod catalogue;
mod cvms;
mod deploy;
mod kms;
mod logs;
mod power;
mod state;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::Ctx;

/// Every route of the API, with its description.
pub fn router() -> OpenApiRouter<Ctx> {
    OpenApiRouter::new()
        .routes(routes!(account::me))
        .routes(routes!(catalogue::nodes))
        .routes(routes!(catalogue::instance_types))
        .routes(routes!(catalogue::instance_type_family))
        .routes(routes!(catalogue::os_images))
        .routes(routes!(kms::list))
        .routes(routes!(kms::next_app_ids))
        .routes(routes!(kms::one))
        .routes(routes!(kms::nodes))
        .routes(routes!(kms::pubkey))
        .routes(routes!(kms::timestamped_pubkey))
        .routes(routes!(deploy::provision))
        .routes(routes!(deploy::provision_or_commit, cvms::list))
        .routes(routes!(cvms::page))
        .routes(routes!(cvms::detail, power::delete))
        .routes(routes!(state::state))
        .routes(routes!(power::start))
        .routes(routes!(power::stop))
        .routes(routes!(power::shutdown))
        .routes(routes!(power::restart))
        .routes(routes!(cvms::compose_file))
        .routes(routes!(cvms::docker_compose))
        .routes(routes!(cvms::pre_launch_script))
        .routes(routes!(cvms::status_batch))
        .routes(routes!(apps::page))
        .routes(routes!(apps::one))
        .routes(routes!(apps::cvms))
        .routes(routes!(logs::follow))
}
