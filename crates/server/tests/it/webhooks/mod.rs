//! Webhooks over HTTP: the routes, what a receiver gets, and what becomes of receivers that fail.

mod delivering;
mod receiver;
mod routes;

use crate::common::World;

use self::receiver::Receiver;

/// A world that may call this host.
async fn world() -> World {
    World::with(|config| {
        config.webhooks.allow_private = true;
        config.webhooks.allow_http = true;
        config.webhooks.ports = casemate_server::config::Ports::Any;
    })
    .await
}

/// Creates a webhook to a receiver; returns its id and secret.
async fn subscribe(world: &World, receiver: &Receiver, events: &[&str]) -> (String, String) {
    let body = serde_json::json!({ "url": receiver.url, "events": events });
    let made = world.post("/workspace/webhooks", body).await.ok();
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}
