//! What a docker node will refuse, as far as the text of a compose file tells it: said when a
//! deployment is asked for, not when it boots.
//!
//! The text is not what will be looked at then ([`super`]): variables have no values yet, files may be
//! merged in. So nothing here is a permission. A value with a variable in it is left to the boot, and
//! whatever is refused here would be refused there, in the same words.

use serde_json::{Value, json};

use super::{Grants, Object, Refused, entries, list, mounts, refuse, services, volumes};

/// Looks at the text of a compose file. `granted` are the words that the node's operator allows.
pub fn look_ahead(text: &str, granted: &[String]) -> Result<(), Refused> {
    // Neither a broken file nor a word of a newer version is this function's business.
    let (Ok(mut file), Ok(grants)) =
        (serde_saphyr::from_str::<Value>(text), Grants::parse(granted))
    else {
        return Ok(());
    };
    drop_variables(&mut file);
    let Some(file) = file.as_object() else { return Ok(()) };
    for (name, service) in services(file) {
        refuse::service_ahead(service, &grants)
            .and_then(|()| engine_mounts(service, &grants))
            .map_err(|refused| refused.in_service(name))?;
    }
    entries(file, "networks")
        .try_for_each(|(name, entry)| refuse::network(name, entry, &grants))?;
    entries(file, "volumes").try_for_each(|(name, entry)| {
        refuse::external("volume", name, entry, &grants)?;
        volumes::check_given(name, entry, &grants)
    })?;
    for (kind, key) in [("config", "configs"), ("secret", "secrets")] {
        entries(file, key)
            .try_for_each(|(name, entry)| refuse::external(kind, name, entry, &grants))?;
    }
    Ok(())
}

/// Leaves out what is not known yet.
fn drop_variables(value: &mut Value) {
    let varies = |value: &Value| value.as_str().is_some_and(|text| text.contains('$'));
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !varies(value));
            map.values_mut().for_each(drop_variables);
        }
        Value::Array(items) => {
            items.retain(|value| !varies(value));
            items.iter_mut().for_each(drop_variables);
        }
        _ => {}
    }
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

    const SERVICES: [(&str, &str); 14] = [
        ("privileged: true", "privileged"),
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
            let refused = look_ahead(&text, &[]).unwrap_err();
            assert_eq!(refused.service.as_deref(), Some("web"), "{line}");
            assert!(refused.to_string().contains(&format!("\"{word}\"")), "{refused}");
            assert_eq!(look_ahead(&text, &[word.to_owned()]), Ok(()), "{line}");
        }
        let outside = "services: {web: {image: x}}\nnetworks: {n: {external: true}}";
        assert!(look_ahead(outside, &[]).is_err());
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
            "ports: ['8080:80']",
            "volumes: ['./docker.sock:/s', '/var/run/dstack.sock:/var/run/dstack.sock']",
        ] {
            let text = format!("services: {{web: {{image: x, {line}}}}}\nvolumes: {{data: }}");
            assert_eq!(look_ahead(&text, &[]), Ok(()), "{line}");
        }
        assert_eq!(look_ahead("services: [", &[]), Ok(()));
        assert_eq!(look_ahead("just text", &[]), Ok(()));
    }
}
