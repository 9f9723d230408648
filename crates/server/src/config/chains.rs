//! Chains with contracts that govern apps, and their KMS contracts. RPC URLs may contain keys, so no error
//! here repeats one.

use std::{collections::BTreeSet, fmt, marker::PhantomData, path::PathBuf, time::Duration};

use casemate_api::kms_type::KmsType;
use casemate_core::id::{Address, AppId};
use casemate_engine::chain::rpc::{self, Tip};
use http::Uri;
use secrecy::{ExposeSecret, SecretString};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, SeqAccess, Visitor},
};

use super::{ConfigError, Kms};

/// Words that have another meaning in place of a slug.
const TAKEN: [&str; 5] = ["phala", "ethereum", "base", "legacy", "on-chain"];

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Chain {
    pub name: String,
    #[serde(default)]
    kind: Option<KmsType>,
    pub chain_id: u64,
    #[serde(deserialize_with = "urls")]
    pub rpc_urls: Vec<SecretString>,
    #[serde(default = "one")]
    pub confirmations: u64,
    #[serde(default, deserialize_with = "tip")]
    pub tip: Tip,
    #[serde(default = "four_seconds")]
    pub timeout_ms: u64,
    #[serde(default)]
    explorer: Option<String>,
}

const fn one() -> u64 {
    1
}

const fn four_seconds() -> u64 {
    4000
}

impl Chain {
    /// The kind of KMS by which clients choose it: `base` or `ethereum`.
    pub fn kind(&self) -> Option<KmsType> {
        self.kind.or_else(|| self.name.parse().ok()).filter(|kind| kind.is_onchain())
    }

    /// The settings of its RPC client.
    pub fn rpc(&self) -> rpc::Config {
        rpc::Config {
            confirmations: self.confirmations,
            tip: self.tip,
            call_timeout: Duration::from_millis(self.timeout_ms),
            ..rpc::Config::new(self.chain_id, self.rpc_urls.clone())
        }
    }

    /// URL of the block explorer, without a trailing slash.
    pub fn explorer(&self) -> Option<String> {
        let explorer = self.explorer.as_deref()?.trim_end_matches('/');
        (!explorer.is_empty()).then(|| explorer.to_owned())
    }
}

/// A block tag of the chain's JSON-RPC interface.
fn tip<'de, D: Deserializer<'de>>(from: D) -> Result<Tip, D::Error> {
    let word = String::deserialize(from)?;
    let known = [Tip::Latest, Tip::Safe, Tip::Finalized].into_iter().find(|tip| tip.tag() == word);
    known.ok_or_else(|| D::Error::custom("must be \"latest\", \"safe\" or \"finalized\""))
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct KmsContract {
    pub slug: String,
    pub chain: String,
    pub address: Address,
    #[serde(default)]
    pub gateway_app_id: Option<String>,
    #[serde(default)]
    pub root_key_file: Option<PathBuf>,
}

/// Validates chains and KMS contracts; errors name the key.
pub(super) fn check(chains: &[Chain], kms: &Kms) -> Result<(), ConfigError> {
    let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for (index, chain) in chains.iter().enumerate() {
        let refuse = |key: &str, reason: &str| refuse(&format!("chains[{index}].{key}"), reason);
        if !is_word(&chain.name) {
            return refuse("name", "must be lower-case letters, digits and dashes");
        }
        if !names.insert(&chain.name) {
            return refuse("name", "is the name of another chain");
        }
        if chain.kind().is_none() {
            return refuse("kind", "must be \"base\" or \"ethereum\"");
        }
        // Clients read it as a JSON number.
        if !(1..=(1 << 53)).contains(&chain.chain_id) {
            return refuse("chain_id", "must be a number from 1 to 2^53");
        }
        if !ids.insert(chain.chain_id) {
            return refuse("chain_id", "is the id of another chain");
        }
        if chain.rpc_urls.is_empty() {
            return refuse("rpc_urls", "must name at least one endpoint");
        }
        for (at, url) in chain.rpc_urls.iter().enumerate() {
            if !is_http(url.expose_secret()) {
                return refuse(&format!("rpc_urls[{at}]"), "must be an http or https URL");
            }
        }
        if !(1..=256).contains(&chain.confirmations) {
            return refuse("confirmations", "must be 1 to 256");
        }
        if !(100..=15_000).contains(&chain.timeout_ms) {
            return refuse("timeout_ms", "must be 100 to 15000");
        }
        if chain.explorer().is_some_and(|url| !is_http(&url)) {
            return refuse("explorer", "must be an http or https URL");
        }
    }
    check_contracts(chains, kms)
}

fn check_contracts(chains: &[Chain], kms: &Kms) -> Result<(), ConfigError> {
    let mut slugs = BTreeSet::from([kms.slug.as_str()]);
    let mut contracts = BTreeSet::new();
    for (index, contract) in kms.contracts.iter().enumerate() {
        let refuse =
            |key: &str, reason: &str| refuse(&format!("kms.contracts[{index}].{key}"), reason);
        let slug = contract.slug.as_str();
        check_slug(slug, &mut slugs).or_else(|why| refuse("slug", why))?;
        if !chains.iter().any(|chain| chain.name == contract.chain) {
            return refuse("chain", "names none of chains");
        }
        if contract.address.as_bytes() == &[0; 20] {
            return refuse("address", "must be the address of the contract of the KMS");
        }
        if !contracts.insert((contract.chain.as_str(), contract.address)) {
            return refuse("address", "is the contract of another KMS on this chain");
        }
        let gateway = contract.gateway_app_id.as_deref();
        if gateway.is_some_and(|id| id != "any" && id.parse::<AppId>().is_err()) {
            return refuse("gateway_app_id", "must be an app id or \"any\"");
        }
    }
    Ok(())
}

/// Whether a slug can be that of one more KMS.
pub(super) fn check_slug<'a>(
    slug: &'a str,
    others: &mut BTreeSet<&'a str>,
) -> Result<(), &'static str> {
    if !is_word(slug) {
        return Err("must be lower-case letters, digits and dashes");
    }
    if TAKEN.contains(&slug) {
        return Err("is a word that means something else to clients");
    }
    if others.insert(slug) { Ok(()) } else { Err("is the slug of another KMS") }
}

pub(super) fn refuse(key: &str, reason: &str) -> Result<(), ConfigError> {
    Err(ConfigError::Value { key: key.to_owned(), reason: reason.to_owned() })
}

/// Whether a text may be part of a path: 1 to 63 lower-case letters, digits and dashes, no dash at either
/// end.
fn is_word(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_http(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.host().is_some_and(|host| !host.is_empty())
    })
}

/// A list of tables. The error for anything else does not repeat the value.
pub(super) fn tables<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    struct Tables<T>(PhantomData<T>);
    impl<'de, T: DeserializeOwned> Visitor<'de> for Tables<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of tables")
        }
        fn visit_str<E: Error>(self, _: &str) -> Result<Vec<T>, E> {
            Err(E::custom("must be a list of tables, as in config.default.toml"))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut tables = Vec::new();
            while let Some(table) = list.next_element()? {
                tables.push(table);
            }
            Ok(tables)
        }
    }
    from.deserialize_any(Tables(PhantomData))
}

/// URLs: a list, or comma-separated texts.
fn urls<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SecretString>, D::Error> {
    struct Urls;
    impl<'de> Visitor<'de> for Urls {
        type Value = Vec<SecretString>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of URLs")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text
                .split(',')
                .map(str::trim)
                .filter(|url| !url.is_empty())
                .map(Into::into)
                .collect())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut urls = Vec::new();
            while let Some(url) = list.next_element::<SecretString>()? {
                urls.push(url);
            }
            Ok(urls)
        }
    }
    from.deserialize_any(Urls)
}

#[cfg(test)]
mod tests {
    use figment::{
        Figment,
        providers::{Format, Serialized, Toml},
    };

    use super::*;
    use crate::config::{Config, DEFAULTS};

    const CHAIN: &str =
        "[[chains]]\nname = \"base\"\nchain_id = 8453\nrpc_urls = [\"https://rpc.test/s3cret\"]\n";
    const CONTRACT: &str =
        "[[kms.contracts]]\nslug = \"kms-base-1\"\nchain = \"base\"\naddress = \"0x11\"\n";

    fn contract() -> String {
        CONTRACT.replace("0x11", &format!("0x{}", "1A".repeat(20)))
    }

    fn load(text: &str) -> Result<Config, String> {
        let figment = Figment::new().merge(Toml::string(DEFAULTS)).merge(Toml::string(text));
        let config: Config = figment.extract().map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_chain_and_a_contract_are_read_with_what_may_be_left_out() {
        let config = load(&format!("{CHAIN}{}", contract())).unwrap();
        let chain = &config.chains[0];
        assert_eq!(chain.kind(), Some(KmsType::Base));
        assert_eq!((chain.confirmations, chain.tip, chain.timeout_ms), (1, Tip::Latest, 4000));
        assert_eq!(chain.explorer(), None);
        assert_eq!(config.kms.contracts[0].address.to_string(), "1a".repeat(20));
        let more = CHAIN.replace("name = \"base\"", "name = \"sepolia\"\nkind = \"BASE\"")
            + "confirmations = 3\ntip = \"safe\"\nexplorer = \"https://scan.test/\"\n";
        let chain = &load(&more).unwrap().chains[0];
        assert_eq!(chain.kind(), Some(KmsType::Base));
        assert_eq!((chain.confirmations, chain.tip.tag()), (3, "safe"));
        assert_eq!(chain.explorer().unwrap(), "https://scan.test");
        assert!(load("").unwrap().chains.is_empty());
        assert!(!format!("{config:?}").contains("s3cret"), "addresses are not shown");
    }

    /// In the form of an environment variable.
    #[test]
    fn both_lists_may_be_texts() {
        let chains = "[{name=\"base\",chain_id=8453,rpc_urls=[\"http://a:1/x?y=z\",\"http://b\"]}]";
        let contracts = "[{slug=\"kms-1\",chain=\"base\",address=\"0x1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a\"}]";
        let text = |text: &str| text.parse::<figment::value::Value>().unwrap();
        let config: Config = Figment::new()
            .merge(Toml::string(DEFAULTS))
            .merge(Serialized::default("chains", text(chains)))
            .merge(Serialized::default("kms.contracts", text(contracts)))
            .extract()
            .unwrap();
        config.check().unwrap();
        let urls: Vec<_> =
            config.chains[0].rpc_urls.iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!(urls, ["http://a:1/x?y=z", "http://b"]);
        assert_eq!(config.kms.contracts[0].slug, "kms-1");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_the_name_of_its_key() {
        let (both, contract) = (format!("{CHAIN}{}", contract()), contract());
        let cases = [
            (CHAIN.replace("\"base\"", "\"Base!\""), "chains[0].name"),
            (format!("{CHAIN}{CHAIN}"), "chains[1].name"),
            (CHAIN.replace("\"base\"", "\"polygon\""), "chains[0].kind"),
            (CHAIN.to_owned() + "kind = \"phala\"\n", "chains[0].kind"),
            (CHAIN.replace("8453", "0"), "chains[0].chain_id"),
            (CHAIN.to_owned() + &CHAIN.replace("\"base\"", "\"ethereum\""), "chains[1].chain_id"),
            (CHAIN.replace("\"https://rpc.test/s3cret\"", ""), "chains[0].rpc_urls"),
            (CHAIN.replace("https:", "ftp:"), "chains[0].rpc_urls[0]"),
            (CHAIN.replace("https://rpc.test/", ""), "chains[0].rpc_urls[0]"),
            (CHAIN.to_owned() + "confirmations = 0\n", "chains[0].confirmations"),
            (CHAIN.to_owned() + "timeout_ms = 1\n", "chains[0].timeout_ms"),
            (CHAIN.to_owned() + "explorer = \"scan\"\n", "chains[0].explorer"),
            (CHAIN.to_owned() + "tip = \"newest\"\n", "tip"),
            (CHAIN.to_owned() + "rpc_url = \"https://s3cret\"\n", "rpc_url"),
            ("chains = \"https://s3cret\"\n".to_owned(), "list of tables"),
            (contract.clone(), "kms.contracts[0].chain"),
            (format!("{both}{contract}"), "kms.contracts[1].slug"),
            (both.replace("kms-base-1", "builtin"), "kms.contracts[0].slug"),
            (both.replace("kms-base-1", "base"), "kms.contracts[0].slug"),
            (both.replace("kms-base-1", "a/b"), "kms.contracts[0].slug"),
            (both.clone() + &contract.replace("kms-base-1", "other"), "kms.contracts[1].address"),
            (both.replace("1A", "00"), "kms.contracts[0].address"),
            (both.replace("1A", "zz"), "not a valid address"),
            (both + "gateway_app_id = \"x\"\n", "kms.contracts[0].gateway_app_id"),
        ];
        for (text, key) in cases {
            let error = load(&text).unwrap_err();
            assert!(error.contains(key), "{key}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
