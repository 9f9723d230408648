//! The token of a listener that another program of dstack asks: dstack-kms its webhook, dstack-gateway whether a
//! guest may register.
//!
//! Both can be configured with a URL and nothing else: no header, no client certificate. So the token is the password of
//! that URL (`http://casemate:TOKEN@host:port`), which their clients send as basic authentication; the user does not
//! matter. A proxy in front may send it as a bearer token.

use axum::http::{HeaderMap, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Minimum length of a token.
pub const LEAST: usize = 32;

/// A token that requests must have, as its SHA-256.
#[derive(Debug, Clone)]
pub struct ListenerToken([u8; 32]);

impl ListenerToken {
    /// `None`: it is shorter than [`LEAST`].
    pub fn new(token: &SecretString) -> Option<Self> {
        let token = token.expose_secret().trim();
        (token.len() >= LEAST).then(|| Self(Sha256::digest(token).into()))
    }

    fn is(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        given.ct_eq(&self.0).into()
    }

    /// Whether the request has it, as a bearer token or as the password of basic authentication.
    pub fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, credential)) = given.and_then(|value| value.split_once(' ')) else {
            return false;
        };
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.is(credential.trim());
        }
        let password = || {
            let pair = String::from_utf8(BASE64_STANDARD.decode(credential.trim()).ok()?).ok()?;
            Some(pair.split_once(':')?.1.to_owned())
        };
        scheme.eq_ignore_ascii_case("basic") && password().is_some_and(|given| self.is(&given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        headers
    }

    #[test]
    fn a_token_is_a_bearer_token_or_a_password() {
        let secret = "s".repeat(LEAST);
        let token = ListenerToken::new(&SecretString::from(format!("{secret}\n"))).unwrap();
        let basic = |pair: String| format!("Basic {}", BASE64_STANDARD.encode(pair));
        assert!(token.is_in(&headers(&format!("Bearer {secret}"))));
        assert!(token.is_in(&headers(&basic(format!("casemate:{secret}")))));
        assert!(token.is_in(&headers(&basic(format!(":{secret}")))));
        for wrong in [
            basic(secret.clone()),
            basic(format!("{secret}:")),
            basic(format!("casemate:{secret}x")),
            format!("Bearer {secret}x"),
            format!("Token {secret}"),
            "Basic ???".to_owned(),
            secret.clone(),
        ] {
            assert!(!token.is_in(&headers(&wrong)), "{wrong}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
        assert!(ListenerToken::new(&SecretString::from("short")).is_none());
    }
}
