use casemate_api::{
    instance_id::{
        InstanceIdRequest, InstanceIdsRequest, RefreshInstanceIdRequest, RefreshInstanceIdsRequest,
    },
    reply::{InstanceIdResult, InstanceIdResults},
};

use crate::{error::Error, http::Client};

impl Client {
    /// `PATCH /cvms/{id}/instance-id`: looks for a missing instance id.
    pub async fn look_for_instance_id(
        &self,
        cvm: &str,
        request: &InstanceIdRequest,
    ) -> Result<InstanceIdResult, Error> {
        self.patch(&["cvms", cvm, "instance-id"], request).await
    }

    /// `PATCH /cvms/instance-ids`: looks for missing instance ids.
    pub async fn look_for_instance_ids(
        &self,
        request: &InstanceIdsRequest,
    ) -> Result<InstanceIdResults, Error> {
        self.patch(&["cvms", "instance-ids"], request).await
    }

    /// `POST /cvms/{id}/refresh-instance-id`: sets a new instance id; the old one stops working.
    pub async fn replace_instance_id(
        &self,
        cvm: &str,
        request: &RefreshInstanceIdRequest,
    ) -> Result<InstanceIdResult, Error> {
        self.post(&["cvms", cvm, "refresh-instance-id"], Some(request)).await
    }

    /// `POST /cvms/refresh-instance-ids`: the same for several CVMs.
    pub async fn replace_instance_ids(
        &self,
        request: &RefreshInstanceIdsRequest,
    ) -> Result<InstanceIdResults, Error> {
        self.post(&["cvms", "refresh-instance-ids"], Some(request)).await
    }
}
