//! `build`: an image from a Dockerfile in the compose file, with nothing beside it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    DeriveInput, Notes, Object, Refused,
    dockerfile::{self, BaseImage},
    services_mut, text,
};

/// Repository of images that the node builds; files cannot name it.
pub(super) const REPOSITORY: &str = "casemate-build";

const KEYS: [&str; 9] = [
    "args",
    "context",
    "dockerfile",
    "dockerfile_inline",
    "labels",
    "no_cache",
    "pull",
    "tags",
    "target",
];

/// An image to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node::docker) struct Build {
    pub service: String,
    /// Name of the image.
    pub image: String,
    pub dockerfile: String,
    pub args: BTreeMap<String, String>,
    pub target: Option<String>,
    /// Images that it begins with.
    pub images: Vec<BaseImage>,
}

/// Refuses a build that a CVM on this node cannot do.
pub(super) fn check(value: &Value, has_image: bool) -> Result<(), Refused> {
    let inline = value.get("dockerfile_inline").and_then(Value::as_str);
    let Some((build, inline)) = value.as_object().zip(inline) else {
        let way_out = if has_image {
            "remove build:, the image is named under image:"
        } else {
            "push the image and name it under image:, or build from build.dockerfile_inline"
        };
        return Err(Refused::new("a build with a context", way_out));
    };
    if let Some(key) =
        build.keys().find(|key| !KEYS.contains(&key.as_str()) && !key.starts_with("x-"))
    {
        return Err(Refused::new(format!("build.{key}"), "leave it out"));
    }
    if !matches!(text(build, "context").unwrap_or("."), "." | "./" | "/dstack") {
        return Err(Refused::new(
            "build.context",
            "leave it out: a CVM has no files to build from",
        ));
    }
    dockerfile::read(inline, &args(build)).map(|_| ())
}

/// Replaces the builds of a model by images that the node builds first.
pub(super) fn take(
    file: &mut Object,
    input: &DeriveInput<'_>,
    notes: &mut Notes,
) -> Result<(), Refused> {
    for (name, service) in services_mut(file) {
        let Some(Value::Object(build)) = service.remove("build") else { continue };
        let inline = text(&build, "dockerfile_inline").unwrap_or_default();
        let args = args(&build);
        let read = dockerfile::read(inline, &args).map_err(|one| one.in_service(name))?;
        let image = format!("{REPOSITORY}/{}:{}", input.vm, tag(name));
        service.insert("image".to_owned(), Value::from(image.clone()));
        service.insert("pull_policy".to_owned(), Value::from("never"));
        let target = text(&build, "target").map(str::to_owned);
        let (dockerfile, images) = (read.text, read.images);
        notes.builds.push(Build { service: name.clone(), image, dockerfile, args, target, images });
    }
    Ok(())
}

/// Service names and tags have the same letters; a tag begins with a letter, a digit or `_`.
fn tag(service: &str) -> String {
    format!("s{}", &service[..service.len().min(120)])
}

fn args(build: &Object) -> BTreeMap<String, String> {
    let args = build.get("args").and_then(Value::as_object).into_iter().flatten();
    args.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
