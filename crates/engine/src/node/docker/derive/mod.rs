//! From what a compose file means in a guest to what the host's engine may be told.
//!
//! The input is the file as compose itself understood it (`docker compose config --format json`):
//! variables interpolated, short forms spelt out, relative paths made absolute *in the guest*. The
//! output is a model that goes to `docker compose up` through a pipe. Both hold values of variables:
//! they are never written down.
//!
//! | In the compose file | On a docker node |
//! |---|---|
//! | `container_name: x` | dropped; `x` stays a name on the service's networks |
//! | `ports: 8080:80` | a free port of 127.0.0.1, and the label `casemate.port.8080=80/tcp` |
//! | bind mount of `/p`, `./p`, `~/p` | the same path in the VM's own `root/` |
//! | `dstack.sock`, `tappd.sock`, the directory they are in | the simulated guest agent ([`super::agent`]), read-only |
//! | `driver_opts` of volumes | none, or a bounded tmpfs |
//! | `name:` of volumes, networks, configs, secrets | dropped, so that two CVMs share nothing |
//! | fixed subnets and addresses | dropped; refused where the file relies on the address |
//! | `network_mode: bridge` | the project's own network instead of the engine's shared one |
//! | drivers of logs other than `json-file`, `local`, `none` | the engine's default |
//! | `restart` | kept; switched off while the VM is down, so that it stays down |
//! | `pull_policy` | kept for [`super::images`]; compose pulls nothing |
//! | what gives the host away | refused by name, unless the node grants it ([`Grant`]) |
//! | `build` with `dockerfile_inline` | built by the node with an empty context ([`super::build`]) |
//! | keys we do not know | refused: what they do to a host is not known either |

mod addresses;
mod ahead;
mod build;
mod dockerfile;
mod grants;
#[cfg(test)]
mod hostile;
mod limits;
mod mounts;
mod names;
mod ports;
mod project;
#[cfg(test)]
mod refusals;
mod refuse;
mod rules;
mod services;
mod targets;
#[cfg(test)]
mod templates;
#[cfg(test)]
mod tests;
mod volumes;

use std::{collections::BTreeMap, fmt};

use casemate_core::{
    cvm::PortMap,
    id::{EngineVmId, VmUuid},
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use self::{
    ahead::look_ahead,
    grants::{Grant, Grants},
};
pub(super) use self::{
    build::Build,
    limits::{check_seldom, checked_by_images, is_too_often, log_bounds},
    mounts::{GuestSource, guest_sources},
    project::{BRIDGE_NAME, bridge_name},
    refuse::{HARDENING, reaches_out},
    targets::{is_of_engine, is_shared_memory},
    volumes::check_given,
};

use self::rules::{RULES, Rule};
use super::{
    HostAccess,
    inspection::{Expected, expected},
};

/// A JSON object.
type Object = Map<String, Value>;

/// Label with the VM id on everything a VM owns.
pub(super) const LABEL_VM: &str = "casemate.vm";
/// Label with the CVM's uuid.
pub(super) const LABEL_CVM: &str = "casemate.cvm";
/// Label with the id of the node, so that two nodes on one engine stay apart.
pub(super) const LABEL_NODE: &str = "casemate.node";
/// Labels with published ports: `casemate.port.8080=80/tcp`.
pub(super) const LABEL_PORT: &str = "casemate.port.";
/// Label with the restart policy that holds while the VM is up.
pub(super) const LABEL_RESTART: &str = "casemate.restart";
/// Label of containers on bridges that are open to the host: with another one compose makes containers anew, and
/// one that was made for a network which is gone cannot start.
pub(super) const LABEL_BRIDGES: &str = "casemate.bridges";
/// What a container got as files when it was made: compose itself does not look at contents when it
/// decides whether a container is still the wanted one.
pub(super) const LABEL_FILES: &str = "casemate.files";
/// Label of containers that mount an agent socket itself instead of the directory it is in.
pub(super) const LABEL_AGENT: &str = "casemate.agent";
/// Where containers find the directory of the agent's sockets.
pub(super) const AGENT_DIR: &str = "/.casemate";

/// A compose file asks for what a docker node does not give. Fit for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is refused, in the words of the compose file.
    pub what: String,
    /// The service that asks for it; `None`: the file as a whole.
    pub service: Option<String>,
    /// The key of the service or of the file, where it is known: `cap_add`, `volumes.data`.
    pub field: Option<String>,
    /// Line of the compose file, where it is known.
    pub line: Option<usize>,
    /// What to do instead.
    pub way_out: String,
}

impl Refused {
    /// Refuses something of the file as a whole.
    pub fn new(what: impl Into<String>, way_out: impl Into<String>) -> Self {
        let (service, field, line) = (None, None, None);
        Self { what: what.into(), service, field, line, way_out: way_out.into() }
    }

    /// The same, in a service.
    #[must_use]
    pub fn in_service(self, service: &str) -> Self {
        Self { service: Some(service.to_owned()), ..self }
    }

    /// The same, under a key.
    #[must_use]
    pub fn in_field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// The same, on a line of the compose file.
    #[must_use]
    pub fn on_line(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }

    /// What asks for what, and where: `service web uses privileged (line 5)`.
    pub fn asks(&self) -> String {
        let line = self.line.map(|line| format!(" (line {line})")).unwrap_or_default();
        match &self.service {
            Some(service) => format!("service {service} uses {}{line}", self.what),
            None => format!("the compose file uses {}{line}", self.what),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which this docker node refuses: {}", self.asks(), self.way_out)
    }
}

impl std::error::Error for Refused {}

/// Where the limits of a VM apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Limits {
    /// On one control group around all containers; its name for the engine.
    Parent(String),
    /// On each service by itself.
    PerService {
        /// Virtual CPUs.
        vcpu: u32,
        /// Memory in MiB.
        memory_mb: u32,
        /// Processes and threads.
        pids: u32,
    },
}

/// Everything a model is derived from, apart from the model.
#[derive(Debug, Clone)]
pub(super) struct DeriveInput<'a> {
    pub vm: &'a EngineVmId,
    pub cvm: VmUuid,
    pub node: &'a str,
    pub grants: &'a Grants,
    /// Where the paths named by [`guest_sources`] lie on the host.
    pub sources: &'a BTreeMap<String, String>,
    /// The guest's file system on the host.
    pub root: &'a str,
    /// Directory of the guest agent's sockets.
    pub run: &'a str,
    /// The compose project.
    pub project: &'a str,
    pub limits: &'a Limits,
    /// What the log of a container may take on disk, in MiB.
    pub log_mb: u32,
    pub host_access: HostAccess,
    /// Host ports mapped to the VM.
    pub ports: &'a [PortMap],
    /// The sealed environment, which secrets may be made of.
    pub sealed_env: &'a [u8],
}

impl DeriveInput<'_> {
    /// The labels of everything the VM owns.
    pub fn labels(&self) -> [(&'static str, String); 3] {
        [
            (LABEL_VM, self.vm.to_string()),
            (LABEL_CVM, self.cvm.to_string()),
            (LABEL_NODE, self.node.to_owned()),
        ]
    }
}

/// A port of the VM and who listens there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Published {
    /// The port in the compose file, left of the colon: what the gateway is asked for.
    pub port: u16,
    pub service: String,
    /// The port in the container.
    pub target: u16,
}

/// A socket of the guest agent that a container expects at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgentLink {
    pub service: String,
    /// Where the container looks for it.
    pub path: String,
    /// Which one, a file name in the agent's directory.
    pub socket: &'static str,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pull {
    /// At every boot.
    Always,
    /// If the engine does not have it.
    Missing,
    Never,
}

/// An image of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ImageUse {
    pub name: String,
    pub platform: Option<String>,
    pub pull: Pull,
    /// The first service that uses it so.
    pub service: String,
}

/// What goes to the engine.
#[derive(Debug, Clone)]
pub(super) struct Derived {
    /// The model for `docker compose up`. Holds values of variables.
    pub model: Value,
    /// What the engine must create for it.
    pub expected: Expected,
    pub published: Vec<Published>,
    /// Links to make in the containers once they are there.
    pub links: Vec<AgentLink>,
    /// Variables that compose reads itself (`secrets: environment:`): (name for compose, guest's name).
    pub pass_env: Vec<(String, String)>,
    /// Images of all services.
    pub images: Vec<ImageUse>,
    /// Images that the node builds.
    pub builds: Vec<Build>,
    /// What was changed in a way the app may notice.
    pub warnings: Vec<String>,
}

/// Derives the model. Pure: nothing is looked up or made.
pub(super) fn derive(model: Value, input: &DeriveInput<'_>) -> Result<Derived, Refused> {
    derive_by(&RULES, model, input)
}

fn derive_by(
    rules: &[Rule],
    mut model: Value,
    input: &DeriveInput<'_>,
) -> Result<Derived, Refused> {
    let Some(file) = model.as_object_mut() else {
        return Err(Refused::new("something else than a mapping", "write a compose file"));
    };
    let mut notes = Notes::default();
    names::resolve(file);
    rules::apply(rules, file, input, &mut notes)?;
    for (_, service) in services_mut(file) {
        services::drop_unused(service);
    }
    project::drop_unused(file);
    ports::check_maps(input.ports, &mut notes);
    label_files(file, input);
    let expected = expected(file, input);
    notes.published.sort();
    Ok(Derived {
        model,
        expected,
        published: notes.published,
        links: notes.links,
        pass_env: notes.pass_env,
        images: notes.images,
        builds: notes.builds,
        warnings: notes.warnings,
    })
}

/// What is gathered on the way.
#[derive(Debug, Default)]
struct Notes {
    published: Vec<Published>,
    mapped: Vec<PortMap>,
    links: Vec<AgentLink>,
    pass_env: Vec<(String, String)>,
    builds: Vec<Build>,
    images: Vec<ImageUse>,
    warnings: Vec<String>,
}

impl Notes {
    fn warn(&mut self, service: &str, text: impl fmt::Display) {
        self.warnings.push(format!("service {service}: {text}"));
    }
}

fn services(file: &Object) -> impl Iterator<Item = (&String, &Object)> {
    entries(file, "services")
}

fn entries<'a>(file: &'a Object, key: &str) -> impl Iterator<Item = (&'a String, &'a Object)> {
    let map = file.get(key).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(name, entry)| Some((name, entry.as_object()?)))
}

fn services_mut(file: &mut Object) -> impl Iterator<Item = (&String, &mut Object)> {
    let map = file.get_mut("services").and_then(Value::as_object_mut);
    map.into_iter().flatten().filter_map(|(name, entry)| Some((name, entry.as_object_mut()?)))
}

/// Takes what pulling needs out of the services: compose itself pulls nothing.
fn images(file: &mut Object, notes: &mut Notes) {
    let (mut images, builds) = (Vec::new(), &notes.builds);
    for build in builds {
        let bases = build.images.iter().map(|base| ImageUse {
            name: base.name.clone(),
            platform: base.platform.clone(),
            pull: Pull::Missing,
            service: build.service.clone(),
        });
        images.extend(bases);
    }
    for (user, service) in services_mut(file) {
        let pull = match text(service, "pull_policy") {
            Some("always") => Pull::Always,
            Some("never") => Pull::Never,
            _ => Pull::Missing,
        };
        let platform = text(service, "platform").map(str::to_owned);
        let name = text(service, "image").map(str::to_owned);
        let user = user.clone();
        let name = name.filter(|name| !builds.iter().any(|build| build.image == *name));
        images.extend(name.map(|name| ImageUse { name, platform, pull, service: user }));
        service.remove("pull_refresh_after");
        service.insert("pull_policy".to_owned(), Value::from("never"));
    }
    images.sort();
    images.dedup_by(|one, other| {
        (&one.name, &one.platform, one.pull) == (&other.name, &other.platform, other.pull)
    });
    notes.images = images;
}

fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn list<'a>(object: &'a Object, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The object under a key; made if there is none.
fn object_mut<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    let entry = object.entry(key).or_insert(Value::Null);
    if entry.is_null() {
        *entry = Value::Object(Object::new());
    }
    entry.as_object_mut()
}

fn add_labels(object: &mut Object, labels: impl IntoIterator<Item = (String, String)>) {
    if let Some(map) = object_mut(object, "labels") {
        map.extend(labels.into_iter().map(|(name, value)| (name, Value::String(value))));
    }
}

/// Labels that mean something to us or to compose are not the file's to set.
fn drop_labels(object: &mut Object) {
    if let Some(labels) = object.get_mut("labels").and_then(Value::as_object_mut) {
        labels.retain(|name, _| {
            !name.starts_with("casemate.") && !name.starts_with("com.docker.compose.")
        });
    }
}

/// A service with configs or secrets is made anew when any of them may have changed.
fn label_files(file: &mut Object, input: &DeriveInput<'_>) {
    let mut hasher = Sha256::new();
    for key in ["configs", "secrets"] {
        let text = file.get(key).map(Value::to_string).unwrap_or_default();
        hasher.update(Sha256::digest(text.as_bytes()));
    }
    hasher.update(input.sealed_env);
    let mark = hex::encode(hasher.finalize());
    for (_, service) in services_mut(file) {
        let has = |key| !list(service, key).is_empty();
        if has("configs") || has("secrets") {
            add_labels(service, [(LABEL_FILES.to_owned(), mark.clone())]);
        }
    }
}

fn label_all(object: &mut Object, input: &DeriveInput<'_>) {
    add_labels(object, input.labels().map(|(name, value)| (name.to_owned(), value)));
}
