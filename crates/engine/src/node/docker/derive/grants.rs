//! What an operator may grant to the compose files of a docker node.

use std::collections::BTreeSet;

/// Something that gives the host, or another CVM, away. Refused unless the node's configuration
/// (`allow`) grants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// `privileged: true`, also in lifecycle hooks.
    Privileged,
    /// Mounting the engine's socket.
    DockerSocket,
    /// `network_mode: host`, and networks with drivers that reach the host's (`macvlan`, `host` …).
    HostNetwork,
    /// `pid: host`.
    HostPid,
    /// `ipc: host`.
    HostIpc,
    /// `uts: host`.
    HostUts,
    /// `userns_mode: host`.
    HostUserns,
    /// `cgroup: host` and `cgroup_parent`.
    HostCgroup,
    /// `devices`, `device_cgroup_rules`, `gpus` and reserved devices.
    Devices,
    /// `cap_add` of what reaches past the container's own namespaces.
    Capabilities,
    /// `security_opt` other than `no-new-privileges`.
    SecurityOpt,
    /// `runtime` and `credential_spec`.
    Runtime,
    /// Volumes of other drivers than `local`, or with options that mount something of the host.
    VolumeDrivers,
    /// External volumes, networks, configs and secrets, and links to containers of others.
    External,
    /// A bind mount whose source lies inside another one that containers write to: they could swap
    /// it for a link into the host.
    NestedBinds,
}

impl Grant {
    /// All of them with their words in the configuration.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::Privileged, "privileged"),
        (Self::DockerSocket, "docker-socket"),
        (Self::HostNetwork, "host-network"),
        (Self::HostPid, "host-pid"),
        (Self::HostIpc, "host-ipc"),
        (Self::HostUts, "host-uts"),
        (Self::HostUserns, "host-userns"),
        (Self::HostCgroup, "host-cgroup"),
        (Self::Devices, "devices"),
        (Self::Capabilities, "capabilities"),
        (Self::SecurityOpt, "security-opt"),
        (Self::Runtime, "runtime"),
        (Self::VolumeDrivers, "volume-drivers"),
        (Self::External, "external"),
        (Self::NestedBinds, "nested-binds"),
    ];

    /// The word in the configuration.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(grant, _)| *grant == self).map_or("", |(_, word)| word)
    }
}

/// The grants of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(BTreeSet<Grant>);

impl Grants {
    /// Reads the words of the configuration; an unknown one is named.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let known = |word: &String| {
            let found = Grant::ALL.iter().find(|(_, known)| known == word);
            found.map(|(grant, _)| *grant).ok_or_else(|| unknown(word))
        };
        words.iter().map(known).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this is granted.
    pub fn has(&self, grant: Grant) -> bool {
        self.0.contains(&grant)
    }

    /// The words of what is granted.
    pub fn words(&self) -> Vec<&'static str> {
        self.0.iter().map(|grant| grant.word()).collect()
    }
}

fn unknown(word: &str) -> String {
    let words = Grant::ALL.map(|(_, word)| word).join(", ");
    format!("allow: {word:?} is not known; known: {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        let words = Grant::ALL.map(|(_, word)| word.to_owned());
        let grants = Grants::parse(&words).unwrap();
        assert!(Grant::ALL.iter().all(|(grant, _)| grants.has(*grant)));
        assert!(Grants::parse(&["root".to_owned()]).unwrap_err().contains("privileged"));
    }
}
