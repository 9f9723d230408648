//! Documents prepared for an update of a CVM: the first of its two phases.

use casemate_core::{
    id::{AppId, ComposeHash, CvmId, KmsId, VmUuid},
    time::Timestamp,
};
use sqlx::{query, query_as};

use crate::{Db, Error, Tx, error::corrupt};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Sealed environment given with it, hex; the commit's overrides it.
    pub sealed_env: Option<String>,
    pub expires_at: Timestamp,
}

impl Tx {
    /// Stores a prepared document, whose text must be stored already. Preparing it again extends its expiry.
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

    /// The document prepared for this CVM under this hash, expired or not.
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

    /// Deletes documents that expired before a time. The number per call is bounded; returns how many were
    /// deleted.
    pub async fn expire_prepared(&mut self, before: Timestamp) -> Result<u64, Error> {
        const SQL: &str = "DELETE FROM prepared WHERE (cvm_id, compose_hash) IN \
            (SELECT cvm_id, compose_hash FROM prepared WHERE expires_at < $1 \
            ORDER BY expires_at LIMIT 500)";
        exec_tx!(self, query(SQL).bind(before.micros()))
    }

    /// Marks a document that a CVM boots or will boot, so that it is never deleted.
    pub async fn keep_for_good(&mut self, hash: &ComposeHash) -> Result<(), Error> {
        const SQL: &str = "UPDATE documents SET kept = TRUE WHERE hash = $1 AND NOT kept";
        exec_tx!(self, query(SQL).bind(hash.to_string())).map(drop)
    }
}

/// A document prepared for a CVM that has not been in force on it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub vm_uuid: VmUuid,
    pub cvm_name: String,
    /// The current document, or the one about to be in force.
    pub present: ComposeHash,
    /// The prepared document.
    pub compose_hash: ComposeHash,
    /// The KMS that holds the CVM's keys.
    pub kms: KmsId,
    /// When it was prepared.
    pub created_at: Timestamp,
}

/// The pending documents of the live CVMs of an app, newest first, at most `limit`: prepared documents, and
/// changes waiting for approval. Expired and applied ones are left out.
pub async fn pending(
    db: &Db,
    app: &AppId,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Pending>, Error> {
    const DOCUMENTS: &str = "SELECT c.vm_uuid, c.name, c.compose_hash, p.compose_hash, c.kms_id, \
        p.created_at FROM cvms c \
        JOIN prepared p ON p.cvm_id = c.id WHERE c.app_id = $1 AND c.deleted_at IS NULL \
        AND p.expires_at > $2 AND p.compose_hash <> c.compose_hash AND NOT EXISTS \
        (SELECT 1 FROM revisions r WHERE r.cvm_id = c.id AND r.compose_hash = p.compose_hash \
        AND r.created_at >= p.created_at) ORDER BY p.created_at DESC, c.id DESC LIMIT $3";
    const CHANGES: &str = "SELECT c.vm_uuid, c.name, c.compose_hash, t.compose_hash, c.kms_id, \
        t.created_at FROM cvms c JOIN commit_tokens t ON t.cvm_id = c.id AND t.kind = 'update' \
        AND t.superseded_at IS NULL AND t.used_at IS NULL WHERE c.app_id = $1 \
        AND c.deleted_at IS NULL AND t.expires_at > $2 AND t.compose_hash <> c.compose_hash \
        ORDER BY t.created_at DESC, c.id DESC LIMIT $3";
    let mut all: Vec<Pending> = Vec::new();
    for sql in [DOCUMENTS, CHANGES] {
        let rows = on_read!(db, |c| query_as::<_, PendingRow>(sql)
            .bind(app.to_string())
            .bind(now.micros())
            .bind(limit.max(0))
            .fetch_all(c))?;
        for row in rows {
            let one = read_pending(row)?;
            let same = |other: &&mut Pending| {
                (other.vm_uuid, other.compose_hash) == (one.vm_uuid, one.compose_hash)
            };
            match all.iter_mut().find(same) {
                Some(other) => other.created_at = other.created_at.max(one.created_at),
                None => all.push(one),
            }
        }
    }
    all.sort_by_key(|one| std::cmp::Reverse(one.created_at));
    all.truncate(usize::try_from(limit).unwrap_or(0));
    Ok(all)
}

/// UUID and name of a CVM, its document, the prepared one, its KMS, preparation time.
type PendingRow = (String, String, String, String, String, i64);

fn read_pending(row: PendingRow) -> Result<Pending, Error> {
    let (uuid, cvm_name, present, prepared, kms, created_at) = row;
    Ok(Pending {
        vm_uuid: uuid.parse().map_err(corrupt("cvms", "vm_uuid", &uuid))?,
        present: present.parse().map_err(corrupt("cvms", "compose_hash", &uuid))?,
        compose_hash: prepared.parse().map_err(corrupt("prepared", "compose_hash", &uuid))?,
        cvm_name,
        kms: KmsId(kms),
        created_at: Timestamp::from_micros(created_at),
    })
}
