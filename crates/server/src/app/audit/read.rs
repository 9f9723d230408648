//! Reading the audit log: pages and exports. A page looks at a bounded number of rows, so one with a filter that fits few
//! rows may be short and still have a next one.

use casemate_api::{
    audit::{AuditActor, AuditActorKind, AuditEntry, AuditPage, AuditTarget},
    page::bad_cursor,
};
use casemate_core::{id::WorkspaceId, time::Timestamp};
use casemate_store::audit::{AuditRange, AuditRow, newest};
use futures_util::{Stream, StreamExt, stream};

use crate::app::{Ctx, Error};

/// Behind every id.
pub const END: &str = "g";
/// Rows of one statement.
const BATCH: usize = 200;
/// Rows that one page looks at.
const MOST_LOOKED_AT: usize = 5_000;

/// Which rows.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// `None`: all workspaces and the installation.
    pub workspace: Option<WorkspaceId>,
    /// A username, a `usr_…` id, or `host`.
    pub actor: Option<String>,
    /// An operation id.
    pub action: Option<String>,
    /// The id of a target, its kind, or `kind/id`.
    pub target: Option<String>,
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// Whether it was done; `None`: either.
    pub succeeded: Option<bool>,
}

impl AuditFilter {
    fn range(&self, before: Option<String>) -> AuditRange {
        AuditRange {
            workspace: self.workspace,
            from: self.from.map_or_else(String::new, first_id),
            before: before.or_else(|| self.to.map(first_id)).unwrap_or_else(|| END.to_owned()),
        }
    }

    fn fits(&self, row: &AuditRow) -> bool {
        let is = |wanted: &Option<String>, fits: &dyn Fn(&str) -> bool| {
            wanted.as_deref().is_none_or(fits)
        };
        let by = |wanted: &str| {
            let id = row.user_id.map(|id| format!("usr_{id}"));
            id.is_some() && (row.username == wanted || id.as_deref() == Some(wanted))
                || row.actor == "host" && wanted == "host"
        };
        let on = |wanted: &str| {
            let id = row.target_id.as_deref();
            row.target_kind == wanted
                || id == Some(wanted)
                || wanted
                    .split_once('/')
                    .is_some_and(|(kind, of)| kind == row.target_kind && id == Some(of))
        };
        is(&self.actor, &by)
            && is(&self.action, &|wanted| row.action == wanted)
            && is(&self.target, &on)
            && self.succeeded.is_none_or(|wanted| wanted == (row.status < 400))
    }
}

/// The least version 7 UUID of this millisecond.
fn first_id(at: Timestamp) -> String {
    let millis = u64::try_from(at.micros() / 1000).unwrap_or(0);
    let hex = format!("{millis:012x}");
    format!("{}-{}-7000-8000-000000000000", &hex[..8], &hex[8..12])
}

/// A page of at most `limit` rows, newest first.
pub async fn page(
    ctx: &Ctx,
    filter: &AuditFilter,
    cursor: Option<&str>,
    limit: usize,
) -> Result<AuditPage, Error> {
    let cursor = cursor.filter(|text| !text.is_empty()).map(read_cursor).transpose()?;
    let mut batch = Batch { before: cursor, ended: false };
    let (mut items, mut looked_at) = (Vec::new(), 0);
    let mut last = None;
    'page: while !batch.ended && looked_at < MOST_LOOKED_AT {
        for row in batch.read(ctx, filter).await? {
            looked_at += 1;
            last = Some(row.id.clone());
            if filter.fits(&row) {
                items.push(entry(row));
            }
            if items.len() == limit {
                // Where it ended exactly there, the next page is empty.
                return Ok(AuditPage { items, next_cursor: last });
            }
            if looked_at == MOST_LOOKED_AT {
                break 'page;
            }
        }
    }
    let next = if batch.ended { None } else { last };
    Ok(AuditPage { items, next_cursor: next })
}

/// A cursor is the id of the last row of the page before.
fn read_cursor(text: &str) -> Result<String, Error> {
    let is_id =
        text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_id { Ok(text.to_owned()) } else { Err(Error::Invalid(vec![bad_cursor(text)])) }
}

/// Where a reader is.
#[derive(Debug, Default)]
struct Batch {
    /// Id of the last row that was read.
    before: Option<String>,
    ended: bool,
}

impl Batch {
    async fn read(&mut self, ctx: &Ctx, filter: &AuditFilter) -> Result<Vec<AuditRow>, Error> {
        let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
        let rows = newest(&ctx.db, &filter.range(self.before.take()), limit).await?;
        self.ended = rows.len() < BATCH;
        self.before = rows.last().map(|row| row.id.clone());
        Ok(rows)
    }
}

/// All rows that fit, newest first: lines of JSON. One batch is in memory.
pub fn export(ctx: Ctx, filter: AuditFilter) -> impl Stream<Item = Result<String, Error>> + Send {
    let start = (ctx, filter, Batch::default());
    let parts = stream::try_unfold(start, async |(ctx, filter, mut batch)| {
        if batch.ended {
            return Ok(None);
        }
        let mut text = String::new();
        for row in batch.read(&ctx, &filter).await? {
            if filter.fits(&row) {
                text.push_str(&serde_json::to_string(&entry(row)).unwrap_or_default());
                text.push('\n');
            }
        }
        Ok(Some((text, (ctx, filter, batch))))
    });
    parts.filter(|part| {
        let is_wanted = part.as_ref().map_or(true, |text| !text.is_empty());
        std::future::ready(is_wanted)
    })
}

fn entry(row: AuditRow) -> AuditEntry {
    let json = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
    let kind = match (&*row.actor, row.user_kind.as_deref()) {
        ("host", _) => AuditActorKind::Host,
        ("user", Some("service")) => AuditActorKind::Service,
        ("user", _) => AuditActorKind::Person,
        _ => AuditActorKind::Anonymous,
    };
    AuditEntry {
        id: row.id,
        at: Timestamp::from_micros(row.at).to_string(),
        actor: AuditActor {
            kind,
            id: row.user_id.map(|id| format!("usr_{id}")),
            username: Some(row.username).filter(|name| !name.is_empty()),
        },
        key_id: row.key_id,
        address: row.address,
        request_id: row.request_id,
        workspace: row.workspace,
        action: row.action,
        target: AuditTarget { kind: row.target_kind, id: row.target_id },
        before: json(row.state_before),
        after: json(row.state_after),
        status: u16::try_from(row.status).unwrap_or(0),
        error_code: row.error_code,
        replayed: row.replayed,
    }
}
