//! Connection settings and limits of a node, as in its row, `casemate admin node add` and `[[nodes]]`.

use std::path::PathBuf;

use casemate_api::node_admin::{DstackAccess, NodeLimits};
use casemate_core::{
    node::NodeKind,
    place::Labels,
    stored::{self, Stored, Unreadable},
};
use casemate_store::nodes::NodeRow;
use serde::{Deserialize, Serialize};

use crate::app::fleet::NodePolicy;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    /// Connection settings.
    pub driver: DriverSettings,
    /// Limits for its CVMs, below its capacity.
    #[serde(default)]
    pub limits: NodeLimits,
    /// What its operator says of it; placement can ask for it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Price of the node, as its operator writes it: for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
}

/// Version 1 had neither labels nor price.
impl Stored for NodeSettings {
    const VERSION: u32 = 2;
}

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
    /// The JSON for the node's row: of version 1 where that can say it, so that processes of the version before
    /// can still serve the node.
    pub fn to_json(&self) -> String {
        if self.labels.is_empty() && self.price.is_none() {
            return serde_json::to_string(self).unwrap_or_default();
        }
        stored::write(self).unwrap_or_default()
    }

    /// Parses the JSON of a row.
    pub fn from_json(text: &str) -> Result<Self, Unreadable> {
        stored::read(text)
    }
}

/// What a node's row says of new CVMs. Unreadable settings are no limit here: the process that serves the node
/// reports them.
pub fn node_policy(row: &NodeRow, takes_new: bool) -> NodePolicy {
    let settings = row.settings.as_deref().and_then(|text| NodeSettings::from_json(text).ok());
    let limits = settings.as_ref().map(|settings| settings.limits).unwrap_or_default();
    let labels = settings.as_ref().map(|settings| settings.labels.clone()).unwrap_or_default();
    let (kms, gateways) = match settings.map(|settings| settings.driver) {
        Some(DriverSettings::Dstack(access)) => (access.kms, access.gateways),
        Some(DriverSettings::Docker { .. } | DriverSettings::Sim { .. }) | None => {
            (None, Vec::new())
        }
    };
    NodePolicy { state: row.state, takes_new, limits, kms, gateways, labels }
}

/// Whether two settings reach a node in the same way, so that its driver stays.
pub fn same_driver(one: Option<&str>, other: Option<&str>) -> bool {
    let driver = |text: &str| NodeSettings::from_json(text).ok().map(|settings| settings.driver);
    match (one, other) {
        (Some(one), Some(other)) => {
            one == other || driver(one).is_some_and(|same| driver(other) == Some(same))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_as_this_json() {
        let limits = NodeLimits { vcpu: Some(8), ..NodeLimits::default() };
        let docker = DriverSettings::Docker { host: Some("tcp://10.0.0.3:2375".to_owned()) };
        let plain =
            |driver, limits| NodeSettings { driver, limits, labels: Labels::new(), price: None };
        let sim = DriverSettings::Sim { dir: None };
        let labelled = NodeSettings {
            labels: Labels::from([("disk".to_owned(), "nvme".to_owned())]),
            price: Some("0.40 USD/h".to_owned()),
            ..plain(sim.clone(), NodeLimits::default())
        };
        let cases = [
            (
                labelled,
                r#"{"v":2,"value":{"driver":{"kind":"sim"},"limits":{},"labels":{"disk":"nvme"},"price":"0.40 USD/h"}}"#,
            ),
            (
                plain(docker, limits),
                r#"{"driver":{"kind":"docker","host":"tcp://10.0.0.3:2375"},"limits":{"vcpu":8}}"#,
            ),
            (plain(sim, NodeLimits::default()), r#"{"driver":{"kind":"sim"},"limits":{}}"#),
        ];
        for (settings, json) in cases {
            assert_eq!(settings.to_json(), json);
            assert_eq!(NodeSettings::from_json(json).unwrap(), settings);
        }
    }

    #[test]
    fn what_a_newer_version_wrote_is_refused() {
        let newer = r#"{"v":3,"value":{"driver":{"kind":"moon"}}}"#;
        let error = NodeSettings::from_json(newer).unwrap_err();
        assert!(matches!(error, Unreadable::Newer { found: 3, known: 2 }), "{error}");
        let unknown = r#"{"driver":{"kind":"sim","moon":1}}"#;
        let error = NodeSettings::from_json(unknown).unwrap_err();
        assert!(matches!(error, Unreadable::Corrupt(_)), "{error}");
    }

    #[test]
    fn labels_do_not_change_the_way_to_a_node() {
        let one = r#"{"driver":{"kind":"sim"},"limits":{"vcpu":8}}"#;
        let labelled = r#"{"v":2,"value":{"driver":{"kind":"sim"},"labels":{"a":"b"}}}"#;
        let other = r#"{"driver":{"kind":"docker"}}"#;
        assert!(same_driver(Some(one), Some(labelled)) && same_driver(None, None));
        assert!(!same_driver(Some(one), Some(other)) && !same_driver(Some(one), None));
        assert!(!same_driver(Some("?"), Some("!")) && same_driver(Some("?"), Some("?")));
    }
}
