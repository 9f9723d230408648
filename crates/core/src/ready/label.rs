//! The labels of a compose file that declare a check:
//!
//! ```yaml
//! labels:
//!   casemate.ready.http: "8080/healthz"   # or casemate.ready.tcp: "5432"
//!   casemate.ready.interval: "5"          # seconds, these three are optional
//!   casemate.ready.timeout: "2"
//!   casemate.ready.threshold: "3"
//! ```

use std::collections::BTreeMap;

use super::Check;

/// Prefix of all readiness labels.
const PREFIX: &str = "casemate.ready.";

/// Why labels declare no valid check; `reason` says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("has the label {label} at service {service:?}, which {reason}")]
pub struct InvalidLabel {
    pub service: String,
    pub label: String,
    pub reason: String,
}

/// The readiness labels of a file, by service; others are ignored.
#[derive(Debug, Default)]
pub struct Labels(BTreeMap<String, BTreeMap<String, String>>);

impl Labels {
    /// Adds a label.
    pub fn record(&mut self, service: &str, name: &str, value: String) {
        if let Some(name) = name.strip_prefix(PREFIX) {
            self.0.entry(service.to_owned()).or_default().insert(name.to_owned(), value);
        }
    }

    /// The declared check, if any. `published` are the file's published ports.
    pub fn check(&self, published: &[u16]) -> Result<Option<Check>, InvalidLabel> {
        let mut services = self.0.iter();
        let Some((service, labels)) = services.next() else { return Ok(None) };
        let refuse = |service: &str, name: &str, reason: String| InvalidLabel {
            service: service.to_owned(),
            label: format!("{PREFIX}{name}"),
            reason,
        };
        if let Some((other, labels)) = services.next() {
            let name = labels.keys().next().map_or("", String::as_str);
            let reason = format!("service {service:?} has as well; an app has one check");
            return Err(refuse(other, name, reason));
        }
        let check = one(labels).map_err(|(name, reason)| refuse(service, &name, reason))?;
        if !published.contains(&check.port) {
            let name = if check.path.is_some() { "http" } else { "tcp" };
            let reason = format!(
                "names port {}, and the file publishes {published:?}; publish it, written as a number",
                check.port
            );
            return Err(refuse(service, name, reason));
        }
        Ok(Some(check))
    }
}

/// The name of the invalid label, and what is wrong with it.
type Fault = (String, String);

fn one(labels: &BTreeMap<String, String>) -> Result<Check, Fault> {
    const KNOWN: [&str; 5] = ["http", "tcp", "interval", "timeout", "threshold"];
    let fault = |name: &str, reason: &str| Err((name.to_owned(), reason.to_owned()));
    if let Some(name) = labels.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return fault(name, &format!("is unknown; there are {}", KNOWN.join(", ")));
    }
    let value = |name: &str| labels.get(name).map(|text| text.trim());
    let mut check = match (value("http"), value("tcp")) {
        (Some(_), Some(_)) => {
            return fault("tcp", "stands beside one for http; keep one of the two");
        }
        (Some(text), None) => match http(text) {
            Some(check) => check,
            None => return fault("http", "must be a port and a path, like 8080/healthz"),
        },
        (None, Some(text)) => match text.parse() {
            Ok(port) => Check::tcp(port),
            Err(_) => return fault("tcp", "must be a port, like 5432"),
        },
        (None, None) => {
            let name = labels.keys().next().map_or("", String::as_str);
            return fault(name, "needs casemate.ready.http or casemate.ready.tcp beside it");
        }
    };
    for (name, part) in [
        ("interval", &mut check.interval_s),
        ("timeout", &mut check.timeout_s),
        ("threshold", &mut check.threshold),
    ] {
        let Some(text) = value(name) else { continue };
        let number = text.strip_suffix('s').filter(|_| name != "threshold").unwrap_or(text);
        match number.parse() {
            Ok(number) => *part = number,
            Err(_) => return fault(name, "must be a whole number"),
        }
    }
    let kind = if check.path.is_some() { "http" } else { "tcp" };
    check.checked().map_err(|invalid| {
        let name = match invalid.part {
            "interval_s" => "interval",
            "timeout_s" => "timeout",
            "threshold" => "threshold",
            _ => kind,
        };
        let reason = match invalid.part {
            "port" | "path" => format!("has a {} that {}", invalid.part, invalid.reason),
            _ => invalid.reason.to_owned(),
        };
        (name.to_owned(), reason)
    })
}

/// `8080/healthz`; a port alone means the path `/`.
fn http(text: &str) -> Option<Check> {
    let (port, path) = text.split_once('/').unwrap_or((text, ""));
    Some(Check::http(port.parse().ok()?, format!("/{path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(labels: &[(&str, &str)]) -> Result<Option<Check>, String> {
        let mut all = Labels::default();
        for (name, value) in labels {
            all.record("web", name, (*value).to_owned());
        }
        all.check(&[80, 8080]).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_declare_a_check() {
        assert_eq!(check(&[("traefik.enable", "true")]), Ok(None));
        assert_eq!(check(&[("casemate.ready.tcp", "80")]), Ok(Some(Check::tcp(80))));
        assert_eq!(check(&[("casemate.ready.http", "80")]), Ok(Some(Check::http(80, "/"))));
        let all = [
            ("casemate.ready.http", "8080/a/b?c"),
            ("casemate.ready.interval", "1s"),
            ("casemate.ready.timeout", "7"),
            ("casemate.ready.threshold", "2"),
        ];
        let wanted =
            Check { interval_s: 1, timeout_s: 7, threshold: 2, ..Check::http(8080, "/a/b?c") };
        assert_eq!(check(&all), Ok(Some(wanted)));
    }

    #[test]
    fn a_label_that_declares_nothing_is_named_with_what_would_be_right() {
        let refused: [(&[(&str, &str)], &str); 10] = [
            (&[("casemate.ready.http", "/healthz")], "ready.http, which must be a port and a path"),
            (&[("casemate.ready.tcp", "web")], "ready.tcp, which must be a port"),
            (&[("casemate.ready.tcp", "0")], "ready.tcp, which has a port that must be 1 to"),
            (&[("casemate.ready.tcp", "81")], "publishes [80, 8080]"),
            (&[("casemate.ready.http", "80/a b")], "ready.http, which has a path that must begin"),
            (&[("casemate.ready.grpc", "80")], "ready.grpc, which is unknown; there are http, tcp"),
            (&[("casemate.ready.timeout", "3")], "needs casemate.ready.http or"),
            (&[("casemate.ready.tcp", "80"), ("casemate.ready.http", "80/")], "keep one"),
            (
                &[("casemate.ready.tcp", "80"), ("casemate.ready.interval", "0")],
                "ready.interval, which must be 1 to 300",
            ),
            (
                &[("casemate.ready.tcp", "80"), ("casemate.ready.threshold", "3s")],
                "ready.threshold, which must be a whole number",
            ),
        ];
        for (labels, words) in refused {
            let why = check(labels).unwrap_err();
            let (name, rest) = words.split_once(", ").unwrap_or(("has the label", words));
            assert!(why.contains(name) && why.contains(rest), "{why}");
        }
        let mut two = Labels::default();
        two.record("web", "casemate.ready.tcp", "80".to_owned());
        two.record("api", "casemate.ready.tcp", "80".to_owned());
        let why = two.check(&[80]).unwrap_err();
        assert_eq!((why.service.as_str(), why.label.as_str()), ("web", "casemate.ready.tcp"));
    }
}
