use casemate_api::reply::AuthMe;
use serde_json::Value;

use crate::{error::Error, http::Client};

impl Client {
    /// `GET /auth/me`: user, workspace and credits of the key.
    pub async fn auth_me(&self) -> Result<AuthMe, Error> {
        self.get(&["auth", "me"], &[]).await
    }

    /// `GET /healthz`, outside of `/api/v1`: whether the process answers (Casemate only). Without retries.
    pub async fn alive(&self) -> Result<(), Error> {
        self.ask_once("healthz").await
    }

    /// `GET /readyz`, outside of `/api/v1`: whether the database answers, too (Casemate only). Without
    /// retries.
    pub async fn ready(&self) -> Result<(), Error> {
        self.ask_once("readyz").await
    }

    async fn ask_once(&self, part: &str) -> Result<(), Error> {
        let call = self.root_reading(part)?;
        let body = self.once(&call).await?;
        // Another server at this address answers something else.
        serde_json::from_slice::<Value>(&body)
            .ok()
            .filter(|body| body.get("status").is_some())
            .map(drop)
            .ok_or_else(|| Error::Decode { call: call.name, reason: "no status in it".to_owned() })
    }
}
