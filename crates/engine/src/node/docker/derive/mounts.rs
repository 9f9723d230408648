//! Bind mounts: sources are paths of the guest, and the guest's file system is the VM's `root/`.

use std::path::{Component, Path};

use serde_json::{Value, json};

use super::{
    AGENT_DIR, AgentLink, DeriveInput, Grant, Grants, LABEL_AGENT, Notes, Object, Refused,
    add_labels, entries, list, refuse::not_granted, services, services::hides,
};

const WAY_OUT: &str = "mount a named volume, a path of the guest or a tmpfs, whole";

/// A path of the guest that the host must have before the containers are made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GuestSource {
    pub path: String,
    /// A file of `configs:` or `secrets:`: made by nobody if it is missing.
    pub must_exist: bool,
}

/// What lies behind the source of a bind mount.
enum Source {
    /// A socket of the guest agent.
    Agent(&'static str),
    /// The directory of these sockets.
    AgentDir,
    /// The engine's socket.
    Engine,
    /// Anything else: a path of the guest, without `.` and `..`.
    Guest(String),
}

/// Refuses kinds of mounts and options that are not known to stay inside the CVM. Short forms, as they
/// stand in the text of a file, have neither.
pub(super) fn check_known(mount: &Value) -> Result<(), Refused> {
    const KEYS: [&str; 8] =
        ["type", "source", "target", "read_only", "consistency", "bind", "volume", "tmpfs"];
    let Some(entry) = mount.as_object() else { return Ok(()) };
    let at = target(mount);
    let refused = |what: String| Err(Refused::new(what, WAY_OUT));
    if let Some(kind) = entry.get("type")
        && !matches!(kind.as_str(), Some("bind" | "volume" | "tmpfs"))
    {
        return refused(format!("a mount of type {kind} at {at}"));
    }
    if let Some(key) = entry.keys().find(|key| !KEYS.contains(&key.as_str()) && !is_extension(key))
    {
        return refused(format!("{key} for the mount at {at}"));
    }
    let options = [("volume", &["nocopy"][..]), ("tmpfs", &["size", "mode"])];
    for (kind, known) in options {
        let unknown = entry.get(kind).and_then(Value::as_object).and_then(|options| {
            options.keys().find(|key| !known.contains(&key.as_str()) && !is_extension(key))
        });
        if let Some(key) = unknown {
            return refused(format!("{kind}.{key} for the mount at {at}"));
        }
    }
    Ok(())
}

fn is_extension(key: &str) -> bool {
    key.starts_with("x-")
}

/// Paths of the guest that the model mounts, each once, sorted.
pub(crate) fn guest_sources(model: &Value) -> Vec<GuestSource> {
    let Some(file) = model.as_object() else { return Vec::new() };
    let mounts =
        services(file).flat_map(|(_, service)| binds(service)).filter_map(|mount| match source_of(
            mount,
        )? {
            Source::Guest(path) => Some(GuestSource { path, must_exist: false }),
            _ => None,
        });
    let files = ["configs", "secrets"].into_iter().flat_map(|key| entries(file, key)).filter_map(
        |(_, entry)| {
            Some(GuestSource { path: plain(entry.get("file")?.as_str()?), must_exist: true })
        },
    );
    let mut all: Vec<GuestSource> = mounts.chain(files).collect();
    all.sort();
    all.dedup();
    all
}

/// Replaces the sources of a service's bind mounts.
pub(super) fn rewrite(
    name: &str,
    service: &mut Object,
    input: &DeriveInput<'_>,
    notes: &mut Notes,
) -> Result<(), Refused> {
    let Some(Value::Array(mounts)) = service.remove("volumes") else { return Ok(()) };
    let mut kept = Vec::new();
    let mut linked = false;
    for mount in mounts {
        match source_of(&mount) {
            None if matches!(kind(&mount), Some("volume" | "tmpfs")) => kept.push(mount),
            None => return Err(Refused::new(format!("the mount {mount}"), WAY_OUT)),
            Some(Source::Engine) => kept.push(engine(&mount, input.grants)?),
            Some(Source::AgentDir) => {
                kept.push(bind(input.run, target(&mount), true));
            }
            Some(Source::Agent(socket)) => {
                let path = target(&mount).to_owned();
                if hides(service, &path) {
                    kept.push(bind(&format!("{}/{socket}", input.run), &path, true));
                    add_labels(service, [(LABEL_AGENT.to_owned(), "direct".to_owned())]);
                } else {
                    notes.links.push(AgentLink { service: name.to_owned(), path, socket });
                    linked = true;
                }
            }
            Some(Source::Guest(path)) => {
                warn_about(name, &path, notes);
                kept.push(bind(host_path(&path, input)?, target(&mount), is_read_only(&mount)));
            }
        }
    }
    if linked {
        kept.push(bind(input.run, AGENT_DIR, true));
    }
    if !kept.is_empty() {
        service.insert("volumes".to_owned(), Value::Array(kept));
    }
    Ok(())
}

/// Where a path of the guest lies on the host.
pub(super) fn host_path<'a>(path: &str, input: &DeriveInput<'a>) -> Result<&'a String, Refused> {
    let missing = || Refused::new(format!("the file {path}"), "it is not there in the CVM");
    input.sources.get(path).ok_or_else(missing)
}

/// A source inside another that containers write to could be swapped for a link that leads out of
/// the guest, between the look at it and the mount.
pub(super) fn check_nesting(file: &Object, input: &DeriveInput<'_>) -> Result<(), Refused> {
    if input.grants.has(Grant::NestedBinds) {
        return Ok(());
    }
    let found: Vec<(String, &Path, bool)> = services(file)
        .flat_map(|(_, service)| binds(service))
        .filter_map(|mount| {
            let Some(Source::Guest(path)) = source_of(mount) else { return None };
            let host = Path::new(input.sources.get(&path)?);
            Some((path, host, !is_read_only(mount)))
        })
        .collect();
    // A link of the guest may lead to its root as well.
    let root = Path::new(input.root);
    let is_root = |path: &str, host: &Path| path == "/" || root.starts_with(host);
    if let Some((path, ..)) =
        found.iter().find(|(path, host, writable)| *writable && is_root(path, host))
    {
        let of = if path == "/" { "/".to_owned() } else { format!("{path}, which is /") };
        return Err(not_granted(Grant::NestedBinds, &format!("a writable bind mount of {of}")));
    }
    let files = guest_sources_of_files(file);
    let inner = found
        .iter()
        .map(|(path, host, _)| (path, *host))
        .chain(files.iter().filter_map(|path| Some((path, Path::new(input.sources.get(path)?)))));
    for (path, host) in inner {
        let outer = found
            .iter()
            .find(|(_, outer, writable)| *writable && host.starts_with(outer) && host != *outer);
        if let Some((outer, ..)) = outer {
            let what = format!("a bind mount of {path} inside the writable bind mount of {outer}");
            return Err(not_granted(Grant::NestedBinds, &what));
        }
    }
    Ok(())
}

fn guest_sources_of_files(file: &Object) -> Vec<String> {
    ["configs", "secrets"]
        .into_iter()
        .flat_map(|key| entries(file, key))
        .filter_map(|(_, entry)| Some(plain(entry.get("file")?.as_str()?)))
        .collect()
}

/// The path of a config or secret without `.` and `..`.
pub(super) fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => parts.extend(name.to_str()),
            Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    format!("/{}", parts.join("/"))
}

fn binds(service: &Object) -> impl Iterator<Item = &Value> {
    list(service, "volumes").iter().filter(|mount| source_of(mount).is_some())
}

/// `None`: not a bind mount.
fn source_of(mount: &Value) -> Option<Source> {
    if kind(mount)? != "bind" {
        return None;
    }
    let path = plain(mount.get("source").and_then(Value::as_str).unwrap_or_default());
    let in_run = path.strip_prefix("/var/run/").or_else(|| path.strip_prefix("/run/"));
    Some(match in_run {
        Some("docker.sock" | "containerd/containerd.sock" | "podman/podman.sock") => Source::Engine,
        Some("dstack.sock" | "dstack/dstack.sock") => Source::Agent("dstack.sock"),
        Some("tappd.sock" | "dstack/tappd.sock") => Source::Agent("tappd.sock"),
        Some("dstack") => Source::AgentDir,
        _ => Source::Guest(path),
    })
}

/// Refuses a mount of an engine's socket that is not granted.
pub(super) fn check_engine(mount: &Value, grants: &Grants) -> Result<(), Refused> {
    match source_of(mount) {
        Some(Source::Engine) => engine(mount, grants).map(drop),
        _ => Ok(()),
    }
}

fn engine(mount: &Value, grants: &Grants) -> Result<Value, Refused> {
    let source = mount.get("source").and_then(Value::as_str).unwrap_or_default();
    if grants.has(Grant::DockerSocket) {
        return Ok(bind(source, target(mount), is_read_only(mount)));
    }
    Err(not_granted(Grant::DockerSocket, &format!("a mount of {source}")))
}

fn kind(mount: &Value) -> Option<&str> {
    mount.get("type")?.as_str()
}

fn target(mount: &Value) -> &str {
    mount.get("target").and_then(Value::as_str).unwrap_or_default()
}

fn is_read_only(mount: &Value) -> bool {
    mount.get("read_only") == Some(&Value::Bool(true))
}

/// A bind mount with nothing but these: propagation could carry mounts over to the host. Compose hands
/// a mount whose source must exist to the engine field by field, and any other one as
/// `source:target:mode`, in which a colon of a path is a separator.
fn bind(source: &str, target: &str, read_only: bool) -> Value {
    json!({
        "type": "bind", "source": source, "target": target, "read_only": read_only,
        "bind": {"create_host_path": false},
    })
}

fn warn_about(service: &str, path: &str, notes: &mut Notes) {
    if ["/proc", "/sys", "/dev", "/lib/modules", "/boot"]
        .iter()
        .any(|dir| Path::new(path).starts_with(dir))
    {
        notes.warn(service, format_args!("{path} is an empty directory here, not the machine's"));
    }
}
