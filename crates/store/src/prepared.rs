//! Documents prepared for an update of a CVM: the first of its two phases.

use casemate_core::{
    id::{AppId, ComposeHash, CvmId, VmUuid},
    time::Timestamp,
};
use sqlx::{query, query_as};

use crate::{Db, Error, Tx, error::corrupt};

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

/// A document that was prepared for a CVM and is not, and has not been since, in force on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// `vm_uuid` of the CVM.
    pub vm_uuid: VmUuid,
    /// Name of the CVM.
    pub cvm_name: String,
    /// The document that it has, or is about to have.
    pub present: ComposeHash,
    /// The document that was prepared.
    pub compose_hash: ComposeHash,
}

/// What is prepared for the live CVMs of an app and neither expired nor applied, newest first, at most
/// `limit`.
pub async fn pending(
    db: &Db,
    app: &AppId,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Pending>, Error> {
    const SQL: &str = "SELECT c.vm_uuid, c.name, c.compose_hash, p.compose_hash FROM cvms c \
        JOIN prepared p ON p.cvm_id = c.id WHERE c.app_id = $1 AND c.deleted_at IS NULL \
        AND p.expires_at > $2 AND p.compose_hash <> c.compose_hash AND NOT EXISTS \
        (SELECT 1 FROM revisions r WHERE r.cvm_id = c.id AND r.compose_hash = p.compose_hash \
        AND r.created_at >= p.created_at) ORDER BY p.created_at DESC, c.id DESC LIMIT $3";
    type Row = (String, String, String, String);
    let rows = on_read!(db, |c| query_as::<_, Row>(SQL)
        .bind(app.to_string())
        .bind(now.micros())
        .bind(limit.max(0))
        .fetch_all(c))?;
    let read = |(uuid, cvm_name, present, prepared): Row| {
        Ok(Pending {
            vm_uuid: uuid.parse().map_err(corrupt("cvms", "vm_uuid", &uuid))?,
            present: present.parse().map_err(corrupt("cvms", "compose_hash", &uuid))?,
            compose_hash: prepared.parse().map_err(corrupt("prepared", "compose_hash", &uuid))?,
            cvm_name,
        })
    };
    rows.into_iter().map(read).collect()
}
