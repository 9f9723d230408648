//! Joins a base URL and path segments.

use reqwest::Url;

use crate::{builder::BuildError, error::Error};

/// Parses a base URL: `http` or `https`, a host, nothing after the path.
pub(crate) fn base(text: &str) -> Result<Url, BuildError> {
    let refuse = |reason: &str| BuildError::Url { reason: reason.to_owned() };
    let mut url = Url::parse(text.trim()).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("it must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it must not hold a user name or password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it must end with its path"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The URL of a call. Every part is one escaped segment; `.` and `..` are refused.
pub(crate) fn join(base: &Url, parts: &[&str], query: &[(&str, String)]) -> Result<Url, Error> {
    let wrong = parts.iter().find(|part| matches!(**part, "" | "." | ".."));
    if let Some(part) = wrong {
        return Err(Error::Identifier((*part).to_owned()));
    }
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(parts);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

/// Whether the host is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_escaped_and_cannot_leave_their_place() {
        let base = base("http://h:1/api/v1/").unwrap();
        let url = |parts: &[&str]| join(&base, parts, &[]).map(|url| url.to_string());
        assert_eq!(url(&["cvms", "a/b?c"]).unwrap(), "http://h:1/api/v1/cvms/a%2Fb%3Fc");
        for part in ["", ".", ".."] {
            assert!(matches!(url(&["cvms", part]), Err(Error::Identifier(_))), "{part:?}");
        }
        let query = join(&base, &["apps"], &[("search", "a&b".to_owned())]).unwrap();
        assert_eq!(query.as_str(), "http://h:1/api/v1/apps?search=a%26b");
    }

    #[test]
    fn bases_are_checked() {
        assert_eq!(base("https://h").unwrap().as_str(), "https://h/");
        for bad in ["", "h:80", "ftp://h", "http://u:p@h", "http://h/?a=b", "127.0.0.1:80"] {
            assert!(base(bad).is_err(), "{bad}");
        }
        for (text, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("https://cloud-api.phala.com/api/v1", false),
        ] {
            assert_eq!(is_loopback(&base(text).unwrap()), expected, "{text}");
        }
    }
}
