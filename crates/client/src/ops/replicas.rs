use casemate_api::{
    approval::CommitTokenRequest,
    replicate::{InstanceRequest, ReplicateRequest},
    reply::{NewInstance, Vm},
};

use crate::{error::Error, http::Client};

impl Client {
    /// `POST /cvms/{id}/replicas`: another CVM of the same app. Its boot is followed by
    /// [`Client::watch`].
    pub async fn replicate(&self, cvm: &str, request: &ReplicateRequest) -> Result<Vm, Error> {
        self.post(&["cvms", cvm, "replicas"], Some(request)).await
    }

    /// `POST /apps/{app_id}/cvms/{vm_uuid}/replicas`: the same, of a CVM that must be of this app.
    pub async fn replicate_app_cvm(
        &self,
        app: &str,
        cvm: &str,
        request: &ReplicateRequest,
    ) -> Result<Vm, Error> {
        self.post(&["apps", app, "cvms", cvm, "replicas"], Some(request)).await
    }

    /// `POST /apps/{app_id}/instances`: another CVM of an app, with its compose file or another one.
    pub async fn create_instance(
        &self,
        app: &str,
        request: &InstanceRequest,
    ) -> Result<NewInstance, Error> {
        self.post(&["apps", app, "instances"], Some(request)).await
    }

    /// `POST /cvms/{id}/commit-replica`: a replica that was prepared for the approval of a contract.
    pub async fn commit_replica(
        &self,
        cvm: &str,
        request: &CommitTokenRequest,
    ) -> Result<Vm, Error> {
        self.post(&["cvms", cvm, "commit-replica"], Some(request)).await
    }
}
