use casemate_api::{power::RestartRequest, reply::Vm};

use crate::{error::Error, http::Client};

/// For verbs without a body.
const NO_BODY: Option<&()> = None;

impl Client {
    /// `POST /cvms/{id}/start`.
    pub async fn start(&self, cvm: &str) -> Result<Vm, Error> {
        self.post(&["cvms", cvm, "start"], NO_BODY).await
    }

    /// `POST /cvms/{id}/stop`: stops it immediately.
    pub async fn stop(&self, cvm: &str) -> Result<Vm, Error> {
        self.post(&["cvms", cvm, "stop"], NO_BODY).await
    }

    /// `POST /cvms/{id}/shutdown`: shuts it down gracefully.
    pub async fn shutdown(&self, cvm: &str) -> Result<Vm, Error> {
        self.post(&["cvms", cvm, "shutdown"], NO_BODY).await
    }

    /// `POST /cvms/{id}/restart`; with `force` without a graceful shutdown.
    pub async fn restart(&self, cvm: &str, force: bool) -> Result<Vm, Error> {
        self.post(&["cvms", cvm, "restart"], Some(&RestartRequest { force })).await
    }

    /// `DELETE /cvms/{id}`: the CVM and its data. Accepted immediately, executed asynchronously.
    pub async fn delete_cvm(&self, cvm: &str) -> Result<(), Error> {
        self.delete(&["cvms", cvm]).await
    }
}
