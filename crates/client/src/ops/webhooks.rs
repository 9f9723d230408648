use casemate_api::webhook::{
    WebhookCreateRequest, WebhookDeliveryResponse, WebhookResponse, WebhookStatsResponse,
    WebhookUpdateRequest,
};
use reqwest::Method;

use crate::{error::Error, http::Client};

/// `/workspace/webhooks/…`.
fn path<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["workspace", "webhooks"], rest].concat()
}

impl Client {
    /// `GET /workspace/webhooks`.
    pub async fn webhooks(&self) -> Result<Vec<WebhookResponse>, Error> {
        self.get(&path(&[]), &[]).await
    }

    /// `POST /workspace/webhooks`: creates a webhook; the reply has its secret.
    pub async fn create_webhook(
        &self,
        request: &WebhookCreateRequest,
    ) -> Result<WebhookResponse, Error> {
        self.post(&path(&[]), Some(request)).await
    }

    /// `GET /workspace/webhooks/{id}`.
    pub async fn webhook(&self, id: &str) -> Result<WebhookResponse, Error> {
        self.get(&path(&[id]), &[]).await
    }

    /// `PUT /workspace/webhooks/{id}`: changes what is given.
    pub async fn update_webhook(
        &self,
        id: &str,
        request: &WebhookUpdateRequest,
    ) -> Result<WebhookResponse, Error> {
        self.ask(self.changing(Method::PUT, &path(&[id]))?.json(request)?).await
    }

    /// `DELETE /workspace/webhooks/{id}`.
    pub async fn delete_webhook(&self, id: &str) -> Result<(), Error> {
        self.delete(&path(&[id])).await
    }

    /// `POST /workspace/webhooks/{id}/test`: sends a test event; the reply is its delivery.
    pub async fn test_webhook(&self, id: &str) -> Result<WebhookDeliveryResponse, Error> {
        self.post(&path(&[id, "test"]), None::<&()>).await
    }

    /// `POST /workspace/webhooks/{id}/reveal-secret`.
    pub async fn reveal_webhook_secret(&self, id: &str) -> Result<WebhookResponse, Error> {
        self.post(&path(&[id, "reveal-secret"]), None::<&()>).await
    }

    /// `POST /workspace/webhooks/{id}/rotate-secret`.
    pub async fn rotate_webhook_secret(&self, id: &str) -> Result<WebhookResponse, Error> {
        self.post(&path(&[id, "rotate-secret"]), None::<&()>).await
    }

    /// `GET /workspace/webhooks/{id}/deliveries`, newest first. `limit` is 1 to 100.
    pub async fn webhook_deliveries(
        &self,
        id: &str,
        limit: u16,
        offset: u16,
    ) -> Result<Vec<WebhookDeliveryResponse>, Error> {
        let query = [("limit", limit.to_string()), ("offset", offset.to_string())];
        self.get(&path(&[id, "deliveries"]), &query).await
    }

    /// `POST /workspace/webhooks/{id}/deliveries/{event_id}/resend`.
    pub async fn resend_webhook_delivery(
        &self,
        id: &str,
        event_id: &str,
    ) -> Result<WebhookDeliveryResponse, Error> {
        self.post(&path(&[id, "deliveries", event_id, "resend"]), None::<&()>).await
    }

    /// `GET /workspace/webhooks/{id}/stats`.
    pub async fn webhook_stats(&self, id: &str) -> Result<WebhookStatsResponse, Error> {
        self.get(&path(&[id, "stats"]), &[]).await
    }
}
