//! A rack of doubles: a host with the API of dstack-vmm, and the dstack-kms from which its guests take their keys.
//! Programs of their own, so that what they cost is not counted.

use std::{
    env,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{
    casemate::Api,
    http::Connection,
    webhook::{self, Guest},
};

const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A program that ends with this value.
#[derive(Debug)]
struct Double {
    child: Child,
    /// The line that it prints when it is ready.
    ready: Value,
}

impl Double {
    fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let program = env::current_exe()?.with_file_name("dstack-double");
        let mut child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let output = child.stdout.take();
        let mut double = Self { child, ready: Value::Null };
        let mut line = String::new();
        BufReader::new(output.context("it has no output")?).read_line(&mut line)?;
        double.ready = serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))?;
        Ok(double)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The doubles of one server.
#[derive(Debug)]
pub struct Rack {
    host: Double,
    kms: Double,
}

impl Rack {
    /// Its guests run on this device, and every image has this hash.
    pub const GUEST: Guest = Guest {
        os_image: "2222222222222222222222222222222222222222222222222222222222222222",
        device: "4444444444444444444444444444444444444444444444444444444444444444",
    };

    pub fn start() -> anyhow::Result<Self> {
        let host = Double::start(&["serve", "--version", "0.6.6", "--boot-ms", "50"])?;
        Ok(Self { host, kms: Double::start(&["kms"])? })
    }

    /// Variables of a server that drives the host, knows the KMS and is its webhook.
    pub fn settings(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let url = self.host.ready["hosts"][0]["url"].as_str().context("the host has no URL")?;
        let kms = self.kms.ready["url"].as_str().context("the KMS has no URL")?;
        let key = self.kms.ready["k256_public_key"].as_str().context("the KMS has no key")?;
        let images = ["dstack-0.5.16", "dstack-dev-0.5.16", "dstack-0.6.6", "dstack-dev-0.6.6"]
            .map(|name| format!(r#""{name}"=["{}"]"#, Self::GUEST.os_image));
        let device = Self::GUEST.device;
        let mut all = webhook::SETTINGS.map(|(name, value)| (name, value.to_owned())).to_vec();
        all.extend([
            ("CASEMATE_KMS_WEBHOOK__OS_IMAGES", format!("{{{}}}", images.join(","))),
            (
                "CASEMATE_KMS__DSTACK",
                format!(
                    r#"[{{slug="rack-kms",url="{kms}",k256_public_keys=["{key}"],timeout_ms=10000}}]"#
                ),
            ),
            (
                "CASEMATE_NODES",
                format!(
                    r#"[{{name="rack",kind="dstack",url="{url}",tee="tdx",kms="rack-kms",device_id="{device}",limits={{disk_gb=100000}}}}]"#
                ),
            ),
        ]);
        Ok(all)
    }

    /// Waits until the server has had an answer of the host and one of the KMS.
    pub async fn is_known(&self, api: &Api) -> anyhow::Result<()> {
        let mut connection = Connection::open(api.address).await?;
        let began = Instant::now();
        loop {
            let request = api.request("GET", "/admin/nodes", "");
            let nodes: Value = serde_json::from_slice(&connection.send(&request).await?.ok()?)?;
            if nodes["nodes"][0]["reachable"] == true {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                bail!("the server does not know its host after {} s: {nodes}", PATIENCE.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
