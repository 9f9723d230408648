use casemate_api::workspace::{Policy, PolicyPatch};
use reqwest::Method;

use crate::{error::Error, http::Client};

impl Client {
    /// `GET /workspace/policy`: the workspace's update policy. Casemate only.
    pub async fn workspace_policy(&self) -> Result<Policy, Error> {
        self.get(&["workspace", "policy"], &[]).await
    }

    /// `PATCH /workspace/policy`. Casemate only.
    pub async fn patch_workspace_policy(&self, patch: &PolicyPatch) -> Result<Policy, Error> {
        self.ask(self.changing(Method::PATCH, &["workspace", "policy"])?.json(patch)?).await
    }
}
