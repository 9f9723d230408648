//! The hostile inputs of `conformance/escapes` in this process: no rule of the derivation can be taken out
//! without one of them getting through. Needs Compose v2, but no engine.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use casemate_core::compose::{merge_documents, yaml::documents};
use serde_json::json;

use super::{
    rules::{Check, RULES, Rule},
    tests::try_derive_by,
    *,
};
use crate::node::docker::{
    compose,
    scan::{READ_RULES, scan, scan_by},
};

const SECRET: &str = "canary-5f1e";
const VM: &str = "v";
const ROOT: &str = "/vms/v/root";
const RUN: &str = "/vms/v/run";

struct Input {
    name: String,
    env: Vec<(String, String)>,
    text: String,
}

/// Every input, with a canary in this directory.
fn inputs(canary: &Path) -> Vec<Input> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/escapes/inputs");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let words = [
        ("@CANARY@", canary.to_str().unwrap()),
        ("@OTHER@", "esc-other"),
        ("@IMAGE@", "busybox:1.36"),
        ("@IMAGE_ID@", "sha256:0000000000000000000000000000000000000000000000000000000000000000"),
        ("@IMAGE_SHORT_ID@", "000000000000"),
        ("@PORT@", "9999"),
        ("@API@", "8090"),
        ("@HOST@", "192.0.2.2"),
        ("@DEEP@", "1"),
    ];
    let filled = |text: &str| {
        words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    };
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for part in format!("\n{text}").split("\n## ").skip(1) {
            if let Some(then) = part.strip_prefix("then\n") {
                let (mut name, env) = ("update of ".to_owned(), Vec::new());
                name.push_str(found.last().map_or("", |one: &Input| &one.name));
                found.push(Input { name, env, text: filled(&whole(then, false)) });
                continue;
            }
            let (name, mut rest) = part.split_once('\n').unwrap();
            let (mut env, mut is_service) = (Vec::new(), false);
            while let Some((header, more)) =
                rest.strip_prefix("# ").and_then(|rest| rest.split_once('\n'))
            {
                if let Some((name, value)) =
                    header.strip_prefix("env: ").and_then(|pair| pair.split_once('='))
                {
                    env.push((name.to_owned(), filled(value)));
                }
                is_service |= header == "service";
                rest = more;
            }
            found.push(Input {
                name: name.to_owned(),
                env,
                text: filled(&whole(rest, is_service)),
            });
        }
    }
    found
}

/// The whole file, with service `web`.
fn whole(body: &str, is_service: bool) -> String {
    if !is_service {
        return body.replacen("@WEB@", "  web:\n    image: busybox:1.36", 1);
    }
    let lines = body.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n");
    let image = if body.contains("image:") { "" } else { "    image: busybox:1.36\n" };
    format!("services:\n  web:\n{image}{lines}\n")
}

/// The file as compose understands it, or what it complains of.
fn read(text: &str, env: &[(String, String)]) -> Result<Value, String> {
    let mut command = Command::new("docker");
    command
        .args(["compose", "-p", "p", "--project-directory", "/dstack", "--env-file", "/dev/null"])
        .args(["-f", "-"]);
    let own = |name: &str| !name.starts_with("COMPOSE_") && !name.starts_with("LD_");
    let mut child = command
        .args(["config", "--format", "json"])
        .envs(env.iter().filter(|(name, _)| own(name) && name != "DOCKER_HOST").cloned())
        .env_remove("DOCKER_HOST")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(
            "these tests need the docker command with Compose v2; run scripts/test-env.sh compose",
        );
    // One that refuses the first line closes its end.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    compose::printed(&output.stdout).map_err(|error| error.to_string())
}

/// The model of an input. What this version of compose does not know, another may: then the file itself is
/// the model.
fn model(input: &Input) -> Option<Value> {
    let text = scan(&input.text).ok()?;
    if let Ok(model) = read(&text, &input.env) {
        return Some(model);
    }
    Some(merge_documents(documents(&text).0)?.to_json()).filter(Value::is_object)
}

/// Models of all inputs by their names.
fn models() -> Vec<(String, Value)> {
    let dir = tempfile::tempdir().unwrap();
    let inputs = inputs(dir.path());
    assert!(inputs.len() >= 120, "{}", inputs.len());
    let chunks = inputs.chunks(inputs.len().div_ceil(4));
    thread::scope(|scope| {
        let readers: Vec<_> = chunks
            .map(|chunk| {
                let read = || -> Vec<(String, Value)> {
                    let models =
                        chunk.iter().map(|input| Some((input.name.clone(), model(input)?)));
                    models.flatten().collect()
                };
                scope.spawn(read)
            })
            .collect();
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    })
}

/// A rule that does nothing.
fn hollow(rule: Rule) -> Rule {
    let check = match rule.check {
        Check::Key(_) => Check::Key(|_| Ok(())),
        Check::Entry(section, _) => Check::Entry(section, |_, _, _| Ok(())),
        Check::File(_) => Check::File(|_, _| Ok(())),
        Check::Service(_) | Check::TryService(_) => Check::Service(|_, _, _, _| ()),
        Check::Rest(_) | Check::TryRest(_) => Check::Rest(|_, _, _| ()),
    };
    Rule { check, ..rule }
}

/// Derives by these rules, on a node with one control group for each CVM or without.
fn derive_both(rules: &[Rule], model: &Value) -> [Result<Derived, Refused>; 2] {
    let each = Limits::PerService { vcpu: 1, memory_mb: 64, pids: 100 };
    [Limits::Parent("/casemate/v".to_owned()), each].map(|limits| {
        let model = model.clone();
        try_derive_by(rules, model, |given| {
            given.limits = limits;
            given.ports.clear();
        })
    })
}

/// What of a derived model reaches out of the CVM, whatever the rules are called.
fn escape(derived: &Derived) -> Option<String> {
    let file = derived.model.as_object().unwrap();
    let names = entries(file, "services").map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    let of_services = entries(file, "services").find_map(|(_, service)| {
        escape_of_service(service, &names).or_else(|| escape_of_places(file, service))
    });
    of_services.or_else(|| escape_of_rest(file))
}

fn escape_of_service(service: &Object, names: &[&str]) -> Option<String> {
    const PLAIN_DRIVERS: [&str; 3] = ["json-file", "local", "none"];
    let found = |what: &str, value: &Value| Some(format!("{what}: {value}"));
    let at = |path: &str| service.get(path.split('/').next()?)?.pointer(&path[path.find('/')?..]);
    for key in ["container_name", "build", "privileged", "devices", "runtime"] {
        let given = |value: &&Value| **value != false && **value != json!([]);
        if let Some(value) = service.get(key).filter(given) {
            return found(key, value);
        }
    }
    for key in ["network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup"] {
        let mode = text(service, key).unwrap_or_default();
        let of_service = mode.strip_prefix("service:").is_some_and(|name| names.contains(&name));
        if !of_service && !matches!(mode, "" | "none" | "private" | "shareable") {
            return Some(format!("{key}: {mode}"));
        }
    }
    if let Some(variables) = service
        .get("environment")
        .filter(|all| all.as_object().is_some_and(|all| all.values().any(Value::is_null)))
    {
        return found("a variable of the compose process", variables);
    }
    let log = service.get("logging").unwrap_or(&Value::Null);
    let driver = log.get("driver").and_then(Value::as_str).unwrap_or("of the engine");
    if !PLAIN_DRIVERS.contains(&driver) {
        return Some(format!("log driver {driver}"));
    }
    let size = log.pointer("/options/max-size").and_then(Value::as_str).unwrap_or("none");
    if driver != "none" && !matches!(size, "10m" | "5m") {
        return Some(format!("log of {size}"));
    }
    for key in ["healthcheck/interval", "healthcheck/start_interval"] {
        if let Some(every) = at(key).and_then(Value::as_str)
            && (every.ends_with("ms") || every.ends_with("ns") || every.ends_with("µs"))
        {
            return Some(format!("a check each {every}"));
        }
    }
    if service.get("pull_policy") != Some(&json!("never")) {
        return found("pull_policy", service.get("pull_policy").unwrap_or(&Value::Null));
    }
    escape_of_marks_and_limits(service)
}

fn escape_of_marks_and_limits(service: &Object) -> Option<String> {
    let at = |path: &str| service.get(path.split('/').next()?)?.pointer(&path[path.find('/')?..]);
    let labels = service.get("labels").cloned().unwrap_or_default();
    let spoofed = labels.as_object().is_none_or(|labels| {
        labels.get(LABEL_VM) != Some(&json!(VM))
            || !labels.contains_key(LABEL_RESTART)
            || labels.iter().any(|(name, value)| {
                let ours = name.starts_with("casemate.") || name.starts_with("com.docker.compose.");
                ours && (value.as_str().is_some_and(|value| value.contains("esc-other"))
                    || *name == "casemate.script")
            })
    });
    if spoofed {
        return Some(format!("labels: {labels}"));
    }
    let group = text(service, "cgroup_parent") == Some("/casemate/v");
    let limited = |own: &str, path: &str| {
        service.get(own).or_else(|| at(path)).is_some_and(|value| {
            value
                .as_f64()
                .or_else(|| value.as_str()?.parse().ok())
                .is_some_and(|most| most > 0.0 && most <= 64.0 * 1024.0 * 1024.0)
        })
    };
    if !group && !limited("mem_limit", "deploy/resources/limits/memory") {
        return Some("memory without a limit".to_owned());
    }
    if !group && !limited("pids_limit", "deploy/resources/limits/pids") {
        return Some("processes without a limit".to_owned());
    }
    None
}

fn escape_of_places(file: &Object, service: &Object) -> Option<String> {
    let found = |what: &str, value: &Value| Some(format!("{what}: {value}"));
    if let Some(port) = list(service, "ports")
        .iter()
        .find(|port| port["host_ip"] != "127.0.0.1" || port.get("published").is_some())
    {
        return found("port", port);
    }
    if let Some(mount) = list(service, "volumes").iter().find(|mount| is_outside(mount)) {
        return found("mount", mount);
    }
    let own_network = !service.contains_key("network_mode") && !service.contains_key("networks");
    let default = file.get("networks").and_then(|all| all.pointer("/default/labels/casemate.vm"));
    if own_network && default.is_none() {
        return Some("a network of nobody".to_owned());
    }
    let endpoints = service.get("networks").and_then(Value::as_object);
    endpoints.into_iter().flatten().find_map(|(name, endpoint)| {
        let fixed = endpoint.as_object()?.keys().find(|key| {
            matches!(
                key.as_str(),
                "ipv4_address" | "ipv6_address" | "link_local_ips" | "driver_opts"
            )
        });
        fixed.map(|key| format!("{key} in {name}"))
    })
}

fn is_outside(mount: &Value) -> bool {
    if mount.get("type") != Some(&json!("bind")) {
        return false;
    }
    let source = mount.get("source").and_then(Value::as_str).unwrap_or_default();
    let inside = |dir: &str| source == dir || source.starts_with(&format!("{dir}/"));
    let read_only = mount.get("read_only") == Some(&Value::Bool(true));
    !(inside(ROOT) || (inside(RUN) && read_only)) || mount.pointer("/bind/propagation").is_some()
}

fn escape_of_rest(file: &Object) -> Option<String> {
    const NAME: &str = "com.docker.network.bridge.name";
    const OPTIONS: [&str; 3] = [
        "com.docker.network.driver.mtu",
        "com.docker.network.bridge.enable_icc",
        "com.docker.network.bridge.enable_ip_masquerade",
    ];
    for section in ["networks", "volumes"] {
        for (name, entry) in entries(file, section) {
            let labels = entry.get("labels").and_then(Value::as_object);
            let marked = labels.is_some_and(|labels| {
                labels.get(LABEL_VM) == Some(&json!(VM))
                    && !labels.keys().any(|label| label.starts_with("com.docker.compose."))
            });
            if entry.contains_key("name") || entry.contains_key("ipam") || !marked {
                return Some(format!("{section}.{name}: {entry:?}"));
            }
            let options = entry.get("driver_opts").and_then(Value::as_object);
            let bridge = options.and_then(|options| text(options, NAME)).unwrap_or_default();
            if section == "networks" && !bridge.starts_with("cm") {
                return Some(format!("the bridge {bridge:?} of network {name}"));
            }
            let known = |option: &str| option == NAME || OPTIONS.contains(&option);
            let foreign = options
                .into_iter()
                .flatten()
                .find(|(option, _)| section == "networks" && !known(option));
            if let Some((option, _)) = foreign {
                return Some(format!("{section}.{name}.driver_opts.{option}"));
            }
        }
    }
    for section in ["configs", "secrets"] {
        for (name, entry) in entries(file, section) {
            let outside = text(entry, "file").is_some_and(|path| !path.starts_with(ROOT));
            let of_host =
                text(entry, "environment").is_some_and(|name| !name.starts_with("CASEMATE_VALUE_"));
            if outside || of_host {
                return Some(format!("{section}.{name}: {entry:?}"));
            }
        }
    }
    None
}

#[test]
fn each_rule_is_the_only_one_that_stops_some_input() {
    let models = models();
    let before: Vec<_> = models.iter().map(|(_, model)| derive_both(&RULES, model)).collect();
    for ((name, _), outcomes) in models.iter().zip(&before) {
        for derived in outcomes.iter().flatten() {
            assert_eq!(escape(derived), None, "{name} gets through");
        }
    }
    let mut missed_by_nobody = Vec::new();
    for (at, rule) in RULES.iter().enumerate() {
        let mut rules = RULES;
        rules[at] = hollow(*rule);
        let through = models.iter().zip(&before).find(|((_, model), before)| {
            derive_both(&rules, model).iter().zip(before.iter()).any(|(now, before)| {
                now.as_ref().is_ok_and(|now| before.is_err() || escape(now).is_some())
            })
        });
        if through.is_none() {
            missed_by_nobody.push(rule.name);
        }
    }
    assert!(missed_by_nobody.is_empty(), "no input needs these rules: {missed_by_nobody:?}");
}

/// Compose reads files of the host as soon as a rule about them is gone.
#[test]
fn each_key_under_which_compose_reads_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), SECRET).unwrap();
    fs::write(dir.path().join("env"), format!("LEAKED={SECRET}\n")).unwrap();
    let other = format!("services: {{other: {{image: x, environment: {{LEAKED: {SECRET}}}}}}}");
    fs::write(dir.path().join("compose.yml"), other).unwrap();
    let inputs = inputs(dir.path());
    for at in 0..READ_RULES.len() {
        let mut rules = READ_RULES.to_vec();
        let key = rules.remove(at).key;
        let mut through = inputs
            .iter()
            .filter(|input| scan(&input.text).is_err() && scan_by(&rules, &input.text).is_ok());
        // Compose gets the text as it is: without its last document, which passes over `env_file`. This
        // version of compose may not know the key; then its complaint shows that it got there.
        let leaked = through.any(|input| match read(&input.text, &input.env) {
            Ok(model) => model.to_string().contains(SECRET),
            Err(complaint) => key == "label_file" && complaint.contains(key),
        });
        assert!(leaked, "no input reads a file through {key}");
    }
}
