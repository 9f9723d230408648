//! Ids that guests and hosts derive themselves; simulated ones use the same functions.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{AppId, DeviceId, InstanceId};

/// 20 random bytes from which a guest derives its instance id. JSON and text: 40 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceSeed(InstanceId);

impl InstanceSeed {
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(InstanceId::from_bytes(bytes))
    }

    /// The instance id of a guest of this app.
    #[must_use]
    pub fn instance_id(&self, app: &AppId) -> InstanceId {
        instance_id(*self.0.as_bytes(), app)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for InstanceSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceSeed({})", self.0)
    }
}

/// The id of a guest: `sha256(seed ‖ app id)[..20]` (`system_setup.rs` of dstack-util 0.6.0; clouds with
/// their own TPM mix in more).
///
/// The seed is random, is on the VM's disk share, and stays for the life of the VM. With key provider `none`
/// it changes with every boot, and with `no_instance_id` there is no id; callers must handle both.
#[must_use]
pub fn instance_id(seed: [u8; 20], app: &AppId) -> InstanceId {
    let hash = Sha256::new().chain_update(seed).chain_update(app.as_bytes()).finalize();
    let mut id = [0; 20];
    id.copy_from_slice(&hash[..20]);
    InstanceId::from_bytes(id)
}

/// The id of a host: SHA-256 of its platform id. `ppid` is the PPID on TDX (16 bytes; zeros when simulated),
/// the chip id on SEV-SNP (64 bytes), and empty if nothing was verified.
#[must_use]
pub fn device_id(ppid: &[u8]) -> DeviceId {
    DeviceId::from_bytes(Sha256::digest(ppid).into())
}

/// The host that a guest or a gateway names. A quote of TDX names one only to whoever verifies it, which neither
/// does: a guest agent and a dstack-gateway then have the hash of nothing, and that is no host.
#[must_use]
pub fn named_device(device: DeviceId) -> Option<DeviceId> {
    (device != device_id(&[])).then_some(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events `instance.info` of two booted guests of dstack 0.6.1.
    #[test]
    fn instance_ids_are_those_of_real_guests() {
        let seen = [
            (
                "ae53dc598d51995d5c03ee224f5054c20e30c06e",
                "69704740a244ec11fd50e3646da83b10526a705f",
                "bbaf134d6ae7a917b6f357e0c9c8a3abb902028f",
            ),
            (
                "28d3a03fabf13018c30bb817fbe8788830c71ff4",
                "ecaf7f947e968d6856177bb79f528e13e62abfbf",
                "b453ac08f959ad2f2cd1f0e0c62b2afdce16242f",
            ),
        ];
        for (seed, app, instance) in seen {
            let seed = *seed.parse::<InstanceId>().unwrap().as_bytes();
            assert_eq!(instance_id(seed, &app.parse().unwrap()).to_string(), instance);
        }
    }

    #[test]
    fn device_ids_are_plain_hashes() {
        let simulated = "374708fff7719dd5979ec875d56cd2286f6d3cf7ec317a3b25632aab28ec37bb";
        assert_eq!(device_id(&[0; 16]).to_string(), simulated);
        let unverified = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(device_id(&[]).to_string(), unverified);
        assert_eq!(named_device(unverified.parse().unwrap()), None);
        assert_eq!(named_device(device_id(&[0; 16])), Some(device_id(&[0; 16])));
    }
}
