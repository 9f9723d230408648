//! What a docker node will refuse, as far as the text of a compose file tells it: said when a
//! deployment is asked for, not when it boots.
//!
//! The text is not what will be looked at then ([`super`]): variables have no values yet, files may be
//! merged in. So nothing here is a permission. A value with a variable in it is left to the boot, and
//! whatever is refused here would be refused there, in the same words.

use casemate_core::compose::{
    merge_documents, read_switches,
    yaml::{Map, Node, documents},
};
use serde_json::{Value, json};

use super::{
    Grants, Object, Refused, entries, limits, list, mounts, names,
    refuse::{self, Asked},
    rules::{Check, RULES},
    services,
};

/// Looks at the text of a compose file. `granted` are the words that the node's operator allows. Returns
/// everything that is refused.
pub fn look_ahead(text: &str, granted: &[String]) -> Vec<Refused> {
    // Neither a broken file nor a word of a newer version is this function's business.
    let (documents, problems) = documents(text);
    let (true, Some(mut node), Ok(grants)) =
        (problems.is_empty(), merge_documents(documents), Grants::parse(granted))
    else {
        return Vec::new();
    };
    read_switches(&mut node);
    let mut file = node.to_json();
    drop_variables(&mut file);
    let Some(file) = file.as_object_mut() else { return Vec::new() };
    names::resolve(file);
    let file = &*file;
    let mut refused = Vec::new();
    for (name, service) in services(file) {
        for (key, value) in service {
            let asked = Asked { key, value, service, grants: &grants };
            let found = key_of_service(&asked).err();
            let line = line(&node, &["services", name, key]);
            refused.extend(found.map(|one| one.in_service(name).in_field(key).on_line(line)));
        }
    }
    for rule in RULES {
        let Check::Entry(section, check) = rule.check else { continue };
        for (name, entry) in entries(file, section) {
            let found = check(name, entry, &grants);
            let line = line(&node, &[section, name]);
            let field = format!("{section}.{name}");
            refused.extend(found.err().map(|one| one.in_field(field).on_line(line)));
        }
    }
    refused.extend(too_many_ports(file, &node));
    refused.sort_by_key(|one| one.line);
    refused
}

/// Keys whose files compose reads.
const READ_BY_COMPOSE: [&str; 2] = ["env_file", "label_file"];

/// What is refused of a key as it stands in the text: the service may get its image and its variables
/// from what compose has still to read.
fn key_of_service(asked: &Asked<'_>) -> Result<(), Refused> {
    if READ_BY_COMPOSE.contains(&asked.key) {
        return Ok(());
    }
    refuse::key_ahead(asked.key)?;
    for rule in RULES.iter().filter(|rule| rule.name == asked.key) {
        if let Check::Key(check) = rule.check {
            check(asked)?;
        }
    }
    if asked.key == "volumes" { engine_mounts(asked.service, asked.grants) } else { Ok(()) }
}

/// Refuses more published ports than a CVM may have, at the service with which they are too many. A
/// service with profiles may not run.
fn too_many_ports(file: &Object, node: &Node) -> Option<Refused> {
    let mut ports = 0_u64;
    for (name, service) in services(file).filter(|(_, one)| !one.contains_key("profiles")) {
        ports = ports.saturating_add(limits::published(service));
        if let Err(refused) = limits::check_ports(ports) {
            let line = line(node, &["services", name, "ports"]);
            return Some(refused.in_service(name).in_field("ports").on_line(line));
        }
    }
    None
}

/// The line of a key by the keys that lead there.
fn line(file: &Node, path: &[&str]) -> usize {
    let mut found = 0;
    let mut node = Some(file);
    for key in path {
        let Some(entry) = node.and_then(Node::map).and_then(|map: &Map| map.entry(key)) else {
            break;
        };
        (found, node) = (entry.line, Some(&entry.node));
    }
    found
}

/// Leaves out what is not known yet.
fn drop_variables(value: &mut Value) {
    let varies = |value: &Value| value.as_str().is_some_and(|text| text.contains('$'));
    match value {
        Value::Object(map) => {
            // Half of a build would be judged as another one.
            let half_a_build = |key: &str, value: &Value| {
                key == "build" && value.as_object().is_some_and(has_variables)
            };
            map.retain(|key, value| !(varies(value) || half_a_build(key, value)));
            map.values_mut().for_each(drop_variables);
        }
        Value::Array(items) => {
            items.retain(|value| !varies(value));
            items.iter_mut().for_each(drop_variables);
        }
        _ => {}
    }
}

/// Whether a value of the mapping is not known yet.
fn has_variables(map: &Object) -> bool {
    map.values().any(|value| match value {
        Value::String(text) => text.contains('$'),
        Value::Object(map) => has_variables(map),
        _ => false,
    })
}

/// Mounts of an engine's socket, `source:target[:mode]` or spelt out.
fn engine_mounts(service: &Object, grants: &Grants) -> Result<(), Refused> {
    list(service, "volumes").iter().try_for_each(|mount| match mount.as_str() {
        Some(short) => match short.split_once(':') {
            Some((source, _)) => {
                mounts::check_engine(&json!({ "type": "bind", "source": source }), grants)
            }
            None => Ok(()),
        },
        None => mounts::check_engine(mount, grants),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: [(&str, &str); 18] = [
        ("privileged: true", "privileged"),
        ("privileged: 'true'", "privileged"),
        ("privileged: yes", "privileged"),
        ("privileged: \"On\"", "privileged"),
        ("post_start: [{command: a, privileged: 'Y'}]", "privileged"),
        ("network_mode: host", "host-network"),
        ("pid: host", "host-pid"),
        ("ipc: host", "host-ipc"),
        ("devices: ['/dev/sda:/dev/sda']", "devices"),
        ("gpus: all", "devices"),
        ("deploy: {resources: {reservations: {devices: [{driver: nvidia}]}}}", "devices"),
        ("cap_add: [SYS_ADMIN]", "capabilities"),
        ("security_opt: ['seccomp:unconfined']", "security-opt"),
        ("volumes: ['/var/run/docker.sock:/var/run/docker.sock:ro']", "docker-socket"),
        ("volumes: [{type: bind, source: /run/docker.sock, target: /s}]", "docker-socket"),
        ("runtime: nvidia", "runtime"),
        ("external_links: [other]", "external"),
        ("cgroup_parent: /x", "host-cgroup"),
    ];

    #[test]
    fn what_gives_the_host_away_is_seen_in_the_text_unless_granted() {
        for (line, word) in SERVICES {
            let text = format!("services: {{web: {{image: x, {line}}}}}");
            let refused = look_ahead(&text, &[]).remove(0);
            assert_eq!(refused.line, Some(1));
            assert_eq!(refused.service.as_deref(), Some("web"), "{line}");
            assert!(line.starts_with(refused.field.as_deref().unwrap()), "{refused:?}");
            assert!(refused.to_string().contains(&format!("\"{word}\"")), "{refused}");
            assert_eq!(look_ahead(&text, &[word.to_owned()]), [], "{line}");
        }
        for external in ["true", "'true'", "yes", "{name: o}"] {
            let outside = format!(
                "services: {{web: {{image: x}}}}\nnetworks: {{n: {{external: {external}}}}}"
            );
            let refused = look_ahead(&outside, &[]).remove(0);
            assert_eq!((refused.line, refused.field.as_deref()), (Some(2), Some("networks.n")));
        }
        let both =
            "services:\n  a: {image: x, privileged: true}\n  b:\n    image: x\n    pid: host\n";
        let lines: Vec<_> = look_ahead(both, &[]).iter().map(|one| one.line).collect();
        assert_eq!(lines, [Some(2), Some(5)]);
    }

    #[test]
    fn a_container_of_the_same_file_is_no_other_one() {
        let file = |name: &str| {
            format!(
                "services: {{a: {{image: x, container_name: main}}, b: {{image: y, network_mode: 'container:{name}'}}}}"
            )
        };
        assert_eq!(look_ahead(&file("main"), &[]), []);
        assert_eq!(look_ahead(&file("other"), &[]).len(), 1);
    }

    /// Whatever a file may become, only what is there is judged.
    #[test]
    fn what_is_not_known_yet_is_left_to_the_boot() {
        for line in [
            "network_mode: '${MODE}'",
            "volumes: ['${SOCKET}:/s', data:/d, /only]",
            "cap_add: ['$CAP', NET_ADMIN]",
            "env_file: [.env]",
            "extends: {service: base}",
            "privileged: false",
            "privileged: 'no'",
            "environment: {privileged: 'true'}",
            "build: {dockerfile_inline: 'FROM a\\nRUN echo $$HOME'}",
            "build: {dockerfile_inline: 'FROM $BASE', context: .}",
            "ports: ['8080:80']",
            "volumes: ['./docker.sock:/s', '/var/run/dstack.sock:/var/run/dstack.sock']",
        ] {
            let text = format!("services: {{web: {{image: x, {line}}}}}\nvolumes: {{data: }}");
            assert_eq!(look_ahead(&text, &[]), [], "{line}");
        }
        assert_eq!(look_ahead("services: [", &[]), []);
        assert_eq!(look_ahead("just text", &[]), []);
    }
}
