//! Options of named volumes: none, or a tmpfs with bounds.
//!
//! The engine hands the options of the `local` driver to `mount(2)`. One flag among them (`bind`) makes
//! the kernel ignore `type` and mount any directory of the host, so nothing passes that is not listed
//! here.

use serde_json::Value;

use super::{Grant, Grants, Object, Refused, entries, refuse::not_granted, text};

/// Keys of a volume that mean something here.
const KEYS: [&str; 5] = ["name", "driver", "driver_opts", "external", "labels"];
/// Options that a tmpfs needs.
const TMPFS: [&str; 2] = ["type", "device"];
const WAY_OUT: &str = "a volume has no options, or exactly driver_opts: {type: tmpfs, device: \
                       tmpfs, o: \"size=…,mode=…,uid=…,gid=…\"}";

/// Refuses driver and options that are not the allowed ones. A tmpfs may lack options: in the text of
/// a file a variable may stand for them.
pub(in crate::node::docker) fn check_given(
    name: &str,
    entry: &Object,
    grants: &Grants,
) -> Result<(), Refused> {
    if let Some(key) =
        entry.keys().find(|key| !KEYS.contains(&key.as_str()) && !key.starts_with("x-"))
    {
        let what = format!("{key} for volume {name}, which it does not know");
        return Err(Refused::new(what, "leave it out"));
    }
    if grants.has(Grant::VolumeDrivers) {
        return Ok(());
    }
    match entry.get("driver") {
        None | Some(Value::Null) => {}
        Some(Value::String(driver)) if driver == "local" => {}
        Some(driver) => {
            let what = format!("driver {} for volume {name}", shown(driver));
            return Err(not_granted(Grant::VolumeDrivers, &what));
        }
    }
    let options = match entry.get("driver_opts") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(options)) => options,
        Some(_) => return Err(options_refused(name, "driver_opts")),
    };
    options.iter().try_for_each(|(key, value)| option(name, key, value))
}

/// Refuses a tmpfs that lacks what it needs: without `type` the options would be of something else.
pub(super) fn check_complete(file: &Object, grants: &Grants) -> Result<(), Refused> {
    entries(file, "volumes").try_for_each(|(name, entry)| complete(name, entry, grants))
}

fn complete(name: &str, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    let Some(options) = entry.get("driver_opts").and_then(Value::as_object) else { return Ok(()) };
    if options.is_empty() || grants.has(Grant::VolumeDrivers) {
        return Ok(());
    }
    match TMPFS.into_iter().find(|key| text(options, key).is_none()) {
        Some(missing) => Err(options_refused(name, &format!("driver_opts without {missing}"))),
        None => Ok(()),
    }
}

fn option(name: &str, key: &str, value: &Value) -> Result<(), Refused> {
    let fits = match (key, value.as_str()) {
        ("type" | "device", Some(text)) => text == "tmpfs",
        ("o", Some(text)) => text.split(',').all(bound),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(options_refused(name, &format!("driver_opts {key}: {}", shown(value))))
}

/// `size=64m`, `mode=1777`, `uid=1000`, `gid=1000`.
pub(super) fn bound(option: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match option.split_once('=') {
        Some(("size", size)) => {
            digits(size.strip_suffix(['k', 'm', 'g', 'K', 'M', 'G', '%']).unwrap_or(size))
        }
        Some(("mode", mode)) => {
            mode.len() <= 5 && mode.bytes().all(|byte| matches!(byte, b'0'..=b'7')) && digits(mode)
        }
        Some(("uid" | "gid", id)) => digits(id),
        _ => false,
    }
}

fn options_refused(name: &str, what: &str) -> Refused {
    let refused = not_granted(Grant::VolumeDrivers, &format!("{what} for volume {name}"));
    Refused { way_out: format!("{WAY_OUT}; {}", refused.way_out), ..refused }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(entry: &Value) -> Option<String> {
        let (entry, grants) = (entry.as_object().unwrap(), Grants::default());
        let found = check_given("v", entry, &grants).and_then(|()| complete("v", entry, &grants));
        found.err().map(|e| e.to_string())
    }

    #[test]
    fn a_tmpfs_with_bounds_and_a_plain_volume_pass() {
        for entry in [
            json!({}),
            json!({"name": "p_v", "labels": {"a": "b"}, "driver": "local", "driver_opts": {}}),
            json!({"driver": null, "driver_opts": null}),
            json!({"driver_opts": {"type": "tmpfs", "device": "tmpfs"}}),
            json!({"driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": "size=64m,mode=1777,uid=1000,gid=0"}}),
            json!({"driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": "size=50%"}}),
        ] {
            assert_eq!(refusal(&entry), None, "{entry}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        let opts = |opts: Value| json!({"driver_opts": opts});
        for (entry, word) in [
            (opts(json!({"type": "tmpfs", "o": "bind", "device": "/etc"})), "device: /etc"),
            (opts(json!({"type": "tmpfs", "o": "bind", "device": "tmpfs"})), "o: bind"),
            (opts(json!({"type": "tmpfs", "device": "/etc"})), "device: /etc"),
            (opts(json!({"type": "tmpfs", "device": "tmpfs", "o": "size=1m,rbind"})), "rbind"),
            (opts(json!({"type": "tmpfs", "device": "tmpfs", "o": "size=1m, bind"})), " bind"),
            (opts(json!({"type": "tmpfs", "device": "tmpfs", "o": "size=1m,"})), "o: size=1m,"),
            (opts(json!({"type": "tmpfs", "device": "tmpfs", "o": ""})), "o: "),
            (opts(json!({"type": "tmpfs", "device": "tmpfs", "o": ["bind"]})), "o: [\"bind\"]"),
            (opts(json!({"type": "tmpfs", "device": "tmpfs", "o": "mode=rwx"})), "mode=rwx"),
            (opts(json!({"type": "tmpfs", "device": "tmpfs", "O": "bind"})), "O: bind"),
            (opts(json!({"type": "tmpfs", "device": "tmpfs", "x": "y"})), "x: y"),
            (opts(json!({"type": "tmpfs"})), "driver_opts without device"),
            (opts(json!({"device": "tmpfs"})), "driver_opts without type"),
            (opts(json!({"o": "size=1m"})), "driver_opts without type"),
            (opts(json!({"type": "none", "o": "bind", "device": "/etc"})), "/etc"),
            (opts(json!({"type": "nfs", "o": "addr=10.0.0.1", "device": ":/x"})), "volume v"),
            (opts(json!("type=tmpfs")), "driver_opts"),
            (json!({"driver": "vieux/sshfs"}), "driver vieux/sshfs"),
            (json!({"driver": "Local"}), "driver Local"),
            (json!({"driver": ["local"]}), "driver [\"local\"]"),
            (json!({"options": {"type": "none"}}), "options"),
        ] {
            let refused = refusal(&entry).unwrap_or_else(|| panic!("{entry} passes"));
            assert!(refused.contains(word) && refused.contains("volume v"), "{refused}");
        }
    }

    #[test]
    fn a_text_may_leave_options_to_variables_but_not_name_bad_ones() {
        let given = |entry: Value| check_given("v", entry.as_object().unwrap(), &Grants::default());
        assert_eq!(given(json!({"driver_opts": {"o": "size=1m"}})), Ok(()));
        assert!(given(json!({"driver_opts": {"o": "bind"}})).is_err());
    }
}
