//! The audit log: who acts, on what, and what of an object a row holds (pure).

use serde_json::{Map, Value};

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// A user, by an API key, a commit token or the login page.
    User,
    /// Somebody at the host of the service.
    Host,
    /// A client without a key.
    None,
}

impl ActorKind {
    /// The word in the database.
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Host => "host",
            Self::None => "none",
        }
    }
}

/// What is acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetKind {
    App,
    Attestation,
    Cvm,
    DeviceLogin,
    Gateway,
    GatewayDomain,
    GatewayInstance,
    Invitation,
    Key,
    Member,
    Node,
    Policy,
    Profile,
    Quota,
    Revision,
    SshKey,
    User,
    Webhook,
    Workspace,
}

impl TargetKind {
    /// The word in the database and on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Attestation => "attestation",
            Self::Cvm => "cvm",
            Self::DeviceLogin => "device_login",
            Self::Gateway => "gateway",
            Self::GatewayDomain => "gateway_domain",
            Self::GatewayInstance => "gateway_instance",
            Self::Invitation => "invitation",
            Self::Key => "key",
            Self::Member => "member",
            Self::Node => "node",
            Self::Policy => "policy",
            Self::Profile => "profile",
            Self::Quota => "quota",
            Self::Revision => "revision",
            Self::SshKey => "ssh_key",
            Self::User => "user",
            Self::Webhook => "webhook",
            Self::Workspace => "workspace",
        }
    }
}

/// Largest JSON text of one state, in bytes.
pub const MOST_BYTES: usize = 4096;
/// Longest text that is kept, in characters.
const MOST_CHARS: usize = 256;
const MOST_ITEMS: usize = 32;
const DEEPEST: usize = 5;

/// Fields that are kept. Any other is left out, so a new field of the API is in no row before it is listed here.
/// Texts that users write into documents, environments, tokens and secrets are not in the list.
const KEPT: &[&str] = &[
    "address",
    "allow_force_stop",
    "app_id",
    "apps",
    "attempts",
    "check",
    "client",
    "compose_hash",
    "cordoned",
    "correlation_id",
    "created_at",
    "cvm_id",
    "cvms",
    "delete_at",
    "deleted_at",
    "delivery_id",
    "description",
    "desired_power",
    "device_id",
    "disabled",
    "disabled_at",
    "disk_gb",
    "disk_size",
    "display_name",
    "domain",
    "domains",
    "email",
    "enabled",
    "entity_id",
    "entity_type",
    "env_guard",
    "event_id",
    "events",
    "evidence",
    "expires_at",
    "fingerprint",
    "from_node",
    "gateway_enabled",
    "generation",
    "hourly_rate",
    "id",
    "image",
    "instance_id",
    "instance_type",
    "interval_s",
    "is_disabled",
    "is_operator",
    "is_service",
    "items",
    "key_type",
    "kind",
    "kms",
    "kms_enabled",
    "labels",
    "last_used_at",
    "limit",
    "listed",
    "memory",
    "memory_mb",
    "message",
    "mode",
    "name",
    "new_instance_id",
    "node",
    "node_id",
    "old_instance_id",
    "operation",
    "operation_id",
    "os_image",
    "os_image_hash",
    "own",
    "owner",
    "path",
    "phase",
    "policies",
    "policy",
    "port",
    "ports",
    "prefix",
    "protocol",
    "public_logs",
    "public_sysinfo",
    "public_tcbinfo",
    "region",
    "replicas",
    "request_id",
    "required",
    "resource",
    "restricted",
    "results",
    "revision",
    "revision_id",
    "role",
    "scheduled_delete_at",
    "scopes",
    "shutdown_timeout",
    "slug",
    "source",
    "state",
    "status",
    "storage_fs",
    "succeeded",
    "taken",
    "teepod",
    "teepod_id",
    "threshold",
    "timeout_s",
    "to_node",
    "token_id",
    "updated_at",
    "url",
    "user_id",
    "username",
    "vcpu",
    "vm_uuid",
    "workspace",
];

/// What a row keeps of an object as the API shows it: JSON text of at most [`MOST_BYTES`] bytes; `None`: nothing of it.
pub fn kept(shown: &Value) -> Option<String> {
    let reduced = reduce(shown, 0)?;
    if is_empty(&reduced) {
        return None;
    }
    let text = reduced.to_string();
    if text.len() <= MOST_BYTES {
        return Some(text);
    }
    // Too long: the plain fields of the first level, as far as there is room.
    let mut flat = Map::new();
    let mut room = MOST_BYTES - 64;
    if let Value::Object(fields) = reduced {
        for (name, value) in fields {
            let size = name.len() + value.to_string().len() + 8;
            if !value.is_object() && !value.is_array() && size <= room {
                room -= size;
                flat.insert(name, value);
            }
        }
    }
    flat.insert("_bytes".to_owned(), text.len().into());
    Some(Value::Object(flat).to_string())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn reduce(value: &Value, depth: usize) -> Option<Value> {
    if depth > DEEPEST {
        return None;
    }
    Some(match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => Value::String(shortened(text)),
        Value::Array(items) => {
            let items = items.iter().take(MOST_ITEMS);
            Value::Array(items.filter_map(|item| reduce(item, depth + 1)).collect())
        }
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| KEPT.binary_search(&name.as_str()).is_ok());
            let kept = kept.filter_map(|(name, value)| {
                let value = match value {
                    Value::String(url) if name == "url" => Value::String(origin(url)),
                    value => reduce(value, depth + 1)?,
                };
                Some((name.clone(), value))
            });
            Value::Object(kept.collect())
        }
    })
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_CHARS) {
        None => text.replace('\0', ""),
        Some((end, _)) => format!("{}…", text[..end].replace('\0', "")),
    }
}

/// Scheme, host and port of a URL: the rest may be a credential.
fn origin(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return String::new() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    shortened(&format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_and_texts_of_users_are_left_out() {
        assert!(KEPT.is_sorted(), "sort the list");
        let shown = json!({
            "id": 3, "name": "ci", "token": "phak_x", "key": "phak_x", "secret": "s", "env": {"A": "b"},
            "encrypted_env": "ff", "docker_compose_file": "services: {}", "scopes": ["keys"],
            "url": "https://user:pw@hooks.example.org:8443/T000/secret?x=y",
            "resource": {"vcpu": 1, "password": "p"},
        });
        let text = kept(&shown).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({"id": 3, "name": "ci", "scopes": ["keys"], "url": "https://hooks.example.org:8443",
                   "resource": {"vcpu": 1}})
        );
        assert_eq!(kept(&json!({"secret": "s"})), None);
        assert_eq!(kept(&Value::Null), None);
    }

    fn shown() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![any::<i64>().prop_map(Value::from), ".{0,600}".prop_map(Value::from)];
        leaf.prop_recursive(6, 200, 40, |inner| {
            let name = prop::sample::select(KEPT);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..40).prop_map(Value::from),
                prop::collection::btree_map(name.prop_map(str::to_owned), inner, 0..40)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_state_is_bounded_json(shown in shown()) {
            if let Some(text) = kept(&shown) {
                prop_assert!(text.len() <= MOST_BYTES, "{}", text.len());
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            }
        }
    }
}
