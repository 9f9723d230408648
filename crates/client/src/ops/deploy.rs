use casemate_api::{
    commit::CommitRequest,
    provision::ProvisionRequest,
    reply::{Provisioned, Vm},
};

use crate::{error::Error, http::Client};

impl Client {
    /// `POST /cvms/provision`: prepares a deployment, reserves nothing. The same request gives the
    /// same hash.
    pub async fn provision(&self, request: &ProvisionRequest) -> Result<Provisioned, Error> {
        self.post(&["cvms", "provision"], Some(request)).await
    }

    /// `POST /cvms`: makes a CVM of a prepared deployment. Its boot is followed by
    /// [`Client::watch`].
    pub async fn commit(&self, request: &CommitRequest) -> Result<Vm, Error> {
        self.post(&["cvms"], Some(request)).await
    }
}
