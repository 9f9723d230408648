//! The keys of a compose file and the types of their values.
//!
//! Follows the Compose Specification. A text with a variable is accepted for any scalar, because compose
//! fills in variables before it validates. A null value is accepted everywhere.

use super::{
    problem::{Place, Problem, ProblemKind},
    units,
    yaml::{Map, Node, Value},
};

/// The type of a value.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Any,
    Text,
    /// A number, or text.
    Number,
    /// `true` or `false`, also as text.
    Switch,
    /// Text, a number or a boolean.
    Scalar,
    /// `1m30s`.
    Duration,
    /// `64m`, or a number of bytes.
    Size,
    /// A restart policy.
    Restart,
    List(&'static Shape),
    /// A mapping with these keys, and `x-…`.
    Keys(&'static [(&'static str, Shape)]),
    /// A mapping with arbitrary names.
    Names(&'static Shape),
    /// One of several types.
    Either(&'static [Shape]),
}

use Shape::{
    Any, Duration, Either, Keys, List, Names, Number, Restart, Scalar, Size, Switch, Text,
};

const TEXTS: Shape = List(&Text);
const TEXT_OR_TEXTS: Shape = Either(&[Text, TEXTS]);
const SCALARS: Shape = List(&Number);
/// `[A=1]` or `{A: 1}`.
const PAIRS: Shape = Either(&[TEXTS, Names(&Scalar)]);
const HOSTS: Shape = Either(&[TEXTS, Names(&Either(&[Text, TEXTS]))]);
const DEVICES: Shape = List(&Keys(&[
    ("capabilities", TEXTS),
    ("count", Number),
    ("device_ids", TEXTS),
    ("driver", Text),
    ("options", PAIRS),
]));
const HOOKS: Shape = List(&Keys(&[
    ("command", TEXT_OR_TEXTS),
    ("user", Text),
    ("privileged", Switch),
    ("working_dir", Text),
    ("environment", PAIRS),
]));
const GRANTED_FILES: Shape = List(&Either(&[
    Text,
    Keys(&[("source", Text), ("target", Text), ("uid", Text), ("gid", Text), ("mode", Number)]),
]));
const EXTERNAL: Shape = Either(&[Switch, Keys(&[("name", Text)])]);

const FILE: &[(&str, Shape)] = &[
    ("version", Text),
    ("name", Text),
    ("include", Any),
    ("services", Names(&Keys(SERVICE))),
    ("networks", Names(&Keys(NETWORK))),
    ("volumes", Names(&Keys(VOLUME))),
    ("configs", Names(&Keys(CONFIG))),
    ("secrets", Names(&Keys(SECRET))),
    ("models", Names(&Any)),
];

const SERVICE: &[(&str, Shape)] = &[
    ("annotations", PAIRS),
    ("attach", Switch),
    ("blkio_config", Names(&Any)),
    ("build", Either(&[Text, Keys(BUILD)])),
    ("cap_add", TEXTS),
    ("cap_drop", TEXTS),
    ("cgroup", Text),
    ("cgroup_parent", Text),
    ("command", TEXT_OR_TEXTS),
    ("configs", GRANTED_FILES),
    ("container_name", Text),
    ("cpu_count", Number),
    ("cpu_percent", Number),
    ("cpu_period", Number),
    ("cpu_quota", Number),
    ("cpu_rt_period", Number),
    ("cpu_rt_runtime", Number),
    ("cpu_shares", Number),
    ("cpus", Number),
    ("cpuset", Text),
    ("credential_spec", Keys(&[("config", Text), ("file", Text), ("registry", Text)])),
    ("depends_on", Either(&[TEXTS, Names(&Keys(DEPENDENCY))])),
    ("deploy", Keys(DEPLOY)),
    ("develop", Any),
    ("device_cgroup_rules", TEXTS),
    ("devices", List(&Any)),
    ("dns", TEXT_OR_TEXTS),
    ("dns_opt", TEXTS),
    ("dns_search", TEXT_OR_TEXTS),
    ("domainname", Text),
    ("entrypoint", TEXT_OR_TEXTS),
    ("env_file", Either(&[Text, List(&Either(&[Text, Keys(ENV_FILE)]))])),
    ("environment", PAIRS),
    ("expose", SCALARS),
    ("extends", Either(&[Text, Keys(&[("service", Text), ("file", Text)])])),
    ("external_links", TEXTS),
    ("extra_hosts", HOSTS),
    ("gpus", Either(&[Text, DEVICES])),
    ("group_add", SCALARS),
    ("healthcheck", Keys(HEALTHCHECK)),
    ("hostname", Text),
    ("image", Text),
    ("init", Switch),
    ("ipc", Text),
    ("isolation", Text),
    ("label_file", TEXT_OR_TEXTS),
    ("labels", PAIRS),
    ("links", TEXTS),
    ("logging", Keys(&[("driver", Text), ("options", Names(&Number))])),
    ("mac_address", Text),
    ("mem_limit", Size),
    ("mem_reservation", Size),
    ("mem_swappiness", Number),
    ("memswap_limit", Number),
    ("models", Any),
    ("network_mode", Text),
    ("networks", Either(&[TEXTS, Names(&Keys(ENDPOINT))])),
    ("oom_kill_disable", Switch),
    ("oom_score_adj", Number),
    ("pid", Text),
    ("pids_limit", Number),
    ("platform", Text),
    ("ports", List(&Either(&[Number, Keys(PORT)]))),
    ("post_start", HOOKS),
    ("pre_stop", HOOKS),
    ("privileged", Switch),
    ("profiles", TEXTS),
    ("provider", Any),
    ("pull_policy", Text),
    ("pull_refresh_after", Text),
    ("read_only", Switch),
    ("restart", Restart),
    ("runtime", Text),
    ("scale", Number),
    ("secrets", GRANTED_FILES),
    ("security_opt", TEXTS),
    ("shm_size", Size),
    ("stdin_open", Switch),
    ("stop_grace_period", Duration),
    ("stop_signal", Text),
    ("storage_opt", Names(&Any)),
    ("sysctls", PAIRS),
    ("tmpfs", TEXT_OR_TEXTS),
    ("tty", Switch),
    ("ulimits", Names(&Either(&[Number, Keys(&[("hard", Number), ("soft", Number)])]))),
    ("use_api_socket", Switch),
    ("user", Text),
    ("userns_mode", Text),
    ("uts", Text),
    ("volumes", List(&Either(&[Text, Keys(MOUNT)]))),
    ("volumes_from", TEXTS),
    ("working_dir", Text),
];

const BUILD: &[(&str, Shape)] = &[
    ("additional_contexts", PAIRS),
    ("args", PAIRS),
    ("cache_from", TEXTS),
    ("cache_to", TEXTS),
    ("context", Text),
    ("dockerfile", Text),
    ("dockerfile_inline", Text),
    ("entitlements", TEXTS),
    ("extra_hosts", HOSTS),
    ("isolation", Text),
    ("labels", PAIRS),
    ("network", Text),
    ("no_cache", Switch),
    ("no_cache_filter", TEXT_OR_TEXTS),
    ("platforms", TEXTS),
    ("privileged", Switch),
    ("provenance", Scalar),
    ("pull", Switch),
    ("sbom", Scalar),
    ("secrets", GRANTED_FILES),
    ("shm_size", Size),
    ("ssh", PAIRS),
    ("tags", TEXTS),
    ("target", Text),
    ("ulimits", Names(&Any)),
];

const DEPENDENCY: &[(&str, Shape)] =
    &[("condition", Text), ("required", Switch), ("restart", Switch)];

const ENV_FILE: &[(&str, Shape)] = &[("format", Text), ("path", Text), ("required", Switch)];

const HEALTHCHECK: &[(&str, Shape)] = &[
    ("disable", Switch),
    ("interval", Duration),
    ("retries", Number),
    ("start_interval", Duration),
    ("start_period", Duration),
    ("test", TEXT_OR_TEXTS),
    ("timeout", Duration),
];

const UPDATE: Shape = Keys(&[
    ("delay", Duration),
    ("failure_action", Text),
    ("max_failure_ratio", Number),
    ("monitor", Duration),
    ("order", Text),
    ("parallelism", Number),
]);

const DEPLOY: &[(&str, Shape)] = &[
    ("endpoint_mode", Text),
    ("labels", PAIRS),
    ("mode", Text),
    ("placement", Names(&Any)),
    ("replicas", Number),
    (
        "resources",
        Keys(&[
            ("limits", Keys(&[("cpus", Number), ("memory", Size), ("pids", Number)])),
            (
                "reservations",
                Keys(&[
                    ("cpus", Number),
                    ("devices", DEVICES),
                    ("generic_resources", List(&Any)),
                    ("memory", Size),
                ]),
            ),
        ]),
    ),
    (
        "restart_policy",
        Keys(&[
            ("condition", Text),
            ("delay", Duration),
            ("max_attempts", Number),
            ("window", Duration),
        ]),
    ),
    ("rollback_config", UPDATE),
    ("update_config", UPDATE),
];

const ENDPOINT: &[(&str, Shape)] = &[
    ("aliases", TEXTS),
    ("driver_opts", Names(&Number)),
    ("gw_priority", Number),
    ("interface_name", Text),
    ("ipv4_address", Text),
    ("ipv6_address", Text),
    ("link_local_ips", TEXTS),
    ("mac_address", Text),
    ("priority", Number),
];

const PORT: &[(&str, Shape)] = &[
    ("app_protocol", Text),
    ("host_ip", Text),
    ("mode", Text),
    ("name", Text),
    ("protocol", Text),
    ("published", Number),
    ("target", Number),
];

const MOUNT: &[(&str, Shape)] = &[
    ("bind", Names(&Any)),
    ("cluster", Any),
    ("consistency", Text),
    ("image", Names(&Any)),
    ("read_only", Switch),
    ("source", Text),
    ("target", Text),
    ("tmpfs", Names(&Any)),
    ("type", Text),
    ("volume", Names(&Any)),
];

const NETWORK: &[(&str, Shape)] = &[
    ("attachable", Switch),
    ("driver", Text),
    ("driver_opts", Names(&Number)),
    ("enable_ipv4", Switch),
    ("enable_ipv6", Switch),
    ("external", EXTERNAL),
    ("internal", Switch),
    ("ipam", Keys(&[("config", List(&Names(&Any))), ("driver", Text), ("options", Names(&Any))])),
    ("labels", PAIRS),
    ("name", Text),
];

const VOLUME: &[(&str, Shape)] = &[
    ("driver", Text),
    ("driver_opts", Names(&Number)),
    ("external", EXTERNAL),
    ("labels", PAIRS),
    ("name", Text),
];

const CONFIG: &[(&str, Shape)] = &[
    ("content", Text),
    ("environment", Text),
    ("external", EXTERNAL),
    ("file", Text),
    ("labels", PAIRS),
    ("name", Text),
    ("template_driver", Text),
];

const SECRET: &[(&str, Shape)] = &[
    ("content", Text),
    ("driver", Text),
    ("driver_opts", Names(&Number)),
    ("environment", Text),
    ("external", EXTERNAL),
    ("file", Text),
    ("labels", PAIRS),
    ("name", Text),
    ("template_driver", Text),
];

/// Problems with the keys and types of a file.
pub fn check(file: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    Visit { path: Vec::new(), problems: &mut problems }.value(file, file.line, Keys(FILE));
    problems
}

/// Turns texts into the booleans that compose reads in them, wherever it expects one.
pub fn read_switches(file: &mut Node) {
    read_switches_of(file, Keys(FILE));
}

fn read_switches_of(node: &mut Node, shape: Shape) {
    if let Either(shapes) = shape {
        if let Some(shape) = shapes.iter().find(|shape| fits(node, **shape)) {
            read_switches_of(node, *shape);
        }
        return;
    }
    match (&mut node.value, shape) {
        (Value::Text(text), Switch) => {
            if let Some(switch) = units::switch(text) {
                node.value = Value::Bool(switch);
            }
        }
        (Value::List(items), List(shape)) => {
            for item in items {
                read_switches_of(item, *shape);
            }
        }
        (Value::Map(map), Names(shape)) => {
            for entry in &mut map.0 {
                read_switches_of(&mut entry.node, *shape);
            }
        }
        (Value::Map(map), Keys(keys)) => {
            for entry in &mut map.0 {
                if let Some((_, shape)) = keys.iter().find(|(key, _)| *key == entry.key) {
                    read_switches_of(&mut entry.node, *shape);
                }
            }
        }
        _ => {}
    }
}

struct Visit<'a> {
    path: Vec<String>,
    problems: &'a mut Vec<Problem>,
}

impl Visit<'_> {
    fn value(&mut self, node: &Node, line: usize, shape: Shape) {
        if matches!(node.value, Value::Null) {
            return;
        }
        if !fits(node, shape) {
            let kind = ProblemKind::WrongType { expected: words(shape), found: found(node) };
            return self.report(line, kind);
        }
        match (&node.value, shape) {
            (_, Either(shapes)) => {
                if let Some(shape) = shapes.iter().find(|shape| fits(node, **shape)) {
                    self.value(node, line, *shape);
                }
            }
            (Value::List(items), List(shape)) => {
                for (at, item) in items.iter().enumerate() {
                    self.within(format!("[{at}]"), |visit| visit.value(item, item.line, *shape));
                }
            }
            (Value::Map(map), Names(shape)) => {
                for entry in map.iter().filter(|entry| !entry.key.starts_with("x-")) {
                    self.within(entry.key.clone(), |visit| {
                        visit.value(&entry.node, entry.line, *shape);
                    });
                }
            }
            (Value::Map(map), Keys(keys)) => self.keys(map, keys),
            (_, Duration) => self.word(node, units::is_duration, "a time with a unit, like 30s"),
            (_, Size) => self.word(node, units::is_size, "a size, like 64m"),
            (_, Switch) => self.word(node, units::is_switch, "true or false"),
            (_, Restart) => self.word(
                node,
                units::is_restart,
                "no, always, unless-stopped, on-failure or on-failure:3",
            ),
            _ => {}
        }
    }

    fn keys(&mut self, map: &Map, keys: &'static [(&'static str, Shape)]) {
        for entry in map.iter().filter(|entry| !entry.key.starts_with("x-")) {
            self.within(entry.key.clone(), |visit| {
                if let Some((_, shape)) = keys.iter().find(|(key, _)| *key == entry.key) {
                    visit.value(&entry.node, entry.line, *shape);
                } else {
                    let near = similar_key(&entry.key, keys.iter().map(|(key, _)| *key));
                    visit.report(entry.line, ProblemKind::UnknownKey { near });
                }
            });
        }
    }

    fn within(&mut self, key: String, act: impl FnOnce(&mut Self)) {
        self.path.push(key);
        act(self);
        self.path.pop();
    }

    /// A text without variables must satisfy `fits`.
    fn word(&mut self, node: &Node, fits: fn(&str) -> bool, expected: &'static str) {
        let Some(value) = node.scalar().filter(|text| !text.contains('$')) else { return };
        if !fits(&value) {
            self.report(node.line, ProblemKind::BadValue { value, expected });
        }
    }

    fn report(&mut self, line: usize, kind: ProblemKind) {
        self.problems.push(Problem::new(Place::of(&self.path, line), kind));
    }
}

/// Whether a value has this type, without its contents.
fn fits(node: &Node, shape: Shape) -> bool {
    let text = matches!(node.value, Value::Text(_));
    let number = matches!(node.value, Value::Number(_));
    let switch = matches!(node.value, Value::Bool(_));
    match shape {
        Any => true,
        Text | Duration => text,
        Restart => text || node.value == Value::Bool(false),
        Number | Size => text || number,
        Switch => text || switch,
        Scalar => text || number || switch,
        List(_) => matches!(node.value, Value::List(_)),
        Keys(_) | Names(_) => matches!(node.value, Value::Map(_)),
        Either(shapes) => shapes.iter().any(|shape| fits(node, *shape)),
    }
}

fn words(shape: Shape) -> String {
    match shape {
        Any => "a value".to_owned(),
        Text => "text".to_owned(),
        Duration => "a time with a unit, like 30s".to_owned(),
        Restart => "a restart policy".to_owned(),
        Number | Size => "a number or text".to_owned(),
        Switch => "true or false".to_owned(),
        Scalar => "text, a number or true or false".to_owned(),
        List(_) => "a list".to_owned(),
        Keys(_) | Names(_) => "a mapping".to_owned(),
        Either(shapes) => {
            let words: Vec<String> = shapes.iter().map(|shape| words(*shape)).collect();
            words.join(" or ")
        }
    }
}

fn found(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false: put it in quotes",
        Value::Number(_) => "a number: put it in quotes",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}

/// A known key that differs by one inserted, deleted, changed or swapped letter.
fn similar_key(key: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let distance = |one: &str| {
        let (a, b): (Vec<char>, Vec<char>) = (key.chars().collect(), one.chars().collect());
        let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
        let ends = a[same..].iter().rev().zip(b[same..].iter().rev());
        let end = ends.take_while(|(x, y)| x == y).count();
        a.len().max(b.len()) - same - end
    };
    known.map(|one| (distance(one), one)).filter(|(far, _)| *far <= 2).min().map(|(_, one)| one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::yaml::documents;

    fn said(text: &str) -> Vec<String> {
        let (documents, problems) = documents(text);
        assert_eq!(problems, []);
        check(&documents[0]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_and_kinds_are_checked_all_at_once() {
        let text = "services:
  web:
    image: a
    enviroment: {A: b}
    ports: 8080
    environment: [A: b]
    healthcheck: {test: x, interval: 5}
    mem_limit: lots
    restart: sometimes
    x-own: {anything: [1]}
extra: 1
";
        assert_eq!(
            said(text),
            [
                "service web, enviroment (line 4): is not a key of a compose file: did you mean environment?",
                "service web, ports (line 5): must be a list, and is a number: put it in quotes",
                "service web, environment[0] (line 6): must be text, and is a mapping",
                "service web, healthcheck.interval (line 7): must be a time with a unit, like 30s, and is a number: put it in quotes",
                "service web, mem_limit (line 8): \"lots\" must be a size, like 64m",
                "service web, restart (line 9): \"sometimes\" must be no, always, unless-stopped, on-failure or on-failure:3",
                "extra (line 11): is not a key of a compose file",
            ]
        );
    }

    #[test]
    fn texts_where_booleans_belong_are_read_as_compose_reads_them() {
        let text = "services:
  web:
    privileged: 'Yes'
    tty: \"off\"
    init: '1'
    environment: {privileged: 'true'}
networks: {n: {external: on}, m: {external: {name: 'on'}}}
";
        assert_eq!(said(text), ["service web, init (line 5): \"1\" must be true or false"]);
        let mut file = documents(text).0.remove(0);
        read_switches(&mut file);
        let file = file.to_json();
        let web = &file["services"]["web"];
        assert_eq!((&web["privileged"], &web["tty"]), (&true.into(), &false.into()));
        assert_eq!(
            (&web["init"], &web["environment"]["privileged"]),
            (&"1".into(), &"true".into())
        );
        assert_eq!(file["networks"]["n"]["external"], true);
        assert_eq!(file["networks"]["m"]["external"]["name"], "on");
    }

    #[test]
    fn variables_and_nothing_pass() {
        let text = "services:
  web:
    image: ${I}
    restart: ${R:-always}
    mem_limit: ${M}
    privileged: ${P}
    ports:
    environment:
    scale: ${N}
    deploy: {replicas: '${N}', restart_policy: {delay: '${D}'}}
";
        assert_eq!(said(text), [""; 0]);
    }
}
