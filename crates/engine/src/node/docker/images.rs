//! Images. Casemate pulls them itself, through the engine's API, before compose is asked to create
//! anything, and compose pulls none. So no login of the operator is used: an image is pulled with the
//! app's own login (`DSTACK_DOCKER_USERNAME`, `DSTACK_DOCKER_PASSWORD`, `DSTACK_DOCKER_REGISTRY`) or
//! without one.
//!
//! The engine speaks to a registry from the host's network, and its replies show in errors. A registry
//! at an address that is not public would be a way to the host's own services, so it is refused unless
//! an operator lists it.
//!
//! An engine gives an image that is there to everybody. One that was pulled with a login is given to another
//! app only after its registry has given it to that app too ([`super::private_images`]), and so is one of which it is not
//! known how it was pulled.

use std::{collections::HashMap, net::IpAddr};

use bollard::{
    auth::DockerCredentials, errors::Error, models::ImageInspect,
    query_parameters::CreateImageOptionsBuilder,
};
use casemate_core::{address::is_global, id::EngineVmId};
use futures_util::TryStreamExt;

use super::{
    container::is_own_label,
    derive::{ImageUse, LABEL_VM, Pull},
    engine::{Engine, call_error},
    env::GuestEnv,
    private_images::PrivateImages,
    registry_check,
};

pub(super) const HUB: &str = "docker.io";

/// The app's login, if it has one.
pub(super) fn login(env: &GuestEnv) -> Option<DockerCredentials> {
    let variable = |name| env.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
    Some(DockerCredentials {
        username: Some(variable("DSTACK_DOCKER_USERNAME")?),
        password: Some(variable("DSTACK_DOCKER_PASSWORD")?),
        serveraddress: Some(variable("DSTACK_DOCKER_REGISTRY").unwrap_or_else(|| HUB.to_owned())),
        ..DockerCredentials::default()
    })
}

/// Whose images are pulled, and from where.
#[derive(Debug)]
pub(super) struct Puller<'a> {
    pub engine: &'a Engine,
    pub private: &'a PrivateImages,
    pub vm: &'a EngineVmId,
    pub app: String,
    pub login: Option<DockerCredentials>,
    /// Registries that an operator lists.
    pub allowed: &'a [String],
}

impl Puller<'_> {
    /// Pulls an image of an app as its file asks for.
    pub async fn pull(&self, image: &ImageUse) -> Result<(), String> {
        let (engine, name) = (self.engine, image.name.as_str());
        if let Some(found) = inspect(engine, name).await? {
            check(&found, name, self.vm)?;
            let free = self.private.allows(id(&found), &repository(name), &self.app);
            // One without a registry was made on this engine or loaded into it, by its operator.
            let is_of_registry = found.repo_digests.as_ref().is_some_and(|all| !all.is_empty());
            let is_known = !is_of_registry || self.private.is_recorded(id(&found));
            match image.pull {
                Pull::Missing | Pull::Never if free && is_known => return Ok(()),
                Pull::Never if free => {
                    return Err(format!(
                        "image {name} was pulled on this node before it kept a record of who may run it, and \
                         pull_policy: never forbids to ask its registry: leave pull_policy out"
                    ));
                }
                Pull::Never => {
                    return Err(format!(
                        "image {name} was pulled with the login of another app, and pull_policy: \
                         never forbids to ask for it: leave pull_policy out"
                    ));
                }
                Pull::Missing | Pull::Always => {}
            }
        } else if image.pull == Pull::Never {
            return Err(format!(
                "image {name} is not on this node, and pull_policy: never forbids to pull it: leave \
                 pull_policy out"
            ));
        }
        check_registry(name, self.allowed).await?;
        let server = |login: &&DockerCredentials| {
            registry(name) == host(login.serveraddress.as_deref().unwrap_or(HUB))
        };
        let login = self.login.as_ref().filter(server);
        registry_check::check(name, image.platform.as_deref(), login, self.allowed).await?;
        if let Some(login) = login {
            return self.with_login(image, login.clone()).await;
        }
        pull(engine, name, image.platform.as_deref(), None).await?;
        let found = self.pulled(name).await?;
        self.check_origin(&found, name)?;
        self.private.published(id(&found), &repository(name)).map_err(|error| unrecorded(&error))
    }

    async fn with_login(&self, image: &ImageUse, login: DockerCredentials) -> Result<(), String> {
        let name = repository(&image.name);
        self.private.begin(&name, &self.app).map_err(|error| unrecorded(&error))?;
        let before = self.engine.image_ids().await.map_err(|error| error.to_string())?;
        pull(self.engine, &image.name, image.platform.as_deref(), Some(login)).await?;
        let found = self.pulled(&image.name).await?;
        self.check_origin(&found, &image.name)?;
        let was_public = before.contains(id(&found)) && self.private.is_public(id(&found));
        self.private
            .pulled(id(&found), &name, &self.app, was_public)
            .map_err(|error| unrecorded(&error))
    }

    fn check_origin(&self, image: &ImageInspect, name: &str) -> Result<(), String> {
        let digests = image.repo_digests.as_deref().unwrap_or_default();
        self.private.check_origin(id(image), digests, name, &self.app)
    }

    async fn pulled(&self, name: &str) -> Result<ImageInspect, String> {
        let found = inspect(self.engine, name).await?;
        let found = found.ok_or_else(|| format!("image {name} was removed while it was pulled"))?;
        check(&found, name, self.vm).map(|()| found)
    }
}

fn unrecorded(error: &std::io::Error) -> String {
    format!("who may run a private image cannot be written down: {error}")
}

fn id(image: &ImageInspect) -> &str {
    image.id.as_deref().unwrap_or_default()
}

/// Refuses an image that was built for another CVM, or is called by the engine's id of it: neither comes from
/// a registry that could be asked. Labels of the node are not an image's to set.
fn check(image: &ImageInspect, name: &str, vm: &EngineVmId) -> Result<(), String> {
    let bare = name.strip_prefix("sha256:").unwrap_or(name);
    let is_id = bare.bytes().all(|byte| byte.is_ascii_hexdigit())
        && id(image).strip_prefix("sha256:").is_some_and(|id| id.starts_with(bare));
    let tags = image.repo_tags.as_deref().unwrap_or_default();
    if is_id && !tags.contains(&tagged(name)) {
        return Err(format!("image {name} is an id: name the image as its registry does"));
    }
    let labels = image.config.as_ref().and_then(|config| config.labels.as_ref());
    check_labels(labels, vm).map_err(|cause| format!("image {name} {cause}"))
}

/// Refuses labels that mean something to the node, apart from the mark of an image that it built.
pub(super) fn check_labels(
    labels: Option<&HashMap<String, String>>,
    vm: &EngineVmId,
) -> Result<(), String> {
    let mut ours = labels.into_iter().flatten().filter(|(name, _)| is_own_label(name));
    match ours.find(|(name, value)| *name != LABEL_VM || **value != vm.0) {
        None => Ok(()),
        Some((name, _)) if name == LABEL_VM => Err("was built for another CVM".to_owned()),
        Some((name, _)) => Err(format!("has the label {name}, which only this node sets")),
    }
}

/// Pulls an image of the node's own configuration unless it is there.
pub(super) async fn ensure(engine: &Engine, image: &str) -> Result<(), String> {
    if inspect(engine, image).await?.is_some() {
        return Ok(());
    }
    pull(engine, image, None, None).await
}

/// An image as the engine has it.
pub(super) async fn inspect(engine: &Engine, image: &str) -> Result<Option<ImageInspect>, String> {
    match engine.docker().inspect_image(image).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(call_error(&error).to_string()),
    }
}

async fn pull(
    engine: &Engine,
    image: &str,
    platform: Option<&str>,
    login: Option<DockerCredentials>,
) -> Result<(), String> {
    let mut options = CreateImageOptionsBuilder::new().from_image(&tagged(image));
    if let Some(platform) = platform {
        options = options.platform(platform);
    }
    let steps = engine.docker().create_image(Some(options.build()), None, login);
    let pulled: Result<Vec<()>, Error> = steps.map_ok(|_| ()).try_collect().await;
    pulled.map(|_| ()).map_err(|error| {
        let cause = call_error(&error).to_string();
        format!("image {image} cannot be pulled: {}", without_reply(&cause))
    })
}

/// The engine quotes a reply that it does not understand. The tenant chooses the registry, and a registry can
/// send the engine to any address, so such a reply is shown to nobody.
fn without_reply(cause: &str) -> String {
    match cause.split_once("response body") {
        Some((before, _)) => format!("{before}response body (not shown)"),
        None => cause.to_owned(),
    }
}

/// Refuses a registry that is not on the public network. Docker Hub is known to be.
async fn check_registry(image: &str, allowed: &[String]) -> Result<(), String> {
    let registry = registry(image);
    if registry == HUB || allowed.iter().any(|one| one == registry) {
        return Ok(());
    }
    let refused = |cause: &str| {
        format!(
            "image {image}: its registry {registry} {cause}: use a public registry (an operator can \
             list this one under docker.registries)"
        )
    };
    let (name, port) = name_and_port(registry);
    let found = tokio::net::lookup_host((name, port)).await;
    let addresses: Vec<IpAddr> =
        found.map_err(|_| refused("is no such host"))?.map(|address| address.ip()).collect();
    if addresses.is_empty() {
        return Err(refused("is no such host"));
    }
    if addresses.iter().all(|address| is_global(*address)) {
        Ok(())
    } else {
        Err(refused("is not on the public network"))
    }
}

fn name_and_port(registry: &str) -> (&str, u16) {
    let (name, port) = match registry.rsplit_once(':') {
        Some((name, port)) if !registry.ends_with(']') => (name, port.parse().unwrap_or(443)),
        _ => (registry, 443),
    };
    (name.trim_start_matches('[').trim_end_matches(']'), port)
}

/// Without a tag the engine would pull them all.
fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// The repository of an image, in one spelling: a registry, and a path without tag and digest. `nginx`,
/// `docker.io/library/nginx:1` and `index.docker.io/nginx@sha256:…` are one.
pub(super) fn repository(image: &str) -> String {
    let bare = image.split_once('@').map_or(image, |(name, _)| name);
    let bare = match bare.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => bare,
    };
    let server = registry(bare);
    let path = match bare.split_once('/') {
        Some((first, path)) if host(first) == server => path,
        _ => bare,
    };
    let library = if server == HUB && !path.contains('/') { "library/" } else { "" };
    format!("{server}/{library}{path}")
}

/// The registry an image comes from.
pub(super) fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.contains(|c: char| c.is_ascii_uppercase()) =>
        {
            host(first)
        }
        _ => HUB,
    }
}

/// `https://index.docker.io/v1/` and the like are Docker Hub.
pub(super) fn host(server: &str) -> &str {
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://"));
    let host = bare.unwrap_or(server).split('/').next().unwrap_or(server);
    let of_hub = host.strip_suffix(HUB).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if of_hub { HUB } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_the_engine_does_not_understand_is_not_shown() {
        let cause = "error parsing HTTP 403 response body: invalid character 'I': \"INTERNAL\"";
        assert_eq!(without_reply(cause), "error parsing HTTP 403 response body (not shown)");
        assert_eq!(without_reply("manifest unknown"), "manifest unknown");
    }

    #[test]
    fn the_registry_is_read_from_the_name() {
        for (image, expected) in [
            ("nginx", "docker.io"),
            ("me/app:1", "docker.io"),
            ("ghcr.io/me/app@sha256:00", "ghcr.io"),
            ("localhost:5000/a", "localhost:5000"),
            ("localhost/a", "localhost"),
            ("LOCALHOST/a", "LOCALHOST"),
            ("[::1]:5000/a", "[::1]:5000"),
            ("registry.docker.io/library/a", "docker.io"),
            ("evildocker.io/a", "evildocker.io"),
        ] {
            assert_eq!(registry(image), expected, "{image}");
        }
        assert_eq!(host("https://index.docker.io/v1/"), HUB);
        assert_eq!(name_and_port("[::1]:5000"), ("::1", 5000));
        assert_eq!(name_and_port("ghcr.io"), ("ghcr.io", 443));
    }

    #[test]
    fn addresses_of_this_host_and_its_neighbours_are_not_public() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.17.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!is_global(address.parse().unwrap()), "{address}");
        }
        for address in ["1.1.1.1", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_global(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn registries_of_the_host_are_refused_unless_listed() {
        for image in [
            "127.0.0.1:15056/x/y:1",
            "localhost:5000/x",
            "[::1]:5000/x",
            "127.1:80/x",
            "10.0.0.1/x",
        ] {
            let refused = check_registry(image, &[]).await.unwrap_err();
            assert!(refused.contains("docker.registries"), "{refused}");
        }
        let listed = ["localhost:5000".to_owned()];
        assert_eq!(check_registry("localhost:5000/x", &listed).await, Ok(()));
        assert!(check_registry("localhost:5001/x", &listed).await.is_err());
        assert_eq!(check_registry("nginx", &[]).await, Ok(()));
    }

    #[test]
    fn ids_and_images_of_other_cvms_are_refused() {
        let image = |label: Option<(&str, &str)>| ImageInspect {
            id: Some(format!("sha256:cafe{}", "0".repeat(60))),
            repo_tags: Some(vec!["cafe:latest".to_owned(), "me/app:1".to_owned()]),
            config: Some(bollard::models::ImageConfig {
                labels: label
                    .map(|(name, value)| HashMap::from([(name.to_owned(), value.to_owned())])),
                ..Default::default()
            }),
            ..ImageInspect::default()
        };
        let check = |name: &str, label| check(&image(label), name, &EngineVmId("v".to_owned()));
        let full = format!("sha256:cafe{}", "0".repeat(60));
        for name in ["cafe0000", &full, &full[7..]] {
            assert!(check(name, None).unwrap_err().contains("is an id"), "{name}");
        }
        for name in ["cafe", "me/app:1", "me/app@sha256:cafe"] {
            assert_eq!(check(name, None), Ok(()), "{name}");
        }
        assert_eq!(check("me/app:1", Some(("casemate.vm", "v"))), Ok(()));
        assert!(check("me/app:1", Some(("casemate.vm", "w"))).unwrap_err().contains("another CVM"));
        assert!(check("me/app:1", Some(("casemate.script", "x"))).unwrap_err().contains("script"));
    }

    #[test]
    fn an_image_without_tag_gets_one() {
        assert_eq!(tagged("localhost:5000/a"), "localhost:5000/a:latest");
        assert_eq!(tagged("a@sha256:00"), "a@sha256:00");
    }

    #[test]
    fn spellings_of_one_repository_are_one() {
        for image in [
            "nginx",
            "nginx:1",
            "library/nginx",
            "docker.io/nginx",
            "docker.io/library/nginx:1@sha256:00",
            "index.docker.io/library/nginx@sha256:00",
            "registry-1.docker.io/library/nginx",
        ] {
            assert_eq!(repository(image), "docker.io/library/nginx", "{image}");
        }
        assert_eq!(repository("me/app:1"), "docker.io/me/app");
        assert_eq!(repository("localhost:5000/app"), "localhost:5000/app");
        assert_eq!(repository("ghcr.io/me/app:1@sha256:00"), "ghcr.io/me/app");
    }

    #[test]
    fn a_login_needs_name_and_password() {
        let env: GuestEnv =
            [("DSTACK_DOCKER_USERNAME".to_owned(), "me".to_owned().into())].into_iter().collect();
        assert_eq!(login(&env), None);
    }
}
