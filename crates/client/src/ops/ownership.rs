use casemate_api::ownership::{AppOwnership, OwnershipMessage, OwnershipProof};

use crate::{error::Error, http::Client};

/// To which workspace an app that a contract is belongs. Casemate only.
impl Client {
    /// `GET /casemate/apps/{id}/ownership`: the text that the owner of the contract signs.
    pub async fn ownership_message(
        &self,
        app: &str,
        kms_id: &str,
    ) -> Result<OwnershipMessage, Error> {
        self.get(&["casemate", "apps", app, "ownership"], &[("kms_id", kms_id.to_owned())]).await
    }

    /// `POST /casemate/apps/{id}/ownership`: the app becomes the workspace's.
    pub async fn prove_ownership(
        &self,
        app: &str,
        proof: &OwnershipProof,
    ) -> Result<AppOwnership, Error> {
        self.post(&["casemate", "apps", app, "ownership"], Some(proof)).await
    }
}
