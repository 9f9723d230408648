use casemate_api::{readiness::ReadinessRequest, reply::Readiness};
use reqwest::Method;

use crate::{error::Error, http::Client};

impl Client {
    /// `GET /apps/{id}/readiness`: the readiness check of an app. Casemate only.
    pub async fn readiness(&self, app: &str) -> Result<Readiness, Error> {
        self.get(&["apps", app, "readiness"], &[]).await
    }

    /// `PUT /apps/{id}/readiness`: sets the check for all instances. Casemate only.
    pub async fn set_readiness(
        &self,
        app: &str,
        request: &ReadinessRequest,
    ) -> Result<Readiness, Error> {
        let call = self.changing(Method::PUT, &["apps", app, "readiness"])?;
        self.ask(call.json(request)?).await
    }

    /// `DELETE /apps/{id}/readiness`: the labels of the compose file apply again. Casemate only.
    pub async fn clear_readiness(&self, app: &str) -> Result<Readiness, Error> {
        self.ask(self.changing(Method::DELETE, &["apps", app, "readiness"])?).await
    }
}
