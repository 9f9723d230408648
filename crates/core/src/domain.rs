//! Custom domains: users' own host names that resolve to an app through the gateway. The records are those
//! that dstack-gateway looks up.

use std::{fmt, str::FromStr};

/// A domain name, or a wildcard (`*.example.com`). Lower case, no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CustomDomain {
    /// Without the wildcard.
    name: String,
    wildcard: bool,
}

/// The text is not a domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a domain name, for example app.example.com or *.example.com")]
pub struct InvalidDomain;

impl CustomDomain {
    /// Name of the TXT record that names the app of the domain.
    pub fn app_record(&self) -> String {
        let wildcard = if self.wildcard { "-wildcard" } else { "" };
        format!("_dstack-app-address{wildcard}.{}", self.name)
    }

    /// The record's former name; wildcards did not exist then.
    pub fn old_app_record(&self) -> Option<String> {
        (!self.wildcard).then(|| format!("_tapp-address.{}", self.name))
    }

    /// The name whose CAA records restrict certificates for the domain.
    pub fn authority(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for CustomDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.wildcard { "*." } else { "" };
        write!(f, "{star}{}", self.name)
    }
}

impl FromStr for CustomDomain {
    type Err = InvalidDomain;

    fn from_str(text: &str) -> Result<Self, InvalidDomain> {
        let lower = text.trim().to_ascii_lowercase();
        let full = lower.strip_suffix('.').unwrap_or(&lower);
        let (name, wildcard) = match full.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (full, false),
        };
        // The longest record name must also fit into 253 characters.
        let fits = name.len() <= 220 && name.contains('.') && name.split('.').all(is_label);
        // A name whose last label is a number is an IP address.
        let is_address = name.rsplit('.').next().is_some_and(|last| last.parse::<u64>().is_ok());
        if !fits || is_address {
            return Err(InvalidDomain);
        }
        Ok(Self { name: name.to_owned(), wildcard })
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_one_form() {
        for (text, name) in [
            ("app.example.com", "app.example.com"),
            (" App.Example.COM. ", "app.example.com"),
            ("*.example.com", "*.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            let domain: CustomDomain = text.parse().unwrap();
            assert_eq!(domain.to_string(), name);
            assert_eq!(domain.to_string().parse(), Ok(domain));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("{}.com", "a".repeat(64));
        let longer = format!("{}com", "a.".repeat(120));
        for text in [
            "",
            "localhost",
            "*.com",
            "a..com",
            "-a.com",
            "a-.com",
            "a b.com",
            "https://a.com",
            "a.com:80",
            "a.*.com",
            "192.0.2.1",
            "bücher.example",
            &long,
            &longer,
        ] {
            assert_eq!(text.parse::<CustomDomain>(), Err(InvalidDomain), "{text}");
        }
    }

    #[test]
    fn records_are_where_the_gateway_looks() {
        let one: CustomDomain = "app.example.com".parse().unwrap();
        assert_eq!(one.app_record(), "_dstack-app-address.app.example.com");
        assert_eq!(one.old_app_record().as_deref(), Some("_tapp-address.app.example.com"));
        let all: CustomDomain = "*.example.com".parse().unwrap();
        assert_eq!(all.app_record(), "_dstack-app-address-wildcard.example.com");
        assert_eq!(all.old_app_record(), None);
        assert_eq!(all.authority(), "example.com");
    }
}
