//! App templates of a directory, and the routes of the reference that deploy one.

use std::{fs, path::Path};

use axum::{body::Body, http::Request};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{self, World};

const ELIZA: &str = r#"
name = "Eliza"
description = "An agent"
tags = ["agent"]
[[parameters]]
name = "characterfile"
into = "compose"
required = true
[[parameters]]
name = "OPENAI_API_KEY"
required = true
secret = true
"#;
const ELIZA_COMPOSE: &str = "services:\n  eliza:\n    image: busybox:1.36\n    environment:\n      OPENAI_API_KEY: ${OPENAI_API_KEY}\n      \
     CHARACTER: \"@@characterfile@@\"\n";
const MODEL: &str = r#"
name = "Model"
description = "Serves a model"
[[parameters]]
name = "model_id"
into = "compose"
required = true
"#;
const MODEL_COMPOSE: &str =
    "services:\n  model:\n    image: busybox:1.36\n    command: [\"serve\", \"@@model_id@@\"]\n";

fn put(dir: &Path, name: &str, manifest: &str, compose: &str) {
    let dir = dir.join(name);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("template.toml"), manifest).unwrap();
    fs::write(dir.join("docker-compose.yml"), compose).unwrap();
}

async fn start() -> (World, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "eliza", ELIZA, ELIZA_COMPOSE);
    put(dir.path(), "model", MODEL, MODEL_COMPOSE);
    fs::write(dir.path().join("eliza/README.md"), "# Eliza\n").unwrap();
    fs::write(dir.path().join("eliza/icon.svg"), "<svg/>").unwrap();
    put(dir.path(), "broken", "name = 7\n", "services: {}");
    put(dir.path(), ".git", MODEL, MODEL_COMPOSE);
    let of = dir.path().to_owned();
    let world = World::with(|config| {
        config.templates.dir = of;
        config.templates.eliza = "eliza".to_owned();
        config.templates.workload = "model".to_owned();
    })
    .await;
    (world, dir)
}

#[tokio::test]
async fn a_directory_is_a_list_and_a_broken_template_stops_no_other() {
    let (world, dir) = start().await;
    let all = world.get("/casemate/templates").await.ok();
    let slugs: Vec<&Value> =
        all["items"].as_array().unwrap().iter().map(|one| &one["slug"]).collect();
    assert_eq!(slugs, ["eliza", "model"]);
    assert_eq!(all["faults"][0]["directory"], "broken");
    assert!(all["faults"][0]["reasons"][0].as_str().unwrap().contains("template.toml"), "{all}");

    let one = world.get("/casemate/templates/eliza").await.ok();
    assert_eq!((&one["name"], &one["readme"]), (&json!("Eliza"), &json!("# Eliza\n")));
    assert_eq!(one["icon"], "data:image/svg+xml;base64,PHN2Zy8+");
    assert_eq!(one["docker_compose_file"], ELIZA_COMPOSE);
    let secret = &one["parameters"][1];
    assert_eq!(
        (&secret["secret"], &secret["into"], &secret["type"]),
        (&json!(true), &json!("env"), &json!("text"))
    );
    world.get("/casemate/templates/broken").await.refused(404, "ERR-20-008");

    common::stranger(&world.ctx, "eve", "phak_eve").await;
    let theirs =
        Request::builder().uri("/api/v1/casemate/templates").header("x-api-key", "phak_eve");
    let theirs = world.send(theirs.body(Body::empty()).unwrap()).await.ok();
    assert_eq!(theirs["faults"], json!([]), "only operators see the directory's faults");

    put(dir.path(), "later", MODEL, MODEL_COMPOSE);
    fs::remove_dir_all(dir.path().join("model")).unwrap();
    world.ctx.templates.refresh(casemate_server::app::templates::read(dir.path()));
    let all = world.get("/casemate/templates").await.ok();
    assert_eq!(
        (&all["items"][1]["slug"], all["items"].as_array().unwrap().len()),
        (&json!("later"), 2)
    );
    let gone = dir.path().join("gone");
    world.ctx.templates.refresh(casemate_server::app::templates::read(&gone));
    assert_eq!(
        world.get("/casemate/templates").await.ok(),
        all,
        "an outage of the disk takes nothing away"
    );
}

#[tokio::test]
async fn eliza_and_workload_deploy_the_templates_that_the_operator_named() {
    let (world, _dir) = start().await;
    let character = "{\"name\": \"Ada\", \"bio\": \"earns $5 # \\\"a day\\\"\"}\n";
    let body =
        json!({ "name": "agent", "characterfile": character, "env_keys": ["OPENAI_API_KEY"] });
    let made = world.post("/cvms/provision/eliza", body).await.ok();
    let commit = json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
    let cvm = world.post("/cvms/eliza", commit).await.ok();
    assert_eq!(cvm["name"], "agent");
    world.settle().await;
    let text = world.get("/cvms/agent/docker-compose.yml").await.text;
    assert!(!text.contains("@@") && text.contains("$$5"), "{text}");

    let missing = json!({ "name": "other", "characterfile": "{}", "env_keys": [] });
    let refused = world.post("/cvms/provision/eliza", missing).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    assert!(refused.text.contains("must name OPENAI_API_KEY"), "{}", refused.text);

    let at = "2100-01-01T00:00:00Z";
    let body = json!({
        "name": "llama", "instance_type": "tdx.small", "model_id": "meta/llama", "scheduled_delete_at": at,
    });
    let cvm = world.post("/cvms/workload", body.clone()).await.ok();
    assert_eq!(cvm["name"], "llama");
    world.settle().await;
    assert!(world.get("/cvms/llama/docker-compose.yml").await.text.contains("meta/llama"));
    let detail = world.call("GET", "/cvms/llama", "2025-10-28", None).await.ok();
    assert_eq!(detail["status"], "running");
    assert!(detail["scheduled_delete_at"].as_str().unwrap().starts_with("2100-01-01"), "{detail}");
    world.post("/cvms/workload", body).await.refused(409, "ERR-01-004");
    let past = json!({
        "name": "bloom", "instance_type": "tdx.small", "model_id": "b", "scheduled_delete_at": "2001-01-01T00:00:00Z",
    });
    assert_eq!(world.post("/cvms/workload", past).await.status, 422);
    assert_eq!(world.get("/cvms/bloom").await.status, 404, "nothing is created");
}

#[tokio::test]
async fn without_a_template_the_refusal_says_what_to_set() {
    let world = World::new().await;
    let body = json!({ "name": "agent", "characterfile": "{}", "env_keys": [] });
    let refused = world.post("/cvms/provision/eliza", body).await.refused(501, "ERR-20-005");
    assert!(refused.to_string().contains("templates.eliza"), "{refused}");
    let body = json!({ "compose_hash": "0".repeat(64) });
    world.post("/cvms/eliza", body).await.refused(501, "ERR-20-005");
    let body = json!({ "name": "llama", "instance_type": "tdx.small", "model_id": "m" });
    let refused = world.post("/cvms/workload", body).await.refused(501, "ERR-20-005");
    assert!(refused.to_string().contains("templates.workload"), "{refused}");
    assert_eq!(world.get("/casemate/templates").await.ok(), json!({ "items": [], "faults": [] }));
}
