//! What guests showed about themselves, and requests for it.

use casemate_core::{
    attestation::GuestEvidence,
    cvm::EngineState,
    id::{AppId, CvmId, NodeId, WorkspaceId},
    registration::EvidenceState,
    stored,
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{
    Db, Error, Tx,
    cvms::Cvm,
    error::{corrupt, unreadable},
};

/// Evidence as it was collected or uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// SHA-256 of the quote, 64 hex digits.
    pub checksum: String,
    /// `None`: somebody uploaded it.
    pub cvm: Option<CvmId>,
    /// The boot that showed it ([`boot_of`]).
    pub boot: String,
    pub collected_at: Timestamp,
    /// What the quote was asked to contain, hex.
    pub nonce: Option<String>,
    pub evidence: GuestEvidence,
    /// What a verifier found.
    pub verdict: Option<Judged>,
}

/// What a verifier found in evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// JSON.
    pub verdict: String,
    pub accepted: bool,
    pub at: Timestamp,
}

/// Names the present boot of a CVM: its VM, its run, the configuration that its node has, and the start, where
/// the node tells it.
pub fn boot_of(cvm: &Cvm) -> String {
    let vm = match &cvm.status.engine {
        EngineState::Present { vm } => vm.0.as_str(),
        EngineState::Absent | EngineState::Creating { .. } => "",
    };
    let started = cvm.status.observed.as_ref().and_then(|vm| vm.started_at);
    let started = started.map_or(0, Timestamp::micros);
    format!("{vm}/{}/{}/{started}", cvm.status.run, cvm.status.pushed)
}

/// The newest evidence of a CVM, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestBoot {
    pub cvm: CvmId,
    /// The boot that showed it ([`boot_of`]).
    pub boot: String,
    pub collected_at: Timestamp,
    /// `None`: nothing was verified.
    pub accepted: Option<bool>,
}

#[derive(sqlx::FromRow)]
struct Row {
    checksum: String,
    cvm_id: Option<i64>,
    boot: String,
    collected_at: i64,
    nonce: Option<String>,
    evidence: String,
    verdict: Option<String>,
    verified_at: Option<i64>,
    accepted: Option<bool>,
}

const COLUMNS: &str = "SELECT e.checksum, e.cvm_id, e.boot, e.collected_at, e.nonce, e.evidence, e.verdict, e.verified_at, e.accepted FROM evidence e";

impl Row {
    fn read(self) -> Result<Collected, Error> {
        let evidence = stored::read(&self.evidence);
        let judged = self.verdict.zip(self.verified_at);
        Ok(Collected {
            evidence: evidence.map_err(unreadable("evidence", "evidence", &self.checksum))?,
            checksum: self.checksum,
            cvm: self.cvm_id.map(CvmId),
            boot: self.boot,
            collected_at: Timestamp::from_micros(self.collected_at),
            nonce: self.nonce,
            verdict: judged.map(|(verdict, at)| Judged {
                verdict,
                accepted: self.accepted.unwrap_or(false),
                at: Timestamp::from_micros(at),
            }),
        })
    }
}

/// The newest evidence of each of these CVMs.
pub async fn newest(db: &Db, cvms: &[CvmId]) -> Result<Vec<Collected>, Error> {
    let sql = format!(
        "{COLUMNS} JOIN ({}) AS list ON e.cvm_id = CAST(list.value AS BIGINT) WHERE e.checksum = \
         (SELECT n.checksum FROM evidence n WHERE n.cvm_id = e.cvm_id ORDER BY n.collected_at DESC, n.checksum LIMIT 1)",
        db.dialect().elements()
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(list(cvms))
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// The newest evidence of each of these CVMs, without its text.
pub async fn newest_boots(db: &Db, cvms: &[CvmId]) -> Result<Vec<NewestBoot>, Error> {
    let sql = format!(
        "SELECT e.cvm_id, e.boot, e.collected_at, e.accepted FROM evidence e \
         JOIN ({}) AS list ON e.cvm_id = CAST(list.value AS BIGINT) WHERE e.checksum = \
         (SELECT n.checksum FROM evidence n WHERE n.cvm_id = e.cvm_id ORDER BY n.collected_at DESC, n.checksum LIMIT 1)",
        db.dialect().elements()
    );
    let rows = on_read!(db, |c| query_as::<_, (i64, String, i64, Option<bool>)>(
        sqlx::AssertSqlSafe(sql)
    )
    .bind(list(cvms))
    .fetch_all(c))?;
    let read = |(cvm, boot, at, accepted)| NewestBoot {
        cvm: CvmId(cvm),
        boot,
        collected_at: Timestamp::from_micros(at),
        accepted,
    };
    Ok(rows.into_iter().map(read).collect())
}

/// What these CVMs of an app have shown, if the app or its workspace requires it; in their order.
pub async fn states<'a>(
    db: &Db,
    app: &AppId,
    cvms: impl IntoIterator<Item = &'a Cvm>,
) -> Result<Vec<EvidenceState>, Error> {
    let cvms: Vec<&Cvm> = cvms.into_iter().collect();
    if cvms.is_empty() || !is_required(db, app).await? {
        return Ok(vec![EvidenceState::NotRequired; cvms.len()]);
    }
    let ids: Vec<CvmId> = cvms.iter().map(|cvm| cvm.id).collect();
    let newest = newest_boots(db, &ids).await?;
    let state = |cvm: &&Cvm| {
        let own = newest.iter().find(|one| one.cvm == cvm.id && one.boot == boot_of(cvm));
        match own.and_then(|one| one.accepted) {
            Some(true) => EvidenceState::Accepted,
            Some(false) => EvidenceState::Refused,
            None => EvidenceState::NotSeen,
        }
    };
    Ok(cvms.iter().map(state).collect())
}

fn list(cvms: &[CvmId]) -> String {
    let ids: Vec<i64> = cvms.iter().map(|cvm| cvm.0).collect();
    serde_json::to_string(&ids).unwrap_or_default()
}

/// The evidence with this checksum.
pub async fn of_checksum(db: &Db, checksum: &str) -> Result<Option<Collected>, Error> {
    let sql = format!("{COLUMNS} WHERE e.checksum = $1");
    let row = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(checksum)
        .fetch_optional(c))?;
    row.map(Row::read).transpose()
}

/// Whether an app's instances need accepted evidence to get its requests: because of the app or of its workspace.
pub async fn is_required(db: &Db, app: &AppId) -> Result<bool, Error> {
    const SQL: &str = "SELECT apps.requires_evidence OR workspaces.requires_evidence FROM apps \
        JOIN workspaces ON workspaces.id = apps.workspace_id WHERE apps.app_id = $1";
    let app = app.to_string();
    let found = on_read!(db, |c| query_scalar::<_, bool>(SQL).bind(&app).fetch_optional(c))?;
    Ok(found.unwrap_or(false))
}

/// Uploaded evidence, newest first.
pub async fn uploads(db: &Db, skip: i64, limit: i64) -> Result<Vec<Collected>, Error> {
    let sql = format!(
        "{COLUMNS} WHERE e.cvm_id IS NULL ORDER BY e.collected_at DESC, e.checksum LIMIT $1 OFFSET $2"
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(limit.max(0))
        .bind(skip.max(0))
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// A request for evidence.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Request {
    pub id: String,
    pub cvm_id: i64,
    pub node_id: i64,
    /// 128 hex digits; `None`: any.
    pub nonce: Option<String>,
    /// Microseconds.
    pub requested_at: i64,
    /// Microseconds; `None`: open.
    pub answered_at: Option<i64>,
    /// Of the evidence.
    pub checksum: Option<String>,
    /// Why there is none.
    pub message: Option<String>,
}

/// A request by its id.
pub async fn request(db: &Db, id: &str) -> Result<Option<Request>, Error> {
    const SQL: &str = "SELECT id, cvm_id, node_id, nonce, requested_at, answered_at, checksum, message \
        FROM evidence_requests WHERE id = $1";
    on_read!(db, |c| query_as::<_, Request>(SQL).bind(id).fetch_optional(c))
}

/// The open requests about CVMs of these nodes, oldest first.
pub async fn open_requests(db: &Db, nodes: &[NodeId], limit: i64) -> Result<Vec<Request>, Error> {
    let sql = format!(
        "SELECT id, cvm_id, node_id, nonce, requested_at, answered_at, checksum, message \
         FROM evidence_requests WHERE answered_at IS NULL \
         AND node_id IN (SELECT CAST(list.value AS BIGINT) FROM ({}) AS list) \
         ORDER BY requested_at, id LIMIT $2",
        db.dialect().elements()
    );
    let ids: Vec<i64> = nodes.iter().map(|node| node.0).collect();
    on_read!(db, |c| query_as::<_, Request>(sqlx::AssertSqlSafe(sql))
        .bind(serde_json::to_string(&ids).unwrap_or_default())
        .bind(limit.max(0))
        .fetch_all(c))
}

impl Tx {
    /// Inserts evidence, or renews the time of the same evidence. An upload takes nothing from a CVM. Of a
    /// CVM's, or of all uploads, the newest `keep` stay.
    pub async fn insert_evidence(&mut self, new: &Collected, keep: i64) -> Result<(), Error> {
        const INSERT: &str = "INSERT INTO evidence \
            (checksum, cvm_id, boot, collected_at, nonce, evidence, verdict, verified_at, accepted) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (checksum) DO UPDATE SET \
            collected_at = excluded.collected_at, boot = excluded.boot, nonce = excluded.nonce, \
            evidence = excluded.evidence, verdict = excluded.verdict, verified_at = excluded.verified_at, \
            accepted = excluded.accepted, \
            cvm_id = excluded.cvm_id WHERE excluded.cvm_id IS NOT NULL OR evidence.cvm_id IS NULL";
        const PRUNE_CVM: &str = "DELETE FROM evidence WHERE cvm_id = $1 AND checksum NOT IN \
            (SELECT checksum FROM evidence WHERE cvm_id = $1 \
            ORDER BY collected_at DESC, checksum LIMIT $2)";
        const PRUNE_UPLOADS: &str = "DELETE FROM evidence WHERE cvm_id IS NULL AND checksum NOT IN \
            (SELECT checksum FROM evidence WHERE cvm_id IS NULL \
            ORDER BY collected_at DESC, checksum LIMIT $1)";
        let json =
            stored::write(&new.evidence).map_err(corrupt("evidence", "evidence", &new.checksum))?;
        let judged = new.verdict.as_ref();
        exec_tx!(
            self,
            query(INSERT)
                .bind(&new.checksum)
                .bind(new.cvm.map(|cvm| cvm.0))
                .bind(&new.boot)
                .bind(new.collected_at.micros())
                .bind(&new.nonce)
                .bind(&json)
                .bind(judged.map(|judged| &judged.verdict))
                .bind(judged.map(|judged| judged.at.micros()))
                .bind(judged.map(|judged| judged.accepted))
        )?;
        let keep = keep.max(1);
        match new.cvm {
            Some(cvm) => exec_tx!(self, query(PRUNE_CVM).bind(cvm.0).bind(keep)),
            None => exec_tx!(self, query(PRUNE_UPLOADS).bind(keep)),
        }
        .map(drop)
    }

    /// Says whether an app's instances need accepted evidence to get its requests. `false`: the workspace has no
    /// such app with live CVMs.
    pub async fn require_evidence(
        &mut self,
        workspace: WorkspaceId,
        app: &AppId,
        required: bool,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE apps SET requires_evidence = $3 \
            WHERE app_id = $1 AND workspace_id = $2 AND live > 0";
        let app = app.to_string();
        let changed = exec_tx!(self, query(SQL).bind(app).bind(workspace.0).bind(required))?;
        Ok(changed == 1)
    }

    /// Inserts a request.
    pub async fn request_evidence(&mut self, new: &Request) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO evidence_requests (id, cvm_id, node_id, nonce, requested_at) \
            VALUES ($1, $2, $3, $4, $5)";
        exec_tx!(
            self,
            query(SQL)
                .bind(&new.id)
                .bind(new.cvm_id)
                .bind(new.node_id)
                .bind(&new.nonce)
                .bind(new.requested_at)
        )
        .map(drop)
    }

    /// The number of open requests about a CVM.
    pub async fn open_evidence_requests(&mut self, cvm: CvmId) -> Result<i64, Error> {
        const SQL: &str =
            "SELECT COUNT(*) FROM evidence_requests WHERE cvm_id = $1 AND answered_at IS NULL";
        let row: (i64,) = on_tx!(self, |c| query_as(SQL).bind(cvm.0).fetch_one(c))?;
        Ok(row.0)
    }

    /// Answers an open request: with the checksum of evidence, or with why there is none.
    pub async fn answer_evidence_request(
        &mut self,
        id: &str,
        answer: Result<&str, &str>,
        at: Timestamp,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE evidence_requests SET answered_at = $2, checksum = $3, message = $4 \
            WHERE id = $1 AND answered_at IS NULL";
        let (checksum, message) = (answer.ok(), answer.err());
        let done =
            exec_tx!(self, query(SQL).bind(id).bind(at.micros()).bind(checksum).bind(message))?;
        Ok(done == 1)
    }

    /// Deletes requests from before this time, and evidence from before it of deleted CVMs.
    pub async fn forget_evidence(&mut self, before: Timestamp) -> Result<(), Error> {
        const REQUESTS: &str = "DELETE FROM evidence_requests WHERE requested_at < $1";
        const EVIDENCE: &str = "DELETE FROM evidence WHERE collected_at < $1 AND cvm_id IN \
            (SELECT id FROM cvms WHERE deleted_at IS NOT NULL)";
        exec_tx!(self, query(REQUESTS).bind(before.micros()))?;
        exec_tx!(self, query(EVIDENCE).bind(before.micros())).map(drop)
    }
}
