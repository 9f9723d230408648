//! A double of a dstack-gateway cluster, as one node: its admin API, and registrations that ask `[core.auth]`.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | the cluster: builds, instances, faults |
//! | `methods` | the methods of `Admin` |
//! | `http` | routes, and what is not a part of dstack-gateway |
//!
//! Deliberately absent: the proxy, WireGuard, certificates, other nodes of the cluster.

mod http;
mod methods;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use self::http::{gateway_control, gateway_router};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One build of dstack-gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayProfile {
    /// `Info.version`.
    pub version: &'static str,
    /// It has the methods for policies of ports.
    pub port_policy: bool,
    /// It has `SetInstanceReady`, `RemoveCvm` and `ListRejectedInstances`.
    pub operator: bool,
    /// Status of an unknown method.
    pub unknown_method: u16,
}

impl GatewayProfile {
    /// Every build that the double knows, the oldest first.
    pub const ALL: [Self; 2] = [
        Self { version: "0.5.8", port_policy: false, operator: false, unknown_method: 400 },
        Self { version: "0.6.6", port_policy: true, operator: true, unknown_method: 404 },
    ];

    /// The build of this version.
    pub fn of(version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.version == version)
    }

    /// The newest build.
    pub const fn newest() -> Self {
        let [_, newest] = Self::ALL;
        newest
    }

    fn has(&self, method: &str) -> bool {
        match method {
            "SetInstanceReady" | "RemoveCvm" | "ListRejectedInstances" => self.operator,
            "GetInstancePortPolicy" | "SetInstancePortPolicy" | "ClearInstancePortPolicy" => {
                self.port_policy
            }
            _ => true,
        }
    }
}

/// What is wrong with a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayFault {
    /// Every call waits for ever.
    Hangs,
    /// Every call gets status 503.
    Away,
    /// A method is refused.
    Refuses(String),
    /// A method is carried out, and the answer is lost.
    Loses(String),
}

/// A registered instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// 40 hex digits.
    pub app_id: String,
    /// Seconds since 1970; 0: never.
    #[serde(default)]
    pub latest_handshake: u64,
    /// Connections through it.
    #[serde(default)]
    pub connections: u64,
}

/// A cluster.
#[derive(Debug)]
pub struct GatewayDouble {
    /// Its build.
    pub profile: GatewayProfile,
    /// The token of its admin API; `None`: everybody may call.
    pub token: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<GatewayFault>,
    instances: BTreeMap<String, Registered>,
    /// Instances that an operator took out of rotation; outlives their registration.
    out: BTreeSet<String>,
    /// Overrides of port policies.
    policies: BTreeMap<String, Value>,
    domains: BTreeMap<String, Value>,
    /// Methods and arguments of the calls that were carried out, oldest first.
    calls: Vec<(String, Value)>,
}

impl GatewayDouble {
    /// A cluster of this build that serves one domain.
    pub fn new(profile: GatewayProfile, base_domain: &str, token: Option<&str>) -> Self {
        let domain = serde_json::json!({
            "domain": base_domain, "port": 443, "priority": 10, "node": null, "dns_cred_id": null,
        });
        let domains = BTreeMap::from([(base_domain.to_owned(), domain)]);
        let state = Mutex::new(State { domains, ..State::default() });
        Self { profile, token: token.map(str::to_owned), state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_fault(&self, fault: &GatewayFault) -> bool {
        self.state().faults.contains(fault)
    }

    /// Replaces all faults.
    pub fn set_faults(&self, faults: Vec<GatewayFault>) {
        self.state().faults = faults;
    }

    /// Registers an instance, or replaces its record.
    pub fn register(&self, instance: &str, record: Registered) {
        self.state().instances.insert(instance.to_owned(), record);
    }

    /// The record of an instance.
    pub fn registered(&self, instance: &str) -> Option<Registered> {
        self.state().instances.get(instance).cloned()
    }

    /// Whether an instance is in the rotation of its app.
    pub fn in_rotation(&self, instance: &str) -> bool {
        !self.state().out.contains(instance)
    }

    /// Arguments of the calls of a method that were carried out, oldest first.
    pub fn calls(&self, method: &str) -> Vec<Value> {
        let state = self.state();
        let calls = state.calls.iter().filter(|(called, _)| called == method);
        calls.map(|(_, arguments)| arguments.clone()).collect()
    }

    /// `RegisterCvm` of a guest with this `AppInfo`: asks `[core.auth] url` first, as the gateway does. The error is
    /// the status of a refusal; `None`: no answer.
    pub async fn register_cvm(&self, auth: &str, app_info: &Value) -> Result<(), Option<u16>> {
        // Fails only if the process has chosen already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().map_err(|_| None)?;
        let asked = http.post(auth).json(app_info).send().await;
        let status = asked.map_err(|_| None)?.status();
        if !status.is_success() {
            return Err(Some(status.as_u16()));
        }
        let text = |name: &str| app_info[name].as_str().unwrap_or_default().to_owned();
        let record = Registered { app_id: text("app_id"), ..Registered::default() };
        self.register(&text("instance_id"), record);
        Ok(())
    }
}
