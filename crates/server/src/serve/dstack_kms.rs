//! Opens each dstack-kms of the configuration. None is asked for anything here: one that is away delays no start.

use std::sync::Arc;

use casemate_core::time::Clock;
use casemate_engine::kms::dstack::DstackKms;
use casemate_store::Db;

use super::{
    StartError,
    chains::{self, Chains},
};
use crate::{
    app::fleet::{FleetKms, RemoteKms},
    config::{Config, dstack_kms_key},
};

/// Opens them, in the order of the configuration, and binds their slugs.
pub(super) async fn open(
    config: &Config,
    chains: &Chains,
    db: &Db,
    clock: &dyn Clock,
) -> Result<Vec<FleetKms>, StartError> {
    let mut all = Vec::with_capacity(config.kms.dstack.len());
    for (index, dstack) in config.kms.dstack.iter().enumerate() {
        let wrong =
            |key: &str, reason: String| StartError::Kms { key: dstack_kms_key(index, key), reason };
        let settings = dstack.client().map_err(|why| wrong("k256_public_keys", why.to_string()))?;
        let client = DstackKms::open(&settings).map_err(|error| wrong(error.field, error.why))?;
        let governed = match (&dstack.chain, dstack.contract) {
            (Some(chain), Some(contract)) => {
                let gateway = dstack.gateway_app_id.clone();
                chains::governed(config, chains, chain, contract, gateway)
            }
            _ => None,
        };
        let remote = RemoteKms::new(Arc::new(client), dstack.guest_urls());
        let key = hex::encode(settings.keys.first());
        all.push(FleetKms::dstack(&dstack.slug, &dstack.url, key, remote, governed));
    }
    bind(db, &all, clock).await?;
    Ok(all)
}

/// Binds their slugs to their first root keys: what was sealed for one does not open with the keys of another.
async fn bind(db: &Db, all: &[FleetKms], clock: &dyn Clock) -> Result<(), StartError> {
    if all.is_empty() {
        return Ok(());
    }
    let mut tx = db.begin().await.map_err(super::first)?;
    for (index, kms) in all.iter().enumerate() {
        let bound = tx.bind_kms(&kms.slug, &kms.id, clock.now()).await.map_err(super::first)?;
        if bound != kms.id {
            return Err(StartError::Kms {
                key: dstack_kms_key(index, "k256_public_keys"),
                reason: format!(
                    "this database knows {} as {bound}, and its first key or its contract here makes it {}: \
                     put back what was there, or choose another slug",
                    kms.slug, kms.id
                ),
            });
        }
    }
    tx.commit().await.map_err(super::first)
}
