use casemate_api::{
    governance::GovernancePlanRequest,
    reply::{AppKmsInfo, DeviceAllowlist, GovernancePlan},
};

use crate::{error::Error, http::Client};

impl Client {
    /// `POST /governance/plan`: the transactions missing for a boot with their signers, or the obstacles
    /// (Casemate only). Changes nothing.
    pub async fn governance_plan(
        &self,
        request: &GovernancePlanRequest,
    ) -> Result<GovernancePlan, Error> {
        self.post(&["governance", "plan"], Some(request)).await
    }

    /// `GET /apps/{id}/kms-info`: the KMS and contracts of an app.
    pub async fn app_kms_info(&self, app: &str) -> Result<AppKmsInfo, Error> {
        self.get(&["apps", app, "kms-info"], &[]).await
    }

    /// `GET /apps/{id}/device-allowlist`: devices, and whether the app contract allows them.
    pub async fn device_allowlist(&self, app: &str) -> Result<DeviceAllowlist, Error> {
        self.get(&["apps", app, "device-allowlist"], &[]).await
    }
}
