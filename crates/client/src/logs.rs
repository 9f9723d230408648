//! The output of a CVM's containers, as Casemate streams it.

use bytes::Bytes;
use reqwest::Response;

use crate::{
    error::{Error, transport},
    http::Client,
};

/// Output as it comes: text lines `service | text`, cut anywhere. Made by [`Client::logs`].
#[derive(Debug)]
pub struct LogStream {
    response: Response,
    call: String,
}

impl LogStream {
    /// The next piece; `None` at the end. With `follow` it comes when there is something to say, so
    /// there is no timeout here.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.response.chunk().await.map_err(|error| transport(&self.call, error))
    }
}

impl Client {
    /// `GET /casemate/cvms/{id}/logs` (Casemate only): the last `tail` lines and, with `follow`, what
    /// comes after.
    pub async fn logs(&self, cvm: &str, follow: bool, tail: u32) -> Result<LogStream, Error> {
        let query = [("follow", follow.to_string()), ("tail", tail.to_string())];
        let call = self.reading(&["casemate", "cvms", cvm, "logs"], &query)?;
        let response = self.open(&call, "text/plain").await?;
        Ok(LogStream { response, call: call.name })
    }
}
