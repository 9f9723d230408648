//! The listener of the authorisation webhook for dstack-kms.

use std::net::SocketAddr;

use casemate_engine::node::dstack::secret;
use tokio::net::TcpListener;

use tokio_util::task::TaskTracker;

use super::{StartError, files, listen, serve};
use crate::{
    app::{Ctx, boot_auth::BootAuth},
    config::Config,
    kms_webhook::router,
    listener_token::{self, ListenerToken},
};

/// A bound listener with the token that it asks for.
pub(super) struct Webhook {
    pub listener: TcpListener,
    pub address: SocketAddr,
    pub token: ListenerToken,
}

impl Webhook {
    /// Starts to answer, and writes the address to `kms-webhook.url`.
    pub fn serve(
        self,
        ctx: &Ctx,
        (tasks, listeners): (&TaskTracker, &TaskTracker),
    ) -> Result<(), StartError> {
        let auth = BootAuth::start(ctx, tasks);
        let auth = auth.map_err(|error| StartError::KmsWebhook(error.to_string()))?;
        let url = format!("http://{}", self.address);
        serve(listeners, self.listener, router(auth, self.token), ctx);
        files::write_url(&ctx.config.data_dir.join("kms-webhook.url"), &url)?;
        tracing::info!(url, "authorisation webhook for dstack-kms");
        Ok(())
    }
}

/// Binds the listener; `None`: there is to be none.
pub(super) async fn open(config: &Config) -> Result<Option<Webhook>, StartError> {
    let config = &config.kms_webhook;
    let Some(address) = config.listen else { return Ok(None) };
    let (token, from) = if let Some(token) = &config.token {
        (token.clone(), "CASEMATE_KMS_WEBHOOK_TOKEN".to_owned())
    } else {
        let token = secret(&config.token_file).await;
        let token = token.map_err(|error| StartError::KmsWebhook(error.to_string()))?;
        (token, config.token_file.display().to_string())
    };
    let token = ListenerToken::new(&token).ok_or_else(|| {
        let least = listener_token::LEAST;
        StartError::KmsWebhook(format!("{from}: a token has at least {least} characters"))
    })?;
    let (listener, address) = listen(address).await?;
    Ok(Some(Webhook { listener, address, token }))
}
