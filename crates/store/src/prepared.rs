//! Documents prepared for an update of a CVM: the first of its two phases.

use casemate_core::{
    id::{ComposeHash, CvmId},
    time::Timestamp,
};
use sqlx::{query, query_as};

use crate::{Error, Tx};

/// A prepared document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Sealed env given with it, hex; the commit's overrides it.
    pub sealed_env: Option<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Tx {
    /// Keeps a prepared document, which must be among the documents already. Preparing the same one
    /// again lengthens its life.
    pub async fn prepare(
        &mut self,
        cvm: CvmId,
        hash: &ComposeHash,
        prepared: &Prepared,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO prepared (cvm_id, compose_hash, sealed_env, created_at, expires_at) \
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT (cvm_id, compose_hash) DO UPDATE SET \
            sealed_env = excluded.sealed_env, created_at = excluded.created_at, \
            expires_at = excluded.expires_at";
        exec_tx!(
            self,
            query(SQL)
                .bind(cvm.0)
                .bind(hash.to_string())
                .bind(&prepared.sealed_env)
                .bind(now.micros())
                .bind(prepared.expires_at.micros())
        )
        .map(drop)
    }

    /// What was prepared for this CVM under this hash, expired or not.
    pub async fn prepared(
        &mut self,
        cvm: CvmId,
        hash: &ComposeHash,
    ) -> Result<Option<Prepared>, Error> {
        const SQL: &str =
            "SELECT sealed_env, expires_at FROM prepared WHERE cvm_id = $1 AND compose_hash = $2";
        let row = on_tx!(self, |c| query_as::<_, (Option<String>, i64)>(SQL)
            .bind(cvm.0)
            .bind(hash.to_string())
            .fetch_optional(c))?;
        Ok(row.map(|(sealed_env, expires_at)| Prepared {
            sealed_env,
            expires_at: Timestamp::from_micros(expires_at),
        }))
    }

    /// Forgets what expired before a time, a bounded number at a time; returns how many.
    pub async fn expire_prepared(&mut self, before: Timestamp) -> Result<u64, Error> {
        const SQL: &str = "DELETE FROM prepared WHERE (cvm_id, compose_hash) IN \
            (SELECT cvm_id, compose_hash FROM prepared WHERE expires_at < $1 \
            ORDER BY expires_at LIMIT 500)";
        exec_tx!(self, query(SQL).bind(before.micros()))
    }

    /// A document that a CVM boots, or will: never forgotten from now on.
    pub async fn keep_for_good(&mut self, hash: &ComposeHash) -> Result<(), Error> {
        const SQL: &str = "UPDATE documents SET kept = TRUE WHERE hash = $1 AND NOT kept";
        exec_tx!(self, query(SQL).bind(hash.to_string())).map(drop)
    }
}
