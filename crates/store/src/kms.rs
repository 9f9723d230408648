//! Binds a database to a KMS. Sealed values open only with that KMS's root keys.

use casemate_core::{id::KmsId, time::Timestamp};

use crate::{Db, Error, Tx};

/// Whether any app has its keys from this KMS. Reads every app; for the start of a process.
pub async fn has_apps(db: &Db, id: &KmsId) -> Result<bool, Error> {
    const SQL: &str = "SELECT EXISTS (SELECT 1 FROM apps WHERE kms_id = $1)";
    on_read!(db, |c| sqlx::query_scalar::<_, bool>(SQL).bind(id.as_ref()).fetch_one(c))
}

impl Tx {
    /// Binds a KMS name to an id if it is not bound yet, and returns the bound id.
    pub async fn bind_kms(
        &mut self,
        slug: &str,
        id: &KmsId,
        now: Timestamp,
    ) -> Result<KmsId, Error> {
        const SQL: &str = "INSERT INTO kms (slug, id, created_at) VALUES ($1, $2, $3) \
            ON CONFLICT (slug) DO UPDATE SET slug = excluded.slug RETURNING id";
        let bound = on_tx!(self, |c| sqlx::query_scalar::<_, String>(SQL)
            .bind(slug)
            .bind(id.as_ref())
            .bind(now.micros())
            .fetch_one(c))?;
        Ok(KmsId(bound))
    }
}
