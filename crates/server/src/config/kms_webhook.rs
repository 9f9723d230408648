//! `[kms_webhook]`: the authorisation webhook for dstack-kms.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    str::FromStr,
};

use casemate_core::{
    boot_auth::{Allowlist, KmsPolicy, Measurement, PlatformPolicy, Policy},
    id::AppId,
};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{ConfigError, list};

/// The word for "not checked".
const ANY: &str = "any";

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct KmsWebhook {
    #[serde(deserialize_with = "address")]
    pub listen: Option<SocketAddr>,
    pub token_file: PathBuf,
    pub gateway_app_id: String,
    pub device: Check,
    pub os_image: Check,
    pub os_images: BTreeMap<String, Vec<String>>,
    #[serde(deserialize_with = "list")]
    pub tcb_statuses: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub advisory_ids: Vec<String>,
    pub epochs: BTreeMap<String, BTreeSet<u64>>,
    #[serde(deserialize_with = "list")]
    pub launch_ticket_hashes: Vec<String>,
    pub kms: KmsInstances,
    /// From `CASEMATE_KMS_WEBHOOK_TOKEN` only.
    #[serde(skip)]
    pub token: Option<SecretString>,
}

/// `[kms_webhook.kms]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsInstances {
    #[serde(deserialize_with = "list")]
    pub mr_aggregated: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub devices: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub os_images: Vec<String>,
}

/// Whether a fact of a guest is checked against what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    Known,
    Any,
}

/// An address; an empty text is none.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    let text = Some(text).filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}

fn refuse(key: &str, reason: &impl ToString) -> ConfigError {
    ConfigError::Value { key: format!("kms_webhook.{key}"), reason: reason.to_string() }
}

/// Values of a list; the error names the key.
fn parse<T: FromStr<Err: ToString> + Ord>(
    key: &str,
    texts: &[String],
) -> Result<BTreeSet<T>, ConfigError> {
    let named = |why: T::Err| refuse(key, &why);
    texts.iter().map(|text| text.parse().map_err(named)).collect()
}

fn allowlist<T: FromStr<Err: ToString> + Ord>(
    key: &str,
    texts: &[String],
) -> Result<Allowlist<T>, ConfigError> {
    match texts {
        [one] if one == ANY => Ok(Allowlist::Any),
        _ => parse(key, texts).map(Allowlist::Only),
    }
}

impl KmsWebhook {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let has_token = self.token.is_some() || !self.token_file.as_os_str().is_empty();
        if self.listen.is_some() && !has_token {
            let why = "is required with listen: guests on the same host may reach it";
            return Err(refuse("token_file", &why));
        }
        if !["", ANY].contains(&self.gateway_app_id.as_str()) {
            let id: Result<AppId, _> = self.gateway_app_id.parse();
            id.map_err(|why| refuse("gateway_app_id", &why))?;
        }
        self.os_images()?;
        self.policy().map(drop)
    }

    /// The rules for decisions.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        let words = |words: &[String]| words.iter().cloned().collect();
        let tickets = parse("launch_ticket_hashes", &self.launch_ticket_hashes)?;
        Ok(Policy {
            check_device: self.device == Check::Known,
            check_os_image: self.os_image == Check::Known,
            platform: PlatformPolicy {
                tcb_statuses: words(&self.tcb_statuses),
                advisory_ids: words(&self.advisory_ids),
                epochs: self.epochs.clone(),
                launch_tickets: tickets,
            },
            kms: KmsPolicy {
                mr_aggregated: parse("kms.mr_aggregated", &self.kms.mr_aggregated)?,
                devices: allowlist("kms.devices", &self.kms.devices)?,
                os_images: allowlist("kms.os_images", &self.kms.os_images)?,
            },
        })
    }

    /// Hashes of OS images by name.
    pub fn os_images(&self) -> Result<BTreeMap<String, BTreeSet<Measurement>>, ConfigError> {
        let images = self.os_images.iter();
        images.map(|(name, hashes)| Ok((name.clone(), parse("os_images", hashes)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Overrides};

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(Some(file), &Overrides::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_off_and_strict_by_default() {
        let config = load("").unwrap().kms_webhook;
        assert_eq!(config.listen, None);
        let policy = config.policy().unwrap();
        assert!(policy.check_device && policy.check_os_image);
        assert_eq!(policy.platform.tcb_statuses, ["UpToDate".to_owned()].into());
        assert!(policy.kms.mr_aggregated.is_empty());
    }

    #[test]
    fn a_listener_needs_a_token() {
        for address in ["127.0.0.1:8092", "10.0.0.7:8092"] {
            let listen = format!("[kms_webhook]\nlisten = \"{address}\"\n");
            let refused = load(&listen).unwrap_err();
            assert!(refused.contains("kms_webhook.token_file"), "{refused}");
            assert!(load(&format!("{listen}token_file = \"/t\"\n")).is_ok());
        }
    }

    #[test]
    fn a_wrong_value_is_refused_by_its_key() {
        for (key, value) in [
            ("gateway_app_id", "\"gateway\""),
            ("device", "\"maybe\""),
            ("os_images", "{ \"dstack-0.6.0\" = [\"22\"] }"),
            ("launch_ticket_hashes", "[\"ticket\"]"),
            ("epochs", "{ rootEpoch = [-1] }"),
            ("listen", "\"here\""),
            ("kms.mr_aggregated", "[\"any\"]"),
            ("kms.devices", "[\"any\", \"77\"]"),
            ("kms.os_images", "[\"x\"]"),
        ] {
            let refused = load(&format!("[kms_webhook]\n{key} = {value}\n")).unwrap_err();
            let last = key.rsplit('.').next().unwrap();
            assert!(refused.contains(last), "{key}: {refused}");
        }
        let some =
            "[kms_webhook]\ngateway_app_id = \"any\"\n[kms_webhook.kms]\ndevices = [\"any\"]\n";
        assert!(load(some).is_ok());
    }
}
