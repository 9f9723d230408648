//! An image that one app pulled with its login, on an engine that gives it to everybody, and builds.

use std::{collections::HashMap, process::Command, sync::Arc};

use casemate_engine::node::VmConfig;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    apps::{config, document},
    world::{IMAGE, World, docker},
};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// `me:secret`.
const LOGIN: &str = "authorization: basic bwu6c2vjcmv0";

/// A registry of one image, `private:1`, that wants a login.
struct Registry {
    address: String,
}

impl Registry {
    async fn start() -> Self {
        let container = docker(&["create", IMAGE]);
        let exported = Command::new("docker").args(["export", &container]).output();
        let layer = exported.unwrap().stdout;
        docker(&["rm", &container]);
        let digest = |bytes: &[u8]| format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let of_image = json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sleep", "1000"], "Labels": {"at": address}},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let of_image = of_image.to_string().into_bytes();
        let blob = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "size": bytes.len(), "digest": digest(bytes)});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": blob("application/vnd.docker.container.image.v1+json", &of_image),
            "layers": [blob("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let mut pages = HashMap::from([
            ("/v2/private/manifests/1".to_owned(), manifest.clone()),
            (format!("/v2/private/manifests/{}", digest(&manifest)), manifest),
            ("/v2/".to_owned(), b"{}".to_vec()),
        ]);
        for bytes in [of_image, layer] {
            pages.insert(format!("/v2/private/blobs/{}", digest(&bytes)), bytes);
        }
        let pages = Arc::new(pages);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&pages)));
            }
        });
        Self { address }
    }

    fn image(&self) -> String {
        format!("{}/private:1", self.address)
    }
}

/// Answers one request; what is no HTTP is closed.
async fn answer(
    mut stream: TcpStream,
    pages: Arc<HashMap<String, Vec<u8>>>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await?;
        if request.is_empty() && !byte.is_ascii_alphabetic() {
            return Ok(());
        }
        request.push(byte);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let page = pages.get(path);
    let (status, body) = match page {
        _ if !request.to_lowercase().contains(LOGIN) => ("401 Unauthorized", &b"{}"[..]),
        Some(page) => ("200 OK", page.as_slice()),
        None => ("404 Not Found", &b"{}"[..]),
    };
    let kind = if path.contains("/manifests/") { MANIFEST } else { "application/octet-stream" };
    let digest = hex::encode(Sha256::digest(body));
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: {kind}\r\nDocker-Content-Digest: \
         sha256:{digest}\r\nWWW-Authenticate: Basic realm=\"r\"\r\nConnection: close\r\n\
         Docker-Distribution-Api-Version: registry/2.0\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if method != "HEAD" {
        stream.write_all(body).await?;
    }
    stream.shutdown().await
}

/// An app that may send a login.
fn app(compose: &str) -> VmConfig {
    document(&json!({
        "manifest_version": 2, "name": "web", "runner": "docker-compose", "kms_enabled": true,
        "docker_compose_file": compose,
        "allowed_envs": ["DSTACK_DOCKER_USERNAME", "DSTACK_DOCKER_PASSWORD", "DSTACK_DOCKER_REGISTRY"],
    }))
}

fn with_login(world: &World, registry: &Registry, config: VmConfig) -> VmConfig {
    let vars = [
        ("DSTACK_DOCKER_USERNAME", "me"),
        ("DSTACK_DOCKER_PASSWORD", "secret"),
        ("DSTACK_DOCKER_REGISTRY", &registry.address),
    ];
    VmConfig { sealed_env: Some(world.seal(&config.app_id, &vars)), ..config }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_one_app_pulled_with_its_login_is_not_another_apps() {
    let registry = Registry::start().await;
    let allowed = registry.address.clone();
    let world = World::with(|config| config.registries = vec![allowed]).await;
    let image = registry.image();
    let plain = format!("services: {{web: {{image: '{image}'}}}}");
    let owner = with_login(&world, &registry, app(&plain));
    let vm = world.up(&owner).await;

    let again = format!("esc-{}:1", registry.address.trim_start_matches("localhost:"));
    docker(&["tag", &image, &again]);
    let id = docker(&["image", "inspect", &image, "--format", "{{.Id}}"]);
    for (compose, cause_has) in [
        (plain.clone(), "cannot be pulled"),
        (
            format!("services: {{web: {{image: '{image}', pull_policy: never}}}}"),
            "the login of another app",
        ),
        (
            format!("services: {{web: {{image: '{again}', pull_policy: never}}}}"),
            "the login of another app",
        ),
        (format!("services: {{web: {{image: '{id}'}}}}"), "is an id"),
        (
            format!(
                "services: {{web: {{build: {{dockerfile_inline: \"FROM {image}\\nCMD sleep 9\"}}}}}}"
            ),
            "cannot be pulled",
        ),
        (
            format!(
                "services: {{web: {{build: {{dockerfile_inline: \"FROM {IMAGE}\\nCOPY --from={image} / /x\"}}}}}}"
            ),
            "cannot be pulled",
        ),
    ] {
        let stranger = app(&compose);
        let vm = world.start(&stranger).await;
        let cause = world.failed(&stranger).await;
        assert!(
            cause.contains(cause_has) && cause.starts_with("service web"),
            "{compose}: {cause}"
        );
        world.remove(&stranger, &vm).await;
    }
    let member = with_login(&world, &registry, app(&plain));
    let other = world.up(&member).await;
    world.remove(&member, &other).await;
    world.remove(&owner, &vm).await;
    docker(&["rmi", "-f", &image, &again]);
}

#[tokio::test]
async fn a_build_has_the_limits_of_its_cvm() {
    let world = World::with(|config| config.pids = 60).await;
    let bomb = "i=0; while [ $$i -lt 200 ]; do sleep 3 & i=$$((i+1)); done";
    let config = config(&format!(
        "services:\n  web:\n    build:\n      dockerfile_inline: |\n        FROM {IMAGE}\n        RUN {bomb}\n        CMD sleep 1000\n"
    ));
    world.start(&config).await;
    let cause = world.failed(&config).await;
    assert!(cause.contains("the build failed") && cause.contains("non-zero code"), "{cause}");
}

/// A check that an image brings along is bounded like one of the file.
#[tokio::test]
async fn a_health_check_of_an_image_is_not_more_frequent_than_a_second() {
    let world = World::new().await;
    let config = config(&format!(
        "services:\n  web:\n    build:\n      dockerfile_inline: |\n        FROM {IMAGE}\n        HEALTHCHECK --interval=10ms CMD true\n        CMD sleep 1000\n"
    ));
    let vm = world.up(&config).await;
    let container = super::world::container(&vm, "web");
    let format = "{{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Test}}";
    assert_eq!(docker(&["inspect", &container, "--format", format]), "1s [CMD-SHELL true]");
    world.remove(&config, &vm).await;
}
