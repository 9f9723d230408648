//! Commit: what has an effect.

use serde_json::json;

use crate::fields::{
    provision_rows::SEALED,
    row::{Row, check_all, row},
};

pub fn rows() -> Vec<Row> {
    let other = "cd".repeat(60);
    let allowed = json!({ "env_keys": ["A", "B"] });
    vec![
        row("commit encrypted_env", json!({}))
            .committed(json!({ "encrypted_env": format!("0x{SEALED}") }))
            .node(|vm| json!(vm.sealed_env), SEALED.to_lowercase()),
        row("commit encrypted_env", json!({}))
            .with(json!({ "encrypted_env": SEALED }))
            .committed(json!({ "encrypted_env": other }))
            .node(|vm| json!(vm.sealed_env), other),
        row("commit encrypted_env", json!({}))
            .with(json!({ "encrypted_env": SEALED }))
            .committed(json!({ "encrypted_env": "" }))
            .node(|vm| json!(vm.sealed_env), SEALED.to_lowercase()),
        row("commit env_keys", json!({}))
            .with(allowed.clone())
            .committed(json!({ "env_keys": ["B"] }))
            .document("allowed_envs", json!(["A", "B"]))
            .spec(|spec| json!(spec.env_keys), json!(["B"])),
        row("commit env_keys", json!({}))
            .with(allowed)
            .committed(json!({ "env_keys": null }))
            .spec(|spec| json!(spec.env_keys), json!(["A", "B"])),
        row("commit kms_id", json!({}))
            .committed(json!({ "kms_id": "builtin" }))
            .get("/kms_type", "phala"),
        row("commit kms_id", json!({}))
            .committed(json!({ "kms_id": "PHALA" }))
            .get("/kms_type", "phala"),
        row("commit transaction_hash", json!({}))
            .committed(json!({ "transaction_hash": "already-registered" }))
            .get("/status", "running"),
    ]
}

#[tokio::test]
async fn every_field_of_commit_does_what_the_table_says() {
    check_all(rows()).await;
}
