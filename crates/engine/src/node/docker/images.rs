//! Pulling images. Compose pulls by itself with the operator's logins; this is for the app's own
//! login (`DSTACK_DOCKER_USERNAME`, `DSTACK_DOCKER_PASSWORD`, `DSTACK_DOCKER_REGISTRY`), which a guest
//! would hand to its docker and which must not be written to the host's disk.

use bollard::{
    auth::DockerCredentials, errors::Error, query_parameters::CreateImageOptionsBuilder,
};
use futures_util::TryStreamExt;

use super::{
    engine::{Engine, call_error},
    env::GuestEnv,
};

const HUB: &str = "docker.io";

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

/// Pulls those images of the login's registry that are not there.
pub(super) async fn pull_all(
    engine: &Engine,
    images: &[String],
    login: &DockerCredentials,
) -> Result<(), String> {
    let server = login.serveraddress.as_deref().unwrap_or(HUB);
    for image in images.iter().filter(|image| registry(image) == host(server)) {
        ensure(engine, image, Some(login.clone())).await?;
    }
    Ok(())
}

/// Pulls an image unless it is there.
pub(super) async fn ensure(
    engine: &Engine,
    image: &str,
    login: Option<DockerCredentials>,
) -> Result<(), String> {
    match engine.docker().inspect_image(image).await {
        Ok(_) => return Ok(()),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
        Err(error) => return Err(call_error(&error).to_string()),
    }
    let options = CreateImageOptionsBuilder::new().from_image(&tagged(image)).build();
    let steps = engine.docker().create_image(Some(options), None, login);
    let pulled: Result<Vec<()>, Error> = steps.map_ok(|_| ()).try_collect().await;
    pulled
        .map(|_| ())
        .map_err(|error| format!("image {image} cannot be pulled: {}", call_error(&error)))
}

/// Without a tag the engine would pull them all.
fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// The registry an image comes from.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => host(first),
        _ => HUB,
    }
}

/// `https://index.docker.io/v1/` and the like are Docker Hub.
fn host(server: &str) -> &str {
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://"));
    let host = bare.unwrap_or(server).split('/').next().unwrap_or(server);
    if host.ends_with(HUB) { HUB } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_read_from_the_name() {
        for (image, expected) in [
            ("nginx", "docker.io"),
            ("me/app:1", "docker.io"),
            ("ghcr.io/me/app@sha256:00", "ghcr.io"),
            ("localhost:5000/a", "localhost:5000"),
            ("registry.docker.io/library/a", "docker.io"),
        ] {
            assert_eq!(registry(image), expected, "{image}");
        }
        assert_eq!(host("https://index.docker.io/v1/"), HUB);
    }

    #[test]
    fn an_image_without_tag_gets_one() {
        assert_eq!(tagged("localhost:5000/a"), "localhost:5000/a:latest");
        assert_eq!(tagged("a@sha256:00"), "a@sha256:00");
    }

    #[test]
    fn a_login_needs_name_and_password() {
        let env: GuestEnv =
            [("DSTACK_DOCKER_USERNAME".to_owned(), "me".to_owned().into())].into_iter().collect();
        assert_eq!(login(&env), None);
    }
}
