//! Readiness checks that the app's workspace declared. Checks declared in a compose file are in `cvms.spec`
//! and apply only if none is declared here.

use casemate_core::{
    id::{AppId, WorkspaceId},
    ready::Check,
    stored,
};
use sqlx::{query, query_scalar};

use crate::{
    Db, Error, Tx,
    error::{corrupt, unreadable},
};

/// The declared check of an app; `None`: none, or no such app.
pub async fn of_app(db: &Db, app: &AppId) -> Result<Option<Check>, Error> {
    const SQL: &str = "SELECT readiness FROM apps WHERE app_id = $1";
    let app = app.to_string();
    let text =
        on_read!(db, |c| query_scalar::<_, Option<String>>(SQL).bind(&app).fetch_optional(c))?;
    let read = |text: String| stored::read(&text);
    text.flatten().map(read).transpose().map_err(unreadable("apps", "readiness", app))
}

impl Tx {
    /// Declares or removes the check of an app. `false`: the workspace has no such app with live CVMs.
    pub async fn declare_readiness(
        &mut self,
        workspace: WorkspaceId,
        app: &AppId,
        check: Option<&Check>,
    ) -> Result<bool, Error> {
        const SQL: &str =
            "UPDATE apps SET readiness = $3 WHERE app_id = $1 AND workspace_id = $2 AND live > 0";
        let app = app.to_string();
        let text = check.map(stored::write).transpose();
        let text = text.map_err(corrupt("apps", "readiness", &app))?;
        let changed = exec_tx!(self, query(SQL).bind(app).bind(workspace.0).bind(text))?;
        Ok(changed == 1)
    }
}
