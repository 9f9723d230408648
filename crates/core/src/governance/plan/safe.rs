//! Formats for multisigs: a file for the Safe Transaction Builder, and MultiSend calldata.

use serde_json::{Map, Value, json};
use sha3::{Digest, Keccak256};

use super::{Transaction, checksummed};
use crate::id::Address;

/// `multiSend(bytes)`.
const MULTI_SEND: [u8; 4] = [0x8d, 0x80, 0xff, 0x0a];

/// The file for the Safe Transaction Builder, with a checksum that detects changes. `created_at` is in
/// milliseconds.
#[must_use]
pub fn batch(
    chain_id: u64,
    safe: Option<Address>,
    name: &str,
    created_at: i64,
    transactions: &[&Transaction],
) -> Value {
    let mut file = json!({
        "version": "1.0",
        "chainId": chain_id.to_string(),
        "createdAt": created_at,
        "meta": {
            "name": name,
            "description": "made by Casemate",
            "txBuilderVersion": "1.16.5",
            "createdFromSafeAddress": safe.map(checksummed).unwrap_or_default(),
            "createdFromOwnerAddress": "",
        },
        "transactions": transactions.iter().map(|one| entry(one)).collect::<Vec<_>>(),
    });
    let sum = checksum(&file);
    file["meta"]["checksum"] = json!(sum);
    file
}

fn entry(transaction: &Transaction) -> Value {
    let inputs = transaction.call.inputs();
    let kinds: Vec<Value> = inputs
        .iter()
        .map(|input| json!({ "internalType": input.kind, "name": input.name, "type": input.kind }))
        .collect();
    let values: Map<String, Value> =
        inputs.iter().map(|input| (input.name.to_owned(), json!(input.value))).collect();
    json!({
        "to": checksummed(transaction.to),
        "value": "0",
        // Without data, the builder shows and encodes function and arguments itself.
        "data": null,
        "contractMethod": { "inputs": kinds, "name": transaction.call.name(), "payable": false },
        "contractInputsValues": values,
    })
}

/// Keccak-256 of the file in the builder's canonical form, without name and checksum.
fn checksum(file: &Value) -> String {
    let mut file = file.clone();
    file["meta"]["name"] = Value::Null;
    format!("0x{}", hex::encode(Keccak256::digest(canonical(&file))))
}

/// The builder's canonical form: sorted keys listed before their values, a comma after each value.
fn canonical(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_unstable();
            let values: String = keys.iter().map(|key| canonical(&fields[*key]) + ",").collect();
            format!("{{{}{values}}}", json!(keys))
        }
        plain => plain.to_string(),
    }
}

/// Calldata of `multiSend(bytes)`, which a Safe executes by DELEGATECALL: all transactions or none.
#[must_use]
pub fn multisend(transactions: &[&Transaction]) -> Vec<u8> {
    let packed: Vec<u8> = transactions.iter().flat_map(|one| packed(one)).collect();
    let padding = packed.len().next_multiple_of(32) - packed.len();
    [&MULTI_SEND, &word(32)[..], &word(packed.len()), &packed, &vec![0; padding]].concat()
}

/// One call (operation 0) in a batch: target, value, data length, data.
fn packed(transaction: &Transaction) -> Vec<u8> {
    let data = transaction.call.calldata();
    [&[0][..], transaction.to.as_bytes(), &[0; 32], &word(data.len()), &data].concat()
}

fn word(number: usize) -> [u8; 32] {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes());
    word
}
