//! Asks a registry, before the engine is told to pull from it, where it would send the engine.
//!
//! An engine follows every redirect of a registry, and asks the token server that it names (`WWW-Authenticate: Bearer
//! realm=…`), from the host's network. It offers no way to forbid an address. So the way of a pull is gone beforehand
//! with a client that goes nowhere unchecked: the first answer, the token, the manifest and each blob. If a step leads
//! to an address that is not public, the engine is not asked.
//!
//! This finds what a registry does. It is no barrier against one that answers the engine otherwise than this client:
//! that takes a rule for the engine's own traffic (a proxy in `daemon.json`). Docker Hub and registries that an operator
//! lists are not asked.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use bollard::auth::DockerCredentials;
use casemate_core::address::is_global;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT, LOCATION, WWW_AUTHENTICATE},
    redirect::Policy,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::images::{HUB, host, registry, repository};

/// Everything together may take this long.
const PATIENCE: Duration = Duration::from_mins(1);
const TIMEOUT: Duration = Duration::from_secs(10);
/// As many redirects as engines follow.
const HOPS: usize = 10;
/// Layers that are asked about; engines take no image with more.
const BLOBS: usize = 128;
const AT_ONCE: usize = 8;
/// Bytes of a manifest, as engines read it, and of a token.
const LONGEST: usize = 4 * 1024 * 1024;

const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";

/// Where this client may go.
#[derive(Debug, Clone, Copy)]
struct Reach {
    scheme: &'static str,
    is_open: fn(IpAddr) -> bool,
}

const PUBLIC: Reach = Reach { scheme: "https", is_open: is_global };

/// Refuses an image whose registry sends the engine somewhere that is not public.
pub(super) async fn check(
    image: &str,
    platform: Option<&str>,
    login: Option<&DockerCredentials>,
    allowed: &[String],
) -> Result<(), String> {
    Asking::new(PUBLIC, image, platform, login, allowed)?.all().await
}

struct Asking<'a> {
    http: Client,
    reach: Reach,
    image: &'a str,
    platform: Option<&'a str>,
    login: Option<&'a DockerCredentials>,
    allowed: &'a [String],
}

/// Of an index, and of a manifest.
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<OfPlatform>,
    config: Option<Blob>,
    #[serde(default)]
    layers: Vec<Blob>,
}

#[derive(Debug, Deserialize)]
struct OfPlatform {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

#[derive(Debug, Deserialize)]
struct Blob {
    digest: String,
}

/// How a request is authorised.
#[derive(Debug)]
enum Credential {
    /// With the app's login.
    Login,
    Token(SecretString),
}

#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: SecretString,
}

impl<'a> Asking<'a> {
    fn new(
        reach: Reach,
        image: &'a str,
        platform: Option<&'a str>,
        login: Option<&'a DockerCredentials>,
        allowed: &'a [String],
    ) -> Result<Self, String> {
        // Fails only if the process has chosen already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .user_agent(concat!("casemate/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .timeout(TIMEOUT)
            .dns_resolver(Arc::new(CheckedResolver(reach)))
            .build()
            .map_err(|error| format!("image {image}: no client for its registry: {error}"))?;
        Ok(Self { http, reach, image, platform, login, allowed })
    }

    async fn all(&self) -> Result<(), String> {
        let registry = registry(self.image);
        if registry == HUB || self.is_listed(registry) {
            return Ok(());
        }
        tokio::time::timeout(PATIENCE, self.way_of_a_pull(registry)).await.unwrap_or_else(|_| {
            Err(self.refused(&format!("{registry} gave no answers in {} s", PATIENCE.as_secs())))
        })
    }

    async fn way_of_a_pull(&self, registry: &str) -> Result<(), String> {
        let repository = repository(self.image);
        let path = repository.split_once('/').map_or("", |(_, path)| path);
        let at = |below: &str| self.url(&format!("{}://{registry}/v2/{below}", self.reach.scheme));
        let first = self.follow(Method::GET, at("")?, None).await?;
        let mut credential = self.credential(&first, path).await?;
        let manifest = at(&format!("{path}/manifests/{}", reference(self.image)))?;
        let mut answer = self.follow(Method::GET, manifest, credential.as_ref()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            credential = self.credential(&answer, path).await?;
            let again = answer.url().clone();
            answer = self.follow(Method::GET, again, credential.as_ref()).await?;
        }
        let Some(mut manifest) = self.manifest(answer).await? else { return Ok(()) };
        if let Some(one) = self.of_platform(&manifest) {
            let one = at(&format!("{path}/manifests/{one}"))?;
            let answer = self.follow(Method::GET, one, credential.as_ref()).await?;
            let Some(of_platform) = self.manifest(answer).await? else { return Ok(()) };
            manifest = of_platform;
        }
        let digests = manifest.config.iter().chain(&manifest.layers).map(|blob| &blob.digest);
        let blobs = digests.take(BLOBS).map(|digest| at(&format!("{path}/blobs/{digest}")));
        let blobs: Vec<Url> = blobs.collect::<Result<_, _>>()?;
        stream::iter(blobs)
            .map(|blob| self.follow(Method::HEAD, blob, credential.as_ref()))
            .buffer_unordered(AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// The manifest of an answer; `None`: it is no success, which the engine will tell.
    async fn manifest(&self, answer: Response) -> Result<Option<Manifest>, String> {
        if !answer.status().is_success() {
            return Ok(None);
        }
        // What is no manifest the engine refuses too.
        Ok(serde_json::from_slice(&self.body(answer).await?).ok())
    }

    /// The manifest of an index that the engine would choose.
    fn of_platform<'m>(&self, index: &'m Manifest) -> Option<&'m str> {
        let own = format!("linux/{}", architecture());
        let wanted = self.platform.unwrap_or(&own);
        let is_wanted = |one: &&OfPlatform| {
            one.platform.as_ref().is_some_and(|platform| {
                let name = format!("{}/{}", platform.os, platform.architecture);
                wanted == name || wanted.starts_with(&format!("{name}/"))
            })
        };
        index.manifests.iter().find(is_wanted).map(|one| one.digest.as_str())
    }

    /// What an answer asks for: a token of the server that it names, or the login itself.
    async fn credential(
        &self,
        answer: &Response,
        path: &str,
    ) -> Result<Option<Credential>, String> {
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(None);
        }
        let mut credential = None;
        for challenge in answer.headers().get_all(WWW_AUTHENTICATE) {
            let challenge = String::from_utf8_lossy(challenge.as_bytes());
            for realm in parameters(&challenge, "realm") {
                // That of `Basic` is any text.
                let Ok(mut url) = Url::parse(&realm) else { continue };
                let service = parameters(&challenge, "service").pop().unwrap_or_default();
                url.query_pairs_mut()
                    .append_pair("service", &service)
                    .append_pair("scope", &format!("repository:{path}:pull"));
                let login = self.login.map(|_| Credential::Login);
                let answer = self.follow(Method::GET, url, login.as_ref()).await?;
                if answer.status().is_success()
                    && let Ok(Token { token }) = serde_json::from_slice(&self.body(answer).await?)
                {
                    credential = Some(Credential::Token(token));
                }
            }
        }
        Ok(credential.or_else(|| self.login.map(|_| Credential::Login)))
    }

    /// Sends a request, and follows redirects to places that are open, as the engine would. A credential goes to the
    /// first place only.
    async fn follow(
        &self,
        method: Method,
        mut url: Url,
        credential: Option<&Credential>,
    ) -> Result<Response, String> {
        let mut request = self.request(&method, &url, credential);
        for _ in 0..HOPS {
            self.check_place(&url).await?;
            let sent = request.send().await;
            let answer = sent.map_err(|error| self.silent(&url, &error))?;
            let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.filter(|_| answer.status().is_redirection());
            let Some(next) = next else { return Ok(answer) };
            url = url.join(next).map_err(|_| self.refused("it redirects to no URL"))?;
            request = self.request(&method, &url, None);
        }
        Err(self.refused("it redirects again and again"))
    }

    fn request(
        &self,
        method: &Method,
        url: &Url,
        credential: Option<&Credential>,
    ) -> RequestBuilder {
        let request = self.http.request(method.clone(), url.clone()).header(ACCEPT, MANIFESTS);
        match (credential, self.login) {
            (Some(Credential::Token(token)), _) => request.bearer_auth(token.expose_secret()),
            (Some(Credential::Login), Some(login)) => {
                let name = login.username.as_deref().unwrap_or_default();
                request.basic_auth(name, login.password.as_deref())
            }
            (Some(Credential::Login) | None, _) => request,
        }
    }

    async fn check_place(&self, url: &Url) -> Result<(), String> {
        let name = url.host_str().unwrap_or_default();
        let place = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        if self.is_listed(&place) {
            return Ok(());
        }
        if url.scheme() != self.reach.scheme {
            let scheme = url.scheme();
            return Err(self.refused(&format!("it leads to {scheme}://{place}, not over TLS")));
        }
        let port = url.port_or_known_default().unwrap_or(443);
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let found = addresses(bare, port).await;
        let found =
            found.map_err(|_| self.refused(&format!("it leads to {place}: no such host")))?;
        if !found.is_empty() && found.iter().all(|address| (self.reach.is_open)(*address)) {
            return Ok(());
        }
        Err(self.refused(&format!("it leads to {place}, which is not on the public network")))
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, String> {
        let (url, mut body) = (answer.url().clone(), Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.silent(&url, &error))? {
            if body.len() + chunk.len() > LONGEST {
                return Err(self.refused("its answer is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn is_listed(&self, place: &str) -> bool {
        self.allowed.iter().any(|one| host(one) == place)
    }

    fn url(&self, text: &str) -> Result<Url, String> {
        Url::parse(text).map_err(|_| self.refused("its name makes no URL"))
    }

    fn silent(&self, url: &Url, error: &reqwest::Error) -> String {
        let why = if error.is_timeout() { "in time" } else { "to this node" };
        self.refused(&format!("{} gives no answer {why}", url.host_str().unwrap_or_default()))
    }

    fn refused(&self, cause: &str) -> String {
        format!(
            "image {}: its registry {} was asked where a pull leads: {cause}: use a public registry (an operator can \
             list this one under docker.registries)",
            self.image,
            registry(self.image)
        )
    }
}

/// Resolves names to addresses that are open, so that a name that changes its mind leads nowhere.
#[derive(Debug)]
struct CheckedResolver(Reach);

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Reach { is_open, .. } = self.0;
        Box::pin(async move {
            let found = addresses(name.as_str(), 0).await?;
            if !found.iter().all(|address| is_open(*address)) {
                return Err(io::Error::other("not on the public network").into());
            }
            let found: Addrs = Box::new(found.into_iter().map(|address| (address, 0).into()));
            Ok(found)
        })
    }
}

async fn addresses(name: &str, port: u16) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, port)).await?.map(|address| address.ip()).collect())
}

/// The tag or the digest.
fn reference(image: &str) -> &str {
    if let Some((_, digest)) = image.split_once('@') {
        return digest;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').map_or("latest", |(_, tag)| tag)
}

/// All values of a parameter in a challenge, quoted or not.
fn parameters(challenge: &str, name: &str) -> Vec<String> {
    let (lower, key) = (challenge.to_ascii_lowercase(), format!("{name}="));
    let starts = lower.match_indices(&key).map(|(at, found)| at + found.len());
    let value = |at: usize| {
        let rest = &challenge[at..];
        match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or_default().to_owned(),
            None => rest.split([',', ' ']).next().unwrap_or_default().to_owned(),
        }
    };
    starts.map(value).collect()
}

/// The architecture of this machine, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, net::Ipv4Addr, sync::Mutex};

    use axum::{
        Router,
        extract::{Request, State},
        http::HeaderMap,
        response::{IntoResponse as _, Response as Reply},
    };
    use serde_json::json;

    use super::*;

    /// `127.0.0.1` stands for the public network, and the rest of it for the host's own.
    const LOCAL: Reach =
        Reach { scheme: "http", is_open: |address| address == IpAddr::V4(Ipv4Addr::LOCALHOST) };

    /// Answers by path: a status, headers, a body.
    type Pages = HashMap<String, (u16, Vec<(&'static str, String)>, String)>;

    struct Server {
        address: String,
        asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    }

    impl Server {
        async fn start(ip: &str, pages: impl FnOnce(&str) -> Pages) -> Self {
            let listener = tokio::net::TcpListener::bind((ip, 0)).await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let asked = Arc::<Mutex<Vec<_>>>::default();
            let state = (Arc::new(pages(&address)), asked.clone());
            let app = Router::new().fallback(answer).with_state(state);
            tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
            Self { address, asked }
        }

        fn paths(&self) -> Vec<String> {
            self.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
        }
    }

    type Asked = Arc<Mutex<Vec<(String, HeaderMap)>>>;

    async fn answer(State((pages, asked)): State<(Arc<Pages>, Asked)>, request: Request) -> Reply {
        let path = request.uri().path().to_owned();
        asked.lock().unwrap().push((path.clone(), request.headers().clone()));
        let has_token = request.headers().get("authorization").is_some_and(|one| one == "Bearer t");
        let key = if has_token { format!("{path} with token") } else { path.clone() };
        let page = pages.get(&key).or_else(|| pages.get(&path));
        let Some((status, headers, body)) = page else { return (404, "").into_reply() };
        let mut reply = (*status, body.clone()).into_reply();
        for (name, value) in headers {
            reply.headers_mut().insert(*name, value.parse().unwrap());
        }
        reply
    }

    trait IntoReply {
        fn into_reply(self) -> Reply;
    }

    impl<T: Into<String>> IntoReply for (u16, T) {
        fn into_reply(self) -> Reply {
            (StatusCode::from_u16(self.0).unwrap(), self.1.into()).into_response()
        }
    }

    fn manifest() -> String {
        json!({ "config": { "digest": "sha256:c" }, "layers": [{ "digest": "sha256:l" }] })
            .to_string()
    }

    fn to(place: &str) -> (u16, Vec<(&'static str, String)>, String) {
        (307, vec![("location", place.to_owned())], String::new())
    }

    fn asks_for_token(realm: &str) -> (u16, Vec<(&'static str, String)>, String) {
        let challenge = format!("Bearer service=\"s\",realm=\"{realm}\"");
        (401, vec![("www-authenticate", challenge)], String::new())
    }

    /// A registry of `me/app:1` that is right in everything.
    fn good(address: &str) -> Pages {
        let page = |text: &str| (200, Vec::new(), text.to_owned());
        let realm = asks_for_token(&format!("http://{address}/token?a=b"));
        HashMap::from(
            [
                ("/v2/", realm.clone()),
                ("/v2/me/app/manifests/1", realm),
                ("/token", page(r#"{"access_token":"t"}"#)),
                ("/v2/me/app/manifests/1 with token", page(&manifest())),
                ("/v2/me/app/blobs/sha256:c", page("")),
                ("/v2/me/app/blobs/sha256:l", page("")),
            ]
            .map(|(path, page)| (path.to_owned(), page)),
        )
    }

    async fn ask(image: &str, allowed: &[String]) -> Result<(), String> {
        let login = DockerCredentials {
            username: Some("me".to_owned()),
            password: Some("secret".to_owned()),
            ..DockerCredentials::default()
        };
        Asking::new(LOCAL, image, None, Some(&login), allowed)?.all().await
    }

    #[tokio::test]
    async fn the_whole_way_of_a_pull_is_gone() {
        let registry = Server::start("127.0.0.1", good).await;
        assert_eq!(ask(&format!("{}/me/app:1", registry.address), &[]).await, Ok(()));
        let paths = registry.paths();
        for path in ["/v2/", "/token", "/v2/me/app/blobs/sha256:c", "/v2/me/app/blobs/sha256:l"] {
            assert!(paths.iter().any(|asked| asked == path), "{path}: {paths:?}");
        }
    }

    #[tokio::test]
    async fn no_step_leads_to_an_address_that_is_not_public() {
        let inside = Server::start("127.0.0.2", |_| Pages::new()).await;
        let of = |path: &str| format!("http://{}{path}", inside.address);
        let cases = [
            ("/v2/", to(&of("/latest/meta-data"))),
            ("/v2/", asks_for_token(&of("/token"))),
            ("/v2/me/app/manifests/1 with token", asks_for_token(&of("/token"))),
            ("/token", to(&of("/token"))),
            ("/v2/me/app/manifests/1 with token", to(&of("/manifest"))),
            ("/v2/me/app/blobs/sha256:c", to(&of("/config"))),
            ("/v2/me/app/blobs/sha256:l", to(&of("/layer"))),
        ];
        for (path, page) in cases {
            let registry = Server::start("127.0.0.1", |address| {
                let mut pages = good(address);
                pages.insert(path.to_owned(), page.clone());
                pages
            })
            .await;
            let image = format!("{}/me/app:1", registry.address);
            let refused = ask(&image, &[]).await.expect_err(path);
            assert!(refused.contains("not on the public network"), "{path}: {refused}");
            assert!(refused.contains(&inside.address) && !refused.contains("secret"), "{refused}");
            let listed = std::slice::from_ref(&registry.address);
            assert_eq!(ask(&image, listed).await, Ok(()), "an operator's own is not asked");
        }
        assert_eq!(inside.paths(), Vec::<String>::new(), "nothing was sent there");
    }

    #[tokio::test]
    async fn redirects_are_followed_to_their_end_without_the_login() {
        let inside = Server::start("127.0.0.2", |_| Pages::new()).await;
        let end = format!("http://{}/x", inside.address);
        let second =
            Server::start("127.0.0.1", |_| HashMap::from([("/hop".to_owned(), to(&end))])).await;
        let hop = format!("http://{}/hop", second.address);
        let registry = Server::start("127.0.0.1", |address| {
            let mut pages = good(address);
            pages.insert("/v2/me/app/blobs/sha256:l".to_owned(), to(&hop));
            pages
        })
        .await;
        let image = format!("{}/me/app:1", registry.address);
        assert!(ask(&image, &[]).await.unwrap_err().contains("not on the public network"));
        let asked = second.asked.lock().unwrap();
        assert!(asked.iter().all(|(_, headers)| !headers.contains_key("authorization")));
        assert_eq!(asked.len(), 1);
    }

    #[tokio::test]
    async fn a_registry_that_is_silent_or_goes_round_is_refused() {
        let round = Server::start("127.0.0.1", |address| {
            HashMap::from([("/v2/".to_owned(), to(&format!("http://{address}/v2/")))])
        })
        .await;
        let refused = ask(&format!("{}/me/app:1", round.address), &[]).await.unwrap_err();
        assert!(refused.contains("again and again"), "{refused}");
        let refused = ask("127.0.0.1:1/me/app:1", &[]).await.unwrap_err();
        assert!(refused.contains("gives no answer"), "{refused}");
        let refused = ask("127.0.0.2:1/me/app:1", &[]).await.unwrap_err();
        assert!(refused.contains("not on the public network"), "{refused}");
    }

    #[tokio::test]
    async fn of_an_index_the_manifest_of_this_machine_is_looked_at() {
        let inside = Server::start("127.0.0.2", |_| Pages::new()).await;
        let end = format!("http://{}/x", inside.address);
        let registry = Server::start("127.0.0.1", |address| {
            let mut pages = good(address);
            let of = |digest: &str, architecture: &str| {
                json!({ "digest": digest, "platform": { "os": "linux", "architecture": architecture } })
            };
            let index = json!({ "manifests": [of("sha256:o", "other"), of("sha256:m", architecture())] });
            let page = |text: String| (200, Vec::new(), text);
            pages.insert("/v2/me/app/manifests/1 with token".to_owned(), page(index.to_string()));
            pages.insert("/v2/me/app/manifests/sha256:m".to_owned(), page(manifest()));
            pages.insert("/v2/me/app/blobs/sha256:l".to_owned(), to(&end));
            pages
        })
        .await;
        let image = format!("{}/me/app:1", registry.address);
        assert!(ask(&image, &[]).await.unwrap_err().contains("not on the public network"));
        assert!(!registry.paths().iter().any(|path| path.ends_with("sha256:o")));
    }

    #[test]
    fn names_and_challenges_are_read_as_engines_read_them() {
        for (image, expected) in [
            ("r.test:5000/a", "latest"),
            ("r.test:5000/a:1", "1"),
            ("r.test/a:1@sha256:00", "sha256:00"),
        ] {
            assert_eq!(reference(image), expected);
        }
        let challenge = r#"bearer Realm="https://a.test/t",service=s, Bearer realm=https://b.test"#;
        assert_eq!(parameters(challenge, "realm"), ["https://a.test/t", "https://b.test"]);
        assert_eq!(parameters(challenge, "service"), ["s"]);
    }
}
