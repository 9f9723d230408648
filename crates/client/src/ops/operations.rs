use casemate_api::{
    operation::{BatchStopRequest, CancelRequest},
    reply::{BatchStop, Cancelled, OperationStatus, OperationsPage},
};
use casemate_core::{id::OperationId, time::Timestamp};

use crate::{error::Error, http::Client};

/// Filter and page of a CVM's operations.
#[derive(Debug, Clone, Default)]
pub struct OperationsQuery {
    /// [`OperationsPage::next_cursor`] of the previous page.
    pub cursor: Option<String>,
    /// At most 100; default 20.
    pub limit: Option<u16>,
    /// Accepted at or after this time.
    pub from: Option<Timestamp>,
    /// Accepted before this time.
    pub until: Option<Timestamp>,
    /// Kinds, for example `update`; empty: all.
    pub kinds: Vec<String>,
}

impl Client {
    /// `GET /cvms/{id}/operations`, newest first.
    pub async fn operations(
        &self,
        cvm: &str,
        query: &OperationsQuery,
    ) -> Result<OperationsPage, Error> {
        let mut pairs = Vec::new();
        pairs.extend(query.cursor.clone().map(|cursor| ("cursor", cursor)));
        pairs.extend(query.limit.map(|limit| ("limit", limit.to_string())));
        pairs.extend(query.from.map(|from| ("start_time", from.to_string())));
        pairs.extend(query.until.map(|until| ("end_time", until.to_string())));
        pairs.extend(query.kinds.iter().map(|kind| ("operation_types", kind.clone())));
        self.get(&["cvms", cvm, "operations"], &pairs).await
    }

    /// `GET /cvms/{id}/operation-status`: its open and queued operations.
    pub async fn operation_status(&self, cvm: &str) -> Result<OperationStatus, Error> {
        self.get(&["cvms", cvm, "operation-status"], &[]).await
    }

    /// `POST /cvms/{id}/operations/cancel`: cancels the open update or, with Casemate, the given one.
    pub async fn cancel_operation(
        &self,
        cvm: &str,
        operation: Option<OperationId>,
    ) -> Result<Cancelled, Error> {
        let request = CancelRequest { correlation_id: operation };
        self.post(&["cvms", cvm, "operations", "cancel"], Some(&request)).await
    }

    /// `POST /cvms/batch-stop`: stops several CVMs immediately, at most
    /// [`MAX_BATCH`](casemate_api::operation::MAX_BATCH).
    pub async fn batch_stop(&self, cvms: &[String]) -> Result<BatchStop, Error> {
        let request = BatchStopRequest { cvm_ids: cvms.to_vec() };
        self.post(&["cvms", "batch-stop"], Some(&request)).await
    }
}
