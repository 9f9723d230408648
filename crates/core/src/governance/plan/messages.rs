//! Texts of a plan.

use std::fmt;

use super::{Note, Obstacle, Purpose, Signer, Standing, checksummed};
use crate::id::Address;

impl Standing {
    /// Machine-readable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Missing => "transactions_missing",
            Self::NotYours => "not_yours",
            Self::Blocked => "blocked",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deploy => f.write_str("makes the app and registers it, with its document and device"),
            Self::Register => f.write_str("the KMS does not know the app yet"),
            Self::Accept => f.write_str("the app was offered to this account, which has not accepted it yet"),
            Self::Document => f.write_str("the app does not allow the compose hash yet"),
            Self::Device(host) => write!(f, "the app does not list the device of {host} yet"),
            Self::AnyDevice => f.write_str("the app is to allow every device"),
            Self::ForgetDocument => f.write_str(
                "optional: this older compose hash stays allowed, so a CVM could go back to it; \
                 those that run it do not boot again once it is removed",
            ),
            Self::AcceptTcb => f.write_str(
                "optional: allows hosts whose TCB is out of date, which lowers what the app demands",
            ),
        }
    }
}

impl Purpose {
    /// Machine-readable.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Register => "register",
            Self::Accept => "accept_ownership",
            Self::Document => "compose_hash",
            Self::Device(_) => "device",
            Self::AnyDevice => "any_device",
            Self::ForgetDocument => "forget_compose_hash",
            Self::AcceptTcb => "accept_tcb",
        }
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::Account;
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Account(address, Account::Eoa) => f.write_str(&checksummed(*address)),
            Self::Account(address, Account::Contract) => {
                write!(f, "the contract {}", checksummed(*address))
            }
            Self::Account(address, Account::Safe { threshold, owners }) => {
                write!(f, "the Safe {} ({threshold} of {})", checksummed(*address), owners.len())
            }
        }
    }
}

impl Obstacle {
    /// Machine-readable.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NoKms { .. } => "no_kms_contract",
            Self::NoApp { .. } => "no_app_contract",
            Self::OwnRules { .. } => "own_rules",
            Self::OwnerGone { .. } => "owner_renounced",
            Self::NoDevice { .. } => "unknown_device",
            Self::OneDevice { .. } => "several_devices",
            Self::OsImage { .. } => "os_image_refused",
            Self::Tcb { .. } => "tcb_not_up_to_date",
            Self::Reverts { .. } => "reverts",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKms { contract, chain_id } => write!(
                f,
                "there is no contract of a KMS at {} on chain {chain_id}; only the operator can \
                 correct that",
                checksummed(*contract)
            ),
            Self::NoApp { app, chain_id } => write!(
                f,
                "there is no contract of an app at {} on chain {chain_id}; deploy one with \
                 deployAndRegisterApp on the contract of the KMS",
                checksummed((*app).into())
            ),
            Self::OwnRules { app } => write!(
                f,
                "the app {} keeps no lists and does not allow this by its own isAppAllowed; only whoever \
                 maintains the contract knows how to change that",
                checksummed((*app).into())
            ),
            Self::OwnerGone { app } => write!(
                f,
                "nobody owns the app {} any more, so its lists stay as they are; deploy a new app",
                checksummed((*app).into())
            ),
            Self::NoDevice { host } => write!(
                f,
                "{host} has no device id that an app could list; take another node, or allow every \
                 device"
            ),
            Self::OneDevice { devices } => write!(
                f,
                "a new app lists one device from the start, and these are {devices}; name one node, \
                 and list the others once the app is there, or allow every device"
            ),
            Self::OsImage { host, image, kms_owner } => write!(
                f,
                "the contract of the KMS does not allow the OS image 0x{} of {host}; only {} can \
                 change that, or take another image",
                hex::encode(image),
                owner_words(*kms_owner)
            ),
            Self::Tcb { host, status } => write!(
                f,
                "the app demands an up-to-date TCB, and that of {host} is {status}; take another \
                 node, have this one updated, or lower the demand with setRequireTcbUpToDate(false)"
            ),
            Self::Reverts { step, reason, for_good } => {
                write!(f, "step {} would fail: {reason}", step + 1)?;
                if *for_good {
                    f.write_str("; the code of the contract can never be replaced")?;
                }
                Ok(())
            }
        }
    }
}

fn owner_words(owner: Option<Address>) -> String {
    owner.map_or_else(
        || "the owner of the KMS".to_owned(),
        |owner| format!("the owner of the KMS ({})", checksummed(owner)),
    )
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offered { from, to } => write!(
                f,
                "the app was offered to {}, which has not accepted it: until it executes \
                 acceptOwnership, {} still signs",
                checksummed(*to),
                checksummed(*from)
            ),
            Self::Safe { safe, threshold, owners } => write!(
                f,
                "{} is a Safe: {threshold} of its {owners} owners sign",
                checksummed(*safe)
            ),
            Self::Contract { contract } => write!(
                f,
                "{} is a contract: who may have it send a transaction is its own rule",
                checksummed(*contract)
            ),
            Self::UpgradesDisabled => {
                f.write_str("the code of the app's contract can never be replaced")
            }
            Self::ImageUnknown { host } => write!(
                f,
                "the OS image of {host} is not known by its hash, so the contract of the KMS was \
                 not asked about it"
            ),
            Self::AnyDevice => f.write_str("the app allows every device"),
            Self::OwnRules => f.write_str(
                "the app's contract keeps no lists: what it allows, its own isAppAllowed decides",
            ),
            Self::Epochs { old: false } => f.write_str(
                "the app approves by epoch (dstack 0.6.5): what is said here covers epoch 0 only",
            ),
            Self::Epochs { old: true } => f.write_str(
                "the app approves by epoch as of dstack 0.6.4: what is said here covers epoch 0 only, and the \
                 KMS takes the app for one without epochs until its owner upgrades it",
            ),
        }
    }
}
