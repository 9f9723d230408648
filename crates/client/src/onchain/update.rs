//! The two phases of a change that contracts have to allow.

use casemate_api::{cvm_patch::CvmPatch, reply::Accepted};
use casemate_core::id::{ComposeHash, TxHash};
use reqwest::Method;
use serde_json::json;

use crate::{Client, EnvGuard, Error};

/// What stands for a transaction where there was nothing left to register.
const NOTHING_TO_REGISTER: &str = "already-registered";

impl Client {
    /// `PATCH /cvms/{id}` that only prepares: the error that comes of it ([`super::Required`]) has a token
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
            .json(&json!({}))?
            .header("x-compose-hash", hash.to_string())
            .header("x-transaction-hash", transaction);
        self.ask(call).await
    }
}
