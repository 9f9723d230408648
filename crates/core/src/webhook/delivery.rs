//! One delivery: its id, body, signature and retries. The signature is what the Go and Python SDKs check.

use std::time::Duration;

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::{id::EventSeq, time::Timestamp};

/// Pauses before the second, third and fourth attempt. The first is made at once.
pub const RETRIES: [Duration; 3] =
    [Duration::from_mins(1), Duration::from_mins(10), Duration::from_hours(1)];

/// Minimum number of characters of a secret.
pub const MIN_SECRET: usize = 16;
/// Maximum number of characters of a secret.
pub const MAX_SECRET: usize = 128;

const PREFIX: &str = "whsec_";

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// Another attempt after this time.
    Retry(Duration),
    /// The delivery has failed.
    GiveUp,
}

/// What follows when `attempts` attempts have failed.
pub fn after_failure(attempts: u32) -> AfterFailure {
    let made = usize::try_from(attempts).unwrap_or(usize::MAX);
    match made.checked_sub(1).and_then(|index| RETRIES.get(index)) {
        Some(pause) => AfterFailure::Retry(*pause),
        None => AfterFailure::GiveUp,
    }
}

/// The id of an event as webhooks see it: the same for each of them and each attempt. Ids sort by time. An
/// event number alone could come again after a backup was restored.
pub fn event_id(seq: EventSeq, at: Timestamp) -> String {
    let millis = at.micros().div_euclid(1000);
    format!("evt_{:012x}{:016x}", millis & 0xffff_ffff_ffff, seq.0)
}

/// The body of a delivery.
#[derive(Debug, Serialize)]
pub struct Envelope<'a> {
    pub id: &'a str,
    pub event: &'a str,
    /// `1`.
    pub version: &'static str,
    /// RFC 3339.
    pub created_at: String,
    pub workspace: EnvelopeWorkspace<'a>,
    pub data: Map<String, Value>,
}

#[derive(Debug, Serialize)]
pub struct EnvelopeWorkspace<'a> {
    /// Its slug.
    pub id: &'a str,
    pub name: &'a str,
}

/// The value of `X-Webhook-Signature`. `timestamp` is in seconds since 1970, as in `X-Webhook-Timestamp`. The
/// key of the HMAC is the whole text of the secret, with its prefix.
pub fn sign(secret: &SecretString, timestamp: u64, body: &[u8]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
        return String::new();
    };
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// A secret of 32 random bytes.
pub fn new_secret(random: &[u8; 32]) -> SecretString {
    SecretString::from(format!("{PREFIX}{}", hex::encode(random)))
}

/// A secret that somebody chose. The error is what it must be.
pub fn checked_secret(text: &str) -> Result<SecretString, String> {
    let fits = (MIN_SECRET..=MAX_SECRET).contains(&text.len());
    if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(SecretString::from(text));
    }
    Err(format!(
        "must have {MIN_SECRET} to {MAX_SECRET} characters, all of them printable ASCII without spaces; leave it out \
         to get a random one"
    ))
}

/// A secret as lists show it: its prefix and its last four characters.
pub fn mask(secret: &SecretString) -> String {
    let text = secret.expose_secret();
    let prefix = if text.starts_with(PREFIX) { PREFIX } else { "" };
    let tail = text.len().checked_sub(4).and_then(|at| text.get(at..)).unwrap_or_default();
    format!("{prefix}****{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_at_once_and_after_a_minute_ten_minutes_and_an_hour() {
        let pauses: Vec<_> = (1..=5).map(after_failure).collect();
        assert_eq!(
            pauses,
            [
                AfterFailure::Retry(Duration::from_mins(1)),
                AfterFailure::Retry(Duration::from_mins(10)),
                AfterFailure::Retry(Duration::from_hours(1)),
                AfterFailure::GiveUp,
                AfterFailure::GiveUp,
            ]
        );
    }

    /// The expected value is what `hmac.new(b"whsec_test", b"1700000000.{}", "sha256").hexdigest()` says.
    #[test]
    fn a_signature_is_what_other_implementations_make_of_it() {
        let secret = SecretString::from("whsec_test");
        assert_eq!(
            sign(&secret, 1_700_000_000, b"{}"),
            "sha256=35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91"
        );
    }

    #[test]
    fn ids_of_events_sort_by_time_and_number() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let ids = [
            event_id(EventSeq(9), at(1)),
            event_id(EventSeq(10), at(1)),
            event_id(EventSeq(8), at(2)),
        ];
        assert!(ids.is_sorted(), "{ids:?}");
        assert_eq!(ids[0], "evt_0000000003e80000000000000009");
    }

    #[test]
    fn secrets_are_long_printable_and_shown_by_their_ends() {
        let random = new_secret(&[0xab; 32]);
        assert!(checked_secret(random.expose_secret()).is_ok());
        assert_eq!(mask(&random), "whsec_****abab");
        assert_eq!(mask(&SecretString::from("0123456789abcdef")), "****cdef");
        for text in ["", "short", "0123456789 abcdef", "0123456789abcdé", &"x".repeat(129)] {
            assert!(checked_secret(text).is_err(), "{text}");
        }
    }
}
