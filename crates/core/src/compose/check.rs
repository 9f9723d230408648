//! Semantic problems of a file with valid keys and types: missing files, undefined names, cycles, a `$` that
//! begins no variable.

use super::{
    dependency_graph::DependencyGraph,
    problem::{NamedFile, Place, Problem, ProblemKind, Referent},
    template,
    yaml::{Entry, Map, Node, Value},
};

/// The problems of a file whose documents are merged and whose `extends` are resolved.
pub fn check(file: &Node) -> Vec<Problem> {
    let mut check = Check { file, problems: Vec::new() };
    check.include();
    for (key, what) in [("configs", NamedFile::Config), ("secrets", NamedFile::Secret)] {
        check.files_of(key, what);
    }
    for key in ["services", "networks", "volumes", "configs", "secrets"] {
        check.names(key);
    }
    for service in services(file) {
        check.service(service);
    }
    check.dependencies();
    check.variables(file, &mut Vec::new(), file.line);
    check.problems
}

pub fn services(file: &Node) -> impl Iterator<Item = &Entry> {
    file.get("services").and_then(Node::map).into_iter().flat_map(Map::iter)
}

struct Check<'a> {
    file: &'a Node,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn report(&mut self, path: &[&str], line: usize, kind: ProblemKind) {
        self.problems.push(Problem::new(Place::of(path, line), kind));
    }

    fn include(&mut self) {
        let entry = self.file.map().and_then(|map| map.entry("include"));
        let Some(entry) = entry.filter(|entry| !is_empty(&entry.node)) else { return };
        self.report(&["include"], entry.line, ProblemKind::File(NamedFile::Include));
    }

    fn files_of(&mut self, key: &str, what: NamedFile) {
        let map = self.file.get(key).and_then(Node::map);
        for entry in map.into_iter().flat_map(Map::iter) {
            let file = entry.node.map().and_then(|map| map.entry("file"));
            if let Some(file) = file {
                self.report(&[key, &entry.key, "file"], file.line, ProblemKind::File(what));
            }
        }
    }

    fn names(&mut self, key: &str) {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let map = self.file.get(key).and_then(Node::map);
        for entry in map.into_iter().flat_map(Map::iter) {
            let extension = key != "services" && entry.key.starts_with("x-");
            if !extension && (entry.key.is_empty() || !entry.key.chars().all(fits)) {
                self.report(&[key, &entry.key], entry.line, ProblemKind::BadName);
            }
        }
    }

    fn service(&mut self, entry: &Entry) {
        let name = entry.key.as_str();
        let Some(map) = entry.node.map() else {
            return self.report(&["services", name], entry.line, ProblemKind::NoImage);
        };
        self.check_program(name, entry.line, map);
        self.env_files(name, map);
        if let Some(labels) = map.entry("label_file").filter(|entry| !is_empty(&entry.node)) {
            let kind = ProblemKind::File(NamedFile::Labels);
            self.report(&["services", name, "label_file"], labels.line, kind);
        }
        let credentials = map.get("credential_spec").and_then(Node::map);
        if let Some(file) = credentials.and_then(|spec| spec.entry("file")) {
            let kind = ProblemKind::File(NamedFile::CredentialSpec);
            self.report(&["services", name, "credential_spec.file"], file.line, kind);
        }
        self.volumes(name, map);
        self.check_references(name, map, "networks", Referent::Network, "networks");
        self.check_references(name, map, "configs", Referent::Config, "configs");
        self.check_references(name, map, "secrets", Referent::Secret, "secrets");
        self.check_service_references(name, map);
    }

    /// Requires an image, or a build without files.
    fn check_program(&mut self, name: &str, line: usize, map: &Map) {
        let has_image = map.get("image").is_some_and(|image| image.value != Value::Null);
        match map.entry("build").filter(|entry| entry.node.value != Value::Null) {
            Some(build) if needs_files(&build.node) => {
                let kind = ProblemKind::BuildContext { has_image };
                self.report(&["services", name, "build"], build.line, kind);
            }
            Some(_) => {}
            // What an invalid `extends` would add is unknown.
            None if has_image || map.get("provider").is_some() || map.get("extends").is_some() => {}
            None => self.report(&["services", name], line, ProblemKind::NoImage),
        }
    }

    fn env_files(&mut self, name: &str, map: &Map) {
        let Some(entry) = map.entry("env_file") else { return };
        let all: &[Node] = match &entry.node.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(&entry.node),
        };
        for file in all.iter().filter(|file| file.value != Value::Null && !is_optional(file)) {
            let kind = ProblemKind::File(NamedFile::Env);
            self.report(&["services", name, "env_file"], file.line, kind);
        }
    }

    fn volumes(&mut self, name: &str, map: &Map) {
        let Some(volumes) = map.get("volumes") else { return };
        for (at, mount) in volumes.items().iter().enumerate() {
            let place = format!("[{at}]");
            let path = ["services", name, "volumes", &place];
            let volume = match &mount.value {
                Value::Text(text) if is_windows(text) => {
                    let expected = "a volume's name of two letters or more, or a path of the CVM: one \
                                    letter before a colon is a drive of Windows";
                    let kind = ProblemKind::BadValue { value: text.clone(), expected };
                    self.report(&path, mount.line, kind);
                    None
                }
                Value::Text(text) => text.split_once(':').map(|(source, _)| source),
                _ => {
                    let volume = mount.get("type").and_then(Node::text) == Some("volume");
                    mount.get("source").filter(|_| volume).and_then(Node::text)
                }
            };
            let named = volume.filter(|source| is_volume_name(source));
            if let Some(source) = named.filter(|source| !self.defines("volumes", source)) {
                let source = source.to_owned();
                self.undefined(&path, mount.line, Referent::Volume, source);
            }
        }
    }

    /// References of a service to networks, configs or secrets: a list of names or of mappings with `source`,
    /// or a mapping by name.
    fn check_references(
        &mut self,
        name: &str,
        map: &Map,
        key: &str,
        what: Referent,
        defined_in: &str,
    ) {
        let Some(node) = map.get(key) else { return };
        let mut used: Vec<(usize, String)> = Vec::new();
        for item in node.items() {
            let text = item.text().or_else(|| item.get("source").and_then(Node::text));
            used.extend(text.map(|text| (item.line, text.to_owned())));
        }
        for entry in node.map().into_iter().flat_map(Map::iter) {
            used.push((entry.line, entry.key.clone()));
        }
        for (line, used) in used {
            let given = what == Referent::Network && used == "default";
            if !given && !used.contains('$') && !self.defines(defined_in, &used) {
                self.undefined(&["services", name, key], line, what, used);
            }
        }
    }

    /// References to other services.
    fn check_service_references(&mut self, name: &str, map: &Map) {
        for (key, line, other) in named_services(map) {
            if !self.defines("services", &other) {
                self.undefined(&["services", name, key], line, Referent::Service, other);
            }
        }
        let mode = map.entry("network_mode").and_then(|entry| {
            Some((entry.line, entry.node.text()?.strip_prefix("container:")?.to_owned()))
        });
        if let Some((line, container)) = mode.filter(|(_, name)| !name.contains('$')) {
            let is_there = services(self.file).any(|service| {
                service.node.get("container_name").and_then(Node::text) == Some(container.as_str())
            });
            if !is_there {
                let path = ["services", name, "network_mode"];
                self.undefined(&path, line, Referent::Container, container);
            }
        }
    }

    fn undefined(&mut self, path: &[&str], line: usize, what: Referent, name: String) {
        self.report(path, line, ProblemKind::Undefined { what, name });
    }

    fn defines(&self, key: &str, name: &str) -> bool {
        self.file.get(key).is_some_and(|map| map.map().is_some_and(|map| map.entry(name).is_some()))
    }

    fn dependencies(&mut self) {
        let graph = DependencyGraph::of(self.file);
        let cycles = graph.cycles();
        let no_cycle = cycles.is_empty();
        for (service, through) in cycles {
            let path = ["services", &service.key, "depends_on"];
            self.report(&path, service.line, ProblemKind::Cycle { through });
        }
        if let Some(service) = graph.with_too_many_paths().filter(|_| no_cycle) {
            let path = ["services", &service.key, "depends_on"];
            self.report(&path, service.line, ProblemKind::TooManyPaths);
        }
    }

    fn variables(&mut self, node: &Node, path: &mut Vec<String>, line: usize) {
        match &node.value {
            Value::Text(text) => {
                if template::parse(text).is_err() {
                    let place = Place::of(path, line);
                    self.problems.push(Problem::new(place, ProblemKind::BadVariable));
                }
            }
            Value::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    path.push(format!("[{at}]"));
                    self.variables(item, path, item.line);
                    path.pop();
                }
            }
            Value::Map(map) => {
                for entry in map.iter() {
                    path.push(entry.key.clone());
                    self.variables(&entry.node, path, entry.line);
                    path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::List(items) => items.is_empty(),
        _ => false,
    }
}

/// `required: false`: compose skips a missing file, and in a CVM it is missing.
pub fn is_optional(env_file: &Node) -> bool {
    match env_file.get("required").map(|node| &node.value) {
        Some(Value::Bool(required)) => !required,
        Some(Value::Text(text)) => text == "false",
        _ => false,
    }
}

fn needs_files(build: &Node) -> bool {
    let Some(map) = build.map() else {
        return build.text().is_some_and(|context| !is_remote(context));
    };
    let text = |key| map.get(key).and_then(Node::text);
    let context = text("context").unwrap_or(".");
    if text("dockerfile_inline").is_some() {
        return !matches!(context, "." | "./") && !is_remote(context);
    }
    !is_remote(context)
}

/// A build context that is fetched, or given by a variable.
fn is_remote(context: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@", "github.com/", "docker-image://"]
        .iter()
        .any(|prefix| context.starts_with(prefix))
        || context.contains('$')
}

/// `C:\data:/data` and `c:/data`.
fn is_windows(text: &str) -> bool {
    matches!(text.as_bytes(), [drive, b':', b'\\' | b'/', ..] if drive.is_ascii_alphabetic())
}

fn is_volume_name(source: &str) -> bool {
    source.starts_with(|c: char| c.is_ascii_alphanumeric())
        && source.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// Services that a service must have, with the key and the line.
pub fn named_services(map: &Map) -> Vec<(&'static str, usize, String)> {
    let mut found = Vec::new();
    if let Some(depends) = map.get("depends_on") {
        for item in depends.items() {
            found.extend(item.text().map(|text| ("depends_on", item.line, text.to_owned())));
        }
        for entry in depends.map().into_iter().flat_map(Map::iter) {
            let optional =
                entry.node.get("required").map(|node| &node.value) == Some(&Value::Bool(false));
            if !optional {
                found.push(("depends_on", entry.line, entry.key.clone()));
            }
        }
    }
    for key in ["links", "volumes_from"] {
        for item in map.get(key).map(Node::items).unwrap_or_default() {
            let Some(text) = item.text().filter(|text| !text.starts_with("container:")) else {
                continue;
            };
            let service = text.split(':').next().unwrap_or(text);
            found.push((key, item.line, service.to_owned()));
        }
    }
    for key in ["network_mode", "ipc", "pid"] {
        let Some(entry) = map.entry(key) else { continue };
        let service = entry.node.text().and_then(|text| text.strip_prefix("service:"));
        found.extend(service.map(|service| (key, entry.line, service.to_owned())));
    }
    found.retain(|(_, _, name)| !name.contains('$'));
    found
}
