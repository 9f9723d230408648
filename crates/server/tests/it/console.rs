//! The page for people.

use crate::common;

use axum::body::Body;
use casemate_server::{app::fleet::Fleet, config::Role, http::router, telemetry::Metrics};
use common::{Reply, TestNode, World};

async fn get(world: &World, path: &str) -> Reply {
    let request = http::Request::get(path).body(Body::empty()).unwrap();
    world.send(request).await
}

#[tokio::test]
async fn the_landing_page_says_what_this_is_and_nothing_of_tenants() {
    let world = World::fleet(vec![TestNode::sim()], |_| {}).await;
    world.deploy("my-secret-app").await;
    world.settle().await;
    let page = get(&world, "/").await;
    assert_eq!(page.status, 200);
    for words in [
        concat!("class=\"version\">", env!("CARGO_PKG_VERSION")),
        "TEE: simulated.",
        "1 of 1",
        "export PHALA_CLOUD_API_PREFIX=http://127.0.0.1:1/api/v1",
        "export PHALA_CLOUD_API_KEY=",
        "href=\"/docs\"",
        "href=\"/openapi.json\"",
        "href=\"/healthz\"",
        "href=\"/metrics\"",
        "<html lang=\"en\">",
    ] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    for word in ["my-secret-app", "admin@", &*world.key, "<script", "style=\""] {
        assert!(!page.text.contains(word), "{word}");
    }
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let style = get(&world, "/console.css").await;
    assert_eq!(style.headers["content-type"], "text/css");
    assert!(style.text.contains("prefers-color-scheme: dark"));
}

#[tokio::test]
async fn the_verifier_is_served_where_it_is_configured() {
    let world = World::fleet(vec![TestNode::sim()], |_| {}).await;
    let page = get(&world, "/verify").await;
    assert!(page.text.contains("casemate verify bundle.json"), "{}", page.text);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("verify.html");
    std::fs::write(&file, "<script>wasm_bindgen()</script>").unwrap();
    let world = World::fleet(vec![TestNode::sim()], |config| {
        config.attestation.verify_page.clone_from(&file);
    })
    .await;
    let page = get(&world, "/verify").await;
    assert_eq!(page.text, "<script>wasm_bindgen()</script>");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("'sha256-"), "{policy}");
}

#[tokio::test]
async fn each_part_is_there_with_its_role_only() {
    let mut world = World::with(|config| config.role = vec![Role::Console]).await;
    let mut parts = (*world.ctx).clone();
    parts.fleet = Fleet::new([].into(), parts.fleet.kms.clone()).into();
    world.ctx = parts.clone().into();
    world.router = router(world.ctx.clone(), Metrics::install());
    let page = get(&world, "/").await.text;
    assert!(page.contains("Start a worker") && page.contains("does not serve the API"), "{page}");
    assert_eq!(get(&world, "/api/v1/auth/me").await.status, 404);
    assert_eq!(get(&world, "/docs").await.status, 404);
    let mut config = (*parts.config).clone();
    config.role = vec![Role::Worker];
    parts.config = config.into();
    world.ctx = parts.into();
    world.router = router(world.ctx.clone(), Metrics::install());
    for (path, status) in [("/", 404), ("/healthz", 200), ("/readyz", 200), ("/metrics", 200)] {
        assert_eq!(get(&world, path).await.status, status, "{path}");
    }
}
