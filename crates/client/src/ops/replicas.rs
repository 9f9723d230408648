use casemate_api::{
    approval::CommitTokenRequest,
    replicate::{InstanceRequest, ReplicateRequest},
    reply::{NewInstance, Vm},
};

use crate::{error::Error, http::Client};

impl Client {
    /// `POST /cvms/{id}/replicas`: creates another CVM of the same app. Use [`Client::watch`] to follow its
    /// boot.
    pub async fn replicate(&self, cvm: &str, request: &ReplicateRequest) -> Result<Vm, Error> {
        self.post(&["cvms", cvm, "replicas"], Some(request)).await
    }

    /// `POST /apps/{app_id}/cvms/{vm_uuid}/replicas`: the same for a CVM that must be of this app.
    pub async fn replicate_app_cvm(
        &self,
        app: &str,
        cvm: &str,
        request: &ReplicateRequest,
    ) -> Result<Vm, Error> {
        self.post(&["apps", app, "cvms", cvm, "replicas"], Some(request)).await
    }

    /// `POST /apps/{app_id}/instances`: creates another CVM of an app, with its compose file or another one.
    pub async fn create_instance(
        &self,
        app: &str,
        request: &InstanceRequest,
    ) -> Result<NewInstance, Error> {
        self.post(&["apps", app, "instances"], Some(request)).await
    }

    /// `POST /cvms/{id}/commit-replica`: commits a replica prepared for approval by a contract.
    pub async fn commit_replica(
        &self,
        cvm: &str,
        request: &CommitTokenRequest,
    ) -> Result<Vm, Error> {
        self.post(&["cvms", cvm, "commit-replica"], Some(request)).await
    }
}
