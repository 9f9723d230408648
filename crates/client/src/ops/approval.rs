use casemate_api::{
    approval::{Approval, CommitTokenRequest},
    cvm_patch::CvmPatch,
    reply::{Accepted, CommitInfo, Committed},
};
use casemate_core::id::ComposeHash;
use reqwest::Method;

use super::EnvGuard;
use crate::{error::Error, http::Client};

/// What became of a change that was only to be prepared.
#[derive(Debug, Clone, PartialEq)]
pub enum Prepared {
    /// Contracts have to allow it; here is what, and the token that commits it.
    Approval(Box<Approval>),
    /// Nothing had to be allowed, so it was applied.
    Applied(Box<Accepted>),
}

impl Client {
    /// `PATCH /cvms/{id}` with `X-Prepare-Only`: what contracts have to allow is prepared only. Without
    /// that header it is [`Client::patch_cvm`], whose error then has an [`Error::approval`].
    pub async fn prepare_cvm(
        &self,
        cvm: &str,
        patch: &CvmPatch,
        guard: EnvGuard,
    ) -> Result<Prepared, Error> {
        let call = self.changing(Method::PATCH, &["cvms", cvm])?.json(patch)?;
        match self.ask(guard.on(call).header("x-prepare-only", "true")).await {
            Ok(accepted) => Ok(Prepared::Applied(Box::new(accepted))),
            Err(error) => match error.approval() {
                Some(approval) => Ok(Prepared::Approval(Box::new(approval))),
                None => Err(error),
            },
        }
    }

    /// `PATCH /cvms/{id}` with `X-Compose-Hash`: what was prepared last goes on, once contracts allow
    /// it. `transaction`: what is said to have allowed it; else their state decides alone.
    pub async fn confirm_cvm(
        &self,
        cvm: &str,
        hash: &ComposeHash,
        transaction: Option<&str>,
    ) -> Result<Accepted, Error> {
        let call = self.changing(Method::PATCH, &["cvms", cvm])?.json(&CvmPatch::default())?;
        let transaction = transaction.unwrap_or("already-registered").to_owned();
        let call = call.header("x-compose-hash", hash.to_string());
        self.ask(call.header("x-transaction-hash", transaction)).await
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
