use casemate_api::{
    commit::CommitRequest,
    provision::ProvisionRequest,
    reply::{Provisioned, Vm},
};

use crate::{error::Error, http::Client};

impl Client {
    /// `POST /cvms/provision`: prepares a deployment without a reservation. The same request gives the same
    /// hash.
    pub async fn provision(&self, request: &ProvisionRequest) -> Result<Provisioned, Error> {
        self.post(&["cvms", "provision"], Some(request)).await
    }

    /// `POST /cvms`: creates a CVM from a prepared deployment. Use [`Client::watch`] to follow its boot.
    pub async fn commit(&self, request: &CommitRequest) -> Result<Vm, Error> {
        self.post(&["cvms"], Some(request)).await
    }
}
