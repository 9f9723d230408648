//! `dstack-double`: hosts with a double of dstack-vmm, a double of dstack-kms or of dstack-gateway, or the
//! contract against a dstack-vmm that runs.

use std::{path::PathBuf, sync::Arc};

use anyhow::bail;
use axum::Router;
use casemate_core::time::{Clock, Entropy, Timestamp};
use casemate_dstack_double::{
    GatewayDouble, GatewayProfile, Host, KmsDouble, KmsProfile, Profile,
    contract::{self, Subject},
    control, gateway_control, gateway_router, kms_router, router,
};
use casemate_engine::node::{
    Image,
    sim::{SimConfig, SimNode},
};
use clap::{Parser, Subcommand};
use serde_json::json;
use sha2::{Digest as _, Sha256};

#[derive(Debug, Parser)]
#[command(about = "Doubles of dstack-vmm, dstack-kms and dstack-gateway for tests")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve hosts under http://ADDRESS/hosts/0, /hosts/1 …; prints one JSON line when ready.
    Serve {
        /// Address to listen on; port 0 chooses a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: String,
        /// Versions of the hosts, in turn; all known ones by default.
        #[arg(long, value_delimiter = ',')]
        version: Vec<String>,
        /// Number of hosts.
        #[arg(long, default_value_t = 1)]
        hosts: usize,
        /// Keep the hosts in files, one directory each, so that they outlive this process; default: in memory.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Token of every host's API; default: none.
        #[arg(long)]
        token: Option<String>,
        /// Mean duration of a boot.
        #[arg(long, default_value_t = 1500)]
        boot_ms: u64,
    },
    /// Serve a dstack-kms; prints one JSON line with its url and its root key when ready.
    Kms {
        /// Address to listen on; port 0 chooses a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: String,
        /// Version of the KMS; the newest by default.
        #[arg(long)]
        version: Option<String>,
        /// Its root keys follow from this text, so that a later process has the same; by default they are new.
        #[arg(long)]
        seed: Option<String>,
    },
    /// Serve the admin API of a dstack-gateway; prints one JSON line when ready.
    Gateway {
        /// Address to listen on; port 0 chooses a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: String,
        /// Its version; the newest known one by default.
        #[arg(long)]
        version: Option<String>,
        /// Domain of its apps.
        #[arg(long, default_value = "apps.example")]
        base_domain: String,
        /// Token of its admin API; default: none.
        #[arg(long)]
        token: Option<String>,
    },
    /// Run the contract against a dstack-vmm, also a real one. It makes stopped VMs and removes them.
    Contract {
        /// Address without /prpc: http://HOST:PORT.
        url: String,
        /// Token of its API.
        #[arg(long)]
        token: Option<String>,
    },
}

#[derive(Debug)]
struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "the program's one clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl Entropy for System {
    #[expect(clippy::disallowed_methods, reason = "the program's one source of randomness")]
    fn fill(&self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            std::process::abort();
        }
    }
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program for scripts")]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve { listen, version, hosts, dir, token, boot_ms } => {
            let profiles = profiles(&version)?;
            let mut app = Router::new();
            let mut told = Vec::new();
            let listener = tokio::net::TcpListener::bind(&listen).await?;
            let base = format!("http://{}", listener.local_addr()?);
            for at in 0..hosts {
                let profile = profiles[at % profiles.len()].clone();
                told.push(json!({"url": format!("{base}/hosts/{at}"), "version": profile.version}));
                let dir = dir.as_ref().map(|dir| dir.join(at.to_string()));
                let host = Arc::new(host(profile, dir, token.as_deref(), boot_ms)?);
                let routes = router(host.clone()).merge(control(host));
                app = app.nest(&format!("/hosts/{at}"), routes);
            }
            println!("{}", json!({ "hosts": told }));
            axum::serve(listener, app).await?;
            Ok(())
        }
        Command::Kms { listen, version, seed } => {
            let profile = match &version {
                None => KmsProfile::newest(),
                Some(version) => KmsProfile::of(version)
                    .ok_or_else(|| anyhow::anyhow!("unknown version {version}"))?,
            };
            let mut root = [0; 64];
            match seed {
                None => System.fill(&mut root),
                Some(seed) => {
                    root[..32].copy_from_slice(&Sha256::digest(format!("{seed} p256")));
                    root[32..].copy_from_slice(&Sha256::digest(format!("{seed} k256")));
                }
            }
            let kms = KmsDouble::new(profile, &root, Arc::new(System));
            let kms = Arc::new(kms.ok_or_else(|| anyhow::anyhow!("these bytes make no keys"))?);
            let listener = tokio::net::TcpListener::bind(&listen).await?;
            let url = format!("http://{}", listener.local_addr()?);
            println!("{}", json!({ "url": url, "k256_public_key": kms.k256_public_key() }));
            axum::serve(listener, kms_router(kms)).await?;
            Ok(())
        }
        Command::Gateway { listen, version, base_domain, token } => {
            let profile = match version {
                None => GatewayProfile::newest(),
                Some(version) => match GatewayProfile::of(&version) {
                    Some(profile) => profile,
                    None => bail!(
                        "unknown version {version}; known: {}",
                        GatewayProfile::ALL.map(|profile| profile.version).join(", ")
                    ),
                },
            };
            let listener = tokio::net::TcpListener::bind(&listen).await?;
            let url = format!("http://{}", listener.local_addr()?);
            println!("{}", json!({ "url": url, "version": profile.version }));
            let gateway = Arc::new(GatewayDouble::new(profile, &base_domain, token.as_deref()));
            let app = gateway_router(gateway.clone()).merge(gateway_control(gateway));
            axum::serve(listener, app).await?;
            Ok(())
        }
        Command::Contract { url, token } => {
            let mut random = [0; 4];
            System.fill(&mut random);
            let subject = Subject::new(&url, token.as_deref(), &hex::encode(random))?;
            let checks = contract::run(&subject).await;
            for check in &checks {
                println!("{check}");
            }
            let failed = checks.iter().filter(|check| check.outcome.is_err()).count();
            println!("{} checks, {failed} failed", checks.len());
            if failed > 0 {
                bail!("{failed} checks failed");
            }
            Ok(())
        }
    }
}

fn profiles(versions: &[String]) -> anyhow::Result<Vec<Profile>> {
    if versions.is_empty() {
        return Ok(Profile::ALL.to_vec());
    }
    let known = || Profile::ALL.map(|profile| profile.version).join(", ");
    versions
        .iter()
        .map(|version| match Profile::of(version) {
            Some(profile) => Ok(profile),
            None => bail!("unknown version {version}; known: {}", known()),
        })
        .collect()
}

fn host(
    profile: Profile,
    dir: Option<PathBuf>,
    token: Option<&str>,
    boot_ms: u64,
) -> anyhow::Result<Host> {
    let images: Vec<Image> =
        ["dstack-0.5.16", "dstack-dev-0.5.16", "dstack-0.6.6", "dstack-dev-0.6.6"]
            .map(|name| Image {
                name: name.to_owned(),
                version: name.rsplit('-').next().unwrap_or_default().to_owned(),
                is_dev: name.contains("-dev-"),
                os_image_hash: None,
            })
            .into();
    let config = SimConfig {
        boot_ms,
        images: images.clone(),
        checks_documents: false,
        ..SimConfig::default()
    };
    let system = Arc::new(System);
    let sim = match dir {
        Some(dir) => SimNode::open(dir, config, system.clone(), system)?,
        None => SimNode::in_memory(config, system.clone(), system),
    };
    Ok(Host::new(profile, sim, images, token))
}
