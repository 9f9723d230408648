//! Strict decoding of call results.
//!
//! A call to an address without code succeeds and returns nothing; a contract without the function reverts.
//! Neither is an error of the chain, and retrying does not help: both mean that there is no such contract.

use alloy_sol_types::{Panic, Revert, SolCall, SolError, SolInterface};
use serde_json::Value;

use super::{
    Account, KmsKeys,
    interface::{AppContract, KmsContract, SafeContract},
    rules::Rule,
};
use crate::id::Address;

/// Maximum number of owners read; a contract with more does not count as a Safe.
const MOST_OWNERS: usize = 256;

/// Prefix of the code of a key with EIP-7702 delegation.
const DELEGATION: [u8; 3] = [0xef, 0x01, 0x00];
const DELEGATION_LENGTH: usize = 23;

/// Maximum length of a contract's own text in messages, because anybody can write contracts.
const LONGEST_TEXT: usize = 300;

/// The result of a call at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallResult {
    /// Success with these bytes.
    Data(Vec<u8>),
    /// Reverted with these bytes, on every endpoint.
    Reverted(Vec<u8>),
}

impl CallResult {
    /// The returned bytes, if it succeeded.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        match self {
            Self::Data(data) => Some(data),
            Self::Reverted(_) => None,
        }
    }
}

/// The bytes of a revert, if an `eth_call` error means one. JSON-RPC has code 3 for a revert with bytes and
/// none for one without; chain clients then use their own codes, and only the text is left. This is the only
/// function that parses it.
#[must_use]
pub fn revert_of_error(code: i64, message: &str, data: Option<&Value>) -> Option<Vec<u8>> {
    const WORDS: [&str; 4] = ["revert", "invalid opcode", "evm error", "out of gas"];
    let said = message.to_ascii_lowercase();
    if code != 3 && !WORDS.iter().any(|word| said.contains(word)) {
        return None;
    }
    // As hex, in an object, or after a word.
    let text = match data {
        Some(Value::String(text)) => text.as_str(),
        Some(Value::Object(object)) => object.get("data").and_then(Value::as_str).unwrap_or(""),
        _ => "",
    };
    let digits = text.rsplit_once("0x").map_or("", |(_, digits)| digits);
    Some(hex::decode(digits).unwrap_or_default())
}

/// A boolean; `None`: no contract that answers like one.
#[must_use]
pub fn flag(returned: &CallResult) -> Option<bool> {
    let data = returned.data()?;
    if data.is_empty() {
        return (!Rule::EmptyData.applies()).then_some(false);
    }
    let (last, zeros) = data.split_last()?;
    (data.len() == 32 && *last < 2 && zeros.iter().all(|byte| *byte == 0)).then_some(*last == 1)
}

/// An address; `None` for the zero address, or without an answer.
#[must_use]
pub fn account(returned: &CallResult) -> Option<Address> {
    let data: &[u8; 32] = returned.data()?.try_into().ok()?;
    let (padding, bytes) = data.split_first_chunk::<12>()?;
    let bytes: [u8; 20] = bytes.try_into().ok()?;
    (*padding == [0; 12] && bytes != [0; 20]).then(|| Address::from_bytes(bytes))
}

/// App id of the gateway of a KMS; `None`: not set, or no contract that answers like one.
#[must_use]
pub fn gateway_app_id(returned: &CallResult) -> Option<String> {
    let id = KmsContract::gatewayAppIdCall::abi_decode_returns_validate(returned.data()?).ok()?;
    (!id.is_empty()).then(|| sanitize(&id))
}

/// Public keys of a KMS; `None`: not set, or no contract that answers like one.
#[must_use]
pub fn kms_keys(returned: &CallResult) -> Option<KmsKeys> {
    let info = KmsContract::kmsInfoCall::abi_decode_returns_validate(returned.data()?).ok()?;
    let keys = KmsKeys { k256: info.k256Pubkey.to_vec(), ca: info.caPubkey.to_vec() };
    (!keys.k256.is_empty() || !keys.ca.is_empty()).then_some(keys)
}

/// A contract's answer to a boot: whether it is allowed, and why not.
#[must_use]
pub fn boot(returned: &CallResult) -> Option<(bool, String)> {
    let answer =
        KmsContract::isAppAllowedCall::abi_decode_returns_validate(returned.data()?).ok()?;
    Some((answer._0, sanitize(&answer._1)))
}

/// Number of owners of a Safe that must sign.
#[must_use]
pub fn safe_threshold(returned: &CallResult) -> Option<u64> {
    let threshold = SafeContract::getThresholdCall::abi_decode_returns_validate(returned.data()?);
    u64::try_from(threshold.ok()?).ok().filter(|threshold| *threshold > 0)
}

#[must_use]
pub fn safe_owners(returned: &CallResult) -> Option<Vec<Address>> {
    let data = returned.data().filter(|data| data.len() <= 32 * (MOST_OWNERS + 2))?;
    let owners = SafeContract::getOwnersCall::abi_decode_returns_validate(data).ok()?;
    Some(owners.into_iter().map(|owner| Address::from_bytes(owner.into_array())).collect())
}

/// Whether an account has no code, or EIP-7702 delegation: then a key signs.
#[must_use]
pub fn is_key(code: &[u8]) -> bool {
    code.is_empty() || (code.len() == DELEGATION_LENGTH && code.starts_with(&DELEGATION))
}

/// The kind of an account with code, from its answers to the Safe functions.
#[must_use]
pub fn contract(threshold: &CallResult, owners: &CallResult) -> Account {
    match (safe_threshold(threshold), safe_owners(owners)) {
        (Some(threshold), Some(owners)) => Account::Safe { threshold, owners },
        _ => Account::Contract,
    }
}

/// The address of the app that a KMS contract created.
#[must_use]
pub fn deployed_app(returned: &CallResult) -> Option<Address> {
    account(returned)
}

/// Why a call reverted, for the user: the text of `require`, or the name of the error.
#[must_use]
pub fn reason(reverted: &[u8]) -> String {
    if let Ok(revert) = Revert::abi_decode(reverted) {
        return sanitize(&revert.reason);
    }
    if let Ok(panic) = Panic::abi_decode(reverted) {
        return panic.to_string();
    }
    AppContract::AppContractErrors::abi_decode(reverted)
        .map_or_else(|_| unknown(reverted), |error| named(&error))
}

fn named(error: &AppContract::AppContractErrors) -> String {
    use AppContract::AppContractErrors as Error;
    match error {
        Error::OwnableUnauthorizedAccount(error) => {
            format!(
                "OwnableUnauthorizedAccount({:#x}): this account is not its owner",
                error.account
            )
        }
        Error::OwnableInvalidOwner(error) => {
            format!("OwnableInvalidOwner({:#x})", error.owner)
        }
        Error::UUPSUnauthorizedCallContext(_) => "UUPSUnauthorizedCallContext()".to_owned(),
        Error::InvalidInitialization(_) => "InvalidInitialization()".to_owned(),
        Error::NotInitializing(_) => "NotInitializing()".to_owned(),
        Error::FailedCall(_) => "FailedCall()".to_owned(),
        Error::AddressEmptyCode(error) => format!("AddressEmptyCode({:#x})", error.target),
    }
}

/// A contract's own text, truncated and on one line.
fn sanitize(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn unknown(reverted: &[u8]) -> String {
    match reverted.first_chunk::<4>() {
        None => "it reverts without a reason".to_owned(),
        Some(selector) => format!("it reverts with error 0x{}", hex::encode(selector)),
    }
}
