//! What an endpoint said, in classes that callers act on. Pure.
//!
//! Providers put their keys into addresses, and some repeat addresses in what they say: of an error only
//! the number is passed on.

use std::time::Duration;

use casemate_core::governance::returned::revert_of_error;
use serde::Deserialize;
use serde_json::Value;

/// How long an endpoint that asks too much of us to say when is left alone.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The contract reverted, with these bytes. Whoever is asked says the same.
    Reverted(Vec<u8>),
    /// It does not have the block: not yet, or no more.
    Behind,
    /// It does not understand the arguments.
    Arguments,
    /// No answer, or none with sense; asks for a pause, perhaps.
    Down {
        /// In a few words, fit for users.
        what: String,
        /// How long it wants to be left alone.
        pause: Option<Duration>,
    },
    /// It serves this chain.
    OtherChain(u64),
}

impl Failure {
    pub fn down(what: impl Into<String>) -> Self {
        Self::Down { what: what.into(), pause: None }
    }

    /// In words fit for users, and the pause it asks for.
    pub fn message_and_retry_after(&self) -> (String, Option<Duration>) {
        match self {
            Self::Down { what, pause } => (what.clone(), *pause),
            Self::Behind => ("it has not the newest block yet".to_owned(), None),
            Self::Arguments => ("error -32602".to_owned(), None),
            Self::OtherChain(id) => (format!("it serves chain {id}"), None),
            // An answer where contracts are called, and no sense elsewhere.
            Self::Reverted(_) => ("its answer makes no sense".to_owned(), None),
        }
    }

    /// An answer that says something else than it should.
    pub fn senseless(method: &str) -> Self {
        Self::down(format!("its answer to {method} makes no sense"))
    }
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    id: Value,
    /// Absent in an error; null where there is nothing.
    #[serde(default, deserialize_with = "present")]
    result: Option<Value>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

/// Tells null from absent.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What a refusal on HTTP's level means; `None`: the body says.
pub(super) fn by_status(status: u16, retry_after: Option<&str>) -> Option<Failure> {
    let asked = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    match status {
        // Some answer a call that they refuse with 400, and say why in the body.
        200 | 400 => None,
        429 => Some(Failure::Down {
            what: "it wants fewer questions (HTTP 429)".to_owned(),
            pause: Some(asked.unwrap_or(SHORT_PAUSE)),
        }),
        status => Some(Failure::Down { what: format!("HTTP {status}"), pause: asked }),
    }
}

/// The result of call number `id`, or what there is instead.
pub(super) fn by_body(method: &str, id: u64, body: &[u8]) -> Result<Value, Failure> {
    let reply: Reply = serde_json::from_slice(body).map_err(|_| Failure::senseless(method))?;
    match reply {
        Reply { error: Some(error), .. } => Err(by_error(&error)),
        Reply { result: Some(result), id: replied, .. } if replied == id => Ok(result),
        _ => Err(Failure::senseless(method)),
    }
}

fn by_error(error: &RpcError) -> Failure {
    let said = error.message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if error.code == -32_601 {
        // "Method not found" is not "block not found".
        return Failure::down("error -32601");
    }
    if let Some(data) = revert_of_error(error.code, &error.message, Some(&error.data)) {
        return Failure::Reverted(data);
    }
    if error.code == -32_001
        || says(&["not found", "unknown block", "not currently canonical", "missing trie"])
    {
        return Failure::Behind;
    }
    match error.code {
        -32_602 => Failure::Arguments,
        -32_005 | -32_029 => Failure::Down {
            what: format!("it wants fewer questions (error {})", error.code),
            pause: Some(SHORT_PAUSE),
        },
        code => Failure::down(format!("error {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> Failure {
        let body = format!(r#"{{"jsonrpc":"2.0","id":7,"error":{json}}}"#);
        by_body("eth_call", 7, body.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_result_is_one_even_if_it_is_null() {
        let body = br#"{"jsonrpc":"2.0","id":7,"result":null}"#;
        assert_eq!(by_body("eth_getTransactionReceipt", 7, body), Ok(Value::Null));
    }

    #[test]
    fn what_is_no_reply_to_this_call_makes_no_sense() {
        let bodies: [&[u8]; 7] = [
            b"",
            b"<html>",
            b"[]",
            b"null",
            br#"{"jsonrpc":"2.0","id":7}"#,
            br#"{"jsonrpc":"2.0","id":8,"result":"0x"}"#,
            br#"{"jsonrpc":"2.0","id":7,"error":"boom"}"#,
        ];
        for body in bodies {
            let failure = by_body("eth_call", 7, body).unwrap_err();
            assert_eq!(
                failure,
                Failure::senseless("eth_call"),
                "{}",
                String::from_utf8_lossy(body)
            );
        }
    }

    #[test]
    fn reverts_are_answers_of_the_contract() {
        let known = [
            (r#"{"code":3,"message":"execution reverted: no","data":"0x0102"}"#, vec![1, 2]),
            (r#"{"code":-32000,"message":"execution reverted","data":{"data":"0x03"}}"#, vec![3]),
            (
                r#"{"code":-32015,"message":"VM execution error: reverted","data":"Reverted 0x04"}"#,
                vec![4],
            ),
            (r#"{"code":-32000,"message":"execution reverted"}"#, vec![]),
            (r#"{"code":-32603,"message":"EVM error InvalidFEOpcode"}"#, vec![]),
        ];
        for (json, data) in known {
            assert_eq!(error(json), Failure::Reverted(data), "{json}");
        }
    }

    #[test]
    fn a_node_without_the_block_is_behind() {
        let known = [
            r#"{"code":-32000,"message":"header not found"}"#,
            r#"{"code":-32001,"message":"Resource not found"}"#,
            r#"{"code":-32000,"message":"hash 0x12 is not currently canonical"}"#,
            r#"{"code":-32000,"message":"missing trie node 12"}"#,
        ];
        for json in known {
            assert_eq!(error(json), Failure::Behind, "{json}");
        }
    }

    #[test]
    fn the_rest_is_told_by_number_and_never_in_its_own_words() {
        let secret = error(r#"{"code":-32000,"message":"bad key k3y at https://rpc/k3y"}"#);
        assert_eq!(secret, Failure::down("error -32000"));
        let method = error(r#"{"code":-32601,"message":"Method not found"}"#);
        assert_eq!(method, Failure::down("error -32601"));
        assert_eq!(error(r#"{"code":-32602,"message":"invalid argument 1"}"#), Failure::Arguments);
        let limited = error(r#"{"code":-32005,"message":"limit exceeded"}"#);
        assert!(matches!(limited, Failure::Down { pause: Some(_), .. }), "{limited:?}");
    }

    #[test]
    fn statuses_that_are_no_answer() {
        assert_eq!(by_status(200, None), None);
        assert_eq!(by_status(400, None), None);
        let limited = by_status(429, Some("9"));
        let pause = Some(Duration::from_secs(9));
        assert!(matches!(limited, Some(Failure::Down { pause: asked, .. }) if asked == pause));
        assert_eq!(by_status(502, None), Some(Failure::down("HTTP 502")));
        assert_eq!(by_status(401, Some("soon")), Some(Failure::down("HTTP 401")));
    }
}
