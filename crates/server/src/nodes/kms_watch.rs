//! The watch of each dstack-kms: whether it gives a key that can be trusted, and what it says of itself. Nothing
//! waits for it; requests ask the KMS themselves. It is for the operator, who sees here why they fail.

use std::{sync::Arc, time::Duration};

use casemate_core::id::AppId;
use tokio_util::sync::CancellationToken;

use crate::app::{
    Ctx,
    fleet::{FleetKms, RemoteKms},
};

/// How often one that answers is looked at.
const EVERY: Duration = Duration::from_secs(30);
/// How often one that does not is.
const AGAIN: Duration = Duration::from_secs(5);

/// Watches every dstack-kms until stopped.
pub async fn run(ctx: Ctx, stop: CancellationToken) {
    let watches = ctx.fleet.all_kms().filter_map(|kms| {
        let remote = kms.remote.clone()?;
        Some(watch(&ctx, kms, remote, &stop))
    });
    futures_util::future::join_all(watches).await;
}

async fn watch(ctx: &Ctx, kms: &FleetKms, remote: Arc<RemoteKms>, stop: &CancellationToken) {
    loop {
        if stop.run_until_cancelled(look(ctx, kms, &remote)).await.is_none() {
            return;
        }
        let pause = if remote.observed().is_reachable() { EVERY } else { AGAIN };
        tokio::select! {
            () = stop.cancelled() => return,
            () = remote.look_now.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Looks once.
pub async fn look(ctx: &Ctx, kms: &FleetKms, remote: &RemoteKms) {
    // Any app will do: a KMS derives keys and keeps none.
    let nobody = AppId::from_bytes([0; 20]);
    let before = remote.observed();
    let key = remote.kms.signed_env_key(&nobody, ctx.now().unix_seconds()).await.map(drop);
    let meta = remote.kms.meta().await;
    match &key {
        Err(error) if before.outage.is_none() => {
            tracing::warn!(kms = kms.slug, %error, "the KMS gives no key");
        }
        Ok(()) if before.outage.is_some() => tracing::info!(kms = kms.slug, "the KMS gives keys"),
        Ok(()) | Err(_) => {}
    }
    remote.record(key, meta, ctx.now());
}
