//! Keeps containers from services of the host. To a container, its bridge's address is an address of the host,
//! and whatever listens on all addresses answers there. One rule in the host's firewall drops connections that
//! begin at bridges of closed nodes; replies to the gateway and connections that only pass through the host
//! are not its matter, and neither are the engine's DNS (in the container's own network) and the guest agent
//! (a mount).
//!
//! The rule is the same for every node of the host, so it is never removed: bridges of open nodes have other
//! names. It goes to the top of the chain once, and stays where an operator moves it: rules before it can
//! open single ports.

use std::{
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bollard::Docker;
use tokio::process::Command;

use super::{HostAccess, derive::BRIDGE_NAME, engine::within};

/// One of each family; the engine itself needs the first.
const PROGRAMS: [&str; 2] = ["iptables", "ip6tables"];
/// The system's directories: iptables is often not in the path of a service.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Everything but replies. Neighbour discovery is neither: it passes.
const RULE: [&str; 10] = [
    "-m",
    "conntrack",
    "--ctstate",
    "NEW,INVALID",
    "-m",
    "comment",
    "--comment",
    "casemate: docker.host_access",
    "-j",
    "DROP",
];
/// Another program may hold the lock of the tables.
const LOCK_S: &str = "5";
const LIMIT: Duration = Duration::from_secs(10);
/// Lists the interfaces of this network namespace.
const INTERFACES: &str = "/sys/class/net";
/// Missing where the kernel does not do IPv6.
const IPV6: &str = "/proc/net/if_inet6";

/// The host's firewall, as far as it is this node's.
#[derive(Debug)]
pub(super) struct Firewall {
    access: HostAccess,
    /// Why rules set here would not apply to the engine's bridges.
    elsewhere: Option<String>,
    /// Where the programs are looked for.
    path: String,
    /// Why the rule was not there after the last look.
    missing: Mutex<Option<String>>,
}

impl Firewall {
    /// The firewall of a node; nothing is changed yet. `local`: whether the engine is on this host.
    pub async fn find(access: HostAccess, docker: &Docker, local: bool) -> Self {
        let elsewhere = if local {
            elsewhere(docker).await
        } else {
            Some("the engine is on another host".to_owned())
        };
        Self { access, elsewhere, path: PATH.to_owned(), missing: Mutex::default() }
    }

    /// Makes sure that the rule is there, for it may have been flushed with all others. Cheap enough for every
    /// look at the node.
    pub async fn ensure(&self) {
        if self.access == HostAccess::Open {
            return;
        }
        let missing = match &self.elsewhere {
            Some(why) => Some(why.clone()),
            None => self.set().await.err(),
        };
        let mut known = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != missing {
            if let Some(why) = &missing {
                tracing::warn!(%why, "containers are not kept from services of the host");
            }
            *known = missing;
        }
    }

    /// For the operator: what containers reach, unless nothing.
    pub fn note(&self) -> Option<String> {
        let reach = "containers reach services of the host that listen on all addresses";
        if self.access == HostAccess::Open {
            return Some(format!("{reach} (docker.host_access is open)"));
        }
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let prefix = self.access.bridge_prefix();
        Some(format!(
            "{reach}, unless its firewall has a rule that this node could not check ({missing}). As root on \
             the engine's host: iptables -I INPUT -i {prefix}+ -m conntrack --ctstate NEW,INVALID -j DROP, and \
             the same with ip6tables"
        ))
    }

    async fn set(&self) -> Result<(), String> {
        for program in PROGRAMS {
            if program == "ip6tables" && !std::path::Path::new(IPV6).exists() {
                continue;
            }
            if self.run(program, &["-C", "INPUT"]).await.is_err() {
                self.run(program, &["-I", "INPUT", "1"]).await?;
            }
        }
        Ok(())
    }

    async fn run(&self, program: &str, verb: &[&str]) -> Result<(), String> {
        let bridges = format!("{}+", self.access.bridge_prefix());
        let mut command = Command::new(program);
        command.args(["-w", LOCK_S]).args(verb).args(["-i", &bridges]).args(RULE);
        command.env_clear().env("PATH", &self.path).current_dir("/");
        command.stdin(Stdio::null()).kill_on_drop(true);
        let ended = tokio::time::timeout(LIMIT, command.output()).await;
        let output = match ended {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(format!("{program} cannot be run: {error}")),
            Err(_) => return Err(format!("{program} did not end within {LIMIT:?}")),
        };
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().map(str::trim).find(|line| !line.is_empty());
        Err(format!("{program}: {}", first.unwrap_or("no reason given")))
    }
}

/// Why the engine's bridges are not interfaces of this network namespace: it runs rootless, in a VM, or this
/// process is in a container. An engine without a bridge of its own tells nothing.
async fn elsewhere(docker: &Docker) -> Option<String> {
    let own = within(LIMIT, docker.inspect_network("bridge", None)).await.ok()?;
    let name = own.options?.remove(BRIDGE_NAME)?;
    let here = std::path::Path::new(INTERFACES).join(&name).exists();
    (!here).then(|| format!("the engine's interface {name} is not in the network of this process"))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// A firewall with a stand-in for both programs, and the file that stands for their tables.
    fn firewall(access: HostAccess, script: &str) -> (Firewall, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let shown = dir.path().display();
        let head = format!("#!/bin/sh\ntable={shown}/$(basename $0); shift 2; verb=$1; shift 2\n");
        for program in PROGRAMS {
            let file = dir.path().join(program);
            fs::write(&file, format!("{head}{script}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{shown}/bin:{shown}:/usr/bin:/bin");
        let missing = Mutex::default();
        (Firewall { access, elsewhere: None, path, missing }, dir)
    }

    const WORKS: &str = "case $verb in
        -C) grep -qxF -e \"$*\" $table.rules ;;
        -I) shift; echo \"$*\" >> $table.rules ;;
    esac";

    #[tokio::test]
    async fn the_rule_is_set_once_and_again_when_it_was_flushed() {
        let (firewall, dir) = firewall(HostAccess::Closed, WORKS);
        let rules = |program: &str| {
            let text = fs::read_to_string(dir.path().join(format!("{program}.rules")));
            text.unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        for _ in 0..3 {
            firewall.ensure().await;
            assert_eq!(firewall.note(), None);
        }
        let rule = "-i cm+ -m conntrack --ctstate NEW,INVALID -m comment --comment casemate: \
                    docker.host_access -j DROP";
        assert_eq!((rules("iptables"), rules("ip6tables").len()), (vec![rule.to_owned()], 1));
        fs::remove_file(dir.path().join("ip6tables.rules")).unwrap();
        firewall.ensure().await;
        assert_eq!((rules("iptables").len(), rules("ip6tables").len()), (1, 1));
    }

    #[tokio::test]
    async fn a_rule_that_cannot_be_set_is_noted_until_it_can() {
        let refuses = "echo 'Permission denied (you must be root)' >&2; exit 4";
        let (mut firewall, dir) = firewall(HostAccess::Closed, refuses);
        firewall.ensure().await;
        let note = firewall.note().unwrap();
        assert!(note.contains("you must be root") && note.contains("-i cm+"), "{note}");
        fs::remove_file(dir.path().join("iptables")).unwrap();
        firewall.path = dir.path().display().to_string();
        firewall.ensure().await;
        assert!(firewall.note().unwrap().contains("iptables cannot be run"));
        firewall.elsewhere = Some("the engine is on another host".to_owned());
        firewall.ensure().await;
        assert!(firewall.note().unwrap().contains("on another host"));
    }

    #[tokio::test]
    async fn an_open_node_leaves_the_firewall_alone() {
        let (firewall, dir) = firewall(HostAccess::Open, WORKS);
        firewall.ensure().await;
        assert!(!dir.path().join("iptables.rules").exists());
        assert!(firewall.note().unwrap().contains("docker.host_access is open"));
    }
}
