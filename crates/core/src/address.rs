//! What an IP address leads to. Everything that a user names is reached only at global unicast addresses; the
//! ranges are those of the IANA registries for special-purpose addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The public network.
    Global,
    /// This host or a private network: loopback, RFC 1918, shared address space, unique local. An operator may
    /// allow it.
    Private,
    /// Nothing that may be connected to: link-local (where clouds have their metadata services), multicast,
    /// unspecified, documentation, reserved.
    Never,
}

/// What this address leads to.
pub const fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

/// Whether an address is one of the public network.
pub const fn is_global(address: IpAddr) -> bool {
    matches!(reach(address), Reach::Global)
}

const fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [10 | 127, ..]
        | [100, 64..=127, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..] => Reach::Private,
        [0 | 224..=255, ..]
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        // Relays of 6to4, and the benchmark and documentation ranges.
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Reach::Never,
        _ => Reach::Global,
    }
}

/// Global unicast is `2000::/3`. An address that carries one of version 4 is judged by that.
const fn reach_v6(address: Ipv6Addr) -> Reach {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] | [0xfc00..=0xfdff, ..] => Reach::Private,
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments (Teredo among them) and documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Never,
        [0x2000..=0x3fff, ..] => Reach::Global,
        _ => Reach::Never,
    }
}

const fn embedded(high: u16, low: u16) -> Reach {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    reach_v4(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_global_unicast_is_global() {
        for (text, expected) in [
            ("1.1.1.1", Reach::Global),
            ("9.9.9.9", Reach::Global),
            ("172.15.0.1", Reach::Global),
            ("223.255.255.255", Reach::Global),
            ("10.0.0.1", Reach::Private),
            ("127.0.0.1", Reach::Private),
            ("127.9.9.9", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("172.31.255.255", Reach::Private),
            ("192.168.0.1", Reach::Private),
            ("0.0.0.0", Reach::Never),
            ("169.254.169.254", Reach::Never),
            ("192.0.2.1", Reach::Never),
            ("224.0.0.1", Reach::Never),
            ("255.255.255.255", Reach::Never),
            ("2606:4700::1111", Reach::Global),
            ("::1", Reach::Private),
            ("fd00::1", Reach::Private),
            ("::", Reach::Never),
            ("fe80::1", Reach::Never),
            ("ff02::1", Reach::Never),
            ("2001:db8::1", Reach::Never),
            ("2001::1", Reach::Never),
            ("3fff::1", Reach::Never),
            ("::ffff:1.1.1.1", Reach::Global),
            ("::ffff:127.0.0.1", Reach::Private),
            ("::ffff:169.254.169.254", Reach::Never),
            ("64:ff9b::10.0.0.1", Reach::Private),
            ("2002:7f00:1::", Reach::Private),
            ("::127.0.0.1", Reach::Never),
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(reach(address), expected, "{text}");
            assert_eq!(is_global(address), expected == Reach::Global, "{text}");
        }
    }
}
