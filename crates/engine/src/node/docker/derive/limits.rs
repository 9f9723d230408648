//! What one CVM may take of an engine that it shares with others: processes, containers, networks,
//! lines of logs, health checks.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Limits, Notes, Object, Refused, entries, list, services, text};

/// Containers of one file, all replicas counted.
const MAX_CONTAINERS: u64 = 64;
/// Networks of one file: with its default pools an engine has about thirty of them.
const MAX_NETWORKS: usize = 8;
/// Published ports of one file, all replicas and all numbers of ranges counted.
const MAX_PORTS: u64 = 64;
/// Files of a log where the app does not say how many, and the largest of them in MiB.
const LOG_FILES: u32 = 3;
const LOG_FILE_MB: u32 = 10;
/// A check starts a process in the container each time.
const MIN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Refuses more containers than a CVM may have.
pub(super) fn containers(file: &Object) -> Result<(), Refused> {
    let containers =
        services(file).map(|(_, service)| replicas(service)).fold(0, u64::saturating_add);
    if containers <= MAX_CONTAINERS {
        return Ok(());
    }
    let way_out = format!("run at most {MAX_CONTAINERS}, all replicas counted");
    Err(Refused::new(format!("{containers} containers"), way_out))
}

/// Refuses more published ports than a CVM may have: each takes a port of the host and a process of the
/// engine.
pub(super) fn ports(file: &Object) -> Result<(), Refused> {
    let ports = services(file).map(|(_, service)| published(service)).fold(0, u64::saturating_add);
    check_ports(ports)
}

/// Refuses this many published ports.
pub(super) fn check_ports(ports: u64) -> Result<(), Refused> {
    if ports <= MAX_PORTS {
        return Ok(());
    }
    let way_out = format!(
        "publish at most {MAX_PORTS} ports, all numbers of ranges and all replicas counted"
    );
    Err(Refused::new(format!("{ports} published ports"), way_out))
}

/// The number of ports that a service publishes; entries are spelt out or `8080-8090:80`.
pub(super) fn published(service: &Object) -> u64 {
    let replicas = replicas(service);
    let of_entry = |entry: &Value| match numbers_of(entry) {
        // The numbers of a range are shared out among the containers.
        Some(numbers) if replicas > 0 => numbers.max(replicas),
        _ => 0,
    };
    list(service, "ports").iter().map(of_entry).fold(0, u64::saturating_add)
}

/// How many numbers an entry publishes; `None`: it publishes none.
fn numbers_of(entry: &Value) -> Option<u64> {
    let number = |value: &Value| {
        value.as_str().map(str::to_owned).or_else(|| Some(value.as_u64()?.to_string()))
    };
    let text = match entry {
        Value::Object(entry) => number(entry.get("published")?)?,
        short => {
            let short = number(short)?;
            let (rest, _) = short.split_once('/').unwrap_or((&short, ""));
            let (rest, _) = rest.rsplit_once(':')?;
            rest.rsplit(':').next().unwrap_or(rest).to_owned()
        }
    };
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last && last > 0).then(|| u64::from(last - first) + 1)
}

/// Refuses more networks than a CVM may have.
pub(super) fn networks(file: &Object) -> Result<(), Refused> {
    let networks = entries(file, "networks").count();
    if networks <= MAX_NETWORKS {
        return Ok(());
    }
    Err(Refused::new(format!("{networks} networks"), format!("use at most {MAX_NETWORKS}")))
}

/// Refuses what is no number of containers.
pub(super) fn count(key: &str, value: Option<&Value>) -> Result<(), Refused> {
    match value {
        Some(Value::Number(number)) if number.as_u64().is_none() => {
            Err(Refused::new(format!("{key}: {number}"), "write how many containers there are"))
        }
        _ => Ok(()),
    }
}

pub(super) fn replicas(service: &Object) -> u64 {
    let scale = service.get("scale").and_then(Value::as_u64);
    let deployed = service.get("deploy").and_then(|deploy| deploy.get("replicas"));
    scale.or_else(|| deployed.and_then(Value::as_u64)).unwrap_or(1)
}

/// Bounds what each service takes where no control group is around all of them.
pub(super) fn per_service(service: &mut Object, limits: &Limits) {
    let Limits::PerService { pids, .. } = limits else { return };
    let most = u64::from(*pids);
    let lower = |asked: &Value| {
        let asked = asked.as_u64().or_else(|| asked.as_str()?.parse().ok());
        json!(asked.filter(|asked| *asked > 0 && *asked < most).unwrap_or(most))
    };
    let deployed =
        service.get_mut("deploy").and_then(|deploy| deploy.pointer_mut("/resources/limits/pids"));
    if let Some(asked) = deployed {
        *asked = lower(asked);
    } else {
        let asked = lower(service.get("pids_limit").unwrap_or(&Value::Null));
        service.insert("pids_limit".to_owned(), asked);
    }
}

/// Without options a log grows until the disk is full.
pub(super) fn log_size(name: &str, service: &mut Object, most_mb: u32, notes: &mut Notes) {
    let given = service.get("logging").and_then(Value::as_object);
    let driver = given.and_then(|logging| text(logging, "driver")).unwrap_or("json-file");
    if driver == "none" {
        service.insert("logging".to_owned(), json!({"driver": "none"}));
        return;
    }
    let option = |key| {
        let options = given?.get("options")?.as_object()?;
        Some((key, options.get(key)?.as_str()?.to_owned()))
    };
    let mut kept: Vec<(&str, String)> =
        ["max-size", "max-file", "tag", "compress"].into_iter().filter_map(option).collect();
    let count = given
        .and_then(|logging| logging.get("options")?.as_object().map(Object::len))
        .unwrap_or_default();
    if kept.len() < count {
        notes.warn(name, "log options other than max-size, max-file, tag and compress are dropped");
    }
    let of =
        |wanted: &str| kept.iter().find(|(key, _)| *key == wanted).map(|(_, value)| value.as_str());
    let files =
        of("max-file").map_or(Some(1), |files| files.parse::<u64>().ok().filter(|n| *n > 0));
    let total =
        of("max-size").and_then(bytes).zip(files).map(|(size, files)| size.saturating_mul(files));
    let [size, files] = log_bounds(most_mb);
    if total.is_none_or(|total| total > u64::from(most_mb) << 20) {
        if of("max-size").is_some() {
            notes.warn(name, format_args!("its log is bounded to {files} files of {size}"));
        }
        kept.retain(|(key, _)| !matches!(*key, "max-size" | "max-file"));
        kept.push(("max-size", size));
        kept.push(("max-file", files));
    }
    let options: Object =
        kept.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect();
    service.insert("logging".to_owned(), json!({"driver": driver, "options": options}));
}

/// Size of a file of a log, and how many there are, as the engine's log drivers take them.
pub(in crate::node::docker) fn log_bounds(most_mb: u32) -> [String; 2] {
    let file = (most_mb / LOG_FILES).clamp(1, LOG_FILE_MB);
    [format!("{file}m"), (most_mb / file).clamp(1, LOG_FILES).to_string()]
}

/// `10m`, `512k`, `1g`, `1048576`.
fn bytes(size: &str) -> Option<u64> {
    let lower = size.to_ascii_lowercase();
    let bare = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, unit) = match bare.as_bytes().last()? {
        b'k' => (&bare[..bare.len() - 1], 1 << 10),
        b'm' => (&bare[..bare.len() - 1], 1 << 20),
        b'g' => (&bare[..bare.len() - 1], 1 << 30),
        _ => (bare, 1),
    };
    digits.parse::<u64>().ok().filter(|size| *size > 0)?.checked_mul(unit)
}

/// Bounds how often a service is checked.
pub(super) fn health_checks(name: &str, service: &mut Object, notes: &mut Notes) {
    let Some(check) = service.get_mut("healthcheck").and_then(Value::as_object_mut) else { return };
    for key in ["interval", "start_interval"] {
        let Some(asked) = check.get(key).and_then(Value::as_str) else { continue };
        if duration(asked).is_some_and(|asked| asked.is_zero() || asked >= MIN_CHECK_INTERVAL) {
            continue;
        }
        notes.warn(name, format_args!("its health check's {key} of {asked} is raised to 1s"));
        check.insert(key.to_owned(), json!("1s"));
    }
}

/// Services with their images, where the image decides how often it is checked.
pub(in crate::node::docker) fn checked_by_images(model: &Value) -> Vec<(String, String)> {
    let Some(file) = model.as_object() else { return Vec::new() };
    let of_image = |service: &Object| match service.get("healthcheck") {
        Some(check) => {
            let disabled = check.get("disable").is_some_and(|disable| disable == true);
            !disabled && check.get("interval").is_none_or(|every| every == "0s")
        }
        None => true,
    };
    services(file)
        .filter(|(_, service)| of_image(service))
        .filter_map(|(name, service)| Some((name.clone(), text(service, "image")?.to_owned())))
        .collect()
}

/// Whether an image that is checked so often, in nanoseconds, is checked too often.
pub(in crate::node::docker) fn is_too_often(interval: i64) -> bool {
    let every = Duration::from_nanos(u64::try_from(interval).unwrap_or(0));
    !every.is_zero() && every < MIN_CHECK_INTERVAL
}

/// Has a service of a model checked as seldom as it must be.
pub(in crate::node::docker) fn check_seldom(model: &mut Value, service: &str) {
    let service = model.get_mut("services").and_then(|all| all.get_mut(service));
    if let Some(check) = service
        .and_then(Value::as_object_mut)
        .and_then(|service| super::object_mut(service, "healthcheck"))
    {
        check.insert("interval".to_owned(), json!("1s"));
    }
}

/// A duration as compose prints it: `1m30s`, `1.5s`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit = match &tail[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let seconds = number.parse::<f64>().ok()? * unit;
        total = total.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        rest = &tail[end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::docker::derive::tests::{derived, try_derive};

    fn web(service: Value) -> Value {
        derived(service).model["services"]["web"].clone()
    }

    #[test]
    fn logs_are_bounded_whatever_is_asked() {
        let bounded = json!({"max-size": "10m", "max-file": "3"});
        assert_eq!(web(json!({}))["logging"], json!({"driver": "json-file", "options": bounded}));
        for options in [
            json!({"max-size": "100g"}),
            json!({"max-size": "10m", "max-file": "1000"}),
            json!({"max-size": "-1"}),
            json!({"max-size": "0"}),
            json!({"max-size": "10m", "max-file": "0"}),
            json!({"max-size": "99999999999999999999g"}),
            json!({"max-file": "2"}),
            json!({"mode": "non-blocking", "max-buffer-size": "100g"}),
        ] {
            let out = web(json!({"logging": {"driver": "local", "options": options}}));
            assert_eq!(out["logging"], json!({"driver": "local", "options": bounded}), "{options}");
        }
        let small = json!({"driver": "json-file", "options": {"max-size": "5m", "max-file": "2", "tag": "x"}});
        assert_eq!(web(json!({"logging": small}))["logging"], small);
        assert_eq!(
            web(json!({"logging": {"driver": "none", "options": {"env": "A"}}}))["logging"],
            json!({"driver": "none"})
        );
    }

    /// The engine runs a tag as a template, and reads variables and labels by patterns.
    #[test]
    fn log_options_that_the_engine_runs_are_refused_or_dropped() {
        for driver in ["json-file", "local", "none", "syslog"] {
            for tag in ["{{.DaemonName}}", "a b", "{{range}}", "x/y"] {
                let logging = json!({"driver": driver, "options": {"tag": tag}});
                let model = json!({"services": {"web": {"image": "x", "logging": logging}}});
                let refused = try_derive(model, |_| {}).unwrap_err().to_string();
                assert!(refused.contains(&format!("the log tag {tag}")), "{refused}");
            }
        }
        let text = "services: {web: {image: x, logging: {options: {tag: '{{.ID}}'}}}}";
        assert_eq!(crate::node::docker::derive::look_ahead(text, &[]).len(), 1);
        let options = json!({
            "tag": "web.1-a_B", "labels": "a", "labels-regex": "(a+)+$", "env": "B", "env-regex": ".*",
        });
        let out = derived(json!({"logging": {"options": options}}));
        let kept = &out.model["services"]["web"]["logging"]["options"];
        assert_eq!(kept["tag"], "web.1-a_B");
        assert_eq!(kept.as_object().unwrap().len(), 3, "{kept}");
        assert!(out.warnings.iter().any(|one| one.contains("are dropped")), "{:?}", out.warnings);
    }

    #[test]
    fn a_log_takes_no_more_than_the_operator_says() {
        for (most_mb, size, files) in
            [(50, "10m", "3"), (30, "10m", "3"), (12, "4m", "3"), (2, "1m", "2"), (0, "1m", "1")]
        {
            assert_eq!(log_bounds(most_mb), [size, files], "{most_mb}");
        }
    }

    #[test]
    fn health_checks_are_not_more_frequent_than_a_second() {
        for (asked, given) in [
            ("1ms", "1s"),
            ("1us", "1s"),
            ("999ms999µs", "1s"),
            ("nonsense", "1s"),
            ("-5s", "1s"),
            ("1s", "1s"),
            ("1m30s", "1m30s"),
            ("0s", "0s"),
        ] {
            let check = json!({"test": ["CMD", "x"], "interval": asked, "start_interval": asked});
            let out = web(json!({"healthcheck": check}));
            assert_eq!(out["healthcheck"]["interval"], given, "{asked}");
            assert_eq!(out["healthcheck"]["start_interval"], given, "{asked}");
        }
    }

    #[test]
    fn an_image_cannot_be_checked_more_often_either() {
        let mut model = json!({"services": {
            "plain": {"image": "a"},
            "own": {"image": "b", "healthcheck": {"test": ["CMD", "x"], "interval": "5s"}},
            "half": {"image": "c", "healthcheck": {"test": ["CMD", "x"]}},
            "off": {"image": "d", "healthcheck": {"disable": true}},
        }});
        let found: Vec<_> = checked_by_images(&model).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, ["half", "plain"]);
        assert!(is_too_often(1) && is_too_often(999_999_999));
        assert!(!is_too_often(0) && !is_too_often(1_000_000_000) && !is_too_often(-1));
        for service in ["half", "plain"] {
            check_seldom(&mut model, service);
        }
        assert_eq!(model["services"]["plain"]["healthcheck"], json!({"interval": "1s"}));
        assert_eq!(model["services"]["half"]["healthcheck"]["test"], json!(["CMD", "x"]));
    }

    #[test]
    fn containers_and_networks_are_counted() {
        let refusal = |model: Value| try_derive(model, |_| {}).unwrap_err().to_string();
        for service in
            [json!({"image": "x", "deploy": {"replicas": 65}}), json!({"image": "x", "scale": 65})]
        {
            assert!(refusal(json!({"services": {"a": service}})).contains("65 containers"));
        }
        let many: Object = (0..65).map(|at| (format!("s{at}"), json!({"image": "x"}))).collect();
        assert!(refusal(json!({"services": many})).contains("65 containers"));
        let none: Object = (0..200)
            .map(|at| (format!("s{at}"), json!({"image": "x", "deploy": {"replicas": 0}})))
            .collect();
        assert!(try_derive(json!({"services": none}), |_| {}).is_ok());
        let networks: Object = (0..9).map(|at| (format!("n{at}"), json!({}))).collect();
        let model = json!({"services": {"a": {"image": "x"}}, "networks": networks});
        assert!(refusal(model).contains("9 networks"));
    }

    #[test]
    fn published_ports_are_counted() {
        let port = |at: u16| json!({"target": at, "published": at.to_string()});
        let many = |from: u16, count: u16| (from..from + count).map(port).collect::<Vec<_>>();
        let refusal = |services: Value| {
            let refused = try_derive(json!({"services": services}), |_| {}).err();
            refused.map(|refused| refused.to_string())
        };
        assert_eq!(refusal(json!({"a": {"image": "x", "ports": many(1, 64)}})), None);
        for (services, count) in [
            (json!({"a": {"image": "x", "ports": many(1, 65)}}), 65),
            (
                json!({
                    "a": {"image": "x", "ports": many(1, 33)},
                    "b": {"image": "x", "ports": many(101, 33)},
                }),
                66,
            ),
            (json!({"a": {"image": "x", "scale": 11, "ports": many(1, 6)}}), 66),
            (json!({"a": {"image": "x", "ports": [{"target": 1, "published": "100-200"}]}}), 101),
        ] {
            let refused = refusal(services).unwrap();
            assert!(refused.contains(&format!("{count} published ports")), "{refused}");
        }
        let ahead = |web: &str| {
            let text = format!("services:\n  a: {{image: x}}\n  web: {{image: x, {web}}}\n");
            crate::node::docker::derive::look_ahead(&text, &[])
        };
        for line in [
            "ports: ['1000-1064:1000-1064']",
            "ports: ['127.0.0.1:1000-1064:80/tcp']",
            "ports: [{target: 80, published: 1000-1064}]",
            "scale: 33, ports: ['81:81', '82:82']",
        ] {
            let refused = ahead(line);
            assert_eq!(refused.len(), 1, "{line}");
            assert!(refused[0].what.contains("published ports"), "{refused:?}");
            assert_eq!(refused[0].line, Some(3));
        }
        for line in [
            "ports: ['1000-1063:1000-1063', '80', '$P:80', '3000-3100']",
            "profiles: [x], ports: ['1000-1064:1000-1064']",
            "scale: 0, ports: ['1000-1064:1000-1064']",
        ] {
            assert_eq!(ahead(line), [], "{line}");
        }
    }

    #[test]
    fn processes_are_bounded_per_service_where_there_is_no_group() {
        let limits = Limits::PerService { vcpu: 1, memory_mb: 64, pids: 100 };
        let limited = |mut service: Value| {
            service["image"] = json!("x");
            let model = json!({"services": {"web": service}});
            let out = try_derive(model, |given| given.limits = limits.clone()).unwrap();
            out.model["services"]["web"].clone()
        };
        for (asked, given) in [
            (json!(null), 100),
            (json!(-1), 100),
            (json!(0), 100),
            (json!(7), 7),
            (json!("1000"), 100),
        ] {
            assert_eq!(limited(json!({"pids_limit": asked}))["pids_limit"], given, "{asked}");
        }
        let deployed = limited(json!({"deploy": {"resources": {"limits": {"pids": 1000}}}}));
        assert_eq!(deployed["deploy"]["resources"]["limits"]["pids"], 100);
        assert!(deployed.get("pids_limit").is_none());
    }
}
