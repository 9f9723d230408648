use casemate_api::{
    device_login::{DecideLoginRequest, DecidedLogin, DeviceCode, DeviceCodeRequest},
    keys::{ApiKey, CreateKeyRequest, RefreshKeyRequest, RotateKeyRequest},
    members::{
        AcceptRequest, Accepted, Done, InvitationInfo, InvitationRequest, MemberInfo, RoleRequest,
        WorkspaceInfo,
    },
    page::{CursorPage, Page},
    people_admin::{
        AddKeyRequest, AddUserRequest, AddWorkspaceRequest, ChangeUserRequest, ManagedKeys,
        ManagedUser, ManagedUsers, ManagedWorkspace, ManagedWorkspaces, Membership,
    },
};
use reqwest::Method;

use crate::{error::Error, http::Client};

/// API keys. Requests that make a secret are not repeated: the server does not keep such a reply.
impl Client {
    /// `GET /tokens`: the caller's keys, or everybody's in the workspace (Casemate only).
    pub async fn keys(&self, everybody: bool) -> Result<Vec<ApiKey>, Error> {
        self.get(&["tokens"], &[("everybody", everybody.to_string())]).await
    }

    /// `POST /tokens`: the reply has the secret.
    pub async fn create_key(&self, request: &CreateKeyRequest) -> Result<ApiKey, Error> {
        self.ask_once_for(self.changing(Method::POST, &["tokens"])?.json(request)?).await
    }

    /// `POST /tokens/{id}/refresh`: another expiry.
    pub async fn refresh_key(&self, id: i64, request: &RefreshKeyRequest) -> Result<ApiKey, Error> {
        self.post(&["tokens", &id.to_string(), "refresh"], Some(request)).await
    }

    /// `POST /casemate/tokens/{id}/rotate`: another secret, in the reply. Casemate only.
    pub async fn rotate_key(&self, id: i64, request: &RotateKeyRequest) -> Result<ApiKey, Error> {
        let parts = ["casemate", "tokens", &id.to_string(), "rotate"];
        self.ask_once_for(self.changing(Method::POST, &parts)?.json(request)?).await
    }

    /// `DELETE /tokens/{id}`.
    pub async fn revoke_key(&self, id: i64) -> Result<(), Error> {
        self.delete(&["tokens", &id.to_string()]).await
    }
}

/// Workspaces and their members.
impl Client {
    /// `GET /workspaces`: those of the user.
    pub async fn workspaces(
        &self,
        cursor: Option<&str>,
    ) -> Result<CursorPage<WorkspaceInfo>, Error> {
        let query: Vec<_> =
            cursor.map(|cursor| ("cursor", cursor.to_owned())).into_iter().collect();
        self.get(&["workspaces"], &query).await
    }

    /// `GET /workspaces/{slug}/members`.
    pub async fn members(&self, slug: &str, page: u32) -> Result<Page<MemberInfo>, Error> {
        let query = [("page", page.to_string()), ("page_size", "100".to_owned())];
        self.get(&["workspaces", slug, "members"], &query).await
    }

    /// `PATCH /workspaces/{slug}/members/{user}`.
    pub async fn change_member(&self, slug: &str, user: &str, role: &str) -> Result<Done, Error> {
        let request = RoleRequest { role: role.to_owned() };
        self.patch(&["workspaces", slug, "members", user], &request).await
    }

    /// `DELETE /workspaces/{slug}/members/{user}`.
    pub async fn remove_member(&self, slug: &str, user: &str) -> Result<(), Error> {
        self.delete(&["workspaces", slug, "members", user]).await
    }

    /// `POST /workspaces/{slug}/invitations`: the reply has the secret.
    pub async fn invite(
        &self,
        slug: &str,
        request: &InvitationRequest,
    ) -> Result<InvitationInfo, Error> {
        let parts = ["workspaces", slug, "invitations"];
        self.ask_once_for(self.changing(Method::POST, &parts)?.json(request)?).await
    }

    /// `POST /casemate/invitations/accept`: the reply has a key. Casemate only.
    pub async fn accept_invitation(&self, request: &AcceptRequest) -> Result<Accepted, Error> {
        let parts = ["casemate", "invitations", "accept"];
        self.ask_once_for(self.changing(Method::POST, &parts)?.json(request)?).await
    }
}

/// Logins by device code.
impl Client {
    /// `POST /auth/device/code`: begins a login.
    pub async fn begin_login(&self, request: &DeviceCodeRequest) -> Result<DeviceCode, Error> {
        let parts = ["auth", "device", "code"];
        self.ask_once_for(self.changing(Method::POST, &parts)?.json(request)?).await
    }

    /// `POST /casemate/auth/device/decide`: approves or denies a login. Casemate only.
    pub async fn decide_login(&self, request: &DecideLoginRequest) -> Result<DecidedLogin, Error> {
        self.post(&["casemate", "auth", "device", "decide"], Some(request)).await
    }
}

/// Users, workspaces and keys, for operators. Casemate only.
impl Client {
    /// `GET /admin/users`: those behind this id.
    pub async fn managed_users(&self, after: i64) -> Result<ManagedUsers, Error> {
        self.get(&["admin", "users"], &[("after", after.to_string())]).await
    }

    /// `POST /admin/users`.
    pub async fn add_user(&self, request: &AddUserRequest) -> Result<ManagedUser, Error> {
        self.post(&["admin", "users"], Some(request)).await
    }

    /// `PATCH /admin/users/{username}`.
    pub async fn change_user(
        &self,
        username: &str,
        request: &ChangeUserRequest,
    ) -> Result<ManagedUser, Error> {
        self.patch(&["admin", "users", username], request).await
    }

    /// `GET /admin/workspaces`: those behind this id.
    pub async fn managed_workspaces(&self, after: i64) -> Result<ManagedWorkspaces, Error> {
        self.get(&["admin", "workspaces"], &[("after", after.to_string())]).await
    }

    /// `POST /admin/workspaces`.
    pub async fn add_workspace(
        &self,
        request: &AddWorkspaceRequest,
    ) -> Result<ManagedWorkspace, Error> {
        self.post(&["admin", "workspaces"], Some(request)).await
    }

    /// `PUT /admin/workspaces/{slug}/members/{username}`.
    pub async fn set_membership(
        &self,
        slug: &str,
        username: &str,
        role: &str,
    ) -> Result<Membership, Error> {
        let parts = ["admin", "workspaces", slug, "members", username];
        let request = RoleRequest { role: role.to_owned() };
        self.ask(self.changing(Method::PUT, &parts)?.json(&request)?).await
    }

    /// `DELETE /admin/workspaces/{slug}/members/{username}`.
    pub async fn end_membership(&self, slug: &str, username: &str) -> Result<(), Error> {
        self.delete(&["admin", "workspaces", slug, "members", username]).await
    }

    /// `GET /admin/keys`.
    pub async fn managed_keys(&self, slug: &str) -> Result<Vec<ApiKey>, Error> {
        let found: ManagedKeys =
            self.get(&["admin", "keys"], &[("workspace", slug.to_owned())]).await?;
        Ok(found.keys)
    }

    /// `POST /admin/keys`: the reply has the secret.
    pub async fn add_key(&self, request: &AddKeyRequest) -> Result<ApiKey, Error> {
        self.ask_once_for(self.changing(Method::POST, &["admin", "keys"])?.json(request)?).await
    }

    /// `DELETE /admin/keys/{id}`.
    pub async fn revoke_any_key(&self, id: i64) -> Result<(), Error> {
        self.delete(&["admin", "keys", &id.to_string()]).await
    }
}
