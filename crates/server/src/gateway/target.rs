//! Parses `<app id or instance id>[-<port>].<base domain>`.

use axum::{
    body::Body,
    http::{Request, StatusCode, header, uri::Authority},
};
use casemate_core::id::AppId;

use super::OwnResponse;

/// Port of a host name without one.
const DEFAULT_PORT: u16 = 80;

/// The host name of a request, in lower case.
pub(super) fn host(request: &Request<Body>) -> Option<String> {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority: Authority = match header {
        Some(host) => host.parse().ok()?,
        None => request.uri().authority()?.clone(),
    };
    Some(authority.host().to_ascii_lowercase())
}

/// A parsed host name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// An app id or an instance id.
    pub id: AppId,
    pub port: u16,
}

impl Target {
    /// Parses a host name below the base domain.
    pub(super) fn parse(host: &str, domain: &str) -> Result<Self, OwnResponse> {
        let label = host
            .strip_suffix(domain)
            .and_then(|rest| rest.strip_suffix('.'))
            .filter(|label| !label.contains('.'))
            .ok_or_else(|| {
                OwnResponse::new(
                    StatusCode::MISDIRECTED_REQUEST,
                    format!("{host} is not below {domain}"),
                )
            })?;
        let (id, port) = label.split_once('-').unwrap_or((label, ""));
        let id = id.parse().map_err(|_| {
            OwnResponse::new(StatusCode::NOT_FOUND, format!("{id} is no app id or instance id"))
        })?;
        if port.ends_with(['s', 'g']) {
            let why = format!("{port}: the suffixes s (TLS) and g (gRPC) are not served here");
            return Err(OwnResponse::new(StatusCode::NOT_IMPLEMENTED, why));
        }
        let port = match port {
            "" => DEFAULT_PORT,
            port => port.parse().map_err(|_| {
                OwnResponse::new(StatusCode::NOT_FOUND, format!("{port} is no port"))
            })?,
        };
        Ok(Self { id, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_read_as_dstack_writes_them() {
        let hex = "0123456789abcdef0123456789abcdef01234567";
        let parse = |host: &str| Target::parse(host, "localhost").map_err(|own| own.status);
        let id: AppId = hex.parse().unwrap();
        assert_eq!(parse(&format!("{hex}-8080.localhost")), Ok(Target { id, port: 8080 }));
        assert_eq!(parse(&format!("{hex}.localhost")), Ok(Target { id, port: 80 }));
        let refused = [
            (format!("{hex}-8443s.localhost"), StatusCode::NOT_IMPLEMENTED),
            (format!("{hex}-x.localhost"), StatusCode::NOT_FOUND),
            ("abc-80.localhost".to_owned(), StatusCode::NOT_FOUND),
            ("localhost".to_owned(), StatusCode::MISDIRECTED_REQUEST),
            (format!("a.{hex}-80.localhost"), StatusCode::MISDIRECTED_REQUEST),
            (format!("{hex}-80.example.org"), StatusCode::MISDIRECTED_REQUEST),
        ];
        for (host, status) in refused {
            assert_eq!(parse(&host), Err(status), "{host}");
        }
    }
}
