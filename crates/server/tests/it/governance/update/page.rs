//! The page that shows a person what to approve.

use axum::http::Request;
use serde_json::json;

use crate::governance::update::{
    common::Reply,
    stage::{Stage, Told, other},
};

async fn page(stage: &Stage, token: &str) -> Reply {
    let request =
        Request::get(format!("/confirm?token={token}")).body(String::new().into()).unwrap();
    stage.world.send(request).await
}

#[tokio::test]
async fn the_page_shows_what_to_sign_and_what_would_be_different() {
    let stage = Stage::new().await;
    let device = stage.device().await;
    stage.chain.remove_device(stage.app, device);
    let sealed = "5ec7e7".repeat(30);
    let body = json!({ "docker_compose_file": other("<b>page</b>:1"), "encrypted_env": sealed,
        "allowed_envs": ["G", "TOKEN"], "env_keys": ["TOKEN"], "public_logs": false });
    let told = Told::of(stage.patch(body, &[("x-prepare-only", "true")]).await);
    let url = told.text("commit_url");
    assert!(url.ends_with(&format!("/confirm?token={}", told.token())));
    let shown = page(&stage, &told.token()).await;
    assert_eq!(shown.status.as_u16(), 200);
    let header = |name: &str| shown.headers[name].to_str().unwrap().to_owned();
    assert!(header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(header("referrer-policy"), "no-referrer", "the address is a credential");
    assert_eq!(header("cache-control"), "no-store");
    let text = &shown.text;
    for shown in [
        stage.app.to_string(),
        format!("0xdfc77223{}", told.hash()),
        format!("0x2a819728{device}"),
        "addComposeHash(bytes32)".to_owned(),
        "addDevice(bytes32)".to_owned(),
        format!("https://basescan.test/address/0x{}", stage.app),
        format!("0x{}", "33".repeat(20)),
        "chain 8453".to_owned(),
        "2026-01-15 00:00:00 UTC".to_owned(),
        "added: <code>TOKEN</code>".to_owned(),
        "public_logs".to_owned(),
    ] {
        assert!(text.contains(&shown), "{shown} is not on the page: {text}");
    }
    assert!(text.contains("page&#60;/b&#62;:1") || text.contains("page&lt;/b&gt;:1"), "{text}");
    assert!(!text.contains("<script") && !text.contains(&sealed));
    assert!(!text.contains(&told.token()), "who copies the page copies no credential");

    stage.chain.add_device(stage.app, device);
    stage.allow(told.hash());
    let shown = page(&stage, &told.token()).await;
    assert!(shown.text.contains("Everything is registered"), "{}", shown.text);
    stage.commit(&told.token()).await.ok();
    assert!(page(&stage, &told.token()).await.text.contains("Committed."));
}

#[tokio::test]
async fn the_page_says_when_there_is_nothing_to_approve_any_more() {
    let stage = Stage::new().await;
    let first = stage.prepare("gone:1").await;
    stage.prepare("gone:2").await;
    assert!(page(&stage, &first.token()).await.text.contains("Superseded."));
    let third = stage.prepare("gone:3").await;
    stage.patch(json!({ "user_config": "x" }), &[]).await.ok();
    assert!(page(&stage, &third.token()).await.text.contains("Void."));
    for token in ["", "t", "1c2f3c0e-7c8d-4a43-9a51-6c9d8a1d3f10"] {
        let shown = page(&stage, token).await;
        assert_eq!(shown.status.as_u16(), 404, "{token}");
        assert!(shown.text.contains("not known, or it has expired"));
    }
    stage.world.clock.advance_ms(14 * 24 * 3_600_000);
    let shown = page(&stage, &third.token()).await;
    assert_eq!(shown.status.as_u16(), 404);
}

#[tokio::test]
async fn a_silent_chain_does_not_hide_what_to_sign() {
    let stage = Stage::new().await;
    let told = stage.prepare("quiet:1").await;
    stage.chain.fail_next(1, &casemate_engine::chain::Fault::Busy);
    let shown = page(&stage, &told.token()).await;
    assert!(shown.text.contains("the chain does not answer"));
    assert!(shown.text.contains(&format!("0xdfc77223{}", told.hash())));
}
