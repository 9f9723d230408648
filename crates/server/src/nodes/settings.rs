//! Connection settings and limits of a node, as in its row, `casemate admin node add` and `[[nodes]]`.

use std::path::PathBuf;

use casemate_api::node_admin::{DstackAccess, NodeLimits};
use casemate_core::{
    node::NodeKind,
    stored::{self, Stored, Unreadable},
};
use casemate_store::nodes::NodeRow;
use serde::{Deserialize, Serialize};

use crate::app::fleet::Placing;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    /// Connection settings.
    pub driver: DriverSettings,
    /// Limits for its CVMs, below its capacity.
    #[serde(default)]
    pub limits: NodeLimits,
}

impl Stored for NodeSettings {}

/// Connection settings by kind of node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DriverSettings {
    /// A container engine.
    Docker {
        /// `unix:///run/docker.sock`, `tcp://10.0.0.3:2375`; absent: the default of the engine's client.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    /// A simulated dstack host.
    Sim {
        /// Directory for its files, which several processes may serve in turn; absent: in the data directory
        /// of the process that added it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dir: Option<PathBuf>,
    },
    /// A host with dstack-vmm.
    Dstack(DstackAccess),
}

impl DriverSettings {
    pub const fn kind(&self) -> NodeKind {
        match self {
            Self::Docker { .. } => NodeKind::Docker,
            Self::Sim { .. } => NodeKind::Sim,
            Self::Dstack(_) => NodeKind::Dstack,
        }
    }

    /// Whether the node's files are in a process's data directory, so that no other can serve it.
    pub const fn is_pinned(&self) -> bool {
        match self {
            Self::Docker { .. } => true,
            Self::Sim { dir } => dir.is_none(),
            Self::Dstack(_) => false,
        }
    }
}

impl NodeSettings {
    /// The JSON for the node's row.
    pub fn to_json(&self) -> String {
        stored::write(self).unwrap_or_default()
    }

    /// Parses the JSON of a row.
    pub fn from_json(text: &str) -> Result<Self, Unreadable> {
        stored::read(text)
    }
}

/// The limits for new CVMs of a node's row. Unreadable settings are no limit here: the process that serves
/// the node reports them.
pub fn placing(row: &NodeRow, takes_new: bool) -> Placing {
    let settings = row.settings.as_deref().and_then(|text| NodeSettings::from_json(text).ok());
    let limits = settings.as_ref().map(|settings| settings.limits).unwrap_or_default();
    let (kms, gateways) = match settings.map(|settings| settings.driver) {
        Some(DriverSettings::Dstack(access)) => (access.kms, access.gateways),
        Some(DriverSettings::Docker { .. } | DriverSettings::Sim { .. }) | None => {
            (None, Vec::new())
        }
    };
    Placing { state: row.state, takes_new, limits, kms, gateways }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_as_this_json() {
        let limits = NodeLimits { vcpu: Some(8), ..NodeLimits::default() };
        let docker = DriverSettings::Docker { host: Some("tcp://10.0.0.3:2375".to_owned()) };
        let cases = [
            (
                NodeSettings { driver: docker, limits },
                r#"{"driver":{"kind":"docker","host":"tcp://10.0.0.3:2375"},"limits":{"vcpu":8}}"#,
            ),
            (
                NodeSettings {
                    driver: DriverSettings::Sim { dir: None },
                    limits: NodeLimits::default(),
                },
                r#"{"driver":{"kind":"sim"},"limits":{}}"#,
            ),
        ];
        for (settings, json) in cases {
            assert_eq!(settings.to_json(), json);
            assert_eq!(NodeSettings::from_json(json).unwrap(), settings);
        }
    }

    #[test]
    fn what_a_newer_version_wrote_is_refused() {
        let newer = r#"{"v":2,"value":{"driver":{"kind":"moon"}}}"#;
        let error = NodeSettings::from_json(newer).unwrap_err();
        assert!(matches!(error, Unreadable::Newer { found: 2, known: 1 }), "{error}");
        let unknown = r#"{"driver":{"kind":"sim","moon":1}}"#;
        let error = NodeSettings::from_json(unknown).unwrap_err();
        assert!(matches!(error, Unreadable::Corrupt(_)), "{error}");
    }
}
