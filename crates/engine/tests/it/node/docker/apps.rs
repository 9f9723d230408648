//! Apps that the tests run.

use casemate_core::{
    compose::app_compose,
    id::{AppId, VmUuid},
    time::Entropy,
};
use casemate_engine::node::{Mark, VmConfig};
use serde_json::json;

use super::world::{IMAGE, Random};

/// A configuration for this compose file; each has an app and a CVM of its own.
pub fn config(compose: &str) -> VmConfig {
    document(&json!({
        "manifest_version": 2,
        "name": "web",
        "runner": "docker-compose",
        "docker_compose_file": compose,
        "kms_enabled": true,
        "allowed_envs": ["GREETING", "TOKEN", "PORT"],
    }))
}

/// A configuration with this app-compose document.
pub fn document(document: &serde_json::Value) -> VmConfig {
    let compose = document.to_string();
    let mut app = [0; 20];
    Random.fill(&mut app);
    VmConfig {
        mark: Mark::new("web", VmUuid::from_uuid(Random.uuid_v4())),
        app_id: AppId::from_bytes(app),
        kms: None,
        compose_hash: app_compose::hash(&compose),
        compose,
        image: "dstack-dev-0.5.4".to_owned(),
        vcpu: 1,
        memory_mb: 128,
        disk_gb: 1,
        ports: Vec::new(),
        sealed_env: None,
        env_is_new: false,
        user_config: None,
        hugepages: false,
        pin_numa: false,
        gpus: None,
        kms_urls: Vec::new(),
        gateway_urls: Vec::new(),
        gateway_domain: Some("gw.example".to_owned()),
        instance_seed: None,
    }
}

/// Serves `GREETING` at 80, counts its starts in a volume, and leaves a marker when told to end.
pub fn web() -> String {
    format!(
        r#"
services:
  web:
    image: {IMAGE}
    container_name: my-web
    restart: always
    ports: ["8080:80"]
    environment:
      GREETING: "${{GREETING:-none}}"
    volumes:
      - data:/data
      - ./shared:/shared
    command:
      - sh
      - -c
      - |
        echo x >> /data/starts
        trap 'echo told to end > /shared/term; exit 0' TERM
        mkdir -p /www && echo "$$GREETING $$(wc -l < /data/starts)" > /www/index.html
        httpd -p 80 -h /www
        while true; do sleep 0.1; done
volumes:
  data:
    name: fixed-name
networks:
  default:
    ipam: {{config: [{{subnet: 10.213.0.0/24}}]}}
"#
    )
}

/// An app with a pre-launch script; it may use `TOKEN`.
pub fn with_script(script: &str, compose: &str) -> VmConfig {
    document(&json!({
        "manifest_version": 2, "name": "web", "runner": "docker-compose", "kms_enabled": true,
        "docker_compose_file": compose, "pre_launch_script": script, "allowed_envs": ["TOKEN"],
    }))
}
