//! What dstack-vmm does, as checks over HTTP: facts that were captured from the real program, in our own
//! words. The double has to pass them; so does a real dstack-vmm that is given. A run makes VMs under names of
//! its own, stopped, and removes them; no guest is booted.

use std::{fmt, future::Future, time::Duration};

use anyhow::{Context as _, bail, ensure};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

/// A document that every build accepts.
const DOCUMENT: &str = r#"{"docker_compose_file":"services:\n  web:\n    image: nginx:1.27\n","manifest_version":2,"name":"contract","runner":"docker-compose"}"#;
/// The id of no VM.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// How one check went.
#[derive(Debug)]
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    /// Why it does not hold.
    pub outcome: Result<(), String>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(()) => write!(f, "ok - {}", self.name),
            Err(why) => write!(f, "NOT OK - {}: {why}", self.name),
        }
    }
}

/// A dstack-vmm under test.
#[derive(Debug)]
pub struct Subject {
    http: Client,
    url: String,
    token: Option<String>,
    /// Made unique, so that runs do not meet.
    run: String,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    fn ok(self) -> anyhow::Result<Value> {
        ensure!(self.status == StatusCode::OK, "status {}: {}", self.status, self.body);
        Ok(self.body)
    }

    fn refused(self, part: &str) -> anyhow::Result<()> {
        let error = self.body["error"].as_str().unwrap_or_default();
        ensure!(self.status.is_client_error(), "status {}: {}", self.status, self.body);
        ensure!(error.contains(part), "the error is {error:?}, without {part:?}");
        Ok(())
    }
}

impl Subject {
    /// `url` without `/prpc`; `run`: a part of names that no other run has, of `[a-z0-9]`.
    pub fn new(url: &str, token: Option<&str>, run: &str) -> anyhow::Result<Self> {
        // Fails only if the process has chosen already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().timeout(Duration::from_mins(1)).no_proxy().build()?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { http, url, token: token.map(str::to_owned), run: run.to_owned() })
    }

    async fn call(&self, method: &str, arguments: Value) -> anyhow::Result<Answer> {
        let mut request =
            self.http.post(format!("{}/prpc/{method}?json", self.url)).json(&arguments);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.context("no answer")?;
        let status = response.status();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body })
    }

    fn name(&self, what: &str) -> String {
        format!("{what}-{}.{}", self.run, uuid::Uuid::from_u128(0x1234_5678))
    }

    /// A configuration that is accepted, under a name for this purpose.
    async fn configuration(&self, what: &str) -> anyhow::Result<Value> {
        let images = self.call("ListImages", json!({})).await?.ok()?;
        let image = images["images"][0]["name"].as_str().context("it has no image")?.to_owned();
        Ok(json!({
            "name": self.name(what), "image": image, "compose_file": DOCUMENT, "vcpu": 1,
            "memory": 2048, "disk_size": 2, "stopped": true,
        }))
    }

    async fn make(&self, what: &str) -> anyhow::Result<String> {
        let made = self.call("CreateVm", self.configuration(what).await?).await?.ok()?;
        Ok(made["id"].as_str().context("no id")?.to_owned())
    }

    async fn info(&self, id: &str) -> anyhow::Result<Value> {
        self.call("GetInfo", json!({ "id": id })).await?.ok()
    }

    async fn remove(&self, id: &str) -> anyhow::Result<()> {
        ensure!(self.call("RemoveVm", json!({ "id": id })).await?.ok()?.is_null(), "not null");
        for _ in 0..600 {
            if self.info(id).await?["found"] == false {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("it is still there after 60 s")
    }
}

/// Runs every check, one after the other.
pub async fn run(subject: &Subject) -> Vec<Check> {
    async fn check(name: &'static str, body: impl Future<Output = anyhow::Result<()>>) -> Check {
        Check { name, outcome: body.await.map_err(|error| format!("{error:#}")) }
    }
    let s = subject;
    vec![
        check("a call without a token is refused with 401", without_token(s)).await,
        check("Version tells version and commit", version(s)).await,
        check("GetMeta tells resources, KMS and gateway", meta(s)).await,
        check("an unknown method is refused", unknown_method(s)).await,
        check("only bare names are methods", qualified_method(s)).await,
        check("an unknown VM is not found", unknown_vm(s)).await,
        check("GetComposeHash is SHA-256 of the bytes as sent", compose_hash(s)).await,
        check("a name with other characters is refused", bad_name(s)).await,
        check("a document without manifest_version is refused", bad_document(s)).await,
        check("an image that is not there is refused", bad_image(s)).await,
        check("a VM is made stopped, with what was sent", made_stopped(s)).await,
        check("fields that are not known are ignored", ignores(s)).await,
        check("Status finds a VM by a part of its name", status(s)).await,
        check("brief Status has no configuration", brief(s)).await,
        check("UpdateVm returns a hash and not the id", update(s)).await,
        check("an empty field of UpdateVm keeps what there is", keeps(s)).await,
        check("a disk does not shrink", shrink(s)).await,
        check("ResizeVm without a size is refused", empty_resize(s)).await,
        check("a host port is taken once", port_conflict(s)).await,
        check("a stopped VM has no guest agent", no_agent(s)).await,
        check("RemoveVm can be repeated while it removes", remove_twice(s)).await,
    ]
}

async fn without_token(s: &Subject) -> anyhow::Result<()> {
    if s.token.is_none() {
        return Ok(());
    }
    let sent = s.http.post(format!("{}/prpc/Version?json", s.url)).json(&json!({})).send().await?;
    ensure!(sent.status() == StatusCode::UNAUTHORIZED, "status {}", sent.status());
    Ok(())
}

async fn version(s: &Subject) -> anyhow::Result<()> {
    let body = s.call("Version", json!({})).await?.ok()?;
    ensure!(body["version"].is_string() && body["rev"].is_string(), "{body}");
    Ok(())
}

async fn meta(s: &Subject) -> anyhow::Result<()> {
    let body = s.call("GetMeta", json!({})).await?.ok()?;
    for field in ["max_cvm_number", "max_allocable_vcpu", "max_allocable_memory_in_mb"] {
        ensure!(body["resources"][field].is_u64(), "resources.{field} in {body}");
    }
    ensure!(body["kms"]["urls"].is_array() && body["gateway"]["base_domain"].is_string(), "{body}");
    Ok(())
}

async fn unknown_method(s: &Subject) -> anyhow::Result<()> {
    s.call("Nonsense", json!({})).await?.refused("Service not found")
}

async fn qualified_method(s: &Subject) -> anyhow::Result<()> {
    s.call("Vmm.Version", json!({})).await?.refused("Service not found")?;
    s.call("Teepod.Version", json!({})).await?.ok().map(drop)
}

async fn unknown_vm(s: &Subject) -> anyhow::Result<()> {
    let body = s.info(NOBODY).await?;
    ensure!(body == json!({"found": false, "info": null}), "{body}");
    s.call("RemoveVm", json!({"id": NOBODY})).await?.refused("VM not found")?;
    s.call("StartVm", json!({"id": NOBODY})).await?.refused("Failed to start VM")?;
    s.call("StopVm", json!({"id": NOBODY})).await?.refused("Failed to stop VM")
}

async fn compose_hash(s: &Subject) -> anyhow::Result<()> {
    use sha2::{Digest as _, Sha256};
    let body = s.call("GetComposeHash", s.configuration("hash").await?).await?.ok()?;
    ensure!(body["hash"] == hex::encode(Sha256::digest(DOCUMENT.as_bytes())), "{body}");
    Ok(())
}

async fn bad_name(s: &Subject) -> anyhow::Result<()> {
    let mut wanted = s.configuration("name").await?;
    wanted["name"] = json!("x;y");
    s.call("CreateVm", wanted).await?.refused("Invalid name: x;y")
}

async fn bad_document(s: &Subject) -> anyhow::Result<()> {
    let mut wanted = s.configuration("document").await?;
    wanted["compose_file"] = json!("{}");
    s.call("CreateVm", wanted).await?.refused("missing field `manifest_version`")
}

async fn bad_image(s: &Subject) -> anyhow::Result<()> {
    let mut wanted = s.configuration("image").await?;
    wanted["image"] = json!("nobody-9.9.9");
    s.call("CreateVm", wanted).await?.refused("Failed to load image")
}

async fn made_stopped(s: &Subject) -> anyhow::Result<()> {
    let id = s.make("made").await?;
    let info = s.info(&id).await?["info"].clone();
    ensure!(info["status"] == "stopped", "{info}");
    ensure!(info["name"] == s.name("made"), "{info}");
    let has = &info["configuration"];
    ensure!(has["compose_file"] == DOCUMENT, "{has}");
    ensure!(
        (&has["vcpu"], &has["memory"], &has["disk_size"]) == (&json!(1), &json!(2048), &json!(2)),
        "{has}"
    );
    s.remove(&id).await
}

async fn ignores(s: &Subject) -> anyhow::Result<()> {
    let mut wanted = s.configuration("ignores").await?;
    wanted["a_field_of_the_future"] = json!({"x": 1});
    let made = s.call("CreateVm", wanted).await?.ok()?;
    s.remove(made["id"].as_str().context("no id")?).await
}

async fn status(s: &Subject) -> anyhow::Result<()> {
    let id = s.make("found").await?;
    let found = s.call("Status", json!({"keyword": s.run, "brief": true})).await?.ok()?;
    let named = found["vms"].as_array().is_some_and(|vms| vms.iter().any(|vm| vm["id"] == *id));
    ensure!(named, "{found}");
    let none = s.call("Status", json!({"keyword": "nothing-has-this-name"})).await?.ok()?;
    ensure!(none["vms"] == json!([]) && none["total"] == 0, "{none}");
    s.remove(&id).await
}

async fn brief(s: &Subject) -> anyhow::Result<()> {
    let id = s.make("brief").await?;
    for (brief, is_null) in [(true, true), (false, false)] {
        let found = s.call("Status", json!({"ids": [id], "brief": brief})).await?.ok()?;
        ensure!(found["vms"][0]["configuration"].is_null() == is_null, "{found}");
    }
    s.remove(&id).await
}

async fn update(s: &Subject) -> anyhow::Result<()> {
    use sha2::{Digest as _, Sha256};
    let id = s.make("update").await?;
    let other = DOCUMENT.replace("nginx:1.27", "nginx:1.28");
    let body = s.call("UpdateVm", json!({"id": id, "compose_file": other})).await?.ok()?;
    let hash = hex::encode(Sha256::digest(other.as_bytes()));
    ensure!(body["id"] == hash[..40], "{body}");
    let body = s.call("UpdateVm", json!({"id": id, "user_config": "x"})).await?.ok()?;
    ensure!(body["id"] == "", "{body}");
    let has = s.info(&id).await?["info"]["configuration"].clone();
    ensure!(has["compose_file"] == other && has["user_config"] == "x", "{has}");
    s.call("UpdateVm", json!({"id": id, "compose_file": "{}"}))
        .await?
        .refused("Invalid compose file")?;
    s.remove(&id).await
}

async fn keeps(s: &Subject) -> anyhow::Result<()> {
    let id = s.make("keeps").await?;
    s.call("UpdateVm", json!({"id": id, "user_config": "x"})).await?.ok()?;
    s.call("UpdateVm", json!({"id": id, "user_config": "", "compose_file": "", "vcpu": 2}))
        .await?
        .ok()?;
    let has = s.info(&id).await?["info"]["configuration"].clone();
    ensure!(
        has["user_config"] == "x" && has["compose_file"] == DOCUMENT && has["vcpu"] == 2,
        "{has}"
    );
    s.remove(&id).await
}

async fn shrink(s: &Subject) -> anyhow::Result<()> {
    let id = s.make("shrink").await?;
    s.call("UpdateVm", json!({"id": id, "disk_size": 1}))
        .await?
        .refused("Cannot shrink disk size")?;
    s.remove(&id).await
}

async fn empty_resize(s: &Subject) -> anyhow::Result<()> {
    let id = s.make("resize").await?;
    s.call("ResizeVm", json!({ "id": id })).await?.refused("resize request contains no updates")?;
    s.remove(&id).await
}

async fn port_conflict(s: &Subject) -> anyhow::Result<()> {
    let with_port = async |what: &str| -> anyhow::Result<Value> {
        let mut wanted = s.configuration(what).await?;
        wanted["ports"] = json!([{"protocol": "tcp", "host_port": 28_123, "vm_port": 80,
                                  "host_address": "127.0.0.1"}]);
        Ok(wanted)
    };
    let made = s.call("CreateVm", with_port("port-a").await?).await?.ok()?;
    let id = made["id"].as_str().context("no id")?.to_owned();
    let second = s.call("CreateVm", with_port("port-b").await?).await?;
    let refused = second.refused("host port mapping conflicts with VM");
    s.remove(&id).await?;
    refused
}

async fn no_agent(s: &Subject) -> anyhow::Result<()> {
    let id = s.make("agent").await?;
    let answer = s.call("ShutdownVm", json!({ "id": id })).await?;
    ensure!(answer.status.is_client_error(), "{answer:?}");
    s.remove(&id).await
}

async fn remove_twice(s: &Subject) -> anyhow::Result<()> {
    let id = s.make("remove").await?;
    s.call("RemoveVm", json!({ "id": id })).await?.ok()?;
    let again = s.call("RemoveVm", json!({ "id": id })).await?;
    ensure!(
        again.status == StatusCode::OK
            || again.body["error"].as_str().is_some_and(|e| e.contains("VM not found")),
        "{again:?}"
    );
    for _ in 0..600 {
        if s.info(&id).await?["found"] == false {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("it is still there after 60 s")
}
