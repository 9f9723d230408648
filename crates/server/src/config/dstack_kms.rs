//! `[[kms.dstack]]`: each dstack-kms.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use casemate_core::id::{Address, AppId};
use casemate_engine::kms::dstack::{DstackKmsConfig, InvalidPinnedKey, PinnedKeys, check_url};
use serde::Deserialize;

use super::{Chain, ConfigError, Kms, chains};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct DstackKms {
    pub slug: String,
    pub url: String,
    pub k256_public_keys: Vec<String>,
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    #[serde(default)]
    guest_urls: Vec<String>,
    #[serde(default = "five_seconds")]
    timeout_ms: u64,
    #[serde(default)]
    pub chain: Option<String>,
    #[serde(default)]
    pub contract: Option<Address>,
    #[serde(default)]
    pub gateway_app_id: Option<String>,
}

const fn five_seconds() -> u64 {
    5000
}

impl DstackKms {
    /// Where guests reach it.
    pub fn guest_urls(&self) -> Vec<String> {
        if self.guest_urls.is_empty() { vec![self.url.clone()] } else { self.guest_urls.clone() }
    }

    /// Its pinned keys.
    pub fn keys(&self) -> Result<PinnedKeys, InvalidPinnedKey> {
        PinnedKeys::from_hex(&self.k256_public_keys)
    }

    /// The settings of its client.
    pub fn client(&self) -> Result<DstackKmsConfig, InvalidPinnedKey> {
        Ok(DstackKmsConfig {
            url: self.url.clone(),
            keys: self.keys()?,
            ca_file: self.ca_file.clone(),
            timeout: Duration::from_millis(self.timeout_ms),
        })
    }
}

/// Checks them; errors name the key.
pub(super) fn check(all: &[Chain], kms: &Kms) -> Result<(), ConfigError> {
    let mut slugs = BTreeSet::from([kms.slug.as_str()]);
    slugs.extend(kms.contracts.iter().map(|contract| contract.slug.as_str()));
    let under = kms.contracts.iter().map(|contract| (contract.chain.as_str(), contract.address));
    let mut contracts: BTreeSet<(&str, Address)> = under.collect();
    let mut first_keys = BTreeSet::new();
    for (index, dstack) in kms.dstack.iter().enumerate() {
        let refuse = |key: &str, reason: &str| chains::refuse(&key_of(index, key), reason);
        chains::check_slug(&dstack.slug, &mut slugs).or_else(|why| refuse("slug", why))?;
        check_url(&dstack.url).or_else(|why| refuse("url", &why))?;
        let keys = match dstack.keys() {
            Ok(keys) => keys,
            Err(why) => return refuse("k256_public_keys", &why.to_string()),
        };
        if !first_keys.insert(keys.first()) {
            return refuse("k256_public_keys[0]", "is that of another KMS");
        }
        if dstack.ca_file.as_ref().is_some_and(|file| !file.is_absolute()) {
            return refuse("ca_file", "must be an absolute path");
        }
        if dstack.ca_file.is_some() && !dstack.url.starts_with("https://") {
            return refuse("ca_file", "is for a url with https://");
        }
        for (at, url) in dstack.guest_urls.iter().enumerate() {
            check_url(url).or_else(|why| refuse(&format!("guest_urls[{at}]"), &why))?;
        }
        if !(100..=30_000).contains(&dstack.timeout_ms) {
            return refuse("timeout_ms", "must be 100 to 30000");
        }
        match (&dstack.chain, dstack.contract) {
            (None, None) if dstack.gateway_app_id.is_some() => {
                return refuse("gateway_app_id", "is for a KMS with chain and contract");
            }
            (None, None) => {}
            (Some(_), None) => return refuse("contract", "is required with chain"),
            (None, Some(_)) => return refuse("chain", "is required with contract"),
            (Some(chain), Some(contract)) => {
                if !all.iter().any(|known| known.name == *chain) {
                    return refuse("chain", "names none of chains");
                }
                if contract.as_bytes() == &[0; 20] {
                    return refuse("contract", "must be the address of the contract of the KMS");
                }
                if !contracts.insert((chain, contract)) {
                    return refuse("contract", "is the contract of another KMS on this chain");
                }
            }
        }
        let gateway = dstack.gateway_app_id.as_deref();
        if gateway.is_some_and(|id| id != "any" && id.parse::<AppId>().is_err()) {
            return refuse("gateway_app_id", "must be an app id or \"any\"");
        }
    }
    Ok(())
}

/// The whole name of a key.
pub fn key_of(index: usize, key: &str) -> String {
    format!("kms.dstack[{index}].{key}")
}

#[cfg(test)]
mod tests {
    use figment::{
        Figment,
        providers::{Format, Toml},
    };

    use super::*;
    use crate::config::{Config, DEFAULTS};

    const KEY: &str = "02157eb504b033963ac4835f59ef822a68a259f556e67600f0face202712803024";
    const OTHER: &str = "033cb4f1e1a6f42f929658e838e766de28cc90907b7b39f4143b34c0b07135d58b";
    const CHAIN: &str =
        "[[chains]]\nname = \"base\"\nchain_id = 8453\nrpc_urls = [\"https://rpc.test\"]\n";

    fn section(slug: &str, key: &str, more: &str) -> String {
        format!(
            "[[kms.dstack]]\nslug = \"{slug}\"\nurl = \"https://kms.test:8000\"\n\
             k256_public_keys = [\"{key}\"]\n{more}\n"
        )
    }

    fn load(text: &str) -> Result<Config, String> {
        let figment = Figment::new().merge(Toml::string(DEFAULTS)).merge(Toml::string(text));
        let config: Config = figment.extract().map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_kms_is_read_with_what_may_be_left_out() {
        let config = load(&section("rack", KEY, "")).unwrap();
        let kms = &config.kms.dstack[0];
        assert_eq!(kms.guest_urls(), ["https://kms.test:8000"]);
        assert_eq!(hex::encode(kms.keys().unwrap().first()), KEY);
        let more = format!(
            "ca_file = \"/etc/kms.pem\"\nguest_urls = [\"https://10.0.0.1:1\", \"https://10.0.0.2:1\"]\n\
             timeout_ms = 700\nchain = \"base\"\ncontract = \"0x{}\"\ngateway_app_id = \"any\"",
            "1a".repeat(20)
        );
        let config = load(&format!("{CHAIN}{}", section("rack", KEY, &more))).unwrap();
        assert_eq!(config.kms.dstack[0].guest_urls().len(), 2);
        assert_eq!(config.kms.dstack[0].client().unwrap().timeout, Duration::from_millis(700));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_the_name_of_its_key() {
        let one = section("rack", KEY, "");
        let contract = format!("contract = \"0x{}\"", "1a".repeat(20));
        let node = "[[nodes]]\nname = \"rack-1\"\nkind = \"dstack\"\nurl = \"http://a\"\ntee = \"tdx\"\n\
                    limits = { disk_gb = 1 }\n";
        load(&format!("{one}{node}kms = \"rack\"\n")).unwrap();
        let cases = [
            (format!("{one}{}", section("rack", OTHER, "")), "kms.dstack[1].slug"),
            (section("builtin", KEY, ""), "kms.dstack[0].slug"),
            (section("phala", KEY, ""), "kms.dstack[0].slug"),
            (section("A b", KEY, ""), "kms.dstack[0].slug"),
            (one.replace("https:", "ftp:"), "kms.dstack[0].url"),
            (one.replace("https://", "https://u:s3cret@"), "kms.dstack[0].url"),
            (one.replace("https://kms.test:8000", "unix:/s"), "kms.dstack[0].url"),
            (section("rack", "02aa", ""), "kms.dstack[0].k256_public_keys: [0]"),
            (section("rack", &format!("04{}", "1".repeat(64)), ""), "k256_public_keys: [0]"),
            (section("rack", &format!("{KEY}\", \"0x{KEY}"), ""), "k256_public_keys: [1] is there"),
            (one.replace(&format!("\"{KEY}\""), ""), "must name at least one key"),
            (format!("{one}{}", section("other", KEY, "")), "kms.dstack[1].k256_public_keys[0]"),
            (section("rack", KEY, "ca_file = \"kms.pem\""), "kms.dstack[0].ca_file"),
            (
                section("rack", KEY, "ca_file = \"/k\"").replace("https:", "http:"),
                "kms.dstack[0].ca_file",
            ),
            (section("rack", KEY, "guest_urls = [\"x\"]"), "kms.dstack[0].guest_urls[0]"),
            (section("rack", KEY, "timeout_ms = 1"), "kms.dstack[0].timeout_ms"),
            (section("rack", KEY, "chain = \"base\""), "kms.dstack[0].contract"),
            (section("rack", KEY, &contract), "kms.dstack[0].chain"),
            (
                section("rack", KEY, &format!("{contract}\nchain = \"x\"")),
                "kms.dstack[0].chain: names none",
            ),
            (section("rack", KEY, "gateway_app_id = \"any\""), "kms.dstack[0].gateway_app_id"),
            (section("rack", KEY, "token = \"s3cret\""), "token"),
            (format!("{one}{node}kms = \"rock\"\n"), "nodes[0].kms"),
        ];
        for (text, key) in cases {
            let error = load(&text).unwrap_err();
            assert!(error.contains(key), "{key}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
