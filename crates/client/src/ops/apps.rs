use casemate_api::reply::{App, AppCvms, AppsPage};

use crate::{error::Error, http::Client};

/// Which part of the apps.
#[derive(Debug, Clone, Default)]
pub struct AppsQuery {
    /// From 1.
    pub page: Option<u32>,
    /// At most 100.
    pub page_size: Option<u32>,
    /// A part of a name or app id.
    pub search: Option<String>,
}

impl Client {
    /// `GET /apps`, a page.
    pub async fn apps(&self, query: &AppsQuery) -> Result<AppsPage, Error> {
        let mut pairs = super::cvms::paging(query.page, query.page_size);
        pairs.extend(query.search.clone().map(|search| ("search", search)));
        self.get(&["apps"], &pairs).await
    }

    /// `GET /apps/{id}`.
    pub async fn app(&self, app: &str) -> Result<App, Error> {
        self.get(&["apps", app], &[]).await
    }

    /// `GET /apps/{id}/cvms`.
    pub async fn app_cvms(&self, app: &str) -> Result<AppCvms, Error> {
        self.get(&["apps", app, "cvms"], &[]).await
    }
}
