//! The address of a client: of its connection, or, where a trusted proxy connects, what the proxy says.

use std::net::{IpAddr, SocketAddr};

use axum::{extract::ConnectInfo, http::HeaderMap};

use crate::config::Network;

/// The address of the client of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// The address that counts. Of `X-Forwarded-For` the last address that is not a trusted proxy's, because each proxy
/// appends the one that it saw and a client can write any others before. Anything else than addresses in it ends the
/// search at the proxy that wrote it.
pub fn client_address(
    peer: Option<&ConnectInfo<SocketAddr>>,
    headers: &HeaderMap,
    trusted: &[Network],
) -> Option<ClientAddress> {
    let mut address = peer?.0.ip().to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let forwarded = headers.get_all("x-forwarded-for");
    let values: Vec<&str> = forwarded.iter().filter_map(|value| value.to_str().ok()).collect();
    for part in values.iter().flat_map(|value| value.split(',')).rev() {
        if !is_trusted(address) {
            break;
        }
        let Ok(before) = part.trim().parse::<IpAddr>() else { break };
        address = before.to_canonical();
    }
    Some(ClientAddress(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let peer = ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1));
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted: Vec<Network> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        client_address(Some(&peer), &headers, &trusted).unwrap().0.to_string()
    }

    #[test]
    fn a_header_counts_only_as_far_as_trusted_proxies_wrote_it() {
        let proxies = ["10.0.0.0/8", "::1"];
        assert_eq!(seen("192.0.2.1", &["198.51.100.9"], &[]), "192.0.2.1");
        assert_eq!(seen("192.0.2.1", &["198.51.100.9"], &proxies), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.9"], &proxies), "198.51.100.9");
        assert_eq!(
            seen("10.0.0.1", &["1.2.3.4, 198.51.100.9, 10.0.0.7"], &proxies),
            "198.51.100.9"
        );
        assert_eq!(seen("10.0.0.1", &["1.2.3.4", "198.51.100.9"], &proxies), "198.51.100.9");
        assert_eq!(seen("10.0.0.1", &["198.51.100.9, unknown"], &proxies), "10.0.0.1");
        assert_eq!(seen("::1", &["2001:db8::7"], &proxies), "2001:db8::7");
        assert_eq!(seen("::ffff:10.0.0.1", &["198.51.100.9"], &proxies), "198.51.100.9");
        assert_eq!(seen("10.0.0.1", &[], &proxies), "10.0.0.1");
    }
}
