//! What this instance is, for anybody who finds it: nothing here says what runs on it, or for whom.

use casemate_core::node::NodeKind;
use std::collections::BTreeMap;

use casemate_engine::node::Tee;

use super::Ctx;
use crate::config::Role;

/// What anybody may know of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    pub version: &'static str,
    /// Base URL of the API, with `/api/v1`, where this process serves it.
    pub api_url: Option<String>,
    /// What runs CVMs, by kind.
    pub nodes: Vec<Nodes>,
}

/// The nodes of one kind with one protection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// What drives their CVMs.
    pub kind: NodeKind,
    /// What protects the memory of their VMs, in the wire's word.
    pub tee: &'static str,
    /// Whether that is anything at all.
    pub is_protected: bool,
    /// How many there are.
    pub all: usize,
    /// How many of them answer.
    pub up: usize,
}

/// Says what this instance is.
pub fn about(ctx: &Ctx) -> About {
    let mut nodes: BTreeMap<(NodeKind, &'static str), Nodes> = BTreeMap::new();
    for node in ctx.fleet.all() {
        let (inventory, up) = node.observed();
        let tee = inventory.tee;
        let entry = nodes.entry((node.kind, tee.as_str())).or_insert_with(|| Nodes {
            kind: node.kind,
            tee: tee.as_str(),
            is_protected: !matches!(tee, Tee::None | Tee::Simulated),
            all: 0,
            up: 0,
        });
        entry.all += 1;
        entry.up += usize::from(up);
    }
    About {
        version: env!("CARGO_PKG_VERSION"),
        api_url: ctx.config.has(Role::Api).then(|| format!("{}/api/v1", ctx.addresses.api)),
        nodes: nodes.into_values().collect(),
    }
}
