//! Contract calls for display and wallets: a function, its named arguments, and the calldata.

use std::fmt;

use sha3::{Digest, Keccak256};

use crate::{
    governance::calldata::{self, NewApp},
    id::{Address, AppId, ComposeHash, DeviceId},
};

/// A contract call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// App contract: allows a document.
    AddComposeHash(ComposeHash),
    /// App contract: disallows a document.
    RemoveComposeHash(ComposeHash),
    /// App contract: lists a device.
    AddDevice(DeviceId),
    /// App contract: removes a device from the list.
    RemoveDevice(DeviceId),
    /// App contract: allows every device, or only listed ones.
    SetAllowAnyDevice(bool),
    /// App contract: requires hosts with an up-to-date TCB, or not.
    SetRequireTcbUpToDate(bool),
    /// App contract: the pending owner accepts the ownership.
    AcceptOwnership,
    /// KMS contract: registers an existing app.
    RegisterApp(AppId),
    /// KMS contract: creates and registers an app that its owner can upgrade.
    DeployAndRegisterApp {
        owner: Address,
        /// Whether it allows every device.
        any_device: bool,
        /// A device listed from the start.
        device: Option<DeviceId>,
        /// A document allowed from the start.
        hash: ComposeHash,
    },
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub name: &'static str,
    /// `bytes32`, `bool` or `address`.
    pub kind: &'static str,
    /// `0x…`, `true` or `false`; addresses have a checksum.
    pub value: String,
}

impl Input {
    fn address(name: &'static str, address: Address) -> Self {
        Self { name, kind: "address", value: checksummed(address) }
    }

    fn bytes(name: &'static str, bytes: &[u8; 32]) -> Self {
        Self { name, kind: "bytes32", value: format!("0x{}", hex::encode(bytes)) }
    }

    fn flag(name: &'static str, flag: bool) -> Self {
        Self { name, kind: "bool", value: flag.to_string() }
    }
}

impl Call {
    /// The name of the function.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AddComposeHash(_) => "addComposeHash",
            Self::RemoveComposeHash(_) => "removeComposeHash",
            Self::AddDevice(_) => "addDevice",
            Self::RemoveDevice(_) => "removeDevice",
            Self::SetAllowAnyDevice(_) => "setAllowAnyDevice",
            Self::SetRequireTcbUpToDate(_) => "setRequireTcbUpToDate",
            Self::AcceptOwnership => "acceptOwnership",
            Self::RegisterApp(_) => "registerApp",
            Self::DeployAndRegisterApp { .. } => "deployAndRegisterApp",
        }
    }

    /// The arguments in order.
    #[must_use]
    pub fn inputs(&self) -> Vec<Input> {
        match self {
            Self::AddComposeHash(hash) | Self::RemoveComposeHash(hash) => {
                vec![Input::bytes("composeHash", hash.as_bytes())]
            }
            Self::AddDevice(device) | Self::RemoveDevice(device) => {
                vec![Input::bytes("deviceId", device.as_bytes())]
            }
            Self::SetAllowAnyDevice(allow) => vec![Input::flag("allowAnyDevice", *allow)],
            Self::SetRequireTcbUpToDate(require) => {
                vec![Input::flag("requireTcbUpToDate", *require)]
            }
            Self::AcceptOwnership => Vec::new(),
            Self::RegisterApp(app) => vec![Input::address("appId", (*app).into())],
            Self::DeployAndRegisterApp { owner, any_device, device, hash } => vec![
                Input::address("initialOwner", *owner),
                Input::flag("disableUpgrades", false),
                Input::flag("allowAnyDevice", *any_device),
                Input::bytes("initialDeviceId", &device.map_or([0; 32], |id| *id.as_bytes())),
                Input::bytes("initialComposeHash", hash.as_bytes()),
            ],
        }
    }

    /// For example `addComposeHash(bytes32)`.
    #[must_use]
    pub fn signature(&self) -> String {
        let kinds: Vec<&str> = self.inputs().iter().map(|input| input.kind).collect();
        format!("{}({})", self.name(), kinds.join(","))
    }

    /// The ABI encoding.
    #[must_use]
    pub fn calldata(&self) -> Vec<u8> {
        match *self {
            Self::AddComposeHash(hash) => calldata::add_compose_hash(hash),
            Self::RemoveComposeHash(hash) => calldata::remove_compose_hash(hash),
            Self::AddDevice(device) => calldata::add_device(device),
            Self::RemoveDevice(device) => calldata::remove_device(device),
            Self::SetAllowAnyDevice(allow) => calldata::set_allow_any_device(allow),
            Self::SetRequireTcbUpToDate(require) => calldata::set_require_tcb_up_to_date(require),
            Self::AcceptOwnership => calldata::accept_ownership(),
            Self::RegisterApp(app) => calldata::register_app(app.into()),
            Self::DeployAndRegisterApp { owner, any_device: allow_any_device, device, hash } => {
                let hash = Some(hash);
                calldata::deploy_and_register_app(&NewApp {
                    owner,
                    disable_upgrades: false,
                    allow_any_device,
                    device,
                    hash,
                })
            }
        }
    }
}

/// For example `addComposeHash(0x11…)`.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self.inputs().into_iter().map(|input| input.value).collect();
        write!(f, "{}({})", self.name(), values.join(", "))
    }
}

/// A call to a contract, without value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    /// The contract.
    pub to: Address,
    pub call: Call,
}

/// An address with the EIP-55 checksum in the case of its letters, as wallets expect.
#[must_use]
pub fn checksummed(address: Address) -> String {
    let digits = address.to_string();
    let hash = Keccak256::digest(&digits);
    let nibble = |place: usize| hash[place / 2] >> (4 * (1 - place % 2)) & 0xf;
    let cased = digits
        .chars()
        .enumerate()
        .map(|(place, digit)| if nibble(place) > 7 { digit.to_ascii_uppercase() } else { digit });
    std::iter::once("0x".to_owned()).chain(cased.map(String::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is displayed is what is sent: the selector is that of the signature.
    #[test]
    fn signatures_are_those_of_the_calldata() {
        let (hash, device) = (ComposeHash::from_bytes([1; 32]), DeviceId::from_bytes([2; 32]));
        let owner = Address::from_bytes([3; 20]);
        for call in [
            Call::AddComposeHash(hash),
            Call::RemoveComposeHash(hash),
            Call::AddDevice(device),
            Call::RemoveDevice(device),
            Call::SetAllowAnyDevice(true),
            Call::SetRequireTcbUpToDate(true),
            Call::AcceptOwnership,
            Call::RegisterApp(AppId::from_bytes([4; 20])),
            Call::DeployAndRegisterApp { owner, any_device: true, device: None, hash },
        ] {
            let (data, selector) = (call.calldata(), Keccak256::digest(call.signature()));
            assert_eq!(
                (&data[..4], data.len()),
                (&selector[..4], 4 + 32 * call.inputs().len()),
                "{call}"
            );
        }
    }

    #[test]
    fn arguments_are_words_in_their_order() {
        let device = Some(DeviceId::from_bytes([2; 32]));
        let (owner, hash) = (Address::from_bytes([3; 20]), ComposeHash::from_bytes([1; 32]));
        let call = Call::DeployAndRegisterApp { owner, any_device: true, device, hash };
        let words = [
            format!("{}{}", "0".repeat(24), "03".repeat(20)),
            "0".repeat(64),
            format!("{}1", "0".repeat(63)),
            "02".repeat(32),
            "01".repeat(32),
        ];
        assert_eq!(hex::encode(&call.calldata()[4..]), words.concat());
        let signature = "deployAndRegisterApp(address,bool,bool,bytes32,bytes32)";
        assert_eq!(call.signature(), signature);
    }

    /// The examples of EIP-55.
    #[test]
    fn addresses_carry_their_checksum() {
        for text in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            assert_eq!(checksummed(text.parse().unwrap()), text);
        }
    }
}
