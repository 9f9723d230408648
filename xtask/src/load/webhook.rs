//! The authorisation webhook, asked as dstack-kms asks it: one question per guest that boots.

use std::net::SocketAddr;

use anyhow::Context;
use serde_json::{Value, json};
use xtask::server::Server;

use crate::{casemate::Api, http::Connection};

/// Variables of a server that has the webhook.
pub const SETTINGS: [(&str, &str); 2] =
    [("CASEMATE_KMS_WEBHOOK__LISTEN", "127.0.0.1:0"), ("CASEMATE_KMS_WEBHOOK_TOKEN", TOKEN)];

const TOKEN: &str = "bench-bench-bench-bench-bench-bench";

/// Where the webhook of this server listens.
pub fn address(server: &Server) -> anyhow::Result<SocketAddr> {
    let url = server.file("kms-webhook.url")?;
    let address = url.strip_prefix("http://").context("kms-webhook.url holds no URL")?;
    Ok(address.parse()?)
}

/// What a guest shows of its host, where the API does not tell it.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// 32 bytes in hex.
    pub os_image: &'static str,
    /// 32 bytes in hex.
    pub device: &'static str,
}

/// The question about the guest of each of these CVMs.
pub async fn questions(
    api: &Api,
    uuids: &[String],
    guest: Option<Guest>,
) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut connection = Connection::open(api.address).await?;
    let mut questions = Vec::with_capacity(uuids.len());
    for uuid in uuids {
        let request = api.request("GET", &format!("/cvms/{uuid}"), "");
        let cvm: Value = serde_json::from_slice(&connection.send(&request).await?.ok()?)?;
        questions.push(question(&cvm, guest));
    }
    Ok(questions)
}

fn question(cvm: &Value, guest: Option<Guest>) -> Vec<u8> {
    let told = |told: &Value| told.as_str().unwrap_or_default().to_owned();
    let os_image = guest.map_or(told(&cvm["os"]["os_image_hash"]), |guest| guest.os_image.into());
    let device = guest.map_or(told(&cvm["node_info"]["device_id"]), |guest| guest.device.into());
    let body = json!({
        "teeVariant": "dstack-tdx",
        "mrAggregated": "11".repeat(32),
        "osImageHash": os_image,
        "mrSystem": "33".repeat(32),
        "appId": cvm["app_id"],
        "composeHash": cvm["compose_hash"],
        "instanceId": "",
        "deviceId": device,
        "keyProviderInfo": "7b7d",
        "tcbStatus": "UpToDate",
        "advisoryIds": [],
    })
    .to_string();
    let length = body.len();
    let head = format!(
        "POST /bootAuth/app HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {TOKEN}\r\n\
         user-agent: dstack-kms/bench\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    (head + &body).into_bytes()
}
