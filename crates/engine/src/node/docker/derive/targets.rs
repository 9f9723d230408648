//! Where in a container something may be mounted.
//!
//! The container runtime makes device nodes, masks and files of settings under `/dev`, `/proc` and
//! `/sys` by their paths, as root of the host. A directory of the app there lets the app choose where
//! these paths lead. So nothing is mounted there but a tmpfs with a size at `/dev/shm`.

use serde_json::Value;

use super::{Object, Refused, list, mounts::plain, refuse::Asked, services};

const OF_THE_ENGINE: [&str; 3] = ["/dev", "/proc", "/sys"];
const SHARED_MEMORY: &str = "/dev/shm";
const WAY_OUT: &str = "the container engine makes /dev, /proc and /sys: choose another target";
const WAY_OUT_SHM: &str = "use shm_size, or a tmpfs with a size (/dev/shm:size=64m)";

/// Whether the container engine itself makes what is at this path of a container.
pub(in crate::node::docker) fn is_of_engine(target: &str) -> bool {
    let path = plain(target);
    OF_THE_ENGINE.iter().any(|dir| std::path::Path::new(&path).starts_with(dir))
}

/// Whether this is the one place below `/dev` where a tmpfs may be.
pub(in crate::node::docker) fn is_shared_memory(target: &str) -> bool {
    plain(target) == SHARED_MEMORY
}

/// Refuses targets as they are written under `volumes`, `tmpfs`, `configs` or `secrets` of a service.
/// The kind of mount at `/dev/shm` is left to [`check_complete`]: in the text of a file a variable may
/// stand for it.
pub(super) fn check_written(asked: &Asked<'_>) -> Result<(), Refused> {
    match (asked.key, asked.value) {
        ("tmpfs", Value::String(one)) => check(short_tmpfs(one).0),
        ("tmpfs", _) => asked.each(|one| check(short_tmpfs(one).0)),
        (key, _) => {
            list(asked.service, key).iter().try_for_each(|entry| match written(key, entry) {
                Some(target) => check(&target),
                None => Ok(()),
            })
        }
    }
}

/// Refuses what a complete file has at `/dev/shm` besides a tmpfs with a size, and configs and secrets
/// whose own names lead to a directory of the engine.
pub(super) fn check_complete(file: &Object) -> Result<(), Refused> {
    services(file).try_for_each(|(name, service)| {
        shared_memory(service)
            .and_then(|()| by_names(service))
            .map_err(|refused| refused.in_service(name))
    })
}

fn shared_memory(service: &Object) -> Result<(), Refused> {
    let refused = |what: &str| Err(Refused::new(format!("{what} at {SHARED_MEMORY}"), WAY_OUT_SHM));
    let tmpfs = match service.get("tmpfs") {
        Some(Value::String(one)) => vec![one.as_str()],
        _ => list(service, "tmpfs").iter().filter_map(Value::as_str).collect(),
    };
    for one in tmpfs {
        let (target, options) = short_tmpfs(one);
        if is_shared_memory(target) && !has_size(options) {
            return refused("a tmpfs without a size");
        }
    }
    for mount in list(service, "volumes") {
        if !written("volumes", mount).is_some_and(|target| is_shared_memory(&target)) {
            continue;
        }
        if mount.get("type") != Some(&Value::from("tmpfs")) {
            return refused("a mount of another kind than tmpfs");
        }
        let size = mount.pointer("/tmpfs/size").map(Value::to_string).unwrap_or_default();
        if !is_size(size.trim_matches('"')) {
            return refused("a tmpfs without a size");
        }
    }
    for key in ["configs", "secrets"] {
        let mut targets = list(service, key).iter().filter_map(|entry| written(key, entry));
        if targets.any(|target| is_shared_memory(&target)) {
            return refused(key);
        }
    }
    Ok(())
}

/// Without a target a config is at `/NAME` and a secret at `/run/secrets/NAME`.
fn by_names(service: &Object) -> Result<(), Refused> {
    for (key, dir) in [("configs", "/"), ("secrets", SECRETS)] {
        for entry in list(service, key) {
            let target = entry.get("target").and_then(Value::as_str).unwrap_or_default();
            let source = entry.as_str().or_else(|| entry.get("source").and_then(Value::as_str));
            if let Some(source) = source.filter(|_| target.is_empty()) {
                check(&format!("{dir}{source}"))?;
            }
        }
    }
    Ok(())
}

const SECRETS: &str = "/run/secrets/";

/// The target of an entry as the file writes it; `None`: it writes none, or not yet.
fn written(key: &str, entry: &Value) -> Option<String> {
    let target = entry.get("target").and_then(Value::as_str);
    match key {
        "volumes" => match entry.as_str() {
            Some(short) => short_target(short).map(str::to_owned),
            None => target.map(str::to_owned),
        },
        "secrets" => target.filter(|target| !target.is_empty()).map(|target| {
            if target.starts_with('/') { target.to_owned() } else { format!("{SECRETS}{target}") }
        }),
        _ => target.filter(|target| !target.is_empty()).map(str::to_owned),
    }
}

/// `target`, `source:target` or `source:target:mode`.
fn short_target(mount: &str) -> Option<&str> {
    let mut parts = mount.split(':');
    let (first, second) = (parts.next()?, parts.next());
    // `C:` is a drive of another system.
    let is_drive = first.len() == 1 && second.is_some();
    (!is_drive).then(|| second.unwrap_or(first))
}

fn short_tmpfs(mount: &str) -> (&str, &str) {
    mount.split_once(':').unwrap_or((mount, ""))
}

fn has_size(options: &str) -> bool {
    let mut sizes = options.split(',').filter_map(|option| option.strip_prefix("size=")).peekable();
    sizes.peek().is_some() && sizes.all(is_size)
}

/// Zero is no bound.
fn is_size(size: &str) -> bool {
    size.starts_with(|digit: char| digit.is_ascii_digit())
        && size.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
}

fn check(target: &str) -> Result<(), Refused> {
    let refused = |way_out: &str| Err(Refused::new(format!("the mount target {target}"), way_out));
    if target.split('/').any(|part| part == "..") {
        return refused("write the target without ..");
    }
    if plain(target) == "/" {
        return refused("it would replace the container's image: choose another target");
    }
    if is_of_engine(target) && !is_shared_memory(target) {
        return refused(WAY_OUT);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::docker::derive::{
        ahead::look_ahead,
        tests::{try_derive, with_image},
    };

    fn refusal(service: Value) -> Option<String> {
        let model = json!({
            "services": {"web": with_image(service)},
            "volumes": {"v": {}},
            "configs": {"c": {"content": "x"}, "dev": {"content": "x"}, "../proc": {"content": "x"}},
            "secrets": {"s": {"content": "x"}, "../../sys": {"content": "x"}},
        });
        try_derive(model, |_| {}).err().map(|refused| refused.to_string())
    }

    #[test]
    fn nothing_is_mounted_in_directories_of_the_engine() {
        for target in [
            "/dev",
            "/dev/",
            "//dev//pts",
            "/./dev/ptmx",
            "/x/../dev/x",
            "dev/x",
            "/proc",
            "/proc/self/attr",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/shm/x",
            "/",
            "//.",
            "/data/../x",
        ] {
            for service in [
                json!({"volumes": [{"type": "bind", "source": "/d", "target": target}]}),
                json!({"volumes": [{"type": "volume", "source": "v", "target": target}]}),
                json!({"volumes": [{"type": "volume", "target": target, "read_only": true}]}),
                json!({"volumes": [{"type": "tmpfs", "target": target, "tmpfs": {"size": 1}}]}),
                json!({"volumes": [
                    {"type": "bind", "source": "/var/run/dstack.sock", "target": target}
                ]}),
                json!({"tmpfs": [format!("{target}:size=1m")]}),
                json!({"tmpfs": target}),
                json!({"configs": [{"source": "c", "target": target}]}),
            ] {
                let refused = refusal(service.clone()).unwrap_or_else(|| panic!("{service}"));
                assert!(
                    refused.contains(&format!("the mount target {target}, which")),
                    "{refused}"
                );
                assert!(refused.contains("service web"), "{refused}");
            }
        }
        for service in [
            json!({"secrets": [{"source": "s", "target": "/dev/x"}]}),
            json!({"secrets": [{"source": "s", "target": "../../dev/x"}]}),
            json!({"secrets": [{"source": "../../sys"}]}),
            json!({"configs": [{"source": "dev"}]}),
            json!({"configs": [{"source": "../proc"}]}),
        ] {
            assert!(refusal(service.clone()).is_some_and(|text| text.contains("mount target")));
        }
    }

    #[test]
    fn shared_memory_is_a_tmpfs_with_a_size() {
        for service in [
            json!({"tmpfs": ["/dev/shm"]}),
            json!({"tmpfs": "/dev/shm:mode=1777"}),
            json!({"tmpfs": ["/dev/shm/:size=0"]}),
            json!({"tmpfs": ["/dev/shm:size=1m,size=0"]}),
            json!({"volumes": [{"type": "tmpfs", "target": "/dev/shm"}]}),
            json!({"volumes": [{"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": 0}}]}),
            json!({"volumes": [{"type": "volume", "source": "v", "target": "/dev/shm"}]}),
            json!({"volumes": [{"type": "bind", "source": "/d", "target": "/dev//shm"}]}),
            json!({"configs": [{"source": "c", "target": "/dev/shm"}]}),
        ] {
            let refused = refusal(service.clone()).unwrap_or_else(|| panic!("{service}"));
            assert!(refused.contains("at /dev/shm"), "{refused}");
        }
        for service in [
            json!({"tmpfs": ["/dev/shm:size=64m,mode=1777"]}),
            json!({"volumes": [{"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": 64}}]}),
            json!({"volumes": [{"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": "64"}}]}),
        ] {
            assert_eq!(refusal(service), None);
        }
    }

    #[test]
    fn other_targets_pass() {
        for target in ["/host/proc", "/devices", "/process", "/system", "/data/dev", "/a..b"] {
            let mount = json!({"type": "bind", "source": "/proc", "target": target});
            assert_eq!(refusal(json!({"volumes": [mount], "tmpfs": ["/x"]})), None, "{target}");
        }
        let used =
            json!({"configs": [{"source": "c", "target": "etc/c"}], "secrets": [{"source": "s"}]});
        assert_eq!(refusal(used), None);
    }

    #[test]
    fn targets_in_the_text_are_refused_before_a_boot() {
        let ahead = |line: &str| {
            let text = format!("services: {{web: {{image: x, {line}}}}}");
            look_ahead(&text, &[]).into_iter().map(|refused| refused.what).collect::<Vec<_>>()
        };
        for line in [
            "volumes: ['/d:/dev/x:ro']",
            "volumes: ['data:/proc']",
            "volumes: [/sys/x]",
            "volumes: [{type: bind, source: /d, target: /x/../dev}]",
            "tmpfs: /dev:size=1m",
            "configs: [{source: c, target: /dev/x}]",
            "secrets: [{source: c, target: ../../dev/x}]",
        ] {
            assert_eq!(ahead(line).len(), 1, "{line}");
        }
        for line in [
            "volumes: ['/d:$T', '/d:/x', '/proc:/host/proc']",
            "volumes: [{type: tmpfs, target: /dev/shm, tmpfs: {size: $S}}]",
            "volumes: [{type: $T, target: /dev/shm, tmpfs: {size: 1m}}]",
            "configs: [{source: dev, target: $T}]",
        ] {
            assert_eq!(ahead(line), Vec::<String>::new(), "{line}");
        }
    }
}
