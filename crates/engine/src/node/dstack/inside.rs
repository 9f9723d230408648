//! What a guest tells of its network.

use super::wire::NetworkInfo;
use crate::node::GuestNetwork;

/// The interface to dstack-gateway.
const WIREGUARD: &str = "dstack-wg0";
/// The line of `wg show` with the time since a peer was last heard.
const HANDSHAKE: &str = "latest handshake:";

/// Its address in the network of the gateway and the first handshake that `wg show` lists.
pub(super) fn network(told: &NetworkInfo) -> GuestNetwork {
    let interface = told.interfaces.iter().find(|interface| interface.name == WIREGUARD);
    let address = interface.and_then(|interface| interface.addresses.first());
    let mut lines = told.wg_info.lines();
    let handshake = lines.find_map(|line| line.trim().strip_prefix(HANDSHAKE));
    GuestNetwork {
        internal_ip: address.map(|address| address.address.clone()),
        latest_handshake: handshake.map(|text| text.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn address_and_handshake_are_those_of_wireguard() {
        let told = json!({
            "interfaces": [
                {"name": "eth0", "addresses": [{"address": "10.0.2.15", "prefix": 24}]},
                {"name": "dstack-wg0", "addresses": [{"address": "10.8.0.3", "prefix": 32}]},
            ],
            "wg_info": "interface: dstack-wg0\n\npeer: abc=\n  latest handshake: 1 minute, 5 seconds ago\n",
        });
        let network = network(&serde_json::from_value(told).unwrap());
        assert_eq!(network.internal_ip.as_deref(), Some("10.8.0.3"));
        assert_eq!(network.latest_handshake.as_deref(), Some("1 minute, 5 seconds ago"));
    }

    #[test]
    fn a_guest_without_a_gateway_has_neither() {
        assert_eq!(network(&NetworkInfo::default()), GuestNetwork::default());
    }
}
