use casemate_api::{
    reply::{CvmDetail, CvmInfo, CvmListItem, CvmState, CvmsPage, StatusBatch},
    status_batch::StatusBatchRequest,
};
use serde_json::Value;

use crate::{error::Error, http::Client};

/// Maximum page size.
const PAGE: u32 = 100;
/// Maximum number of pages read by [`Client::all_cvms`].
const MAX_PAGES: u32 = 1000;

/// Page and filter of the CVMs.
#[derive(Debug, Clone, Default)]
pub struct CvmsQuery {
    /// From 1; instead of `cursor`.
    pub page: Option<u32>,
    /// [`CvmsPage::next_cursor`] of the previous page; Casemate only.
    pub cursor: Option<String>,
    /// At most 100.
    pub page_size: Option<u32>,
    /// Only this node.
    pub node_id: Option<i64>,
}

/// Query parameters of a page.
pub(super) fn paging(page: Option<u32>, page_size: Option<u32>) -> Vec<(&'static str, String)> {
    let page = page.map(|page| ("page", page.to_string()));
    page.into_iter().chain(page_size.map(|size| ("page_size", size.to_string()))).collect()
}

/// The nested object, which all versions except the first send.
fn nested(info: Option<CvmInfo>, call: &str) -> Result<CvmInfo, Error> {
    info.ok_or_else(|| too_old(call))
}

/// The error for a reply of the first version.
pub(super) fn too_old(call: &str) -> Error {
    Error::Decode {
        call: call.to_owned(),
        reason: "it has the shape of API version 2025-10-28".to_owned(),
    }
}

impl Client {
    /// `GET /cvms/paginated`, newest first.
    pub async fn cvms(&self, query: &CvmsQuery) -> Result<CvmsPage, Error> {
        let mut pairs = paging(query.page, query.page_size);
        pairs.extend(query.cursor.clone().map(|cursor| ("cursor", cursor)));
        pairs.extend(query.node_id.map(|node| ("node_id", node.to_string())));
        self.get(&["cvms", "paginated"], &pairs).await
    }

    /// `GET /cvms`: the newest CVMs as a plain list.
    pub async fn newest_cvms(&self) -> Result<Vec<CvmListItem>, Error> {
        self.get(&["cvms"], &[]).await
    }

    /// All CVMs of the workspace, page by page; for API versions from 2026-01-21 on.
    pub async fn all_cvms(&self) -> Result<Vec<CvmInfo>, Error> {
        let mut all = Vec::new();
        let mut cursor = None;
        for page in 1..=MAX_PAGES {
            let number = cursor.is_none().then_some(page);
            let query = CvmsQuery { page: number, cursor, page_size: Some(PAGE), node_id: None };
            let part = self.cvms(&query).await?;
            for item in part.items {
                let info = match item {
                    CvmListItem::Nested(info) => Some(*info),
                    CvmListItem::Hosted(_) => None,
                };
                all.push(nested(info, "GET /cvms/paginated")?);
            }
            let counted = number.is_none() || u64::from(page) >= part.pages;
            if part.next_cursor.is_none() && counted {
                break;
            }
            cursor = part.next_cursor;
        }
        Ok(all)
    }

    /// `GET /cvms/{id}`, in the format of the version.
    pub async fn cvm(&self, cvm: &str) -> Result<CvmDetail, Error> {
        self.get(&["cvms", cvm], &[]).await
    }

    /// `GET /cvms/{id}` for API versions from 2026-01-21 on.
    pub async fn cvm_info(&self, cvm: &str) -> Result<CvmInfo, Error> {
        match self.cvm(cvm).await? {
            CvmDetail::Nested(info) => Ok(*info),
            CvmDetail::Flat(_) => nested(None, &format!("GET /cvms/{cvm}")),
        }
    }

    /// `GET /cvms/{id}` unparsed, to show fields that this SDK does not know.
    pub async fn cvm_json(&self, cvm: &str) -> Result<Value, Error> {
        self.get(&["cvms", cvm], &[]).await
    }

    /// `GET /cvms/{id}/state`, once.
    pub async fn cvm_state(&self, cvm: &str) -> Result<CvmState, Error> {
        self.get(&["cvms", cvm, "state"], &[]).await
    }

    /// `GET /cvms/{id}/compose_file`: the app-compose document as text. With Casemate these are the bytes
    /// that the guest boots; their SHA-256 is the compose hash.
    pub async fn compose_file(&self, cvm: &str) -> Result<String, Error> {
        self.get_text(&["cvms", cvm, "compose_file"]).await
    }

    /// `GET /cvms/{id}/docker-compose.yml`.
    pub async fn docker_compose(&self, cvm: &str) -> Result<String, Error> {
        self.get_text(&["cvms", cvm, "docker-compose.yml"]).await
    }

    /// `GET /cvms/{id}/pre-launch-script`; empty if there is none.
    pub async fn pre_launch_script(&self, cvm: &str) -> Result<String, Error> {
        self.get_text(&["cvms", cvm, "pre-launch-script"]).await
    }

    /// `POST /status/batch`: the states of several CVMs, by `vm_uuid` as given. CVMs of other workspaces are
    /// left out.
    pub async fn status_batch(&self, vm_uuids: &[String]) -> Result<StatusBatch, Error> {
        let request = StatusBatchRequest { vm_uuids: vm_uuids.to_vec() };
        self.post(&["status", "batch"], Some(&request)).await
    }
}
