//! What a CVM's guest reads as its user config.

use casemate_api::reply::UserConfig;
use serde_json::Value;

/// `GET /cvms/{id}/user_config`; the same in every version. A text that is no JSON object, which a
/// guest may well want, has only itself to show.
pub fn user_config(text: Option<&str>) -> UserConfig {
    let parsed: Value =
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let word = |key: &str| parsed.get(key).and_then(Value::as_str).map(str::to_owned);
    let keys = parsed.get("ssh_authorized_keys").and_then(Value::as_array);
    UserConfig {
        hostname: word("hostname"),
        ssh_authorized_keys: keys
            .into_iter()
            .flatten()
            .filter_map(|key| key.as_str().map(str::to_owned))
            .collect(),
        default_gateway_domain: word("default_gateway_domain"),
        user_config: text.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_a_text_of_its_own_is_shown() {
        let shown = user_config(Some(r#"{"hostname":"h","ssh_authorized_keys":["ssh-rsa A", 1]}"#));
        assert_eq!(shown.hostname.as_deref(), Some("h"));
        assert_eq!(shown.ssh_authorized_keys, ["ssh-rsa A"]);
        let own = user_config(Some("KEY=value"));
        assert_eq!((own.hostname, own.user_config.as_deref()), (None, Some("KEY=value")));
        assert_eq!(user_config(None), UserConfig::default());
    }
}
