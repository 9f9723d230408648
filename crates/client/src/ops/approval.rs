use casemate_api::{
    approval::CommitTokenRequest,
    cvm_patch::CvmPatch,
    reply::{Accepted, CommitInfo, Committed},
};
use casemate_core::id::{ComposeHash, TxHash};
use reqwest::Method;

use super::EnvGuard;
use crate::{error::Error, http::Client};

/// Sent instead of a transaction hash if nothing had to be registered.
const NOTHING_TO_REGISTER: &str = "already-registered";

impl Client {
    /// `PATCH /cvms/{id}` that only prepares the change: the resulting error ([`crate::ApprovalRequired`]) has a
    /// token that confirms it after contracts allow it. A change that needs no approval is applied.
    pub async fn prepare_cvm_patch(
        &self,
        cvm: &str,
        patch: &CvmPatch,
        guard: EnvGuard,
    ) -> Result<Accepted, Error> {
        let call = self.changing(Method::PATCH, &["cvms", cvm])?.json(patch)?;
        self.ask(guard.on(call).header("x-prepare-only", "true")).await
    }

    /// The second phase of `PATCH /cvms/{id}`: applies the prepared change, now that contracts allow it.
    /// `None`: they already did.
    pub async fn confirm_cvm_patch(
        &self,
        cvm: &str,
        hash: ComposeHash,
        transaction: Option<TxHash>,
    ) -> Result<Accepted, Error> {
        let transaction =
            transaction.map_or_else(|| NOTHING_TO_REGISTER.to_owned(), |hash| format!("0x{hash}"));
        let call = self
            .changing(Method::PATCH, &["cvms", cvm])?
            .json(&CvmPatch::default())?
            .header("x-compose-hash", hash.to_string())
            .header("x-transaction-hash", transaction);
        self.ask(call).await
    }

    /// `POST /cvms/{id}/commit-update`: commits an update by its token. Needs no API key.
    pub async fn commit_update(
        &self,
        cvm: &str,
        request: &CommitTokenRequest,
    ) -> Result<Committed, Error> {
        self.post(&["cvms", cvm, "commit-update"], Some(request)).await
    }

    /// `GET /cvms/{id}/commit-update`: the preparation of a token. Needs no API key.
    pub async fn commit_info(&self, cvm: &str, token: &str) -> Result<CommitInfo, Error> {
        self.get(&["cvms", cvm, "commit-update"], &[("token", token.to_owned())]).await
    }
}
