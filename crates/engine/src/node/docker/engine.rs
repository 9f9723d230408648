//! The container engine, as far as a docker node talks to it.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    time::Duration,
};

use bollard::{
    Docker,
    errors::Error,
    models::{
        ContainerSummary, ContainerUpdateBody, Network, RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::{
        KillContainerOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
        ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
        RemoveVolumeOptionsBuilder, RestartContainerOptions, StopContainerOptions,
        UploadToContainerOptionsBuilder,
    },
};
use bytes::Bytes;
use casemate_core::id::EngineVmId;

use super::{
    container::Container,
    derive::{BRIDGE_NAME, LABEL_NODE, LABEL_RESTART, LABEL_VM},
    inspection::{Created, CreatedVolume, read},
};
use crate::error::CallError;

/// Longest wait for an answer that the engine has at hand.
const QUICK: Duration = Duration::from_secs(20);
/// Longest wait for the engine to stop something.
const SLOW: Duration = Duration::from_mins(2);

/// There is no such thing any more.
const GONE: &[u16] = &[404];
/// Gone, or in that state already.
const DONE_ALREADY: &[u16] = &[304, 404, 409];

/// The engine, and which of its containers are this node's.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    docker: Docker,
    node: String,
}

impl Engine {
    /// The engine of the node with this id.
    pub const fn new(docker: Docker, node: String) -> Self {
        Self { docker, node }
    }

    /// The client, for what has no method here.
    pub const fn docker(&self) -> &Docker {
        &self.docker
    }

    /// All containers of this node, or of one VM. One call.
    pub async fn containers(&self, vm: Option<&EngineVmId>) -> Result<Vec<Container>, CallError> {
        Ok(self.summaries(vm).await?.into_iter().filter_map(Container::read).collect())
    }

    /// The same as the engine lists them.
    pub async fn summaries(
        &self,
        vm: Option<&EngineVmId>,
    ) -> Result<Vec<ContainerSummary>, CallError> {
        let options =
            ListContainersOptionsBuilder::new().all(true).filters(&self.filters(vm)).build();
        within(QUICK, self.docker.list_containers(Some(options))).await
    }

    /// Ids of the containers of this node, or of one VM, whose health check fails.
    pub async fn unhealthy(&self, vm: Option<&EngineVmId>) -> Result<BTreeSet<String>, CallError> {
        let mut filters = self.filters(vm);
        filters.insert("health".to_owned(), vec!["unhealthy".to_owned()]);
        let options = ListContainersOptionsBuilder::new().filters(&filters).build();
        let found = within(QUICK, self.docker.list_containers(Some(options))).await?;
        Ok(found.into_iter().filter_map(|summary| summary.id).collect())
    }

    /// Every container of a compose project as the engine created it, and the volumes they mount.
    pub async fn created(
        &self,
        project: &str,
    ) -> Result<(Vec<Created>, Vec<CreatedVolume>), CallError> {
        let mut containers = Vec::new();
        let mut names = BTreeSet::new();
        for id in self.of_project(project).await? {
            let found = within(QUICK, self.docker.inspect_container(&id, None)).await?;
            let created = read::container(found);
            let volumes = created.mounts.iter().filter(|mount| mount.kind == "volume");
            names.extend(volumes.map(|mount| mount.name.clone()));
            containers.push(created);
        }
        let mut volumes = Vec::new();
        for name in names {
            volumes.push(read::volume(within(QUICK, self.docker.inspect_volume(&name)).await?));
        }
        Ok((containers, volumes))
    }

    /// Removes every container of a compose project.
    pub async fn remove_project(&self, project: &str) -> Result<(), CallError> {
        for id in self.of_project(project).await? {
            self.remove(&id).await?;
        }
        Ok(())
    }

    /// Ids of the containers that compose made for a project, whatever else they are labelled with.
    async fn of_project(&self, project: &str) -> Result<Vec<String>, CallError> {
        let label = format!("com.docker.compose.project={project}");
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = within(QUICK, self.docker.list_containers(Some(options))).await?;
        Ok(found.into_iter().filter_map(|summary| summary.id).collect())
    }

    /// Kills a container; fine if it is not running.
    pub async fn kill(&self, id: &str) -> Result<(), CallError> {
        let options = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
        tolerant(DONE_ALREADY, SLOW, self.docker.kill_container(id, Some(options))).await
    }

    /// Asks a container to end, with the time it has for that.
    pub async fn stop(&self, id: &str, limit: Duration) -> Result<(), CallError> {
        tolerant(DONE_ALREADY, limit, self.docker.stop_container(id, None::<StopContainerOptions>))
            .await
    }

    /// Starts a container.
    pub async fn start(&self, id: &str) -> Result<(), CallError> {
        within(SLOW, self.docker.start_container(id, None)).await
    }

    /// Stops and starts a container.
    pub async fn restart(&self, id: &str) -> Result<(), CallError> {
        within(SLOW, self.docker.restart_container(id, None::<RestartContainerOptions>)).await
    }

    /// Removes a container with its anonymous volumes, running or not.
    pub async fn remove(&self, id: &str) -> Result<(), CallError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        tolerant(DONE_ALREADY, SLOW, self.docker.remove_container(id, Some(options))).await
    }

    /// Switches a container's restart policy on (as its label says) or off.
    pub async fn set_restart(&self, container: &Container, on: bool) -> Result<(), CallError> {
        let own = container.labels.get(LABEL_RESTART).map_or("no", String::as_str);
        if own == "no" {
            return Ok(());
        }
        let policy = restart_policy(if on { own } else { "no" });
        let body = ContainerUpdateBody { restart_policy: Some(policy), ..Default::default() };
        tolerant(DONE_ALREADY, QUICK, self.docker.update_container(&container.id, body)).await
    }

    /// Unpacks an archive at the root of a container.
    pub async fn upload(&self, id: &str, tar: Vec<u8>) -> Result<(), CallError> {
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        let body = bollard::body_full(Bytes::from(tar));
        within(QUICK, self.docker.upload_to_container(id, Some(options), body)).await
    }

    /// Ids of all images.
    pub async fn image_ids(&self) -> Result<BTreeSet<String>, CallError> {
        let options = ListImagesOptionsBuilder::new().all(true).build();
        let found = within(QUICK, self.docker.list_images(Some(options))).await?;
        Ok(found.into_iter().map(|image| image.id).collect())
    }

    /// Removes a network; fine if there is none.
    pub async fn remove_network(&self, name: &str) -> Result<(), CallError> {
        tolerant(GONE, SLOW, self.docker.remove_network(name)).await
    }

    /// Ids of the bridges of a VM whose interface has a name that begins otherwise.
    pub async fn networks_without(
        &self,
        vm: &EngineVmId,
        prefix: &str,
    ) -> Result<Vec<String>, CallError> {
        let has_other_name = |network: &Network| {
            let name = network.options.as_ref().and_then(|options| options.get(BRIDGE_NAME));
            name.is_some_and(|name| !name.starts_with(prefix))
        };
        let found = self.networks(vm).await?.into_iter().filter(has_other_name);
        Ok(found.filter_map(|network| network.id).collect())
    }

    async fn networks(&self, vm: &EngineVmId) -> Result<Vec<Network>, CallError> {
        let options = ListNetworksOptionsBuilder::new().filters(&self.filters(Some(vm))).build();
        within(QUICK, self.docker.list_networks(Some(options))).await
    }

    /// Removes the networks and volumes of a VM; fails while one is in use.
    pub async fn remove_rest(&self, vm: &EngineVmId) -> Result<(), CallError> {
        for network in self.networks(vm).await? {
            self.remove_network(&network.id.unwrap_or_default()).await?;
        }
        let options = ListVolumesOptionsBuilder::new().filters(&self.filters(Some(vm))).build();
        let volumes = within(QUICK, self.docker.list_volumes(Some(options))).await?;
        for volume in volumes.volumes.unwrap_or_default() {
            let options = RemoveVolumeOptionsBuilder::new().force(true).build();
            tolerant(GONE, SLOW, self.docker.remove_volume(&volume.name, Some(options))).await?;
        }
        Ok(())
    }

    fn filters(&self, vm: Option<&EngineVmId>) -> HashMap<String, Vec<String>> {
        let mut labels = vec![format!("{LABEL_NODE}={}", self.node)];
        labels.extend(vm.map(|vm| format!("{LABEL_VM}={vm}")));
        HashMap::from([("label".to_owned(), labels)])
    }
}

/// Runs a call of the engine with a bound.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(|error| call_error(&error)),
        Err(_) => {
            Err(CallError::Unknown(format!("the container engine gave no answer for {limit:?}")))
        }
    }
}

/// How certain the failure of a call is.
pub(super) fn call_error(error: &Error) -> CallError {
    match error {
        Error::DockerResponseServerError { status_code, message } if *status_code < 500 => {
            CallError::Rejected(format!("container engine: {message}"))
        }
        Error::DockerResponseServerError { message, .. } => {
            CallError::Unknown(format!("container engine: {message}"))
        }
        Error::HyperLegacyError { err } if err.is_connect() => {
            CallError::Unreachable("the container engine does not answer".to_owned())
        }
        other => CallError::Unknown(format!("container engine: {other}")),
    }
}

/// [`within`] for a call that has nothing to do when the engine answers with one of these statuses.
async fn tolerant(
    fine: &[u16],
    limit: Duration,
    call: impl Future<Output = Result<(), Error>>,
) -> Result<(), CallError> {
    let call = async {
        match call.await {
            Err(Error::DockerResponseServerError { status_code, .. })
                if fine.contains(&status_code) =>
            {
                Ok(())
            }
            other => other,
        }
    };
    within(limit, call).await
}

/// `no`, `always`, `unless-stopped`, `on-failure[:n]`.
fn restart_policy(text: &str) -> RestartPolicy {
    let (name, count) = text.split_once(':').unwrap_or((text, "0"));
    let name = match name {
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        _ => RestartPolicyNameEnum::NO,
    };
    RestartPolicy { name: Some(name), maximum_retry_count: count.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_are_read_as_compose_writes_them() {
        assert_eq!(restart_policy("on-failure:3").maximum_retry_count, Some(3));
        assert_eq!(restart_policy("always").name, Some(RestartPolicyNameEnum::ALWAYS));
        assert_eq!(restart_policy("").name, Some(RestartPolicyNameEnum::NO));
    }

    #[test]
    fn certainty_follows_the_kind_of_failure() {
        let refused =
            |status_code| Error::DockerResponseServerError { status_code, message: "m".into() };
        assert!(matches!(call_error(&refused(404)), CallError::Rejected(_)));
        assert!(matches!(call_error(&refused(500)), CallError::Unknown(_)));
        assert!(matches!(call_error(&Error::RequestTimeoutError), CallError::Unknown(_)));
    }
}
