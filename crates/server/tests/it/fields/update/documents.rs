//! The document of an update: what is in it, and what it does there.

use serde_json::{Value, json};

use super::{
    row::{Row, check_all, row},
    table::Route::{Prepare, Replace},
};
use crate::fields::{common::COMPOSE, provision_rows::SEALED};

fn of(field: &'static str, send: Value) -> Row {
    Row { in_document: true, ..row(Prepare, field, send) }
}

/// A key that is in the document as it was sent.
fn kept(field: &'static str, pointer: &'static str, value: Value) -> Row {
    of(field, json!({ field: value })).at(pointer, value)
}

pub fn rows() -> Vec<Row> {
    let file = COMPOSE.replace("1.36", "1.37");
    let bash = json!({ "runner": "bash", "docker_compose_file": "", "bash_script": "sleep 1" });
    let named = json!({ "allowed_envs": ["B"], "update_env_vars": true });
    let mut rows = vec![
        kept("name", "/document/name", "inner".into()),
        kept("docker_compose_file", "/document/docker_compose_file", file.into()),
        kept("pre_launch_script", "/document/pre_launch_script", "echo".into()),
        kept("init_script", "/document/init_script", "echo".into()),
        kept("bash_script", "/document/bash_script", "sleep 9".into())
            .deployed(json!({ "compose_file": bash })),
        of("runner", bash)
            .in_both("/document/runner", "/GET/runner", "bash")
            .at("/document/bash_script", "sleep 1")
            .at("/document/docker_compose_file", Value::Null)
            .at("/GET/app_url", Value::Null)
            .at("/GET/public_urls", json!([]))
            .at("/GET/endpoints", json!([])),
        of("allowed_envs", named.clone()).only().at("/document/allowed_envs", json!(["B"])),
        Row { at: Replace, ..of("allowed_envs", json!({ "allowed_envs": ["B"] })) }
            .at("/document/allowed_envs", json!(["B"])),
        of("allowed_envs", json!({ "allowed_envs": ["B"], "salt": "x" }))
            .only()
            .at("/document/salt", "x")
            .nulled("/document/allowed_envs", json!([])),
        of("update_env_vars", named.clone()).only().at("/document/allowed_envs", json!(["B"])),
        Row {
            at: Replace,
            ..of("update_env_vars", json!({ "allowed_envs": ["B"], "update_env_vars": false }))
        }
        .at("/document/allowed_envs", json!(["B"])),
        of("encrypted_env", json!({ "encrypted_env": SEALED }))
            .at("/node/sealed_env", SEALED.to_lowercase()),
        kept("secure_time", "/document/secure_time", true.into()).at("/GET/secure_time", true),
        kept("default_gateway_domain", "/document/default_gateway_domain", "gw.test".into()),
        kept("manifest_version", "/document/manifest_version", 1.into())
            .at("/GET/manifest_version", "1"),
        kept("salt", "/document/salt", "pepper".into()),
        kept("public_logs", "/document/public_logs", false.into())
            .at("/GET/public_logs", false)
            .at("/GET/logs", Value::Null),
        kept("public_sysinfo", "/document/public_sysinfo", false.into())
            .at("/GET/public_sysinfo", false),
        kept("public_tcbinfo", "/document/public_tcbinfo", false.into())
            .at("/GET/public_tcbinfo", false),
    ];
    for (field, send) in [
        ("gateway_enabled", json!({ "gateway_enabled": false, "tproxy_enabled": true })),
        ("tproxy_enabled", json!({ "tproxy_enabled": false })),
        ("features", json!({ "features": ["kms"] })),
    ] {
        rows.push(
            of(field, send)
                .in_both("/document/gateway_enabled", "/GET/gateway_enabled", false)
                .at("/document/tproxy_enabled", false)
                .in_both("/document/features", "/GET/features", json!(["kms"]))
                .at("/GET/gateway", json!({ "base_domain": null, "cname": null }))
                .at("/GET/app_url", Value::Null)
                .at("/GET/endpoints", json!([]))
                .at("/GET/public_urls", json!([])),
        );
    }
    // What stays may be said.
    for (field, same) in [
        ("kms_enabled", json!(true)),
        ("key_provider", json!("KMS")),
        ("local_key_provider_enabled", json!(false)),
        ("no_instance_id", json!(false)),
        ("storage_fs", json!("ZFS")),
    ] {
        rows.push(of(field, json!({ field: same, "salt": "x" })).at("/document/salt", "x").stays());
    }
    rows
}

#[tokio::test]
async fn every_field_of_an_updated_document_does_what_the_table_says() {
    check_all(rows()).await;
}

#[tokio::test]
async fn what_the_disk_was_made_with_stays_where_an_update_does_not_say_it() {
    for (field, value) in [
        ("no_instance_id", json!(true)),
        ("storage_fs", json!("ext4")),
        ("storage_fs", Value::Null),
        ("kms_enabled", json!(false)),
    ] {
        let made = row(Prepare, "salt", json!({ "salt": "x" }));
        let made =
            Row { in_document: true, deploy: json!({ "compose_file": { field: value } }), ..made };
        check_all(vec![made.at("/document/salt", "x")]).await;
    }
}
