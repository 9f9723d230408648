//! Building images from Dockerfiles in compose files, with an empty context. Images that they begin with are
//! pulled by the node first, by the same rules as those of services; the engine itself pulls nothing. The
//! commands run in the network of the CVM and within its limits.

use std::collections::HashMap;

use bollard::{
    body_full,
    query_parameters::{
        BuildImageOptions, BuildImageOptionsBuilder, ListImagesOptionsBuilder,
        RemoveImageOptionsBuilder,
    },
};
use casemate_core::id::EngineVmId;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;

use super::{
    archive::Archive,
    derive::{Build, LABEL_VM},
    engine::{Engine, call_error},
    images,
};

/// Where a build runs and what it may take.
#[derive(Debug)]
pub(super) struct BuildRoom<'a> {
    pub engine: &'a Engine,
    pub vm: &'a EngineVmId,
    pub network: &'a str,
    pub vcpu: u32,
    pub memory_mb: u32,
    /// The control group of the CVM, with the socket of the engine of this host: the client library does not
    /// know the parameter, which alone limits processes.
    pub group: Option<(&'a str, String)>,
}

impl BuildRoom<'_> {
    /// Builds an image; returns its last lines if that fails.
    pub async fn build(&self, build: &Build) -> Result<(), String> {
        for base in &build.images {
            refuse_triggers(self.engine, &base.name).await?;
        }
        let mut archive = Archive::default();
        let packed = archive.file("Dockerfile", build.dockerfile.as_bytes());
        let tar = packed.and_then(|()| archive.finish());
        let tar = tar.map_err(|error| format!("the Dockerfile cannot be packed: {error}"))?;
        match &self.group {
            Some((socket, group)) => self.ask_in_group(build, tar, socket, group).await?,
            None => self.ask(build, tar).await?,
        }
        // A variable may have made a label of the node's.
        let built = images::inspect(self.engine, &build.image).await?;
        let labels = built.and_then(|image| image.config?.labels);
        images::check_labels(labels.as_ref(), self.vm).map_err(|cause| format!("the image {cause}"))
    }

    fn memory(&self) -> i32 {
        i32::try_from(u64::from(self.memory_mb) << 20).unwrap_or(i32::MAX)
    }

    fn quota(&self) -> i32 {
        i32::try_from(self.vcpu.max(1)).unwrap_or(i32::MAX).saturating_mul(PERIOD_US)
    }

    fn labels(&self) -> HashMap<String, String> {
        HashMap::from([(LABEL_VM.to_owned(), self.vm.to_string())])
    }

    fn options(&self, build: &Build) -> BuildImageOptions {
        let args: HashMap<String, String> = build.args.clone().into_iter().collect();
        let options = BuildImageOptionsBuilder::new()
            .dockerfile("Dockerfile")
            .t(&build.image)
            .networkmode(self.network)
            .memory(self.memory())
            .memswap(self.memory())
            .cpuperiod(PERIOD_US)
            .cpuquota(self.quota())
            .buildargs(&args)
            .labels(&self.labels())
            // The engine's cache has steps that other CVMs built.
            .nocache(true)
            .rm(true)
            .forcerm(true);
        match &build.target {
            Some(target) => options.target(target).build(),
            None => options.build(),
        }
    }

    async fn ask(&self, build: &Build, tar: Vec<u8>) -> Result<(), String> {
        let options = self.options(build);
        let docker = self.engine.docker();
        let steps = docker.build_image(options, None, Some(body_full(tar.into())));
        let mut steps = Box::pin(steps);
        let mut progress = Progress::default();
        while let Some(step) = steps.next().await {
            let step =
                step.map_err(|error| format!("{}; {}", call_error(&error), progress.last))?;
            progress.step(step.stream, step.error_detail.and_then(|detail| detail.message))?;
        }
        Ok(())
    }

    /// [`Self::options`] with the control group.
    fn query(&self, build: &Build, group: &str) -> Vec<(&'static str, String)> {
        let json = |value: serde_json::Value| value.to_string();
        let mut query = vec![
            ("dockerfile", "Dockerfile".to_owned()),
            ("t", build.image.clone()),
            ("networkmode", self.network.to_owned()),
            ("memory", self.memory().to_string()),
            ("memswap", self.memory().to_string()),
            ("cgroupparent", group.to_owned()),
            ("buildargs", json(json!(build.args))),
            ("labels", json(json!(self.labels()))),
            ("nocache", "1".to_owned()),
            ("rm", "1".to_owned()),
            ("forcerm", "1".to_owned()),
        ];
        query.extend(build.target.clone().map(|target| ("target", target)));
        query
    }

    async fn ask_in_group(
        &self,
        build: &Build,
        tar: Vec<u8>,
        socket: &str,
        group: &str,
    ) -> Result<(), String> {
        let query = self.query(build, group);
        let broken = |error: reqwest::Error| {
            format!("the container engine does not answer: {}", error.without_url())
        };
        // Fails where somebody has chosen one already; then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().unix_socket(socket).no_proxy().build();
        let client = client.map_err(broken)?;
        let request = client.post("http://engine/build").query(&query);
        let request = request.header("content-type", "application/x-tar").body(tar);
        let mut reply = request.send().await.map_err(broken)?;
        let failed = !reply.status().is_success();
        let mut progress = Progress::default();
        let mut rest = Vec::new();
        while let Some(chunk) = reply.chunk().await.map_err(broken)? {
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                progress.line(&line)?;
            }
            if rest.len() > MAX_STEP {
                return Err("the container engine says too much at once".to_owned());
            }
        }
        progress.line(&rest)?;
        if failed { Err(progress.last) } else { Ok(()) }
    }
}

/// Length of a scheduling period.
const PERIOD_US: i32 = 100_000;
/// One step of the engine's report.
const MAX_STEP: usize = 1024 * 1024;

/// A step of a build as the engine reports it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Step {
    stream: Option<String>,
    message: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Default)]
struct Progress {
    last: String,
}

impl Progress {
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let Ok(step) = serde_json::from_slice::<Step>(line) else { return Ok(()) };
        self.step(step.stream.or(step.message), step.error)
    }

    fn step(&mut self, said: Option<String>, error: Option<String>) -> Result<(), String> {
        if let Some(line) = said.filter(|line| !line.trim().is_empty()) {
            line.trim().clone_into(&mut self.last);
        }
        error.map_or(Ok(()), |error| Err(format!("{error}; {}", self.last)))
    }
}

/// ONBUILD of an image would run instructions that were not looked at.
async fn refuse_triggers(engine: &Engine, image: &str) -> Result<(), String> {
    let found = engine.docker().inspect_image(image).await;
    let found = found.map_err(|error| call_error(&error).to_string())?;
    let triggers = found.config.and_then(|config| config.on_build).unwrap_or_default();
    if triggers.is_empty() {
        return Ok(());
    }
    Err(format!("image {image} has ONBUILD instructions, which are not run here: use another base"))
}

/// Removes the images that were built for a VM.
pub(super) async fn remove_images(engine: &Engine, vm: &EngineVmId) -> Result<(), String> {
    let text = |error: bollard::errors::Error| call_error(&error).to_string();
    let filters = HashMap::from([("label".to_owned(), vec![format!("{LABEL_VM}={vm}")])]);
    let options = ListImagesOptionsBuilder::new().all(false).filters(&filters).build();
    for image in engine.docker().list_images(Some(options)).await.map_err(text)? {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        match engine.docker().remove_image(&image.id, Some(options), None).await {
            Ok(_)
            | Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {}
            Err(error) => return Err(text(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_build_takes_a_step_from_the_cache_of_the_engine() {
        let docker = bollard::Docker::connect_with_host("tcp://127.0.0.1:1").unwrap();
        let room = BuildRoom {
            engine: &Engine::new(docker, "n".to_owned()),
            vm: &EngineVmId("v".to_owned()),
            network: "n",
            vcpu: 1,
            memory_mb: 64,
            group: None,
        };
        let build = Build {
            service: "web".to_owned(),
            image: "casemate-build/v:web".to_owned(),
            dockerfile: "FROM x\nRUN y\n".to_owned(),
            target: None,
            args: std::collections::BTreeMap::default(),
            images: Vec::new(),
        };
        assert!(room.options(&build).nocache);
        assert!(room.query(&build, "/casemate/v").contains(&("nocache", "1".to_owned())));
    }
}
