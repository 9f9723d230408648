//! Changes prepared for approval by contracts. Each is committed at most once. A token is a credential, so
//! only its SHA-256 is stored.
//!
//! A new prepared update of a CVM supersedes those before. One whose token nobody was told supersedes only those
//! of which the same is true: somebody else may hold the token of another. Prepared replicas do not supersede each
//! other.

use std::{collections::BTreeSet, fmt};

use casemate_core::{
    id::{AppId, ComposeHash, CvmId, OperationId, UserId, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as};

use crate::{Db, Error, Tx, error::corrupt, provisions::GRACE_MICROS};

/// SHA-256 of a token, 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub String);

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is created by the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new configuration of a CVM.
    Update,
    /// A replica of a CVM.
    Replica,
    /// A replica in an app.
    Instance,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Update, Self::Replica, Self::Instance];

    /// The word in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Replica => "replica",
            Self::Instance => "instance",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A preparation to insert.
#[derive(Debug, Clone)]
pub struct NewPreparation<'a> {
    pub hash: &'a TokenHash,
    pub kind: Kind,
    pub workspace: WorkspaceId,
    /// The CVM to change, or the template of the replica.
    pub cvm: CvmId,
    pub app: AppId,
    /// The document that contracts must allow; it must be stored already.
    pub compose_hash: ComposeHash,
    /// The chain of the contracts.
    pub chain_id: u64,
    /// Digest of the configuration that the change was prepared on.
    pub base: &'a str,
    /// The request, as JSON.
    pub request: &'a str,
    pub by: UserId,
    /// Whether the client is told the token.
    pub told: bool,
    /// When the token expires.
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preparation {
    pub hash: TokenHash,
    pub kind: Kind,
    pub workspace: WorkspaceId,
    /// The CVM to change, or the template of the replica.
    pub cvm: CvmId,
    pub app: AppId,
    /// The document that contracts must allow.
    pub compose_hash: ComposeHash,
    /// The chain of the contracts.
    pub chain_id: u64,
    /// Digest of the configuration that the change was prepared on.
    pub base: String,
    pub created_by: UserId,
    pub created_at: Timestamp,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// When a newer preparation superseded it.
    pub superseded_at: Option<Timestamp>,
    /// When it was committed.
    pub used_at: Option<Timestamp>,
    /// The operation that the commit created.
    pub operation: Option<OperationId>,
    /// The CVM that the commit created.
    pub made: Option<CvmId>,
    /// The request, as JSON; `None` once it can no longer be committed.
    pub request: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    hash: String,
    kind: String,
    workspace_id: i64,
    cvm_id: i64,
    app_id: String,
    compose_hash: String,
    chain_id: i64,
    base: String,
    created_by: i64,
    created_at: i64,
    expires_at: i64,
    superseded_at: Option<i64>,
    used_at: Option<i64>,
    operation_id: Option<String>,
    made_cvm_id: Option<i64>,
    request: Option<String>,
}

/// Errors name the row by its CVM: hashes of credentials must not get into logs.
fn corrupt_column<E: fmt::Display>(column: &'static str, cvm: i64) -> impl FnOnce(E) -> Error {
    corrupt("commit_tokens", column, format!("cvm {cvm}"))
}

impl Row {
    fn read(self) -> Result<Preparation, Error> {
        let cvm = self.cvm_id;
        Ok(Preparation {
            kind: Kind::parse(&self.kind).ok_or(self.kind).map_err(corrupt_column("kind", cvm))?,
            workspace: WorkspaceId(self.workspace_id),
            cvm: CvmId(cvm),
            app: self.app_id.parse().map_err(corrupt_column("app_id", cvm))?,
            compose_hash: self.compose_hash.parse().map_err(corrupt_column("compose_hash", cvm))?,
            chain_id: u64::try_from(self.chain_id).map_err(corrupt_column("chain_id", cvm))?,
            base: self.base,
            created_by: UserId(self.created_by),
            created_at: Timestamp::from_micros(self.created_at),
            expires_at: Timestamp::from_micros(self.expires_at),
            superseded_at: self.superseded_at.map(Timestamp::from_micros),
            used_at: self.used_at.map(Timestamp::from_micros),
            operation: self
                .operation_id
                .map(|id| id.parse())
                .transpose()
                .map_err(corrupt_column("operation_id", cvm))?,
            made: self.made_cvm_id.map(CvmId),
            request: self.request,
            hash: TokenHash(self.hash),
        })
    }
}

const COLUMNS: &str = "SELECT hash, kind, workspace_id, cvm_id, app_id, compose_hash, chain_id, base, \
    created_by, created_at, expires_at, superseded_at, used_at, operation_id, made_cvm_id, request \
    FROM commit_tokens";

/// The preparation of a token, in any state.
pub async fn by_token(db: &Db, hash: &TokenHash) -> Result<Option<Preparation>, Error> {
    let sql = format!("{COLUMNS} WHERE hash = $1");
    let row = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(&hash.0)
        .fetch_optional(c))?;
    row.map(Row::read).transpose()
}

/// The prepared update of a CVM that somebody means who names this document: the newest one with it that can
/// still be committed, else the newest one with it, else the newest. In any state.
pub async fn update_of(
    db: &Db,
    cvm: CvmId,
    document: Option<&ComposeHash>,
) -> Result<Option<Preparation>, Error> {
    let sql = format!(
        "{COLUMNS} WHERE cvm_id = $1 AND kind = 'update' \
        ORDER BY CASE WHEN compose_hash <> $2 THEN 2 \
        WHEN superseded_at IS NULL AND used_at IS NULL THEN 0 ELSE 1 END, seq DESC LIMIT 1"
    );
    let document = document.map(ToString::to_string).unwrap_or_default();
    let row = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(cvm.0)
        .bind(document)
        .fetch_optional(c))?;
    row.map(Row::read).transpose()
}

impl Tx {
    /// The preparation of a token, as this transaction sees it.
    pub async fn preparation(&mut self, hash: &TokenHash) -> Result<Option<Preparation>, Error> {
        let sql = format!("{COLUMNS} WHERE hash = $1");
        let row = on_tx!(self, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
            .bind(&hash.0)
            .fetch_optional(c))?;
        row.map(Row::read).transpose()
    }

    /// Stores a preparation. The CVM must be locked. An update supersedes those before, one that is not told only
    /// those that were not told.
    pub async fn keep_preparation(
        &mut self,
        new: &NewPreparation<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SUPERSEDE: &str = "UPDATE commit_tokens SET superseded_at = $2, request = NULL \
            WHERE cvm_id = $1 AND kind = 'update' AND superseded_at IS NULL AND used_at IS NULL \
            AND ($3 OR NOT told)";
        const SQL: &str = "INSERT INTO commit_tokens (hash, kind, workspace_id, cvm_id, app_id, \
            compose_hash, chain_id, base, created_by, created_at, expires_at, request, told, seq) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, (SELECT COALESCE(MAX(seq), 0) + 1 \
            FROM commit_tokens WHERE cvm_id = $4 AND kind = $2))";
        if new.kind == Kind::Update {
            exec_tx!(self, query(SUPERSEDE).bind(new.cvm.0).bind(now.micros()).bind(new.told))?;
        }
        let chain_id =
            i64::try_from(new.chain_id).map_err(corrupt_column("chain_id", new.cvm.0))?;
        exec_tx!(
            self,
            query(SQL)
                .bind(&new.hash.0)
                .bind(new.kind.as_str())
                .bind(new.workspace.0)
                .bind(new.cvm.0)
                .bind(new.app.to_string())
                .bind(new.compose_hash.to_string())
                .bind(chain_id)
                .bind(new.base)
                .bind(new.by.0)
                .bind(now.micros())
                .bind(new.expires_at.micros())
                .bind(new.request)
                .bind(new.told)
        )
        .map(drop)
    }

    /// Marks a preparation as committed, with the operation or CVM created. `false`: it was committed,
    /// superseded or expired, and nothing was changed.
    pub async fn use_preparation(
        &mut self,
        hash: &TokenHash,
        operation: OperationId,
        made: Option<CvmId>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE commit_tokens SET used_at = $2, operation_id = $3, \
            made_cvm_id = $4, request = NULL WHERE hash = $1 AND used_at IS NULL \
            AND superseded_at IS NULL AND expires_at > $2";
        let used = exec_tx!(
            self,
            query(SQL)
                .bind(&hash.0)
                .bind(now.micros())
                .bind(operation.to_string())
                .bind(made.map(|cvm| cvm.0))
        )?;
        Ok(used == 1)
    }

    /// Deletes preparations that expired before a time, and documents that are no longer referenced. The
    /// number per call is bounded; returns how many were deleted.
    pub async fn expire_preparations(
        &mut self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Error> {
        const SQL: &str = "DELETE FROM commit_tokens WHERE hash IN \
            (SELECT hash FROM commit_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT 500) \
            RETURNING compose_hash";
        let gone =
            on_tx!(self, |c| query_as::<_, (String,)>(SQL).bind(before.micros()).fetch_all(c))?;
        let documents: BTreeSet<String> = gone.iter().map(|(hash,)| hash.clone()).collect();
        if !documents.is_empty() {
            self.forget_documents(&documents, now.micros().saturating_sub(GRACE_MICROS)).await?;
        }
        Ok(u64::try_from(gone.len()).unwrap_or(0))
    }
}
