//! Building images from Dockerfiles in compose files, with an empty context. Images that they begin with are
//! pulled by the node first, by the same rules as those of services; the engine itself pulls nothing. The
//! commands run in the network of the CVM and within its memory.

use std::collections::HashMap;

use bollard::{
    body_full,
    query_parameters::{
        BuildImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
    },
};
use casemate_core::id::EngineVmId;
use futures_util::StreamExt;

use super::{
    archive::Archive,
    derive::{Build, LABEL_VM},
    engine::{Engine, call_error},
    images,
};

/// Builds an image; returns its last lines if that fails.
pub(super) async fn build(
    engine: &Engine,
    vm: &EngineVmId,
    build: &Build,
    network: &str,
    memory_mb: u32,
) -> Result<(), String> {
    for base in &build.images {
        refuse_triggers(engine, &base.name).await?;
    }
    let mut archive = Archive::default();
    let packed = archive.file("Dockerfile", build.dockerfile.as_bytes());
    let tar = packed.and_then(|()| archive.finish());
    let tar = tar.map_err(|error| format!("the Dockerfile cannot be packed: {error}"))?;
    let bytes = u64::from(memory_mb) * 1024 * 1024;
    let memory = i32::try_from(bytes).unwrap_or(i32::MAX);
    let args: HashMap<String, String> = build.args.clone().into_iter().collect();
    let labels = HashMap::from([(LABEL_VM.to_owned(), vm.to_string())]);
    let mut options = BuildImageOptionsBuilder::new()
        .dockerfile("Dockerfile")
        .t(&build.image)
        .networkmode(network)
        .memory(memory)
        .memswap(memory)
        .buildargs(&args)
        .labels(&labels)
        .rm(true)
        .forcerm(true);
    if let Some(target) = &build.target {
        options = options.target(target);
    }
    let mut steps =
        Box::pin(engine.docker().build_image(options.build(), None, Some(body_full(tar.into()))));
    let mut last = String::new();
    while let Some(step) = steps.next().await {
        let step = step.map_err(|error| format!("{}; {last}", call_error(&error)))?;
        if let Some(line) = step.stream.filter(|line| !line.trim().is_empty()) {
            line.trim().clone_into(&mut last);
        }
        if let Some(error) = step.error_detail.and_then(|detail| detail.message) {
            return Err(format!("{error}; {last}"));
        }
    }
    // A variable may have made a label of the node's.
    let built = images::inspect(engine, &build.image).await?.and_then(|image| image.config);
    images::check_labels(built.and_then(|config| config.labels).as_ref(), vm)
        .map_err(|cause| format!("the image {cause}"))
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
