//! A read-only look into a user's compose file: does it parse, which ports does it publish. The text
//! itself is what is hashed and sent; nothing here ever writes YAML.

use serde::{Deserialize, de::IgnoredAny};
use std::collections::{BTreeMap, BTreeSet};

use crate::ready::{Check, InvalidLabel, Labels};

/// What we need to know of a compose file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Names of the services, sorted.
    pub services: Vec<String>,
    /// Published TCP ports that are written as numbers, ascending, each once.
    pub published: Vec<u16>,
    /// Names of variables the file takes from outside, sorted, each once: it interpolates them
    /// (`${NAME}`, `$NAME`) or passes them on (`environment:` with a name and no value).
    pub variables: Vec<String>,
    /// What its labels say about when an instance takes requests.
    pub readiness: Option<Check>,
}

/// Why a text is not a compose file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCompose {
    /// The YAML is broken; the parser's words with line and column.
    #[error("is not valid YAML: {0}")]
    Yaml(String),
    /// Nothing to run.
    #[error(
        "has no services: a compose file needs a `services:` mapping with at least one service"
    )]
    NoServices,
    /// A service that is neither pulled nor inherited.
    #[error(
        "service {0:?} has no image: a CVM has no build context, so every service needs `image:`"
    )]
    NoImage(String),
    /// A label that should declare a check and does not.
    #[error(transparent)]
    Label(#[from] InvalidLabel),
}

#[derive(Debug, Deserialize)]
struct File {
    services: Option<BTreeMap<String, Option<Service>>>,
}

#[derive(Debug, Deserialize, Default)]
struct Service {
    image: Option<IgnoredAny>,
    extends: Option<IgnoredAny>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
    #[serde(default)]
    environment: Option<Environment>,
    #[serde(default)]
    labels: Option<LabelForm>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LabelForm {
    List(Vec<String>),
    Map(BTreeMap<String, Option<Scalar>>),
    /// The engine will say what is wrong with it.
    Other(IgnoredAny),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(i64),
    Text(String),
    Other(IgnoredAny),
}

impl LabelForm {
    /// Names with their values; one without a value has an empty one.
    fn pairs(&self) -> Vec<(&str, String)> {
        match self {
            Self::List(lines) => lines
                .iter()
                .map(|line| line.split_once('=').unwrap_or((line, "")))
                .map(|(name, value)| (name, value.to_owned()))
                .collect(),
            Self::Map(values) => values
                .iter()
                .map(|(name, value)| match value {
                    Some(Scalar::Number(number)) => (name.as_str(), number.to_string()),
                    Some(Scalar::Text(text)) => (name.as_str(), text.clone()),
                    Some(Scalar::Other(_)) | None => (name.as_str(), String::new()),
                })
                .collect(),
            Self::Other(_) => Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Environment {
    List(Vec<String>),
    Map(BTreeMap<String, Option<IgnoredAny>>),
    /// The engine will say what is wrong with it.
    Other(IgnoredAny),
}

impl Environment {
    /// Names without a value: the value comes from outside.
    fn passed_on(&self) -> Vec<String> {
        match self {
            Self::List(lines) => lines.iter().filter(|line| !line.contains('=')).cloned().collect(),
            Self::Map(values) => values
                .iter()
                .filter(|(_, value)| value.is_none())
                .map(|(name, _)| name.clone())
                .collect(),
            Self::Other(_) => Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Port {
    Short(String),
    Long {
        #[serde(default)]
        published: Option<Published>,
        #[serde(default)]
        protocol: Option<String>,
    },
    /// A bare number publishes to a port nobody can know before.
    Other(IgnoredAny),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Published {
    Number(u64),
    Text(String),
}

/// Reads a compose file.
pub fn inspect(text: &str) -> Result<Inspected, NotCompose> {
    let file: File = serde_saphyr::from_str(text)
        .map_err(|error| NotCompose::Yaml(one_line(&error.to_string())))?;
    let services = file.services.unwrap_or_default();
    if services.is_empty() {
        return Err(NotCompose::NoServices);
    }
    let mut published = Vec::new();
    let mut variables = interpolated(text);
    let mut labels = Labels::default();
    for (name, service) in &services {
        let Some(service) = service else { return Err(NotCompose::NoImage(name.clone())) };
        if service.image.is_none() && service.extends.is_none() {
            return Err(NotCompose::NoImage(name.clone()));
        }
        published.extend(service.ports.iter().flatten().flat_map(published_tcp));
        variables.extend(service.environment.iter().flat_map(Environment::passed_on));
        for (label, value) in service.labels.iter().flat_map(LabelForm::pairs) {
            labels.record(name, label, value);
        }
    }
    published.sort_unstable();
    published.dedup();
    Ok(Inspected {
        services: services.into_keys().collect(),
        readiness: labels.check(&published)?,
        published,
        variables: variables.into_iter().collect(),
    })
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn published_tcp(port: &Port) -> Vec<u16> {
    match port {
        Port::Short(text) => short(text),
        Port::Long { published, protocol } => {
            if protocol.as_deref().is_some_and(|protocol| protocol != "tcp") {
                return Vec::new();
            }
            match published {
                Some(Published::Number(number)) => u16::try_from(*number).into_iter().collect(),
                Some(Published::Text(text)) => range(text),
                None => Vec::new(),
            }
        }
        Port::Other(_) => Vec::new(),
    }
}

/// `[ip:]published:target[/protocol]`; a single number publishes to a port nobody can know before.
fn short(text: &str) -> Vec<u16> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if protocol != "tcp" {
        return Vec::new();
    }
    let mut parts = ports.rsplit(':');
    let _target = parts.next();
    parts.next().map(range).unwrap_or_default()
}

/// `8080` or `3000-3005`; at most 256 ports of a range are listed.
fn range(text: &str) -> Vec<u16> {
    match text.split_once('-') {
        Some((first, last)) => match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) => (first..=last).take(256).collect(),
            _ => Vec::new(),
        },
        None => text.parse().into_iter().collect(),
    }
}

/// Names in `${NAME…}` and `$NAME`; `$$` is a dollar sign.
fn interpolated(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let body = rest.strip_prefix('{').unwrap_or(rest);
        let end = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len());
        let name = &body[..end];
        if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            names.insert(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ports_of_every_syntax_are_found() {
        let text = r#"
services:
  web:
    image: nginx
    ports: ["8080:80", "127.0.0.1:8443:443/tcp", "53:53/udp", 9000, "3000-3002:3000-3002"]
  api:
    image: api
    ports:
      - { target: 80, published: 81 }
      - { target: 80, published: "82", protocol: tcp }
      - { target: 80, published: 83, protocol: udp }
      - { target: 80 }
      - "${PORT:-90}:90"
"#;
        let seen = inspect(text).unwrap();
        assert_eq!(seen.published, [81, 82, 3000, 3001, 3002, 8080, 8443]);
        assert_eq!(seen.services, ["api", "web"]);
        assert_eq!(seen.variables, ["PORT"]);
    }

    #[test]
    fn what_is_not_a_compose_file_says_why() {
        assert_eq!(inspect("a: b"), Err(NotCompose::NoServices));
        assert_eq!(inspect("services: {}"), Err(NotCompose::NoServices));
        assert_eq!(
            inspect("services: {web: {build: .}}"),
            Err(NotCompose::NoImage("web".to_owned()))
        );
        assert!(matches!(inspect("services: ["), Err(NotCompose::Yaml(_))));
        assert!(matches!(inspect("a: 1\na: 2\nservices: {}"), Err(NotCompose::Yaml(_))));
    }

    #[test]
    fn anchors_merge_keys_and_variables_are_read() {
        let text = "x-base: &base\n  image: busybox\nservices:\n  a:\n    <<: *base\n    command: echo $$HOME $GREETING ${TOKEN:?no} ${1}\n";
        assert_eq!(inspect(text).unwrap().variables, ["GREETING", "TOKEN"]);
    }

    #[test]
    fn a_variable_without_a_value_is_passed_on() {
        let text = "services:\n  a:\n    image: b\n    environment: [LISTED, 'SET=1']\n  c:\n    image: d\n    environment: {MAPPED: , OTHER: 1, EMPTY: ''}\n";
        assert_eq!(inspect(text).unwrap().variables, ["LISTED", "MAPPED"]);
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
        for bad in ["['casemate.ready.tcp']", "{casemate.ready.tcp: }", "{casemate.ready.tcp: [1]}"]
        {
            assert!(matches!(inspect(&file(bad)), Err(NotCompose::Label(_))), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            let _ = inspect(&text);
        }
    }
}
