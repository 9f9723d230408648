//! Every reply, in every version, filled to the brim and nearly empty, against what official
//! clients insist on; and back through our own types.

mod checker;
mod fixtures;
mod table;

use std::collections::BTreeSet;

use casemate_api::{
    page::{Page, PageRequest},
    version::ApiVersion,
};
use casemate_core::id::AppId;
use casemate_server::{
    http::render,
    view::{
        CapacityView, CreditsView, CvmsAllowedView, FirewallView, NetworkConfigView,
        PendingPreviewView,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

const REQUEST: PageRequest = PageRequest { page: 1, page_size: 30 };

/// The reply as JSON, after our own types read it back.
fn wire<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(reply: &T) -> Value {
    let json = serde_json::to_value(reply).unwrap_or_default();
    match serde_json::from_value::<T>(json.clone()) {
        Ok(back) => assert_eq!(&back, reply, "changed on the way back"),
        Err(error) => panic!("cannot be read back: {error}: {json}"),
    }
    json
}

/// Every reply of a version, full (`true`) or minimal.
fn replies(version: ApiVersion, full: bool) -> Vec<(&'static str, Value)> {
    let pick = |filled, minimal| if full { filled } else { minimal };
    let cvm = pick(fixtures::cvm(), fixtures::minimal_cvm());
    let app = if full { fixtures::app() } else { fixtures::minimal_app() };
    let machines = if full {
        vec![fixtures::machine(), fixtures::minimal_machine()]
    } else {
        vec![fixtures::minimal_machine()]
    };
    let node = if full { fixtures::node() } else { fixtures::minimal_node() };
    let workspace = if full { fixtures::workspace() } else { fixtures::minimal_workspace() };
    let credits = if full { fixtures::credits() } else { CreditsView::none() };
    let capacity = if full { fixtures::capacity() } else { CapacityView::default() };
    let provision = if full { fixtures::provision() } else { fixtures::minimal_provision() };
    let types = fixtures::instance_types();
    let images = &node.images;
    let list = render::cvm_list(&Page::new(vec![cvm.clone()], 1, REQUEST), None, version);
    let apps = render::apps(&Page::new(vec![app.clone()], 1, REQUEST), None, version);
    let batch = render::status_batch([(fixtures::UUID.to_owned(), &cvm)], version);
    let user = fixtures::user();
    let mut replies = vec![
        ("cvm_detail", wire(&render::cvm_detail(&cvm, version))),
        ("cvm_visibility", wire(&render::cvm_visibility(&cvm, version))),
        ("cvm_list", wire(&list)),
        ("cvm_commit", wire(&render::cvm_commit(&cvm, version))),
        ("vm_action", wire(&render::vm_action(&cvm, version))),
        ("new_instance", wire(&render::new_instance(&cvm, version))),
        ("state", wire(&render::state(&cvm))),
        ("status_batch", wire(&batch)),
        ("auth_me", wire(&render::auth_me(&user, &workspace, &credits, version))),
        (
            "teepods_available",
            wire(&render::teepods_available(
                &workspace,
                &capacity,
                std::slice::from_ref(&node),
                &machines,
            )),
        ),
        ("instance_types", wire(&render::instance_types(&types))),
        ("instance_type_family", wire(&render::instance_type_family("cpu", &types))),
        ("ssh_keys", wire(&vec![fixtures::ssh_key(full)])),
        ("ssh_key_created", wire(&fixtures::ssh_key(full))),
        ("ssh_import_github", wire(&fixtures::ssh_import(full))),
        ("ssh_sync_github", wire(&fixtures::ssh_sync(full))),
        ("os_images", wire(&render::os_images(images, REQUEST))),
        ("available_os_images", wire(&render::available_os_images(images, "docker"))),
        ("kms_list", wire(&render::kms_list(&machines, REQUEST, version))),
        ("kms_info", wire(&render::kms_info(&machines, "phala", version))),
        ("kms_pubkey", wire(&render::kms_pubkey(&[0x99; 32], &[0xaa; 65]))),
        ("next_app_ids", wire(&render::next_app_ids(&[(AppId::from_bytes([0xab; 20]), 7)]))),
        ("provision", wire(&render::provision(&provision, version))),
        ("apps", wire(&apps)),
        ("app_info", wire(&render::app_info(&app, version))),
        ("app_cvms", wire(&render::app_cvms(&[cvm], version))),
    ];
    if version.kms_are_contracts() {
        let nodes = render::kms_contract_nodes(&machines, "phala");
        replies.push(("kms_contract_nodes", wire(&nodes)));
    }
    replies.extend(replies_to_changes(version, full));
    replies.extend(replies_on_revisions(full));
    replies.extend(replies_of_contracts(version, full));
    replies
}

/// The replies of the routes that change a CVM, and of those that tell how it went.
fn replies_to_changes(version: ApiVersion, full: bool) -> Vec<(&'static str, Value)> {
    let update = if full { fixtures::update() } else { fixtures::minimal_update() };
    let prepared =
        if full { fixtures::compose_provision() } else { fixtures::minimal_compose_provision() };
    let operation = if full { fixtures::operation() } else { fixtures::minimal_operation() };
    let status = if full { fixtures::operation_status() } else { fixtures::idle() };
    let cancelled = if full { fixtures::cancelled() } else { fixtures::nothing_cancelled() };
    let stopped = if full { fixtures::batch_stop() } else { fixtures::nothing_stopped() };
    let network = if full { fixtures::network_config() } else { NetworkConfigView::default() };
    let firewall = if full { fixtures::firewall() } else { FirewallView::Available };
    let domain = if full { fixtures::domain() } else { fixtures::minimal_domain() };
    let cursor = full.then(|| "next".to_owned());
    vec![
        ("accepted", wire(&render::accepted(&update))),
        ("update_result", wire(&render::update_result(&update))),
        ("envs_update_result", wire(&render::envs_update_result(&update))),
        ("compose_provision", wire(&render::compose_provision(&prepared))),
        ("operations", wire(&render::operations(&[operation], cursor, 1, version))),
        ("operation_status", wire(&render::operation_status(&status))),
        ("cancelled", wire(&cancelled)),
        ("batch_stop", wire(&stopped)),
        ("ports", wire(&render::ports(&network.ports))),
        ("network_config", wire(&render::network_config(&network))),
        ("firewall_status", wire(&render::firewall_status(&firewall))),
        ("diagnosis", wire(&render::diagnosis(&[domain]))),
    ]
}

/// The replies about what contracts allow.
fn replies_of_contracts(version: ApiVersion, full: bool) -> Vec<(&'static str, Value)> {
    let allowed = fixtures::allowed(full);
    let cvms = CvmsAllowedView {
        is_onchain: full,
        results: full.then(|| allowed.clone()).into_iter().collect(),
        skipped: allowed.cvm.clone().filter(|_| !full).into_iter().collect(),
    };
    let allowlist = fixtures::allowlist(full);
    vec![
        ("is_allowed", wire(&render::is_allowed(&allowed, version))),
        ("cvms_allowed", wire(&render::cvms_allowed(&cvms, version))),
        ("device_allowlist", wire(&render::device_allowlist(&allowlist, version))),
        ("kms_on_chain", wire(&fixtures::kms_on_chain(full))),
        ("kms_inspection", wire(&fixtures::kms_inspection(full))),
        ("app_kms_info", wire(&fixtures::app_kms_info(full))),
    ]
}

/// The replies about revisions.
fn replies_on_revisions(full: bool) -> Vec<(&'static str, Value)> {
    let update = if full { fixtures::update() } else { fixtures::minimal_update() };
    let detail = if full { fixtures::revision_detail() } else { fixtures::minimal_revision() };
    let diff = fixtures::revision_diff(full);
    let redeployed = fixtures::redeployed(full);
    let empty = PendingPreviewView {
        current_docker_compose: None,
        pending_docker_compose: None,
        current_pre_launch_script: None,
        pending_pre_launch_script: None,
    };
    let preview = if full { fixtures::pending_preview() } else { empty };
    let page = Page::new(vec![detail.revision.clone()], 1, REQUEST);
    vec![
        ("revisions", wire(&render::revisions(&page))),
        ("revision_detail", wire(&render::revision_detail(&detail, !full))),
        ("revision_diff", wire(&render::revision_diff(&diff))),
        ("redeployed", wire(&render::redeployed(&update))),
        ("app_redeployed", wire(&render::app_redeployed(&redeployed))),
        ("pending_updates", wire(&render::pending_updates(&[fixtures::pending()]))),
        ("pending_preview", wire(&render::pending_preview(&preview))),
    ]
}

#[test]
fn replies_are_what_clients_insist_on() {
    let mut problems = Vec::new();
    for version in ApiVersion::ALL {
        for full in [true, false] {
            for (name, reply) in replies(version, full) {
                let speak_of_it: Vec<_> = table::TABLE
                    .iter()
                    .filter(|row| row.reply == name && row.holds_for(version.as_str()))
                    .collect();
                assert!(!speak_of_it.is_empty(), "nothing is known of {name} at {version}");
                for requirement in speak_of_it {
                    let found = requirement.problems(&reply);
                    let place = format!("{name} at {version}, full: {full}");
                    problems.extend(found.into_iter().map(|problem| format!("{place}: {problem}")));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn full_replies_reach_every_row_of_the_table() {
    for version in ApiVersion::ALL {
        let replies = replies(version, true);
        for requirement in table::TABLE.iter().filter(|row| row.holds_for(version.as_str())) {
            let mut reached = BTreeSet::new();
            for (_, reply) in replies.iter().filter(|(name, _)| *name == requirement.reply) {
                reached.extend(checker::reached(requirement, reply));
            }
            for (path, _) in requirement.objects {
                let name = requirement.reply;
                assert!(reached.contains(path), "{name} at {version} has nothing at `{path}`");
            }
        }
    }
}

#[test]
fn the_checker_finds_what_clients_would_refuse() {
    let row = |name: &str| {
        let found = table::TABLE.iter().find(|row| row.reply == name);
        found.unwrap_or_else(|| panic!("no row for {name}"))
    };
    let (_, state) = &replies(ApiVersion::DEFAULT, true)[6];
    let mut state = state.clone();
    assert!(row("state").problems(&state).is_empty());
    state["uptime"] = Value::Null;
    state["name"] = Value::from(7);
    assert_eq!(row("state").problems(&state), [": name is not text: 7", ": uptime is null"]);
    let mut key = wire(&render::kms_pubkey(&[0; 32], &[0; 65]));
    key["tee"] = Value::from("none");
    assert_eq!(row("kms_pubkey").problems(&key), [": tee is not allowed"]);
}

fn reply(name: &str, version: ApiVersion, full: bool) -> Value {
    let found = replies(version, full).into_iter().find(|(other, _)| *other == name);
    found.map(|(_, reply)| reply).unwrap_or_default()
}

#[test]
fn the_main_replies_look_as_they_did() {
    use ApiVersion::{V20251028, V20260121, V20260522, V20260623};
    for (name, version) in [
        ("cvm_detail", V20251028),
        ("cvm_detail", V20260121),
        ("cvm_list", V20251028),
        ("cvm_commit", V20260121),
        ("cvm_commit", V20260522),
        ("state", V20260121),
        ("status_batch", V20260121),
        ("status_batch", V20260623),
        ("auth_me", V20251028),
        ("auth_me", V20260121),
        ("teepods_available", V20260121),
        ("provision", V20260121),
        ("provision", V20260623),
        ("app_info", V20251028),
        ("kms_list", V20260121),
        ("kms_list", V20260623),
        ("accepted", V20260121),
        ("envs_update_result", V20260121),
        ("compose_provision", V20260121),
        ("operations", V20260121),
        ("operation_status", V20260121),
        ("network_config", V20260121),
        ("ports", V20260121),
        ("diagnosis", V20260121),
        ("revisions", V20260121),
        ("revision_detail", V20260121),
        ("revision_diff", V20260121),
        ("app_redeployed", V20260121),
    ] {
        for (size, full) in [("full", true), ("minimal", false)] {
            insta::assert_json_snapshot!(
                format!("{name}@{version}-{size}"),
                reply(name, version, full)
            );
        }
    }
}

#[test]
fn replies_change_only_where_a_version_says_so() {
    use ApiVersion::{V20251028, V20260121, V20260522, V20260623};
    let changes = |name: &str, versions: [ApiVersion; 2]| {
        reply(name, versions[0], true) != reply(name, versions[1], true)
    };
    let changed_at = |versions: [ApiVersion; 2]| -> Vec<&str> {
        let names = replies(versions[0], true).into_iter().map(|(name, _)| name);
        names.filter(|name| changes(name, versions)).collect()
    };
    assert_eq!(
        changed_at([V20251028, V20260121]),
        ["cvm_detail", "cvm_list", "auth_me", "apps", "app_info", "app_cvms"]
    );
    assert_eq!(
        changed_at([V20260121, V20260522]),
        [
            "cvm_visibility",
            "cvm_commit",
            "vm_action",
            "new_instance",
            "operations",
            "is_allowed",
            "cvms_allowed",
            "device_allowlist"
        ]
    );
    assert_eq!(
        changed_at([V20260522, V20260623]),
        ["status_batch", "kms_list", "kms_info", "provision"]
    );
}
