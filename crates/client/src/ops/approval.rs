use casemate_api::{
    approval::CommitTokenRequest,
    cvm_patch::CvmPatch,
    reply::{Accepted, CommitInfo, Committed},
};
use casemate_core::id::{ComposeHash, TxHash};
use reqwest::Method;

use super::EnvGuard;
use crate::{error::Error, http::Client};

/// What stands for a transaction where there was nothing left to register.
const NOTHING_TO_REGISTER: &str = "already-registered";

impl Client {
    /// `PATCH /cvms/{id}` that only prepares: the error that comes of it ([`crate::Required`]) has a token
    /// that confirms the change once contracts allow it. A change that needs no approval is made.
    pub async fn prepare_cvm_patch(
        &self,
        cvm: &str,
        patch: &CvmPatch,
        guard: EnvGuard,
    ) -> Result<Accepted, Error> {
        let call = self.changing(Method::PATCH, &["cvms", cvm])?.json(patch)?;
        self.ask(guard.on(call).header("x-prepare-only", "true")).await
    }

    /// The second phase of `PATCH /cvms/{id}`: what was sent before is made so, now that contracts allow it.
    /// `None`: they did already.
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

    /// `POST /cvms/{id}/commit-update`: an update by its token. Needs no API key.
    pub async fn commit_update(
        &self,
        cvm: &str,
        request: &CommitTokenRequest,
    ) -> Result<Committed, Error> {
        self.post(&["cvms", cvm, "commit-update"], Some(request)).await
    }

    /// `GET /cvms/{id}/commit-update`: what was prepared under a token. Needs no API key.
    pub async fn commit_info(&self, cvm: &str, token: &str) -> Result<CommitInfo, Error> {
        self.get(&["cvms", cvm, "commit-update"], &[("token", token.to_owned())]).await
    }
}
