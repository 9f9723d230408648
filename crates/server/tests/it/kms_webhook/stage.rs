//! A world with the webhook before it.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use casemate_core::id::CvmId;
use casemate_server::{
    app::{boot_auth::BootAuth, fleet::FleetKms},
    config::Config,
    kms_webhook::router,
    listener_token::ListenerToken,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::{
    common::World,
    nodes::kms_stage::{Kms, take_keys_from},
};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub struct Stage {
    pub world: World,
    router: Router,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::of(World::with(change).await).await
    }

    /// The guests of every node take their keys from a dstack-kms, which asks.
    pub async fn of(mut world: World) -> Self {
        let kms = Kms::listening(&world, "rack-kms", 1).await;
        let kms: FleetKms = kms.of_fleet(None, Duration::from_secs(5));
        take_keys_from(&mut world, vec![kms], |_| Some("rack-kms"));
        Self::before(world)
    }

    /// The world as it is, with the webhook before it.
    pub fn before(world: World) -> Self {
        let auth = BootAuth::start(&world.ctx, &TaskTracker::new()).unwrap();
        let token = ListenerToken::new(&SecretString::from(TOKEN)).unwrap();
        Self { router: router(auth, token), world }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Body,
    ) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("user-agent", "dstack-kms/0.6.0")
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// The answer to a KMS, which insists on 200 and on three fields.
    pub async fn ask(&self, path: &str, body: &Value) -> (bool, String) {
        self.ask_raw(path, Body::from(body.to_string())).await
    }

    pub async fn ask_raw(&self, path: &str, body: Body) -> (bool, String) {
        let (status, text) = self.send("POST", path, TOKEN, body).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(answer["gatewayAppId"].is_string(), "{text}");
        let reason = answer["reason"].as_str().unwrap().to_owned();
        (answer["isAllowed"].as_bool().unwrap(), reason)
    }

    /// Whether a guest gets its keys; why not.
    pub async fn app(&self, body: &Value) -> Result<(), String> {
        match self.ask("/bootAuth/app", body).await {
            (true, reason) => {
                assert_eq!(reason, "");
                Ok(())
            }
            (false, reason) => Err(reason),
        }
    }

    /// What a KMS says of the guest of a CVM that boots as it should.
    pub async fn boot(&self, name: &str) -> Value {
        let cvm = self.world.get(&format!("/cvms/{name}")).await.ok();
        let nodes = self.world.ctx.fleet.all();
        let (inventory, _) = nodes[0].observed();
        let image = cvm["os"]["name"].as_str().unwrap();
        let image = inventory.images.iter().find(|one| one.name == image).unwrap();
        json!({
            "teeVariant": "dstack-tdx",
            "mrAggregated": "11".repeat(32),
            "osImageHash": image.os_image_hash,
            "mrSystem": "33".repeat(32),
            "appId": cvm["app_id"],
            "composeHash": cvm["compose_hash"],
            "instanceId": "",
            "deviceId": inventory.device_id.to_string(),
            "keyProviderInfo": "7b7d",
            "tcbStatus": "UpToDate",
            "advisoryIds": [],
        })
    }

    /// The bodies of the CVM's events of a kind, oldest first.
    pub async fn events(&self, cvm: CvmId, kind: &str) -> Vec<Value> {
        let all = casemate_store::events::of_cvm(
            &self.world.ctx.db,
            cvm,
            casemate_core::id::EventSeq(0),
            10_000,
        );
        let all = all.await.unwrap().into_iter().filter(|event| event.kind == kind);
        all.map(|event| serde_json::from_str(&event.body).unwrap()).collect()
    }

    pub async fn totals(&self) -> Value {
        let (status, text) = self.send("GET", "/totals", TOKEN, Body::empty()).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

/// The same with one field replaced.
pub fn with(body: &Value, field: &str, value: impl Into<Value>) -> Value {
    let mut body = body.clone();
    body[field] = value.into();
    body
}
