//! Streams the logs of a CVM's containers.

use bytes::Bytes;
use reqwest::Response;

use crate::{
    error::{Error, transport},
    http::Client,
};

/// Log data as it arrives: lines `service | text`, split anywhere. Created by [`Client::logs`].
#[derive(Debug)]
pub struct LogStream {
    pub(crate) response: Response,
    pub(crate) call: String,
}

impl LogStream {
    /// The next chunk; `None` at the end. With `follow` there is no timeout, because a chunk arrives only
    /// when something is logged.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.response.chunk().await.map_err(|error| transport(&self.call, error))
    }
}

impl Client {
    /// `GET /casemate/cvms/{id}/logs` (Casemate only): the last `tail` lines and, with `follow`, new ones.
    pub async fn logs(&self, cvm: &str, follow: bool, tail: u32) -> Result<LogStream, Error> {
        let query = [("follow", follow.to_string()), ("tail", tail.to_string())];
        let call = self.reading(&["casemate", "cvms", cvm, "logs"], &query)?;
        let response = self.open(&call, "text/plain").await?;
        Ok(LogStream { response, call: call.name })
    }
}
