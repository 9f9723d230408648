//! Output of the containers of a guest, from its agent; where that cannot be reached, the serial log of the VM.
//!
//! The agent serves `/logs/<container>` on port 8090 of the guest, which is reached through the node's gateway. From dstack 0.6.3 on it asks for a token.

use bytes::Bytes;
use casemate_core::id::EngineVmId;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use super::{
    DstackConfig,
    client::PrpcClient,
    secret,
    wire::{Containers, GetInfoResponse, Id, Meta, Nothing},
};
use crate::node::{CallError, LogQuery, LogStream};

/// Port of the guest agent in the guest.
const AGENT: u16 = 8090;
/// The longest line that is put together; a longer one is cut in pieces.
const LONGEST_LINE: usize = 64 << 10;
/// The longest cause that is taken from a log, in characters.
const LONGEST_WORDS: usize = 500;

/// The output of all containers as lines `service | text`, else the serial log as lines `serial | text`.
pub(super) async fn logs(
    vmm: &PrpcClient,
    config: &DstackConfig,
    vm: &EngineVmId,
    query: LogQuery,
) -> Result<LogStream, CallError> {
    let found: GetInfoResponse = vmm.call("GetInfo", &Id { id: vm.0.clone() }).await?;
    let info = found.info.ok_or_else(|| CallError::Rejected("VM not found".to_owned()))?;
    let meta: Meta = vmm.call("GetMeta", &Nothing {}).await?;
    let Some(agent) = info.instance_id.and_then(|id| agent(&id, &meta)) else {
        return serial(vmm, vm, query).await;
    };
    match containers(vmm, config, &agent, vm, query).await {
        Err(CallError::Unreachable(_) | CallError::Unknown(_)) => serial(vmm, vm, query).await,
        other => other,
    }
}

async fn containers(
    vmm: &PrpcClient,
    config: &DstackConfig,
    agent: &str,
    vm: &EngineVmId,
    query: LogQuery,
) -> Result<LogStream, CallError> {
    let agent: Url = agent
        .parse()
        .map_err(|_| CallError::Unknown(format!("{agent} is no address of a guest")))?;
    let token = match &config.guest_token_file {
        Some(path) => {
            Some(secret(path).await.map_err(|error| CallError::Unreachable(error.to_string()))?)
        }
        None => None,
    };
    let containers: Containers = vmm.guest("ListContainers", &vm.0).await?;
    let names = containers.containers.into_iter().filter_map(|one| one.names.into_iter().next());
    let names: Vec<String> = names.map(|name| name.trim_start_matches('/').to_owned()).collect();
    let http = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(config.timeout)
        .build()
        .map_err(|error| CallError::Unknown(error.to_string()))?;
    let mut streams = Vec::new();
    for name in names {
        let bytes = container(&http, config, &agent, token.as_ref(), &name, query).await?;
        streams.push(lines(service(&name).to_owned(), bytes).boxed());
    }
    if query.follow {
        return Ok(stream::select_all(streams).boxed());
    }
    Ok(stream::iter(streams).flatten().boxed())
}

/// The service of a container of compose project `dstack`: `dstack-web-1` is `web`.
fn service(container: &str) -> &str {
    let bare = container.strip_prefix("dstack-").unwrap_or(container);
    bare.rsplit_once('-').map_or(bare, |(service, _)| service)
}

async fn container(
    http: &Client,
    config: &DstackConfig,
    agent: &Url,
    token: Option<&SecretString>,
    name: &str,
    query: LogQuery,
) -> Result<impl Stream<Item = Result<Bytes, CallError>> + Send + use<>, CallError> {
    let mut url = agent.clone();
    url.set_path(&format!("/logs/{name}"));
    let (follow, tail) = (query.follow.to_string(), query.tail.to_string());
    url.query_pairs_mut().extend_pairs([("bare", "true"), ("follow", &follow), ("tail", &tail)]);
    let mut request = http.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token.expose_secret());
    }
    let sent = tokio::time::timeout(config.timeout, request.send()).await;
    let Ok(Ok(response)) = sent else {
        return Err(CallError::Unreachable("the guest agent does not answer".to_owned()));
    };
    match response.status() {
        StatusCode::OK => Ok(response
            .bytes_stream()
            .map_err(|_| CallError::Unknown("the log of the guest broke off".to_owned()))),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            let why = match token {
                None => {
                    "logs need a guest API token on this node: name its file with guest_token_file"
                }
                Some(_) => {
                    "the guest does not accept the guest API token of this node, or the app \
                            does not make its logs public"
                }
            };
            Err(CallError::Rejected(why.to_owned()))
        }
        status => Err(CallError::Unknown(format!("the guest agent answered {status}"))),
    }
}

async fn serial(
    vmm: &PrpcClient,
    vm: &EngineVmId,
    query: LogQuery,
) -> Result<LogStream, CallError> {
    let (follow, tail) = (query.follow.to_string(), query.tail.to_string());
    let wanted = [
        ("id", vm.0.as_str()),
        ("follow", &follow),
        ("ansi", "false"),
        ("lines", &tail),
        ("ch", "serial"),
    ];
    let response = vmm.stream("logs", &wanted).await?;
    let broken = |_| CallError::Unknown("the serial log broke off".to_owned());
    Ok(lines("serial".to_owned(), response.bytes_stream().map_err(broken)).boxed())
}

/// What the process of a VM wrote to stderr before it ended: QEMU says there why it cannot start a guest.
pub(super) async fn last_words(vmm: &PrpcClient, vm: &EngineVmId) -> Option<String> {
    let wanted = [
        ("id", vm.0.as_str()),
        ("follow", "false"),
        ("ansi", "false"),
        ("lines", "20"),
        ("ch", "stderr"),
    ];
    let mut response = vmm.stream("logs", &wanted).await.ok()?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST_LINE {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    // The VMM writes a line of its own before each boot.
    let boot = text.rfind("===== boot @").map_or(0, |at| at);
    let lines = text[boot..].lines().filter(|line| !line.starts_with("=====")).map(str::trim);
    let words: Vec<&str> = lines.filter(|line| !line.is_empty()).take(4).collect();
    let words: String = words.join("; ").chars().take(LONGEST_WORDS).collect();
    Some(words).filter(|words| !words.is_empty())
}

/// Whole lines, each with its source before it.
fn lines(
    source: String,
    bytes: impl Stream<Item = Result<Bytes, CallError>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, CallError>> + Send {
    let ended = bytes.map(Some).chain(stream::iter([None]));
    ended
        .scan(Vec::new(), move |rest: &mut Vec<u8>, item| {
            let out = match item {
                Some(Ok(bytes)) => {
                    rest.extend_from_slice(&bytes);
                    Ok(whole_lines(&source, rest, false))
                }
                Some(Err(error)) => Err(error),
                None => Ok(whole_lines(&source, rest, true)),
            };
            std::future::ready(Some(out))
        })
        .try_filter(|bytes| std::future::ready(!bytes.is_empty()))
}

fn whole_lines(source: &str, rest: &mut Vec<u8>, ended: bool) -> Bytes {
    let mut out = Vec::new();
    while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = rest.drain(..=at).collect();
        add(&mut out, source, line.trim_ascii_end());
    }
    if rest.len() > LONGEST_LINE || (ended && !rest.is_empty()) {
        let line = std::mem::take(rest);
        add(&mut out, source, &line);
    }
    Bytes::from(out)
}

fn add(out: &mut Vec<u8>, source: &str, line: &[u8]) {
    // The VMM says that it is still there.
    if line == b"[vmm heartbeat]" {
        return;
    }
    out.extend_from_slice(source.as_bytes());
    out.extend_from_slice(b" | ");
    out.extend_from_slice(String::from_utf8_lossy(line).as_bytes());
    out.push(b'\n');
}

/// The guest agent behind the gateway that the operator gave to the node. Not `app_url` and not a host port: both
/// follow what a tenant sets (`gateway_urls`, `ports`), and the guest API token goes there.
fn agent(instance_id: &str, meta: &Meta) -> Option<String> {
    let gateway = &meta.gateway;
    let is_id = !instance_id.is_empty() && instance_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if gateway.base_domain.is_empty() || !is_id {
        return None;
    }
    let agent_port = if gateway.agent_port == 0 { AGENT } else { gateway.agent_port };
    let name = format!("https://{instance_id}-{agent_port}.{}", gateway.base_domain);
    Some(match gateway.port {
        0 | 443 => name,
        port => format!("{name}:{port}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_stay_whole_and_carry_their_source() {
        let parts =
            ["one\ntw", "o\r\n[vmm heart", "beat]\nthree"].map(|part| Ok(Bytes::from(part)));
        let out: Vec<Bytes> =
            lines("web".to_owned(), stream::iter(parts)).try_collect().await.unwrap();
        let text = String::from_utf8(out.concat()).unwrap();
        assert_eq!(text, "web | one\nweb | two\nweb | three\n");
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut() {
        let parts = (0..3).map(|_| Ok(Bytes::from(vec![b'x'; LONGEST_LINE])));
        let out: Vec<Bytes> =
            lines("web".to_owned(), stream::iter(parts)).try_collect().await.unwrap();
        assert!(out.iter().all(|bytes| bytes.len() <= 2 * LONGEST_LINE + 16));
    }

    #[test]
    fn a_service_is_told_from_its_container() {
        assert_eq!(service("dstack-web-1"), "web");
        assert_eq!(service("dstack-my-web-12"), "my-web");
        assert_eq!(service("other"), "other");
    }

    #[test]
    fn the_agent_is_reached_through_the_gateway_of_the_operator_only() {
        let meta = |gateway: serde_json::Value| -> Meta {
            serde_json::from_value(serde_json::json!({ "gateway": gateway })).unwrap()
        };
        let of = |gateway| agent("0a1b", &meta(gateway));
        let full =
            serde_json::json!({"base_domain": "apps.example", "port": 8443, "agent_port": 8099});
        assert_eq!(of(full.clone()).unwrap(), "https://0a1b-8099.apps.example:8443");
        let plain = serde_json::json!({"base_domain": "apps.example", "port": 443});
        assert_eq!(of(plain).unwrap(), "https://0a1b-8090.apps.example");
        assert_eq!(of(serde_json::json!({})), None);
        for id in ["", "x.evil.example/", "0a1b.evil"] {
            assert_eq!(agent(id, &meta(full.clone())), None);
        }
    }
}
