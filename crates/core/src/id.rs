//! Ids as newtypes: parsing validates, and different ids have different Rust types.
//!
//! | type | format on the wire | origin |
//! |---|---|---|
//! | [`AppId`] | 40 lower-case hex (20 bytes) | CREATE address of the workspace's wallet, or the caller |
//! | [`InstanceId`] | 40 lower-case hex | the guest: `sha256(seed ‖ app id)[..20]` |
//! | [`ComposeHash`] | 64 lower-case hex | SHA-256 of the app-compose bytes |
//! | [`DeviceId`] | 64 lower-case hex | SHA-256 of the platform id of a TEE host |
//! | [`VmUuid`] | UUID with dashes | Casemate, at commit |
//! | [`CvmId`] | integer; `cvm_…` as [`CvmRef`] | Casemate, at commit |
//! | [`OperationId`] | UUID v7, called `correlation_id` | Casemate, per accepted change |
//! | [`EngineVmId`] | opaque text | the node that runs the VM |
//! | [`Address`] | `0x` and 40 hex in, bare lower-case hex out | a chain |
//! | [`TxHash`], [`BlockHash`] | `0x` and 64 hex in, bare lower-case hex out | a chain |

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is not a valid id. `Display` names the kind and the expected format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: expected {expected}")]
pub struct InvalidId {
    /// For example `app id`.
    pub kind: &'static str,
    /// The expected format.
    pub expected: &'static str,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $kind:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            /// Hex in any case, with an optional `0x`.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                let mut bytes = [0; $len];
                hex::decode_to_slice(digits, &mut bytes)
                    .map_err(|_| InvalidId { kind: $kind, expected: $expected })?;
                Ok(Self(bytes))
            }
        }
        serde_as_text!($name);
    };
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// Identity of an app: 20 bytes, in the form of an Ethereum address without `0x`.
    AppId, 20, "app id", "40 hex digits"
);
hex_id!(
    /// Identity of one machine of an app as its guest knows it.
    InstanceId, 20, "instance id", "40 hex digits"
);
hex_id!(
    /// SHA-256 of the app-compose bytes exactly as the guest reads them.
    ComposeHash, 32, "compose hash", "64 hex digits"
);
hex_id!(
    /// Identity of a TEE host: SHA-256 of its platform id.
    DeviceId, 32, "device id", "64 hex digits"
);
hex_id!(
    /// Account that an app id is derived from (CREATE address).
    Wallet, 20, "wallet", "40 hex digits"
);

hex_id!(
    /// A contract or an account on a chain. The contract of an app has the app's id for its address.
    Address, 20, "address", "0x and 40 hex digits"
);
hex_id!(
    /// Hash of a transaction on a chain: Keccak-256 of its signed bytes.
    TxHash, 32, "transaction hash", "0x and 64 hex digits"
);
hex_id!(
    /// Hash of the header of a block.
    BlockHash, 32, "block hash", "0x and 64 hex digits"
);

impl From<AppId> for Address {
    fn from(app: AppId) -> Self {
        Self(app.0)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// The id with this UUID.
            pub const fn from_uuid(uuid: uuid::Uuid) -> Self {
                Self(uuid)
            }
            pub const fn uuid(&self) -> uuid::Uuid {
                self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            /// With or without dashes, any case.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                uuid::Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|_| InvalidId { kind: $kind, expected: "a UUID" })
            }
        }
        serde_as_text!($name);
    };
}

uuid_id!(
    /// `vm_uuid` on the wire: version 4, because the JavaScript SDK strips dashes of those only.
    VmUuid, "vm uuid"
);
uuid_id!(
    /// `correlation_id` on the wire: one durable change. Version 7, so that ids sort by time.
    OperationId, "operation id"
);
uuid_id!(
    /// One prepared, not yet committed deployment. Version 7.
    ProvisionId, "provision id"
);

macro_rules! int_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

int_id!(
    /// Integer id of a CVM: positive, grows with every commit, never used again.
    CvmId
);
int_id!(
    /// Integer id of a node, `teepod_id` on the wire.
    NodeId
);
int_id!(
    /// Integer id of a workspace.
    WorkspaceId
);
int_id!(
    /// Integer id of a user.
    UserId
);
int_id!(
    /// Integer id of an API key.
    KeyId
);
int_id!(
    /// Integer id of an invitation to a workspace.
    InvitationId
);
int_id!(
    /// Position in the event table; grows, without gaps that a reader could miss.
    EventSeq
);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// The node's id of a VM, generated by the node.
    EngineVmId
);
text_id!(
    /// `kms_…` id of a KMS.
    KmsId
);

const REF_ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

macro_rules! ref_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The id made of these random bits; the upper 14 are not used.
            pub fn from_random(bits: u64) -> Self {
                let tail: String = (0..10)
                    .map(|i| {
                        let index = usize::try_from((bits >> (5 * i)) & 31).unwrap_or(0);
                        char::from(REF_ALPHABET[index])
                    })
                    .collect();
                Self(format!("{}{tail}", $prefix))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid = text.strip_prefix($prefix).is_some_and(|tail| {
                    tail.len() == 10 && tail.bytes().all(|byte| REF_ALPHABET.contains(&byte))
                });
                if valid {
                    Ok(Self(text.to_owned()))
                } else {
                    let expected = concat!($prefix, " and ten characters");
                    Err(InvalidId { kind: $kind, expected })
                }
            }
        }
        serde_as_text!($name);
    };
}

ref_id!(
    /// `cvm_` and ten characters: the string id of a CVM, made of 50 random bits at commit.
    CvmRef, "cvm_", "cvm id"
);
ref_id!(
    /// `rev_` and ten characters: a configuration that was in force on a CVM.
    RevisionRef, "rev_", "revision id"
);

/// Any form in which clients name a CVM in a path.
///
/// The JavaScript SDK turns every 40-digit hex into `app_…`, including instance ids, so
/// [`CvmName::AppOrInstance`] is looked up as an app first and as an instance second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CvmName {
    /// `cvm_…`.
    Ref(CvmRef),
    /// With or without dashes.
    Uuid(VmUuid),
    /// The integer id.
    Number(CvmId),
    /// 40 hex digits, bare, `0x…` or `app_…`.
    AppOrInstance([u8; 20]),
    /// 40 hex digits after `instance_`.
    Instance(InstanceId),
    /// Anything else.
    Name(String),
}

impl CvmName {
    /// Parses a path segment. Never fails: a text that is not an id is a name.
    pub fn parse(text: &str) -> Self {
        let bare = text.strip_prefix("app_").unwrap_or(text);
        if let Ok(app) = bare.parse::<AppId>() {
            return Self::AppOrInstance(*app.as_bytes());
        }
        if let Some(Ok(id)) = text.strip_prefix("instance_").map(str::parse) {
            return Self::Instance(id);
        }
        if let Ok(reference) = text.parse() {
            return Self::Ref(reference);
        }
        if let Ok(uuid) = text.parse() {
            return Self::Uuid(uuid);
        }
        match text.parse::<i64>() {
            Ok(number) if number > 0 => Self::Number(CvmId(number)),
            _ => Self::Name(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_of_a_cvm_name_is_told_apart() {
        let hex = "0123456789abcdef0123456789abcdef01234567";
        let bytes = *hex.parse::<AppId>().unwrap().as_bytes();
        for text in [hex.to_owned(), format!("app_{hex}"), format!("0x{}", hex.to_uppercase())] {
            assert_eq!(CvmName::parse(&text), CvmName::AppOrInstance(bytes), "{text}");
        }
        let uuid = "6a2e3d4c-5b6f-4a1b-8c2d-0e1f2a3b4c5d";
        let expected = CvmName::Uuid(uuid.parse().unwrap());
        assert_eq!(CvmName::parse(uuid), expected);
        assert_eq!(CvmName::parse(&uuid.replace('-', "").to_uppercase()), expected);
        assert_eq!(CvmName::parse("42"), CvmName::Number(CvmId(42)));
        let reference = CvmRef::from_random(0x0123_4567_89ab_cdef);
        assert_eq!(CvmName::parse(&reference.to_string()), CvmName::Ref(reference));
        for name in ["my-app", "-1", "0", "cvm_short", "app_nothex", ""] {
            assert_eq!(CvmName::parse(name), CvmName::Name(name.to_owned()));
        }
    }

    #[test]
    fn ids_survive_json() {
        let id: ComposeHash = "11".repeat(32).parse().unwrap();
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{}\"", "11".repeat(32)));
        assert_eq!(serde_json::from_str::<ComposeHash>(&json).unwrap(), id);
        assert!("11".repeat(31).parse::<ComposeHash>().is_err());
    }
}
