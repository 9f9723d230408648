//! The listener of the authorisation webhook for dstack-kms.

use std::net::SocketAddr;

use casemate_engine::node::dstack::secret;
use tokio::net::TcpListener;

use super::{StartError, listen};
use crate::{config::Config, kms_webhook::Token};

/// A bound listener with the token that it asks for.
pub(super) struct Webhook {
    pub listener: TcpListener,
    pub address: SocketAddr,
    pub token: Token,
}

/// Binds the listener; `None`: there is to be none.
pub(super) async fn open(config: &Config) -> Result<Option<Webhook>, StartError> {
    let config = &config.kms_webhook;
    let Some(address) = config.listen else { return Ok(None) };
    let (token, from) = match &config.token {
        Some(token) => (token.clone(), "CASEMATE_KMS_WEBHOOK_TOKEN".to_owned()),
        None => {
            let token = secret(&config.token_file).await;
            let token = token.map_err(|error| StartError::KmsWebhook(error.to_string()))?;
            (token, config.token_file.display().to_string())
        }
    };
    let token = Token::new(&token).ok_or_else(|| {
        StartError::KmsWebhook(format!("{from}: a token has at least 32 characters"))
    })?;
    let (listener, address) = listen(address).await?;
    Ok(Some(Webhook { listener, address, token }))
}
