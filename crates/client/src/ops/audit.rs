use casemate_api::audit::AuditPage;

use crate::{error::Error, http::Client, logs::LogStream};

/// Which rows of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// A username, a `usr_…` id, or `host`.
    pub actor: Option<String>,
    /// An operation id.
    pub action: Option<String>,
    /// The id of a target, its kind, or `kind/id`.
    pub target: Option<String>,
    /// At or after this time, RFC 3339.
    pub from: Option<String>,
    /// Before this time, RFC 3339.
    pub to: Option<String>,
    /// `ok` or `refused`.
    pub result: Option<String>,
}

impl AuditQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let Self { actor, action, target, from, to, result } = self;
        let all = [
            ("actor", actor),
            ("action", action),
            ("target", target),
            ("from", from),
            ("to", to),
            ("result", result),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

/// The audit log. Casemate only.
impl Client {
    /// `GET /casemate/audit`, or of all workspaces `GET /admin/audit`: newest first, from a cursor on.
    pub async fn audit_page(
        &self,
        everywhere: bool,
        query: &AuditQuery,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        let mut pairs = query.pairs();
        pairs.push(("limit", limit.to_string()));
        pairs.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        let base = if everywhere { "admin" } else { "casemate" };
        self.get(&[base, "audit"], &pairs).await
    }

    /// `GET …/audit/export`: JSON, one object a line.
    pub async fn audit_export(
        &self,
        everywhere: bool,
        query: &AuditQuery,
    ) -> Result<LogStream, Error> {
        let base = if everywhere { "admin" } else { "casemate" };
        let call = self.reading(&[base, "audit", "export"], &query.pairs())?;
        let response = self.open(&call, "application/x-ndjson").await?;
        Ok(LogStream { response, call: call.name })
    }
}
