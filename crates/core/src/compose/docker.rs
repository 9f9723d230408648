//! Reads a user's compose file: its problems, published ports and variables. The text itself is hashed and
//! sent; nothing here writes YAML.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    check::{check, services},
    extends, merge, ports,
    problem::{Place, Problem, ProblemKind},
    schema,
    template::{self, Known, Part, Substitution},
    yaml::{self, Node, Value},
};
use crate::ready::{Check, InvalidLabel, Labels};

/// The relevant contents of a compose file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Its `name:`.
    pub name: Option<String>,
    /// Names of the services, sorted.
    pub services: Vec<String>,
    /// `image:` of each service as written; one that is only built has none.
    pub images: BTreeMap<String, String>,
    /// Published TCP ports, ascending and unique, as far as they are known before the app runs.
    pub published: Vec<u16>,
    /// Published ports of other protocols, which the gateway does not forward.
    pub not_tcp: Vec<u16>,
    pub variables: Variables,
    /// The readiness check of its labels.
    pub readiness: Option<Check>,
}

/// Variables that a compose file takes from its environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    /// Values that contain variables.
    templates: Vec<Vec<Part>>,
    /// Names passed to containers: `environment:` entries without a value, `secrets: environment:`.
    passed: BTreeSet<String>,
    /// Names that compose itself reads.
    own: BTreeSet<String>,
}

impl Variables {
    /// All names, sorted.
    pub fn names(&self) -> BTreeSet<String> {
        let inside = self.templates.iter().flat_map(|parts| template::variables(parts));
        let inside = inside.map(|variable| variable.name.clone());
        inside.chain(self.passed.iter().cloned()).chain(self.own.iter().cloned()).collect()
    }

    /// Names that would be empty or stop the boot if only the given ones were set.
    pub fn unset(&self, is_given: &dyn Fn(&str) -> bool) -> BTreeSet<String> {
        let mut unset: BTreeSet<String> =
            self.passed.iter().filter(|name| !is_given(name)).cloned().collect();
        for parts in &self.templates {
            add_unset(parts, is_given, &mut unset);
        }
        unset
    }
}

/// Variables that every guest has.
pub const GUEST_VARIABLES: [&str; 10] = [
    "DSTACK_APP_DOMAIN",
    "DSTACK_APP_ID",
    "DSTACK_APP_NAME",
    "DSTACK_GATEWAY_DOMAIN",
    "DSTACK_INSTANCE_ID",
    "HOME",
    "HOSTNAME",
    "PATH",
    "PWD",
    "USER",
];

fn add_unset(parts: &[Part], is_given: &dyn Fn(&str) -> bool, unset: &mut BTreeSet<String>) {
    for part in parts {
        let Part::Variable(variable) = part else { continue };
        match (&variable.form, is_given(&variable.name)) {
            (Substitution::Plain | Substitution::Required, false) => {
                unset.insert(variable.name.clone());
            }
            (Substitution::Default { default: used, .. }, false)
            | (Substitution::Alternative { text: used, .. }, true) => {
                add_unset(used, is_given, unset);
            }
            _ => {}
        }
    }
}

/// Why a CVM cannot run a compose file: all problems, ordered by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCompose {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// Maximum number of problems in the text; more are only counted.
const SHOWN: usize = 10;

impl fmt::Display for NotCompose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().take(SHOWN).enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{problem}")?;
        }
        match self.problems.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for NotCompose {}

/// Reads a compose file with all variables unset.
pub fn inspect(text: &str) -> Result<Inspected, NotCompose> {
    inspect_with(text, &|_| Known::Unset)
}

/// Reads a compose file. `known` returns what is known of each variable.
pub fn inspect_with(text: &str, known: &dyn Fn(&str) -> Known) -> Result<Inspected, NotCompose> {
    let (documents, mut problems) = yaml::documents(text);
    let broken = documents.is_empty() && !problems.is_empty();
    let shapes: Vec<Problem> = documents.iter().flat_map(schema::check).collect();
    let right = shapes.is_empty();
    problems.extend(shapes);
    let Some(mut file) = merge::merge_documents(documents).filter(|_| !broken) else {
        if !broken {
            problems.push(no_services());
        }
        return Err(NotCompose { problems });
    };
    let extending = extends::resolve(&mut file);
    problems.extend(extending);
    if right && services(&file).next().is_none() {
        problems.push(no_services());
    }
    problems.extend(check(&file));
    problems.extend(all_in_profiles(&file, known));
    let (published, not_tcp, bad_ports) = published(&file, known);
    problems.extend(bad_ports);
    let readiness = readiness(&file, &published).unwrap_or_else(|(label, line)| {
        let place = Place::of(&["services", &label.service, "labels"], line);
        problems.push(Problem::new(place, ProblemKind::Label(Box::new(label))));
        None
    });
    if !problems.is_empty() {
        return Err(NotCompose { problems: in_order(problems) });
    }
    let mut names: Vec<String> = services(&file).map(|service| service.key.clone()).collect();
    names.sort_unstable();
    Ok(Inspected {
        name: file.get("name").and_then(Node::text).map(str::to_owned),
        services: names,
        images: images(&file),
        published,
        not_tcp,
        variables: variables(&file),
        readiness,
    })
}

fn images(file: &Node) -> BTreeMap<String, String> {
    let image = |service: &yaml::Entry| {
        Some((service.key.clone(), service.node.get("image")?.text()?.to_owned()))
    };
    services(file).filter_map(image).collect()
}

/// Compose refuses to start without services.
fn all_in_profiles(file: &Node, known: &dyn Fn(&str) -> Known) -> Option<Problem> {
    let in_profile = |service: &yaml::Entry| {
        service.node.get("profiles").is_some_and(|profiles| !profiles.items().is_empty())
    };
    let chosen = known("COMPOSE_PROFILES") != Known::Unset;
    let all = services(file).next().is_some() && services(file).all(in_profile);
    (all && !chosen).then(|| Problem::new(Place::default(), ProblemKind::AllInProfiles))
}

fn no_services() -> Problem {
    Problem::new(Place::default(), ProblemKind::NoServices)
}

/// Ordered by line. A problem in an inherited part is reported once.
fn in_order(problems: Vec<Problem>) -> Vec<Problem> {
    let mut kept: Vec<Problem> = Vec::new();
    for problem in problems {
        let same = |other: &Problem| {
            (other.place.line, &other.kind) == (problem.place.line, &problem.kind)
        };
        if !kept.iter().any(same) {
            kept.push(problem);
        }
    }
    kept.sort_by_key(|problem| problem.place.line);
    kept
}

/// Published ports of TCP and of other protocols, and problems.
fn published(file: &Node, known: &dyn Fn(&str) -> Known) -> (Vec<u16>, Vec<u16>, Vec<Problem>) {
    let (mut tcp, mut others, mut problems) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for service in services(file) {
        let (ports, bad) = ports::published(&service.key, &service.node, known);
        for one in ports {
            if one.tcp { &mut tcp } else { &mut others }.insert(one.port);
        }
        problems.extend(bad);
    }
    (tcp.into_iter().collect(), others.into_iter().collect(), problems)
}

fn readiness(file: &Node, published: &[u16]) -> Result<Option<Check>, (InvalidLabel, usize)> {
    let mut labels = Labels::default();
    for service in services(file) {
        for (label, value) in service.node.get("labels").map(pairs).unwrap_or_default() {
            labels.record(&service.key, &label, value);
        }
    }
    labels.check(published).map_err(|label| {
        let service = services(file).find(|service| service.key == label.service);
        let entry = service.and_then(|service| service.node.map()?.entry("labels"));
        (label, entry.map_or(0, |entry| entry.line))
    })
}

/// Names and values of `[a=b]` or `{a: b}`; a missing value is empty.
fn pairs(node: &Node) -> Vec<(String, String)> {
    let listed = node.items().iter().filter_map(Node::text).map(|line| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    });
    let mapped = node.map().into_iter().flat_map(|map| {
        map.iter().map(|entry| (entry.key.clone(), entry.node.scalar().unwrap_or_default()))
    });
    listed.chain(mapped).collect()
}

fn variables(file: &Node) -> Variables {
    let mut found = Variables::default();
    templates(file, &mut found.templates);
    for service in services(file) {
        let arguments = service.node.get("build").and_then(|build| build.get("args"));
        for node in service.node.get("environment").into_iter().chain(arguments) {
            passed_on(node, &mut found.passed);
        }
        if service.node.get("profiles").is_some_and(|profiles| !profiles.items().is_empty()) {
            found.own.insert("COMPOSE_PROFILES".to_owned());
        }
    }
    for key in ["configs", "secrets"] {
        for entry in file.get(key).and_then(Node::map).into_iter().flat_map(yaml::Map::iter) {
            let name = entry.node.get("environment").and_then(Node::text);
            found.passed.extend(name.filter(|name| !name.contains('$')).map(str::to_owned));
        }
    }
    found
}

fn templates(node: &Node, found: &mut Vec<Vec<Part>>) {
    match &node.value {
        Value::Text(text) if text.contains('$') => {
            found.extend(
                template::parse(text)
                    .ok()
                    .filter(|parts| parts.iter().any(|part| matches!(part, Part::Variable(_)))),
            );
        }
        Value::List(items) => items.iter().for_each(|item| templates(item, found)),
        Value::Map(map) => map.iter().for_each(|entry| templates(&entry.node, found)),
        _ => {}
    }
}

/// Names without a value: the value comes from the environment.
fn passed_on(node: &Node, found: &mut BTreeSet<String>) {
    let listed = node.items().iter().filter_map(Node::text);
    let listed = listed.filter(|text| !text.contains(['=', '$']));
    let mapped = node.map().into_iter().flat_map(yaml::Map::iter);
    let mapped = mapped.filter(|entry| entry.node.value == Value::Null);
    found.extend(listed.chain(mapped.map(|entry| entry.key.as_str())).map(str::to_owned));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        inspect(text).unwrap().variables.names().into_iter().collect()
    }

    fn said(text: &str) -> String {
        inspect(text).map_or_else(|why| why.to_string(), |_| String::new())
    }

    #[test]
    fn ports_of_all_services_are_found() {
        let text = "
services:
  web:
    image: nginx
    ports: ['8080:80', '${PORT:-90}:90', 22:22]
  api:
    extends: base
  base:
    image: api
    ports: [{ target: 80, published: 81 }, { target: 80, published: '83', protocol: udp }]
";
        let seen = inspect(text).unwrap();
        assert_eq!((seen.published, seen.not_tcp), (vec![22, 81, 90, 8080], vec![83]));
        assert_eq!(seen.services, ["api", "base", "web"]);
        let sealed = |name: &str| if name == "PORT" { Known::Secret } else { Known::Unset };
        assert_eq!(inspect_with(text, &sealed).unwrap().published, [22, 81, 8080]);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_with_service_field_and_line() {
        let text = "include: [a.yml]
services:
  web:
    image: x
    env_file: [app.env, {path: own.env, required: false}]
    depends_on: [db, api]
    networks: [front]
    volumes: ['data:/d', 'C:\\d:/d', './here:/h', {type: volume, source: other, target: /o}]
    secrets: [key]
    typo: 1
  api:
    image: y
    depends_on: {web: {condition: service_started}}
    network_mode: container:gone
    extends: {file: base.yml, service: z}
    command: echo ${A-
  none:
  built: {build: ., image: z}
  inline: {build: {dockerfile_inline: FROM x}}
secrets:
  key: {file: ./key}
";
        let why = inspect(text).unwrap_err();
        let places: Vec<String> = why.problems.iter().map(|one| one.place.to_string()).collect();
        assert_eq!(
            places,
            [
                "include (line 1)",
                "service web, depends_on (line 3)",
                "service web, env_file (line 5)",
                "service web, depends_on (line 6)",
                "service web, networks (line 7)",
                "service web, volumes[0] (line 8)",
                "service web, volumes[1] (line 8)",
                "service web, volumes[3] (line 8)",
                "service web, typo (line 10)",
                "service api, network_mode (line 14)",
                "service api, extends (line 15)",
                "service api, command (line 16)",
                "service none (line 17)",
                "service built, build (line 18)",
                "secrets.key.file (line 21)",
            ]
        );
        let text = why.to_string();
        assert!(text.contains("web → api → web") && text.ends_with("and 5 more"), "{text}");
    }

    #[test]
    fn what_is_not_a_compose_file_says_why() {
        for text in ["a: b", "services: {}", "", "x-a: 1"] {
            let text = said(text);
            assert!(text.contains("services") || text.contains("not a key"), "{text}");
        }
        assert!(said("web: {image: x}").contains("web (line 1): is not a key of a compose file"));
        assert!(said("[1]").contains("must be a mapping"));
        assert!(
            said("services: {web: {build: .}}").contains("push the image and name it under image:")
        );
        assert!(said("services: {web: {build: ., image: x}}").contains("remove build:"));
        assert!(said("services: {a: {extends: b}, b: {extends: a}}").contains("a → b → a"));
    }

    #[test]
    fn what_compose_takes_is_taken() {
        for text in [
            "services: {web: {image: x, networks: [default], env_file: [], extends: b}, b: {image: y}}",
            "services: {web: {image: x, env_file: [{path: a, required: false}]}}\n---\nservices: {b: {image: y}}",
            "services: {web: {build: {context: ., dockerfile_inline: FROM x}, pull_policy: build}}",
            "services: {web: {build: 'https://github.com/a/b.git'}}",
            "services: {web: {image: x, network_mode: 'container:c'}, b: {image: y, container_name: c}}",
            "services: {web: {image: x, depends_on: {gone: {condition: service_started, required: false}}}}",
            "services: {web: {image: x, volumes: ['data:/d', /only, '~/k:/k', '$HOME/h:/h']}}\nvolumes: {data: }",
        ] {
            assert_eq!(said(text), "", "{text}");
        }
    }

    #[test]
    fn variables_are_those_that_compose_fills_in() {
        let text = "
x-base: &base
  environment: {MERGED: '${IN_MERGE}'}
x-list: &list [BY_ANCHOR]
services:
  a:
    <<: *base
    image: busybox:${TAG} # ${IN_COMMENT}
    command: echo $$HOME $GREETING ${TOKEN:?no}
    profiles: [extra]
  b:
    image: x
    environment: *list
    configs: [c]
    labels: {note: '${IN_LABEL:-x}', other: '${OUTER:-${INNER}}'}
  c: {image: x, environment: {NULLED: , SET: 1, EMPTY: ''}}
configs:
  c: {content: 'a ${IN_CONTENT} $${NO}'}
  d: {environment: BY_CONFIG}
secrets: {s: {environment: BY_SECRET}}
";
        assert_eq!(
            names(text),
            [
                "BY_ANCHOR",
                "BY_CONFIG",
                "BY_SECRET",
                "COMPOSE_PROFILES",
                "GREETING",
                "INNER",
                "IN_CONTENT",
                "IN_LABEL",
                "IN_MERGE",
                "NULLED",
                "OUTER",
                "TAG",
                "TOKEN",
            ]
        );
        let variables = inspect(text).unwrap().variables;
        let given =
            |name: &str| !matches!(name, "TOKEN" | "OUTER" | "INNER" | "IN_LABEL" | "NULLED");
        let unset: Vec<String> = variables.unset(&given).into_iter().collect();
        assert_eq!(unset, ["INNER", "NULLED", "TOKEN"]);
    }

    #[test]
    fn both_spellings_of_labels_declare_a_check() {
        let file = |labels: &str| {
            format!(
                "services:\n  web:\n    image: b\n    ports: ['8080:80']\n    labels: {labels}\n"
            )
        };
        let list = file("['casemate.ready.http=8080/up', 'casemate.ready.interval=2', plain]");
        let map = file("{casemate.ready.http: 8080/up, casemate.ready.interval: 2, other: true}");
        let wanted = Check { interval_s: 2, ..Check::http(8080, "/up") };
        for text in [list, map] {
            assert_eq!(inspect(&text).unwrap().readiness.as_ref(), Some(&wanted), "{text}");
        }
        assert_eq!(
            inspect(&file("{casemate.ready.tcp: 8080}")).unwrap().readiness,
            Some(Check::tcp(8080))
        );
        assert_eq!(inspect(&file("{a: b}")).unwrap().readiness, None);
        for bad in ["['casemate.ready.tcp']", "{casemate.ready.tcp: }"] {
            assert!(said(&file(bad)).contains("casemate.ready.tcp"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            let _ = inspect(&text);
        }

        #[test]
        fn no_compose_like_text_makes_it_panic(text in "(services|a|:|[ \\n\\-{},$&*!<\\[\\]'\"#]|image){0,60}") {
            let _ = inspect(&text);
        }
    }
}
