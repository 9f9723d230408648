//! The files of a server in its data directory: URLs and the admin key.

use std::{
    fs,
    path::{Path, PathBuf},
};

use casemate_client::Client;
use casemate_server::config::{default_data_dir, variable};
use secrecy::SecretString;

use crate::fail::Fail;

#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// The given directory, else `CASEMATE_DATA_DIR`, else the default. The path is absolute.
    pub fn find(given: Option<&Path>) -> Self {
        let path = given
            .map(Path::to_owned)
            .or_else(|| variable("CASEMATE_DATA_DIR").map(PathBuf::from))
            .unwrap_or_else(default_data_dir);
        Self(std::path::absolute(&path).unwrap_or(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// API base URL of the server that was last started here.
    pub fn api_url(&self) -> Option<String> {
        self.text("api.url")
    }

    /// Gateway base URL of that server.
    pub fn gateway_url(&self) -> Option<String> {
        self.text("gateway.url")
    }

    /// The API key that the first start created.
    pub fn admin_key(&self) -> Option<SecretString> {
        self.text("admin.key").map(SecretString::from)
    }

    fn text(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.file(name)).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A client of the server that was last started here, whether it is running or not.
    pub fn client(&self) -> Result<Option<Client>, Fail> {
        let (Some(url), Some(key)) = (self.api_url(), self.admin_key()) else { return Ok(None) };
        Client::new(&url, key).map(Some).map_err(|error| {
            Fail::new("data-dir", error.to_string())
                .detail("file", self.file("api.url").display().to_string())
        })
    }
}
