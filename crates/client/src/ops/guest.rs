use casemate_api::reply::{CvmComposition, CvmNetwork, CvmStats};

use crate::{error::Error, http::Client};

/// What running guests tell of themselves. Of a CVM that is down `is_online` is false and the rest `None`.
impl Client {
    /// `GET /cvms/{id}/stats`: memory, processors, load and disks.
    pub async fn stats(&self, cvm: &str) -> Result<CvmStats, Error> {
        self.get(&["cvms", cvm, "stats"], &[]).await
    }

    /// `GET /cvms/{id}/network`: the guest's address, and URLs of published ports.
    pub async fn network(&self, cvm: &str) -> Result<CvmNetwork, Error> {
        self.get(&["cvms", cvm, "network"], &[]).await
    }

    /// `GET /cvms/{id}/composition`: the compose file and its containers.
    pub async fn composition(&self, cvm: &str) -> Result<CvmComposition, Error> {
        self.get(&["cvms", cvm, "composition"], &[]).await
    }
}
