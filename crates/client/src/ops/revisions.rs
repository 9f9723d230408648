use casemate_api::{
    reply::{
        AppRedeployed, PendingPreview, PendingUpdates, Redeployed, RevisionDetail, RevisionDiff,
        RevisionsPage,
    },
    revision::{AppRedeployRequest, RedeployRequest},
};
use reqwest::Method;

use super::{EnvGuard, cvms::paging};
use crate::{error::Error, http::Client};

impl Client {
    /// `GET /apps/{id}/revisions`, newest first; at most 1000 per page, default 50.
    pub async fn revisions(
        &self,
        app: &str,
        page: Option<u32>,
        page_size: Option<u32>,
    ) -> Result<RevisionsPage, Error> {
        self.get(&["apps", app, "revisions"], &paging(page, page_size)).await
    }

    /// `GET /apps/{id}/revisions/{rev}`. `raw`: with the document as the text that was hashed.
    pub async fn revision(
        &self,
        app: &str,
        revision: &str,
        raw: bool,
    ) -> Result<RevisionDetail, Error> {
        let query = if raw { vec![("raw_compose_file", "true".to_owned())] } else { Vec::new() };
        self.get(&["apps", app, "revisions", revision], &query).await
    }

    /// `GET /apps/{id}/revisions/{from}/diff/{to}` (Casemate only).
    pub async fn revision_diff(
        &self,
        app: &str,
        from: &str,
        to: &str,
    ) -> Result<RevisionDiff, Error> {
        self.get(&["apps", app, "revisions", from, "diff", to], &[]).await
    }

    /// `POST /cvms/{id}/revisions/{rev}/redeploy`: redeploys an earlier revision of its app.
    pub async fn redeploy_cvm(
        &self,
        cvm: &str,
        revision: &str,
        request: &RedeployRequest,
        guard: EnvGuard,
    ) -> Result<Redeployed, Error> {
        let parts = ["cvms", cvm, "revisions", revision, "redeploy"];
        self.ask(guard.on(self.changing(Method::POST, &parts)?.json(request)?)).await
    }

    /// `POST /apps/{id}/revisions/{rev}/redeploy`: the same on several CVMs.
    pub async fn redeploy_app(
        &self,
        app: &str,
        revision: &str,
        request: &AppRedeployRequest,
        guard: EnvGuard,
    ) -> Result<AppRedeployed, Error> {
        let parts = ["apps", app, "revisions", revision, "redeploy"];
        self.ask(guard.on(self.changing(Method::POST, &parts)?.json(request)?)).await
    }

    /// `GET /apps/{id}/pending-updates`: prepared documents that are not in force.
    pub async fn pending_updates(&self, app: &str) -> Result<PendingUpdates, Error> {
        self.get(&["apps", app, "pending-updates"], &[]).await
    }

    /// `GET /apps/{id}/pending-updates/{vm_uuid}/{compose_hash}/preview`.
    pub async fn pending_preview(
        &self,
        app: &str,
        vm_uuid: &str,
        compose_hash: &str,
    ) -> Result<PendingPreview, Error> {
        self.get(&["apps", app, "pending-updates", vm_uuid, compose_hash, "preview"], &[]).await
    }
}
