//! Changes of a CVM's configuration.
//!
//! A [`Change`] is the patch that a request asked for. While an operation is open, it is queued as a patch,
//! and is applied to the configuration in force when it starts. [`apply`] is the only function that computes
//! the next configuration; [`withdraw`] computes the rollback.
//!
//! Guarantees: a field that is not named keeps its value; all fields of a change apply or none does; a value
//! equal to the current one is no change; the resulting document is normalised as at provision. Not decided
//! here: whether the node has room or the image ([`crate::place`]), and power.

mod env;
mod force;
mod withdraw;

use serde::{Deserialize, Serialize};

pub use env::{EnvReport, env_report, known_names};
pub use force::brings_in_force;
pub use withdraw::{Before, Withdrawn, withdraw};

use crate::{
    compose::{AppCompose, ComposeError, ComposeInput, Reason, hash},
    cvm::{Gpus, PortMap, Resources, Spec},
    id::{ComposeHash, RevisionRef},
    instance::InstanceSeed,
};

/// A value that can be set, cleared or kept. A field missing in JSON is [`Set::Keep`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Set<T> {
    /// Keep the value.
    #[default]
    Keep,
    /// Remove the value.
    Clear,
    /// Set this value.
    To(T),
}

impl<T> Set<T> {
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

impl<T: Clone> Set<T> {
    fn put(&self, slot: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *slot = None,
            Self::To(value) => *slot = Some(value.clone()),
        }
    }
}

/// The changes that a request asks for. `None` and [`Set::Keep`]: unchanged. Stored as JSON in
/// `operations.change`; it contains no secrets, because the environment is sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// A whole prepared document; the fields below are applied to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<ComposeHash>,
    /// The revision that the document was taken from, if one was named; for display only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionRef>,
    /// Docker Compose file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_compose_file: Option<String>,
    /// Script to run before the containers start; empty removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_launch_script: Option<String>,
    /// Names of variables that the guest accepts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_envs: Option<Vec<String>>,
    /// Whether logs are readable without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_logs: Option<bool>,
    /// Whether system information is readable without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_sysinfo: Option<bool>,
    /// Whether measurements are readable without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_tcbinfo: Option<bool>,
    /// Whether the CVM is reachable through the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_enabled: Option<bool>,
    /// Whether the guest waits for synchronised time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_time: Option<bool>,
    /// Sealed environment, lower-case hex.
    #[serde(skip_serializing_if = "Set::is_keep")]
    pub sealed_env: Set<String>,
    /// Names of the variables in it, as the client gave them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_keys: Option<Vec<String>>,
    /// Content of the guest's `.user-config`.
    #[serde(skip_serializing_if = "Set::is_keep")]
    pub user_config: Set<String>,
    /// Instance type with its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<Size>,
    /// At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// At least 1 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// In GB; can only grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_gb: Option<u32>,
    #[serde(skip_serializing_if = "Set::is_keep")]
    pub gpus: Set<Gpus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Timeout of a graceful shutdown in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_timeout_s: Option<u32>,
    /// Whether a shutdown that times out is forced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_force_stop: Option<bool>,
    /// Whether it is in the public directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<bool>,
    /// Unique within the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortMap>>,
    /// KMS URLs for the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_urls: Option<Vec<String>>,
    /// Gateway URLs for the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_urls: Option<Vec<String>>,
    /// A new instance id. It cannot wait for the next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew: Option<Renew>,
    /// Does not restart a running guest: applies from the next start.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub at_next_start: bool,
}

impl Change {
    /// Names of the fields that are set, as clients call them.
    #[must_use]
    pub fn fields(&self) -> Vec<&'static str> {
        let Self {
            document,
            revision,
            docker_compose_file,
            pre_launch_script,
            allowed_envs,
            public_logs,
            public_sysinfo,
            public_tcbinfo,
            gateway_enabled,
            secure_time,
            sealed_env,
            env_keys,
            user_config,
            instance_type,
            vcpu,
            memory_mb,
            disk_gb,
            gpus,
            image,
            shutdown_timeout_s,
            allow_force_stop,
            listed,
            name,
            ports,
            kms_urls,
            gateway_urls,
            renew,
            // It says when the change applies, not what changes.
            at_next_start: _,
        } = self;
        [
            ("compose_file", document.is_some() && revision.is_none()),
            ("revision", revision.is_some()),
            ("docker_compose_file", docker_compose_file.is_some()),
            ("pre_launch_script", pre_launch_script.is_some()),
            ("allowed_envs", allowed_envs.is_some()),
            ("public_logs", public_logs.is_some()),
            ("public_sysinfo", public_sysinfo.is_some()),
            ("public_tcbinfo", public_tcbinfo.is_some()),
            ("gateway_enabled", gateway_enabled.is_some()),
            ("secure_time", secure_time.is_some()),
            ("encrypted_env", !sealed_env.is_keep()),
            ("env_keys", env_keys.is_some()),
            ("user_config", !user_config.is_keep()),
            ("instance_type", instance_type.is_some()),
            ("vcpu", vcpu.is_some()),
            ("memory", memory_mb.is_some()),
            ("disk_size", disk_gb.is_some()),
            ("gpus", !gpus.is_keep()),
            ("image", image.is_some()),
            ("shutdown_timeout", shutdown_timeout_s.is_some()),
            ("allow_force_stop", allow_force_stop.is_some()),
            ("listed", listed.is_some()),
            ("name", name.is_some()),
            ("ports", ports.is_some()),
            ("kms_urls", kms_urls.is_some()),
            ("gateway_urls", gateway_urls.is_some()),
            ("instance_id", renew.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, named)| named.then_some(name))
        .collect()
    }

    /// The same change, bound to its resulting document: whatever the configuration is when it starts,
    /// exactly the document with this hash comes in force.
    #[must_use]
    pub fn bound_to(&self, document: ComposeHash) -> Self {
        let mut bound = self.clone();
        let Self {
            document: slot,
            docker_compose_file,
            pre_launch_script,
            allowed_envs,
            public_logs,
            public_sysinfo,
            public_tcbinfo,
            gateway_enabled,
            secure_time,
            // Not part of the document.
            revision: _,
            sealed_env: _,
            env_keys: _,
            user_config: _,
            instance_type: _,
            vcpu: _,
            memory_mb: _,
            disk_gb: _,
            gpus: _,
            image: _,
            shutdown_timeout_s: _,
            allow_force_stop: _,
            listed: _,
            name: _,
            ports: _,
            kms_urls: _,
            gateway_urls: _,
            renew: _,
            at_next_start: _,
        } = &mut bound;
        *slot = Some(document);
        *docker_compose_file = None;
        *pre_launch_script = None;
        *allowed_envs = None;
        *public_logs = None;
        *public_sysinfo = None;
        *public_tcbinfo = None;
        *gateway_enabled = None;
        *secure_time = None;
        bound
    }

    /// Whether applying the change to the document `from` may result in `to`, which must be what contracts
    /// allowed. An unbound change whose document equalled a queued one may result in another document if the
    /// queued one did not come in force.
    #[must_use]
    pub fn matches_approval(&self, from: &ComposeHash, to: &ComposeHash) -> bool {
        from == to || self.document.as_ref() == Some(to)
    }
}

/// How a guest gets a new instance id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Renew {
    /// From this seed at its next boot; the data stays.
    Seed(InstanceSeed),
    /// In a new VM with an empty disk.
    Vm,
}

/// An instance type with its size, as in the catalogue when the change was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub id: String,
    pub vcpu: u32,
    /// In MiB.
    pub memory_mb: u32,
}

/// Why a change cannot be applied to a configuration. `field` is the client's name of the field; `message`
/// begins with a verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct NotApplicable {
    pub field: &'static str,
    /// The kind of error, for decisions.
    pub reason: Reason,
    /// What is wrong and what would be right.
    pub message: String,
}

impl From<ComposeError> for NotApplicable {
    fn from(error: ComposeError) -> Self {
        Self { field: error.field, reason: error.reason, message: error.message }
    }
}

/// What a change needs on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing changes.
    Nothing,
    /// Only the record changes; the node is not involved.
    Record,
    /// The node gets the new configuration at the guest's next start.
    NextStart,
    /// The guest is shut down, the node gets the configuration, the guest is started.
    Restart,
}

/// A complete configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Everything except the document and the sealed environment.
    pub spec: Spec,
    /// The document with the hash `spec.compose_hash`.
    pub document: AppCompose,
    /// Sealed environment, lower-case hex.
    pub sealed_env: Option<String>,
}

impl Configuration {
    /// Whether the node would get the same configuration.
    fn same_for_node(&self, other: &Self) -> bool {
        self.for_node() == other.for_node()
    }

    /// The parts that a node gets and that a change can change.
    fn for_node(&self) -> impl PartialEq {
        let Self { spec, document: _, sealed_env } = self;
        let Spec {
            compose_hash,
            resources,
            image,
            ports,
            user_config,
            kms_urls,
            gateway_urls,
            vm,
            instance_seed,
            // Fixed at creation.
            app_id: _,
            env_public_key: _,
            vpc_server_app_id: _,
            deployer: _,
            // Derived from the document, which the hash covers.
            facts: _,
            // Not sent to the node.
            revision: _,
            name: _,
            listed: _,
            env_keys: _,
            shutdown_timeout_s: _,
            allow_force_stop: _,
        } = spec;
        let Resources { instance_type: _, vcpu, memory_mb, disk_gb, hugepages, pin_numa, gpus } =
            resources;
        let size = (vcpu, memory_mb, disk_gb, hugepages, pin_numa, gpus);
        let network = (ports, kms_urls, gateway_urls);
        (compose_hash, sealed_env, user_config, image, size, network, vm, instance_seed)
    }
}

/// Applies a change. `prepared` is the document of [`Change::document`], if it names one. The spec's revision
/// is incremented if the node must get the configuration.
pub fn apply(
    now: &Configuration,
    change: &Change,
    prepared: Option<&AppCompose>,
) -> Result<(Configuration, Effect), NotApplicable> {
    let Change {
        user_config,
        image,
        name,
        listed,
        ports,
        kms_urls,
        gateway_urls,
        shutdown_timeout_s,
        allow_force_stop,
        sealed_env: sealed,
        at_next_start,
        // For display only.
        revision: _,
        // Applied through `document`.
        document: _,
        docker_compose_file: _,
        pre_launch_script: _,
        allowed_envs: _,
        public_logs: _,
        public_sysinfo: _,
        public_tcbinfo: _,
        gateway_enabled: _,
        secure_time: _,
        // Applied through `resources`.
        instance_type: _,
        vcpu: _,
        memory_mb: _,
        disk_gb: _,
        gpus: _,
        // Applied through `env_names`.
        env_keys: _,
        // Applied through `renew`.
        renew: new_instance,
    } = change;
    let document = document(now, change, prepared)?;
    let compose_hash = hash(&document.document());
    let mut spec = now.spec.clone();
    if compose_hash != spec.compose_hash {
        spec.compose_hash = compose_hash;
        spec.facts = document.facts();
    }
    resources(&mut spec, change)?;
    env_names(&mut spec, change, &document)?;
    user_config.put(&mut spec.user_config);
    set(&mut spec.image, image.as_ref());
    set(&mut spec.name, name.as_ref());
    set(&mut spec.listed, listed.as_ref());
    set(&mut spec.ports, ports.as_ref());
    set(&mut spec.kms_urls, kms_urls.as_ref());
    set(&mut spec.gateway_urls, gateway_urls.as_ref());
    set(&mut spec.shutdown_timeout_s, shutdown_timeout_s.as_ref());
    set(&mut spec.allow_force_stop, allow_force_stop.as_ref());
    renew(&mut spec, change, &document)?;
    let mut sealed_env = now.sealed_env.clone();
    sealed.put(&mut sealed_env);
    let mut next = Configuration { spec, document, sealed_env };
    let effect = match (now.same_for_node(&next), *now == next) {
        (_, true) => Effect::Nothing,
        (true, false) => Effect::Record,
        (false, _) if *at_next_start && new_instance.is_none() => Effect::NextStart,
        (false, _) => Effect::Restart,
    };
    if effect >= Effect::NextStart {
        next.spec.revision += 1;
    }
    Ok((next, effect))
}

fn set<T: Clone>(slot: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        *slot = value.clone();
    }
}

fn document(
    now: &Configuration,
    change: &Change,
    prepared: Option<&AppCompose>,
) -> Result<AppCompose, NotApplicable> {
    let base = prepared.unwrap_or(&now.document);
    bound_to_disk(&now.document, base)?;
    let Change {
        docker_compose_file,
        pre_launch_script,
        allowed_envs,
        public_logs,
        public_sysinfo,
        public_tcbinfo,
        gateway_enabled,
        secure_time,
        // The base, which the caller loaded.
        document: _,
        // Not part of the document.
        revision: _,
        sealed_env: _,
        env_keys: _,
        user_config: _,
        instance_type: _,
        vcpu: _,
        memory_mb: _,
        disk_gb: _,
        gpus: _,
        image: _,
        shutdown_timeout_s: _,
        allow_force_stop: _,
        listed: _,
        name: _,
        ports: _,
        kms_urls: _,
        gateway_urls: _,
        renew: _,
        at_next_start: _,
    } = change;
    let touches = docker_compose_file.is_some()
        || pre_launch_script.is_some()
        || allowed_envs.is_some()
        || public_logs.is_some()
        || public_sysinfo.is_some()
        || public_tcbinfo.is_some()
        || gateway_enabled.is_some()
        || secure_time.is_some();
    if !touches {
        return Ok(base.clone());
    }
    let old = ComposeInput::from(base);
    let input = ComposeInput {
        docker_compose_file: docker_compose_file.clone().or(old.docker_compose_file),
        pre_launch_script: pre_launch_script.clone().or(old.pre_launch_script),
        allowed_envs: allowed_envs.clone().unwrap_or(old.allowed_envs),
        public_logs: public_logs.or(old.public_logs),
        public_sysinfo: public_sysinfo.or(old.public_sysinfo),
        public_tcbinfo: public_tcbinfo.or(old.public_tcbinfo),
        gateway_enabled: gateway_enabled.or(old.gateway_enabled),
        tproxy_enabled: None,
        secure_time: secure_time.or(old.secure_time),
        ..old
    };
    Ok(AppCompose::new(input, &base.name, &[])?)
}

/// Properties that the disk was created with: with another value its data would be unreadable.
fn bound_to_disk(old: &AppCompose, new: &AppCompose) -> Result<(), NotApplicable> {
    let lines = [
        ("kms_enabled", old.kms_enabled == new.kms_enabled),
        (
            "local_key_provider_enabled",
            old.local_key_provider_enabled == new.local_key_provider_enabled,
        ),
        ("no_instance_id", old.no_instance_id == new.no_instance_id),
        ("storage_fs", old.storage_fs == new.storage_fs),
    ];
    match lines.into_iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((field, _)) => Err(NotApplicable {
            field,
            reason: Reason::LosesData,
            message: "cannot change: the CVM's disk was made with it, and its data would be lost"
                .to_owned(),
        }),
    }
}

fn resources(spec: &mut Spec, change: &Change) -> Result<(), NotApplicable> {
    let old = &mut spec.resources;
    let named = change.instance_type.as_ref();
    let vcpu = change.vcpu.or(named.map(|size| size.vcpu)).unwrap_or(old.vcpu);
    let memory_mb = change.memory_mb.or(named.map(|size| size.memory_mb)).unwrap_or(old.memory_mb);
    let disk_gb = change.disk_gb.unwrap_or(old.disk_gb);
    for (field, value) in [("vcpu", vcpu), ("memory", memory_mb), ("disk_size", disk_gb)] {
        if value == 0 {
            return Err(NotApplicable {
                field,
                reason: Reason::Invalid,
                message: "must be at least 1".to_owned(),
            });
        }
    }
    if disk_gb < old.disk_gb {
        return Err(NotApplicable {
            field: "disk_size",
            reason: Reason::CanOnlyGrow,
            message: format!("can only grow: the disk has {} GB", old.disk_gb),
        });
    }
    match named {
        Some(size) if (size.vcpu, size.memory_mb) == (vcpu, memory_mb) => {
            old.instance_type = Some(size.id.clone());
        }
        None if (vcpu, memory_mb) == (old.vcpu, old.memory_mb) => {}
        Some(_) | None => old.instance_type = None,
    }
    (old.vcpu, old.memory_mb, old.disk_gb) = (vcpu, memory_mb, disk_gb);
    change.gpus.put(&mut old.gpus);
    Ok(())
}

/// Refuses variables whose names the document does not allow: the guest would drop them silently.
fn env_names(spec: &mut Spec, change: &Change, document: &AppCompose) -> Result<(), NotApplicable> {
    if matches!(change.sealed_env, Set::To(_)) && spec.env_public_key.is_none() {
        return Err(NotApplicable {
            field: "encrypted_env",
            reason: Reason::Invalid,
            message: "needs a KMS: without one the guest has no key to open it".to_owned(),
        });
    }
    let Some(keys) = &change.env_keys else {
        // Names that the document no longer allows have no effect.
        spec.env_keys.retain(|key| document.allowed_envs.contains(key));
        return Ok(());
    };
    if let Some(key) = keys.iter().find(|key| !document.allowed_envs.contains(key)) {
        return Err(NotApplicable {
            field: "env_keys",
            reason: Reason::Invalid,
            message: format!(
                "holds {key}, which is not among the allowed ones: {}",
                document.allowed_envs.join(", ")
            ),
        });
    }
    spec.env_keys.clone_from(keys);
    Ok(())
}

fn renew(spec: &mut Spec, change: &Change, document: &AppCompose) -> Result<(), NotApplicable> {
    let Some(how) = change.renew else { return Ok(()) };
    if document.no_instance_id {
        return Err(NotApplicable {
            field: "instance_id",
            reason: Reason::Invalid,
            message: "cannot be renewed: the app runs with no_instance_id".to_owned(),
        });
    }
    match how {
        Renew::Seed(seed) => spec.instance_seed = Some(seed),
        Renew::Vm => spec.vm += 1,
    }
    Ok(())
}

#[cfg(test)]
mod tests;
