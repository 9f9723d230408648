//! Where requests go whose URL a user gave. The rules apply twice: to the URL when it is stored, and to the
//! addresses of its host when it is called.

use std::net::IpAddr;

use url::{Host, Url};

use crate::address::{Reach, reach};

/// Maximum length of a URL, bytes.
pub const MAX_URL: usize = 2048;

/// What an operator allows of URLs that users give. The default allows `https` to public addresses on ports
/// 443 and 8443.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetPolicy {
    /// Also loopback and private networks. Link-local addresses stay refused.
    pub allow_private: bool,
    /// Also `http`, on ports 80 and 8080.
    pub allow_http: bool,
    /// Any port.
    pub any_port: bool,
}

/// Why a URL is refused. `Display` is what is wrong with it, beginning with a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    #[error("is longer than {MAX_URL} bytes")]
    TooLong,
    #[error("is not a URL")]
    NotAUrl,
    #[error("must begin with https://")]
    Scheme,
    #[error("must not contain a user or password")]
    Credentials,
    #[error("must not contain a fragment")]
    Fragment,
    #[error("names a port that is not allowed; use 443 or 8443")]
    Port,
    #[error("leads to an address that is not on the public network")]
    Address,
}

impl TargetPolicy {
    /// The URL, if its form is allowed and its host is not an address that is refused.
    pub fn check(&self, text: &str) -> Result<Url, InvalidTarget> {
        if text.len() > MAX_URL {
            return Err(InvalidTarget::TooLong);
        }
        // The parser would drop some of them, so the stored text would not be what is called.
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(InvalidTarget::NotAUrl);
        }
        let url = Url::parse(text).map_err(|_| InvalidTarget::NotAUrl)?;
        let ports: &[u16] = match url.scheme() {
            "https" => &[443, 8443],
            "http" if self.allow_http => &[80, 8080],
            _ => return Err(InvalidTarget::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidTarget::Credentials);
        }
        if url.fragment().is_some() {
            return Err(InvalidTarget::Fragment);
        }
        let port = url.port_or_known_default().ok_or(InvalidTarget::Port)?;
        if !self.any_port && !ports.contains(&port) {
            return Err(InvalidTarget::Port);
        }
        match url.host().ok_or(InvalidTarget::NotAUrl)? {
            Host::Domain(_) => {}
            Host::Ipv4(address) => self.check_addresses(&[address.into()])?,
            Host::Ipv6(address) => self.check_addresses(&[address.into()])?,
        }
        Ok(url)
    }

    /// Whether a host with these addresses may be called: every one of them must be allowed.
    pub fn check_addresses(&self, addresses: &[IpAddr]) -> Result<(), InvalidTarget> {
        let allowed = |address: &IpAddr| match reach(*address) {
            Reach::Global => true,
            Reach::Private => self.allow_private,
            Reach::Never => false,
        };
        if !addresses.is_empty() && addresses.iter().all(allowed) {
            Ok(())
        } else {
            Err(InvalidTarget::Address)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: TargetPolicy =
        TargetPolicy { allow_private: true, allow_http: true, any_port: true };

    #[test]
    fn only_https_to_public_hosts_is_allowed_by_default() {
        let policy = TargetPolicy::default();
        for (text, expected) in [
            ("https://example.com/hook?a=b", None),
            ("https://example.com:8443/", None),
            ("https://1.1.1.1/", None),
            ("https://[2606:4700::1111]/", None),
            ("example.com", Some(InvalidTarget::NotAUrl)),
            ("https://example.com/\0", Some(InvalidTarget::NotAUrl)),
            (" https://example.com/", Some(InvalidTarget::NotAUrl)),
            ("http://example.com/", Some(InvalidTarget::Scheme)),
            ("ftp://example.com/", Some(InvalidTarget::Scheme)),
            ("file:///etc/passwd", Some(InvalidTarget::Scheme)),
            ("https://example.com:22/", Some(InvalidTarget::Port)),
            ("https://user:pw@example.com/", Some(InvalidTarget::Credentials)),
            ("https://example.com/#x", Some(InvalidTarget::Fragment)),
            ("https://127.0.0.1/", Some(InvalidTarget::Address)),
            // Other spellings of 127.0.0.1.
            ("https://0x7f.1/", Some(InvalidTarget::Address)),
            ("https://2130706433/", Some(InvalidTarget::Address)),
            ("https://[::ffff:127.0.0.1]/", Some(InvalidTarget::Address)),
            ("https://169.254.169.254/latest/meta-data", Some(InvalidTarget::Address)),
        ] {
            assert_eq!(policy.check(text).err(), expected, "{text}");
        }
        let long = format!("https://example.com/{}", "x".repeat(MAX_URL));
        assert_eq!(policy.check(&long).err(), Some(InvalidTarget::TooLong));
    }

    #[test]
    fn an_operator_allows_private_networks_but_never_metadata_services() {
        assert!(OPEN.check("http://127.0.0.1:9000/hook").is_ok());
        assert!(OPEN.check("http://10.1.2.3/").is_ok());
        assert_eq!(OPEN.check("http://169.254.169.254/").err(), Some(InvalidTarget::Address));
        assert_eq!(OPEN.check("http://[fe80::1]/").err(), Some(InvalidTarget::Address));
    }

    #[test]
    fn one_refused_address_of_a_host_refuses_the_host() {
        let policy = TargetPolicy::default();
        let addresses = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        assert!(policy.check_addresses(&addresses(&["1.1.1.1", "2606:4700::1"])).is_ok());
        assert!(policy.check_addresses(&addresses(&["1.1.1.1", "10.0.0.1"])).is_err());
        assert!(policy.check_addresses(&[]).is_err());
    }
}
