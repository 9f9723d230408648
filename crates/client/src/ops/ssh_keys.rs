use casemate_api::ssh_key::{
    GithubProfileImportRequest, GithubProfileImportResponse, GithubSyncResponse,
    SshKeyCreateRequest, SshKeyResponse,
};

use crate::{error::Error, http::Client};

impl Client {
    /// `GET /user/ssh-keys`.
    pub async fn ssh_keys(&self) -> Result<Vec<SshKeyResponse>, Error> {
        self.get(&["user", "ssh-keys"], &[]).await
    }

    /// `POST /user/ssh-keys`.
    pub async fn create_ssh_key(
        &self,
        name: &str,
        public_key: &str,
    ) -> Result<SshKeyResponse, Error> {
        let request =
            SshKeyCreateRequest { name: name.to_owned(), public_key: public_key.to_owned() };
        self.post(&["user", "ssh-keys"], Some(&request)).await
    }

    /// `DELETE /user/ssh-keys/{id}`.
    pub async fn delete_ssh_key(&self, id: &str) -> Result<(), Error> {
        self.delete(&["user", "ssh-keys", id]).await
    }

    /// `POST /user/ssh-keys/github-profile`: stores the public keys of a GitHub user.
    pub async fn import_github_ssh_keys(
        &self,
        username: &str,
    ) -> Result<GithubProfileImportResponse, Error> {
        let request = GithubProfileImportRequest { github_username: username.to_owned() };
        self.post(&["user", "ssh-keys", "github-profile"], Some(&request)).await
    }

    /// `POST /user/ssh-keys/github-sync`: makes imported keys what GitHub has now.
    pub async fn sync_github_ssh_keys(&self) -> Result<GithubSyncResponse, Error> {
        self.post(&["user", "ssh-keys", "github-sync"], None::<&()>).await
    }
}
