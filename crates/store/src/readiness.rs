//! What an app's workspace declared of when an instance of it takes requests. What a compose file
//! declares is in `cvms.spec`, and counts where nothing is declared here.

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

/// The check that was declared for an app; `None`: none was, or there is no such app.
pub async fn of_app(db: &Db, app: &AppId) -> Result<Option<Check>, Error> {
    const SQL: &str = "SELECT readiness FROM apps WHERE app_id = $1";
    let app = app.to_string();
    let text =
        on_read!(db, |c| query_scalar::<_, Option<String>>(SQL).bind(&app).fetch_optional(c))?;
    let read = |text: String| stored::read(&text);
    text.flatten().map(read).transpose().map_err(unreadable("apps", "readiness", app))
}

impl Tx {
    /// Declares the check of an app, or takes it back. `false`: the workspace has no such app with live
    /// CVMs.
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
