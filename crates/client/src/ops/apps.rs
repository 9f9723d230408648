use casemate_api::reply::{App, AppCvms, AppsPage, CvmInfo};

use crate::{error::Error, http::Client};

/// Page and filters of the apps.
#[derive(Debug, Clone, Default)]
pub struct AppsQuery {
    /// From 1.
    pub page: Option<u32>,
    /// At most 100.
    pub page_size: Option<u32>,
    /// [`AppsPage::next_cursor`] of the previous page, instead of `page`; Casemate only.
    pub cursor: Option<String>,
    /// A part of a name, an app id, or UUID or instance id of a CVM.
    pub search: Option<String>,
    /// Apps with a CVM in one of these states; empty: any.
    pub status: Vec<String>,
    /// Apps with a CVM that is, or is not, in the public directory.
    pub listed: Option<bool>,
    /// Apps with a CVM of this OS image.
    pub base_image: Option<String>,
    /// Apps with a CVM of this size.
    pub instance_type: Option<String>,
    /// Apps of this KMS.
    pub kms_slug: Option<String>,
    /// Apps of a KMS of this kind.
    pub kms_type: Option<String>,
    /// Apps with a CVM on the node of this name.
    pub node: Option<String>,
    /// Apps with a CVM in this region.
    pub region: Option<String>,
}

impl Client {
    /// `GET /apps`, one page.
    pub async fn apps(&self, query: &AppsQuery) -> Result<AppsPage, Error> {
        let mut pairs = super::cvms::paging(query.page, query.page_size);
        pairs.extend(query.status.iter().map(|status| ("status", status.clone())));
        pairs.extend(query.listed.map(|listed| ("listed", listed.to_string())));
        let texts = [
            ("cursor", &query.cursor),
            ("search", &query.search),
            ("base_image", &query.base_image),
            ("instance_type", &query.instance_type),
            ("kms_slug", &query.kms_slug),
            ("kms_type", &query.kms_type),
            ("node", &query.node),
            ("region", &query.region),
        ];
        let given = texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?)));
        pairs.extend(given);
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

    /// `GET /apps/{id}/cvms` for API versions from 2026-01-21 on.
    pub async fn app_cvm_infos(&self, app: &str) -> Result<Vec<CvmInfo>, Error> {
        match self.app_cvms(app).await? {
            AppCvms::Nested(all) => Ok(all),
            AppCvms::Hosted(_) => Err(super::cvms::too_old(&format!("GET /apps/{app}/cvms"))),
        }
    }
}
