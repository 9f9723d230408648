//! `[[gateways]]`: clusters of dstack-gateway. `[gateway_auth]`: which guests they may accept.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use casemate_core::{name::check_node_name, registration::Rule};
use casemate_engine::node::dstack::VmmAddress;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{ConfigError, ConfiguredNode};
use crate::nodes::settings::DriverSettings;

/// A cluster of dstack-gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct ConfiguredGateway {
    pub name: String,
    pub admin_url: String,
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    #[serde(default)]
    pub rpc_url: Option<String>,
    pub base_domains: Vec<String>,
}

/// The listener that clusters ask before they accept a guest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct GatewayAuth {
    #[serde(deserialize_with = "address")]
    pub listen: Option<SocketAddr>,
    #[serde(deserialize_with = "path")]
    pub token_file: Option<PathBuf>,
    pub accept: Accept,
}

/// From when on a guest is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accept {
    /// While it boots.
    Booting,
    /// When its boot is done.
    Booted,
}

impl From<Accept> for Rule {
    fn from(accept: Accept) -> Self {
        match accept {
            Accept::Booting => Self::WhileBooting,
            Accept::Booted => Self::AfterBoot,
        }
    }
}

/// An address; an empty text is none.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    let parse = || text.parse().map_err(|_| D::Error::custom("must be IP:PORT"));
    if text.is_empty() { Ok(None) } else { parse().map(Some) }
}

fn path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(from)?;
    Ok((!text.is_empty()).then(|| text.into()))
}

fn refuse(key: &str, reason: impl Into<String>) -> Result<(), ConfigError> {
    Err(ConfigError::Value { key: key.to_owned(), reason: reason.into() })
}

impl GatewayAuth {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.token_file.as_ref().is_some_and(|path| path.is_relative()) {
            return refuse("gateway_auth.token_file", "must be an absolute path");
        }
        let is_open = self.listen.is_some_and(|address| !address.ip().is_loopback());
        if is_open && self.token_file.is_none() {
            let why = "is required where gateway_auth.listen is not a loopback address";
            return refuse("gateway_auth.token_file", why);
        }
        Ok(())
    }
}

pub(super) fn check(
    gateways: &[ConfiguredGateway],
    nodes: &[ConfiguredNode],
) -> Result<(), ConfigError> {
    let (mut names, mut domains) = (BTreeSet::new(), BTreeSet::new());
    for (index, gateway) in gateways.iter().enumerate() {
        let refuse =
            |key: &str, reason: String| refuse(&format!("gateways[{index}].{key}"), reason);
        if let Err(why) = check_node_name(&gateway.name) {
            return refuse("name", why.to_string());
        }
        if !names.insert(gateway.name.as_str()) {
            return refuse("name", format!("{} is there twice", gateway.name));
        }
        if let Err(why) = gateway.admin_url.parse::<VmmAddress>() {
            return refuse("admin_url", why);
        }
        if let Some(Err(why)) = gateway.rpc_url.as_deref().map(str::parse::<VmmAddress>) {
            return refuse("rpc_url", why);
        }
        for (key, path) in [("token_file", &gateway.token_file), ("ca_file", &gateway.ca_file)] {
            if path.as_ref().is_some_and(|path| path.is_relative()) {
                return refuse(key, "must be an absolute path".to_owned());
            }
        }
        if gateway.user.is_some() && gateway.token_file.is_none() {
            let why = "is required with user: the file of its password";
            return refuse("token_file", why.to_owned());
        }
        if gateway.base_domains.is_empty() {
            return refuse("base_domains", "must name at least one domain".to_owned());
        }
        for (at, domain) in gateway.base_domains.iter().enumerate() {
            let key = format!("base_domains[{at}]");
            if !is_base_domain(domain) {
                return refuse(
                    &key,
                    "must be a domain in lower case, with :PORT if not 443".into(),
                );
            }
            if !domains.insert(domain) {
                return refuse(&key, format!("{domain} is there twice"));
            }
        }
    }
    for (index, node) in nodes.iter().enumerate() {
        let DriverSettings::Dstack(access) = &node.driver else { continue };
        if let Some(name) = access.gateways.iter().find(|name| !names.contains(name.as_str())) {
            let why = format!("{name} is not one of [[gateways]]");
            return refuse(&format!("nodes[{index}].gateways"), why);
        }
    }
    Ok(())
}

/// `apps.example.com`, `apps.example.com:8443`.
fn is_base_domain(text: &str) -> bool {
    let (domain, port) =
        text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0 && port != 443);
    domain.len() <= 200 && domain.split('.').all(is_label) && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Overrides};

    const GATEWAY: &str = "[[gateways]]\nname = \"eu-1\"\nadmin_url = \"https://gw:8011\"\n\
        base_domains = [\"apps.example.com\"]\n";

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(Some(file), &Overrides::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_cluster_and_its_node_are_read() {
        let node = "[[nodes]]\nname = \"rack-1\"\nkind = \"dstack\"\nurl = \"http://a:1\"\n\
            tee = \"tdx\"\nlimits = { disk_gb = 9 }\ngateways = [\"eu-1\"]\n";
        let config = load(&format!("{GATEWAY}{node}")).unwrap();
        assert_eq!(config.gateways[0].base_domains, ["apps.example.com"]);
        let none = load("").unwrap();
        assert!(none.gateways.is_empty() && none.gateway_auth.listen.is_none());
        let error = load(node).unwrap_err();
        assert!(error.contains("nodes[0].gateways: eu-1"), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_the_name_of_its_key() {
        let with = |line: &str| format!("{GATEWAY}{line}\n");
        let domain = |domain: &str| GATEWAY.replace("apps.example.com", domain);
        let cases = [
            (GATEWAY.replace("eu-1", "EU"), "gateways[0].name"),
            (format!("{GATEWAY}{GATEWAY}"), "gateways[1].name"),
            (
                format!("{GATEWAY}{}", GATEWAY.replace("eu-1", "eu-2")),
                "gateways[1].base_domains[0]",
            ),
            (GATEWAY.replace("https://gw:8011", "gw:8011"), "gateways[0].admin_url"),
            (GATEWAY.replace("https://gw", "https://u:s3cret@gw"), "gateways[0].admin_url"),
            (with("rpc_url = \"x\""), "gateways[0].rpc_url"),
            (with("token_file = \"t\""), "gateways[0].token_file"),
            (with("ca_file = \"c\""), "gateways[0].ca_file"),
            (with("user = \"u\""), "gateways[0].token_file"),
            (GATEWAY.replace("\"apps.example.com\"", ""), "gateways[0].base_domains"),
            (domain("Apps.example"), "gateways[0].base_domains[0]"),
            (domain("a..b"), "gateways[0].base_domains[0]"),
            (domain("a.b:443"), "gateways[0].base_domains[0]"),
            (domain("https://a.b"), "gateways[0].base_domains[0]"),
            (with("token = \"s3cret\""), "token"),
            ("[gateway_auth]\nlisten = \"0.0.0.0:8093\"\n".to_owned(), "gateway_auth.token_file"),
            ("[gateway_auth]\nlisten = \"here\"\n".to_owned(), "listen"),
            ("[gateway_auth]\ntoken_file = \"t\"\n".to_owned(), "gateway_auth.token_file"),
            ("[gateway_auth]\naccept = \"all\"\n".to_owned(), "accept"),
        ];
        for (text, key) in cases {
            let error = load(&text).unwrap_err();
            assert!(error.contains(key), "{key}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        load("[gateway_auth]\nlisten = \"127.0.0.1:8093\"\n").unwrap();
        load(&domain("a.b:8443")).unwrap();
    }
}
