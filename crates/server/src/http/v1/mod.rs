//! `/api/v1`: upstream's routes, and below `/casemate` our own. Each handler says its path itself.

mod account;
mod app_facts;
mod approval;
mod apps;
mod attestation;
mod audit;
mod catalogue;
mod cvms;
mod deploy;
mod device_login;
mod fleet_admin;
mod gateway_admin;
mod governance;
mod guest;
mod instance_ids;
mod keys;
mod kms;
mod kms_admin;
mod logs;
mod network;
mod node_admin;
mod older_cli;
mod operations;
mod ownership;
mod people_admin;
mod power;
mod profiles;
mod quotas;
mod readiness;
mod replicas;
mod revisions;
mod ssh_keys;
mod state;
mod templates;
mod update;
mod webhooks;
mod workspace;
mod workspaces;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::Ctx;

/// Every route of the API, with its description.
pub fn router() -> OpenApiRouter<Ctx> {
    OpenApiRouter::new()
        .merge(attestation::router())
        .merge(webhooks::router())
        .merge(ssh_keys::router())
        .routes(routes!(account::me))
        .routes(routes!(workspace::get, workspace::patch))
        .routes(routes!(quotas::of_caller))
        .routes(routes!(governance::plan))
        .routes(routes!(kms::list))
        .routes(routes!(kms::next_app_ids))
        .routes(routes!(kms::one))
        .routes(routes!(kms::nodes))
        .routes(routes!(kms::info))
        .routes(routes!(kms::on_chain))
        .routes(routes!(kms::pubkey))
        .routes(routes!(kms::timestamped_pubkey))
        .routes(routes!(deploy::provision))
        .routes(routes!(deploy::provision_or_commit, cvms::list))
        .routes(routes!(cvms::page))
        .routes(routes!(cvms::detail, power::delete, update::patch))
        .routes(routes!(state::state))
        .routes(routes!(power::start))
        .routes(routes!(power::stop))
        .routes(routes!(power::shutdown))
        .routes(routes!(power::restart))
        .routes(routes!(network::firewall_status))
        .routes(routes!(network::diagnose))
        .routes(routes!(guest::stats))
        .routes(routes!(guest::network))
        .routes(routes!(guest::composition))
        .routes(routes!(cvms::compose_file, update::compose_commit, update::compose_replace))
        .routes(routes!(update::preview))
        .routes(routes!(update::compose_provision))
        .routes(routes!(approval::info, approval::commit))
        .routes(routes!(update::compose_commit_documented))
        .routes(routes!(cvms::docker_compose))
        .routes(routes!(update::docker_compose))
        .routes(routes!(cvms::pre_launch_script, update::pre_launch_script))
        .routes(routes!(older_cli::compose))
        .routes(routes!(older_cli::script_upgrade))
        .routes(routes!(update::resources))
        .routes(routes!(update::visibility))
        .routes(routes!(update::listed))
        .routes(routes!(update::name))
        .routes(routes!(update::os_image))
        .routes(routes!(update::envs))
        .routes(routes!(cvms::user_config, update::user_config))
        .routes(routes!(update::scheduled_delete))
        .routes(routes!(network::config, update::network_config))
        .routes(routes!(network::ports, update::ports))
        .routes(routes!(instance_ids::look_for))
        .routes(routes!(instance_ids::replace))
        .routes(routes!(instance_ids::look_for_many))
        .routes(routes!(instance_ids::replace_many))
        .routes(routes!(operations::list))
        .routes(routes!(operations::status))
        .routes(routes!(operations::cancel))
        .routes(routes!(operations::batch_stop))
        .routes(routes!(cvms::status_batch))
        .routes(routes!(apps::page))
        .routes(routes!(app_facts::filter_options))
        .routes(routes!(app_facts::events))
        .routes(routes!(app_facts::usage))
        .routes(routes!(app_facts::kms_info))
        .routes(routes!(app_facts::cvm_is_allowed))
        .routes(routes!(app_facts::app_is_allowed))
        .routes(routes!(app_facts::cvms_are_allowed))
        .routes(routes!(app_facts::device_allowlist))
        .routes(routes!(apps::one))
        .routes(routes!(apps::cvms))
        .routes(routes!(replicas::of_cvm))
        .routes(routes!(replicas::of_app_cvm))
        .routes(routes!(replicas::of_app))
        .routes(routes!(replicas::commit))
        .routes(routes!(readiness::get, readiness::set, readiness::clear))
        .routes(routes!(revisions::list))
        .routes(routes!(revisions::one))
        .routes(routes!(revisions::diff))
        .routes(routes!(revisions::redeploy))
        .routes(routes!(revisions::redeploy_app))
        .routes(routes!(revisions::pending))
        .routes(routes!(revisions::preview))
        .routes(routes!(logs::follow))
        .merge(offers())
        .merge(people())
        .merge(admin())
}

/// What can be asked for: nodes, sizes, images, templates.
fn offers() -> OpenApiRouter<Ctx> {
    OpenApiRouter::new()
        .routes(routes!(catalogue::nodes))
        .routes(routes!(catalogue::create_resources))
        .routes(routes!(catalogue::workspace_nodes))
        .routes(routes!(catalogue::instance_types))
        .routes(routes!(catalogue::instance_type_family))
        .routes(routes!(catalogue::os_images))
        .routes(routes!(catalogue::available_os_images))
        .routes(routes!(templates::list))
        .routes(routes!(templates::detail))
        .routes(routes!(templates::provision_eliza))
        .routes(routes!(templates::create_eliza))
        .routes(routes!(templates::create_workload))
}

/// Keys, logins, workspaces and their members.
fn people() -> OpenApiRouter<Ctx> {
    OpenApiRouter::new()
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(keys::refresh))
        .routes(routes!(keys::rotate))
        .routes(routes!(device_login::code))
        .routes(routes!(device_login::token))
        .routes(routes!(device_login::decide))
        .routes(routes!(workspaces::list))
        .routes(routes!(workspaces::check_slug))
        .routes(routes!(workspaces::detail))
        .routes(routes!(workspaces::members))
        .routes(routes!(workspaces::change_member, workspaces::remove_member))
        .routes(routes!(workspaces::leave))
        .routes(routes!(workspaces::invitations, workspaces::invite))
        .routes(routes!(workspaces::share))
        .routes(routes!(workspaces::revoke_invitation))
        .routes(routes!(workspaces::accept))
        .routes(routes!(ownership::message, ownership::prove))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
        .routes(routes!(profiles::mine, profiles::set_mine))
        .routes(routes!(profiles::get, profiles::set, profiles::delete))
}

/// The routes of the operator.
fn admin() -> OpenApiRouter<Ctx> {
    OpenApiRouter::new()
        .routes(routes!(audit::list_all))
        .routes(routes!(audit::export_all))
        .routes(routes!(kms_admin::list))
        .routes(routes!(quotas::show, quotas::set))
        .routes(routes!(gateway_admin::list))
        .routes(routes!(gateway_admin::show))
        .routes(routes!(gateway_admin::add_domain))
        .routes(routes!(gateway_admin::delete_domain))
        .routes(routes!(gateway_admin::instance))
        .routes(routes!(gateway_admin::set_port_policy, gateway_admin::clear_port_policy))
        .routes(routes!(node_admin::list, node_admin::add))
        .routes(routes!(node_admin::show, node_admin::change, node_admin::remove))
        .routes(routes!(node_admin::check))
        .routes(routes!(node_admin::cordon))
        .routes(routes!(node_admin::uncordon))
        .routes(routes!(fleet_admin::accept_host))
        .routes(routes!(fleet_admin::cvms))
        .routes(routes!(fleet_admin::cvm))
        .routes(routes!(fleet_admin::move_cvm))
        .routes(routes!(fleet_admin::drift))
        .routes(routes!(fleet_admin::simulate))
        .routes(routes!(people_admin::users, people_admin::add_user))
        .routes(routes!(people_admin::change_user))
        .routes(routes!(people_admin::workspaces, people_admin::add_workspace))
        .routes(routes!(people_admin::set_member, people_admin::remove_member))
        .routes(routes!(people_admin::keys, people_admin::add_key))
        .routes(routes!(people_admin::revoke_key))
}
