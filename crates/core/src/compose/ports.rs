//! Published ports of a service.

use super::{
    problem::{Place, Problem, ProblemKind},
    template::{self, Known},
    yaml::{Node, Value},
};

/// Maximum number of listed ports per range.
const MAX_RANGE: usize = 256;
const EXPECTED: &str =
    "[address:][published:]target, each a port from 1 to 65535 or ranges of one length";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    /// The published number.
    pub port: u16,
    /// Whether it is TCP; the gateway forwards only TCP.
    pub tcp: bool,
}

/// An entry of `ports` with variables filled in.
struct Entry {
    published: Option<String>,
    target: String,
    protocol: String,
}

/// The published ports of a service as far as they are known before it runs, and the problems of entries that
/// are fully known.
pub fn published(
    name: &str,
    service: &Node,
    known: &dyn Fn(&str) -> Known,
) -> (Vec<Published>, Vec<Problem>) {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let Some(ports) = service.get("ports") else { return (found, problems) };
    let replicas = replicas(service, known);
    for (at, item) in ports.items().iter().enumerate() {
        let Some((shown, entry)) = read(item, known) else { continue };
        if let Some((entry, range)) =
            entry.as_ref().and_then(|entry| Some((entry, range_of(entry)?)))
        {
            found.extend(ports_of(entry, range, replicas));
        } else {
            let place = Place::of(&["services", name, "ports", &format!("[{at}]")], item.line);
            let kind = ProblemKind::BadValue { value: shown, expected: EXPECTED };
            problems.push(Problem::new(place, kind));
        }
    }
    (found, problems)
}

/// The number of containers of a service.
pub fn replicas(service: &Node, known: &dyn Fn(&str) -> Known) -> usize {
    let deployed = service.get("deploy").and_then(|deploy| deploy.get("replicas"));
    let asked = deployed.or_else(|| service.get("scale"));
    asked.and_then(|node| filled(node, known)).and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The text and the parts of an entry; `None`: it depends on variables that only the guest knows.
fn read(item: &Node, known: &dyn Fn(&str) -> Known) -> Option<(String, Option<Entry>)> {
    if let Value::Map(map) = &item.value {
        let part = |key: &str| match map.get(key) {
            None => Some(None),
            Some(node) => filled(node, known).map(Some),
        };
        let (published, target, protocol) =
            (part("published")?, part("target")?, part("protocol")?);
        let shown = format!(
            "{}:{}",
            published.as_deref().unwrap_or_default(),
            target.as_deref().unwrap_or_default()
        );
        let published = published.filter(|text| !text.is_empty());
        let protocol = protocol.unwrap_or_else(|| "tcp".to_owned());
        return Some((shown, target.map(|target| Entry { published, target, protocol })));
    }
    let text = filled(item, known)?;
    let entry = short(&text);
    Some((text, entry))
}

fn filled(node: &Node, known: &dyn Fn(&str) -> Known) -> Option<String> {
    match &node.value {
        Value::Text(text) => template::fill(&template::parse(text).ok()?, known),
        _ => node.scalar(),
    }
}

/// `[ip:][published:]target[/protocol]`; an IPv6 address is in brackets.
fn short(text: &str) -> Option<Entry> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let mut parts = ports.rsplitn(3, ':');
    let target = parts.next()?.to_owned();
    let published = parts.next().filter(|text| !text.is_empty()).map(str::to_owned);
    Some(Entry { published, target, protocol: protocol.to_owned() })
}

type Range = (u16, u16);

/// The published and target ranges of an entry that compose accepts.
fn range_of(entry: &Entry) -> Option<(Option<Range>, Range)> {
    let target = range(&entry.target).filter(|(first, _)| *first > 0)?;
    let published = match &entry.published {
        Some(text) => Some(range(text)?),
        None => None,
    };
    let length = |(first, last): Range| last - first;
    let fits = published.is_none_or(|range| length(target) == 0 || length(range) == length(target));
    let protocol = matches!(entry.protocol.as_str(), "tcp" | "udp" | "sctp");
    (fits && protocol).then_some((published, target))
}

/// `8080` or `3000-3005`.
fn range(text: &str) -> Option<Range> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}

/// The published numbers. A range over one target is distributed over the containers of the service.
fn ports_of(
    entry: &Entry,
    (published, target): (Option<Range>, Range),
    replicas: usize,
) -> Vec<Published> {
    let Some((first, last)) = published.filter(|(first, _)| *first > 0) else { return Vec::new() };
    let count = if target.0 == target.1 && first != last { replicas } else { MAX_RANGE };
    let tcp = entry.protocol == "tcp";
    (first..=last).take(count.min(MAX_RANGE)).map(|port| Published { port, tcp }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::yaml::documents;

    fn look(service: &str) -> (Vec<u16>, Vec<String>) {
        let (documents, problems) = documents(service);
        assert_eq!(problems, []);
        let known = |name: &str| match name {
            "SEALED" => Known::Secret,
            _ => Known::Unset,
        };
        let (found, problems) = published("web", &documents[0], &known);
        let tcp = found.iter().filter(|one| one.tcp).map(|one| one.port).collect();
        (tcp, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn ports_of_every_spelling_are_found() {
        for (ports, expected) in [
            ("['8080:80']", vec![8080]),
            ("['127.0.0.1:8443:443/tcp', '[::1]:81:80', '0.0.0.0::80']", vec![8443, 81]),
            ("['53:53/udp', 9000, '9001']", vec![]),
            ("['3000-3002:3000-3002']", vec![3000, 3001, 3002]),
            ("['${P:-90}:80', '${P:-91}:${P:-91}', '${A:-1}${B:-2}:80']", vec![90, 91, 12]),
            ("['${SEALED}:80', '${SEALED:-8}:80', '8081:${SEALED}']", vec![]),
            (
                "[{target: 80, published: 82}, {target: 80, published: '${P:-83}', mode: host}]",
                vec![82, 83],
            ),
            ("[{target: 80, published: 84, protocol: udp}, {target: 80}]", vec![]),
            ("[22:22]", vec![22]),
        ] {
            assert_eq!(look(&format!("ports: {ports}")), (expected, Vec::new()), "{ports}");
        }
    }

    #[test]
    fn a_range_over_one_target_is_shared_out() {
        let ports = "ports: ['8081-8085:80']";
        assert_eq!(look(ports).0, [8081]);
        assert_eq!(look(&format!("{ports}\ndeploy: {{replicas: 3}}")).0, [8081, 8082, 8083]);
        assert_eq!(look(&format!("{ports}\nscale: '${{N:-2}}'")).0, [8081, 8082]);
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for bad in
            ["'80:abc'", "'70000:80'", "'8000-8002:80-81'", "'80:80/xyz'", "{target: abc}", "''"]
        {
            let (_, problems) = look(&format!("ports: [{bad}]"));
            assert!(
                problems[0].starts_with("service web, ports[0] (line 1): "),
                "{bad}: {problems:?}"
            );
        }
    }
}
