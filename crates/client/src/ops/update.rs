use casemate_api::{
    compose_file::ComposeFile,
    compose_update::{ComposeCommitRequest, ComposeReplaceRequest},
    cvm_patch::CvmPatch,
    cvm_settings::{
        EnvsRequest, ListedRequest, NameRequest, OsImageRequest, ResourcesRequest,
        ScheduledDeleteRequest, UserConfigRequest, VisibilityRequest,
    },
    patch::Patch,
    preview::PreviewRequest,
    reply::{
        Accepted, ChangePreview, ComposeProvisioned, CvmFlat, EnvsUpdateResult, UpdateResult, Vm,
    },
};
use casemate_core::time::Timestamp;
use reqwest::Method;

use crate::{
    error::Error,
    http::{Call, Client},
};

/// How to handle an update that drops a variable which the compose file uses (Casemate only).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EnvGuard {
    /// By the workspace's policy.
    #[default]
    Workspace,
    /// Refuse it.
    Refuse,
    /// Apply it and report the variables.
    Report,
}

impl EnvGuard {
    pub(crate) fn on(self, call: Call) -> Call {
        const HEADER: &str = "x-casemate-env-guard";
        match self {
            Self::Workspace => call,
            Self::Refuse => call.header(HEADER, "refuse"),
            Self::Report => call.header(HEADER, "report"),
        }
    }
}

impl Client {
    /// `PATCH /cvms/{id}`: applies all given changes, or none.
    pub async fn patch_cvm(
        &self,
        cvm: &str,
        patch: &CvmPatch,
        guard: EnvGuard,
    ) -> Result<Accepted, Error> {
        let call = self.changing(Method::PATCH, &["cvms", cvm])?.json(patch)?;
        self.ask(guard.on(call)).await
    }

    /// `POST /cvms/{id}/preview`: the difference that a change would make. Changes nothing.
    pub async fn preview(
        &self,
        cvm: &str,
        request: &PreviewRequest,
    ) -> Result<ChangePreview, Error> {
        self.post(&["cvms", cvm, "preview"], Some(request)).await
    }

    /// `PATCH /cvms/{id}/resources`.
    pub async fn update_resources(
        &self,
        cvm: &str,
        request: &ResourcesRequest,
    ) -> Result<UpdateResult, Error> {
        self.patch(&["cvms", cvm, "resources"], request).await
    }

    /// `PATCH /cvms/{id}/visibility`.
    pub async fn update_visibility(
        &self,
        cvm: &str,
        request: VisibilityRequest,
    ) -> Result<CvmFlat, Error> {
        self.patch(&["cvms", cvm, "visibility"], &request).await
    }

    /// `PATCH /cvms/{id}/listed`: whether it is in the public directory.
    pub async fn set_listed(&self, cvm: &str, listed: bool) -> Result<Vm, Error> {
        self.patch(&["cvms", cvm, "listed"], &ListedRequest { listed: Some(listed) }).await
    }

    /// `PATCH /cvms/{id}/name`. Immediate, unless another change is open.
    pub async fn rename(&self, cvm: &str, name: &str) -> Result<(), Error> {
        let request = NameRequest { name: name.to_owned() };
        let call = self.changing(Method::PATCH, &["cvms", cvm, "name"])?.json(&request)?;
        self.send(&call).await.map(drop)
    }

    /// `PATCH /cvms/{id}/os-image`, by name or slug.
    pub async fn update_os_image(&self, cvm: &str, image: &str) -> Result<UpdateResult, Error> {
        let request = OsImageRequest { os_image_name: image.to_owned() };
        self.patch(&["cvms", cvm, "os-image"], &request).await
    }

    /// `PATCH /cvms/{id}/docker-compose`: the YAML text.
    pub async fn update_docker_compose(
        &self,
        cvm: &str,
        yaml: &str,
    ) -> Result<UpdateResult, Error> {
        let call = self.changing(Method::PATCH, &["cvms", cvm, "docker-compose"])?;
        self.ask(call.text(yaml, "text/yaml")).await
    }

    /// `PATCH /cvms/{id}/pre-launch-script`: the script text; an empty one removes it.
    pub async fn update_pre_launch_script(
        &self,
        cvm: &str,
        script: &str,
    ) -> Result<UpdateResult, Error> {
        let call = self.changing(Method::PATCH, &["cvms", cvm, "pre-launch-script"])?;
        self.ask(call.text(script, "text/plain")).await
    }

    /// `PATCH /cvms/{id}/envs`: replaces the sealed environment; the given names become the allowed ones. See
    /// [`crate::seal_env`].
    pub async fn update_envs(
        &self,
        cvm: &str,
        request: &EnvsRequest,
        guard: EnvGuard,
    ) -> Result<EnvsUpdateResult, Error> {
        let call = self.changing(Method::PATCH, &["cvms", cvm, "envs"])?.json(request)?;
        self.ask(guard.on(call)).await
    }

    /// `PATCH /cvms/{id}/user_config`; `None` removes it.
    pub async fn update_user_config(
        &self,
        cvm: &str,
        text: Option<&str>,
    ) -> Result<UpdateResult, Error> {
        let user_config = text.map_or(Patch::Null, |text| Patch::Value(text.to_owned()));
        self.patch(&["cvms", cvm, "user_config"], &UserConfigRequest { user_config }).await
    }

    /// `PATCH /cvms/{id}/scheduled-delete`; `None` cancels it.
    pub async fn schedule_delete(&self, cvm: &str, at: Option<Timestamp>) -> Result<Vm, Error> {
        let scheduled_delete_at = at.map_or(Patch::Null, Patch::Value);
        let request = ScheduledDeleteRequest { scheduled_delete_at };
        self.patch(&["cvms", cvm, "scheduled-delete"], &request).await
    }

    /// `POST /cvms/{id}/compose_file/provision`: checks a document, stores it for 14 days and returns its
    /// hash for [`Client::commit_compose`].
    pub async fn provision_compose(
        &self,
        cvm: &str,
        file: &ComposeFile,
    ) -> Result<ComposeProvisioned, Error> {
        self.post(&["cvms", cvm, "compose_file", "provision"], Some(file)).await
    }

    /// `PATCH /cvms/{id}/compose_file`: applies a prepared document.
    pub async fn commit_compose(
        &self,
        cvm: &str,
        request: &ComposeCommitRequest,
        guard: EnvGuard,
    ) -> Result<UpdateResult, Error> {
        let call = self.changing(Method::PATCH, &["cvms", cvm, "compose_file"])?.json(request)?;
        self.ask(guard.on(call)).await
    }

    /// `POST /cvms/{id}/compose_file`: applies a document whose hash is known.
    pub async fn replace_compose(
        &self,
        cvm: &str,
        request: &ComposeReplaceRequest,
        guard: EnvGuard,
    ) -> Result<UpdateResult, Error> {
        let call = self.changing(Method::POST, &["cvms", cvm, "compose_file"])?.json(request)?;
        self.ask(guard.on(call)).await
    }
}
