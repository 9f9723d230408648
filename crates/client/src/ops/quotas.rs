use casemate_api::quota::{QuotaOverride, WorkspaceQuota, WorkspaceQuotas};
use reqwest::Method;

use crate::{error::Error, http::Client};

/// What workspaces may take.
impl Client {
    /// `GET /workspaces/{slug}/quotas`.
    pub async fn quotas(&self, slug: &str) -> Result<WorkspaceQuotas, Error> {
        self.get(&["workspaces", slug, "quotas"], &[]).await
    }

    /// `GET /admin/workspaces/{slug}/quota`. Casemate only.
    pub async fn workspace_quota(&self, slug: &str) -> Result<WorkspaceQuota, Error> {
        self.get(&["admin", "workspaces", slug, "quota"], &[]).await
    }

    /// `PUT /admin/workspaces/{slug}/quota`: what is `None` is as configured for all. Casemate only.
    pub async fn set_workspace_quota(
        &self,
        slug: &str,
        quota: &QuotaOverride,
    ) -> Result<WorkspaceQuota, Error> {
        let call = self.changing(Method::PUT, &["admin", "workspaces", slug, "quota"])?;
        self.ask(call.json(quota)?).await
    }
}
