//! The guest's event log and its replay.
//!
//! The hardware keeps four hash registers. A guest extends them and keeps a log of what it extended them with, so
//! the log is proven by replaying it to the values in the quote. Only the digest of a firmware event is in the
//! register, so its name and payload prove nothing. The digest of a dstack event covers name and payload.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha384};

use crate::{hexes::HexBytes, reason::Reason};

/// The type of dstack's events in RTMR3.
pub const DSTACK_EVENT: u32 = 0x0800_0001;
/// The register that dstack's events extend.
const APP_REGISTER: u32 = 3;
/// After this event the app itself may extend RTMR3, so names prove nothing any more.
const SYSTEM_READY: &str = "system-ready";

/// The value of a register.
pub type Register = [u8; 48];

/// One entry of the log, as guests of both generations print it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The register, 0 to 3.
    pub imr: u32,
    /// The type: [`DSTACK_EVENT`], or a number of the firmware.
    pub event_type: u32,
    /// What the register was extended with. Empty where it can be computed.
    #[serde(default)]
    pub digest: HexBytes,
    /// The name.
    #[serde(default)]
    pub event: String,
    /// The payload.
    #[serde(default)]
    pub event_payload: HexBytes,
    /// How a dstack event is hashed: 1 (binary) or 2 (canonical JSON).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub version: u8,
    /// The bytes under the digest, which newer guests give for version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preimage: Option<HexBytes>,
}

fn one() -> u8 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_one(version: &u8) -> bool {
    *version == 1
}

impl Event {
    /// A dstack event in RTMR3, hashed as version 1 or 2.
    pub fn dstack(name: &str, payload: &[u8], version: u8) -> Self {
        let mut event = Self {
            imr: APP_REGISTER,
            event_type: DSTACK_EVENT,
            digest: HexBytes::default(),
            event: name.to_owned(),
            event_payload: HexBytes(payload.to_vec()),
            version,
            preimage: None,
        };
        event.digest = HexBytes(event.computed_digest().to_vec());
        event
    }

    /// Reads the log that a guest prints as a JSON array. Fields that are not evidence are dropped.
    pub fn parse_guest_log(json: &str) -> Result<Vec<Self>, serde_json::Error> {
        #[derive(Deserialize)]
        struct GuestEvent {
            imr: u32,
            event_type: u32,
            #[serde(default)]
            digest: HexBytes,
            #[serde(default)]
            event: String,
            #[serde(default)]
            event_payload: HexBytes,
            #[serde(default = "one")]
            version: u8,
            #[serde(default)]
            preimage: Option<HexBytes>,
        }
        let events: Vec<GuestEvent> = serde_json::from_str(json)?;
        let known = |event: GuestEvent| Self {
            imr: event.imr,
            event_type: event.event_type,
            digest: event.digest,
            event: event.event,
            event_payload: event.event_payload,
            version: event.version,
            preimage: event.preimage,
        };
        Ok(events.into_iter().map(known).collect())
    }

    pub(crate) fn len(&self) -> usize {
        let preimage = self.preimage.as_ref().map_or(0, |bytes| bytes.0.len());
        self.event.len() + self.event_payload.0.len() + self.digest.0.len() + preimage
    }

    fn is_dstack(&self) -> bool {
        self.imr == APP_REGISTER && self.event_type == DSTACK_EVENT
    }

    /// The bytes under the digest of a dstack event.
    fn computed_preimage(&self) -> Vec<u8> {
        if self.version == 2 {
            let name = serde_json::Value::from(self.event.as_str());
            let payload = &self.event_payload;
            return format!(r#"{{"name":{name},"payload":"{payload}","type":{DSTACK_EVENT}}}"#)
                .into_bytes();
        }
        let mut bytes = DSTACK_EVENT.to_le_bytes().to_vec();
        bytes.push(b':');
        bytes.extend_from_slice(self.event.as_bytes());
        bytes.push(b':');
        bytes.extend_from_slice(self.event_payload.as_slice());
        bytes
    }

    fn computed_digest(&self) -> Register {
        Sha384::digest(self.computed_preimage()).into()
    }

    /// The digest that extends the register, after the entry was found consistent with itself.
    fn checked_digest(&self, index: usize) -> Result<Register, Reason> {
        let event = || self.event.clone();
        if !self.is_dstack() {
            let given: Result<Register, _> = self.digest.as_slice().try_into();
            return given.map_err(|_| Reason::EventDigest { index, event: event() });
        }
        if !matches!(self.version, 1 | 2) {
            return Err(Reason::EventVersion { index, event: event(), version: self.version });
        }
        let computed = self.computed_digest();
        if !self.digest.0.is_empty() && self.digest.as_slice() != computed {
            return Err(Reason::EventDigest { index, event: event() });
        }
        if self.preimage.as_ref().is_some_and(|given| given.0 != self.computed_preimage()) {
            return Err(Reason::EventPreimage { index, event: event() });
        }
        Ok(computed)
    }
}

/// A log that was replayed to the registers of a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedLog {
    facts: Vec<(String, Vec<u8>)>,
}

impl ReplayedLog {
    /// The payload of a dstack event that the system recorded before it handed over to the app.
    pub fn fact(&self, name: &str) -> Option<&[u8]> {
        self.facts.iter().find(|(found, _)| found == name).map(|(_, payload)| payload.as_slice())
    }

    /// Every such event, in order.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.facts.iter().map(|(name, payload)| (name.as_str(), payload.as_slice()))
    }
}

/// Events that a boot records once. A second one is not a second answer but an attempt to confuse readers.
const ONCE: [&str; 6] =
    ["app-id", "compose-hash", "instance-id", "os-image-hash", "key-provider", "boot-mr-done"];

/// Replays the log to the quote's registers. RTMR3 must match; RTMR0 to RTMR2 must match if the log has events of
/// theirs, because guests may strip these. `planned` are payloads that name what differs, if RTMR3 does not match.
pub fn replay(
    events: &[Event],
    quoted: &[Register; 4],
    planned: &[(&str, Vec<u8>)],
) -> Result<ReplayedLog, Reason> {
    let mut digests = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        if event.imr > APP_REGISTER {
            return Err(Reason::EventRegister {
                index,
                event: event.event.clone(),
                register: event.imr,
            });
        }
        digests.push((event.imr, event.checked_digest(index)?));
    }
    for register in 0..=APP_REGISTER {
        let extensions: Vec<Register> =
            digests.iter().filter(|(imr, _)| *imr == register).map(|(_, digest)| *digest).collect();
        if extensions.is_empty() && register != APP_REGISTER {
            continue;
        }
        let replayed = extend_all(&extensions);
        let expected = quoted[register as usize];
        if replayed != expected {
            if register == APP_REGISTER
                && let Some(reason) = explain(events, &expected, planned)
            {
                return Err(reason);
            }
            return Err(Reason::Register {
                register,
                quoted: expected.into(),
                replayed: replayed.into(),
            });
        }
    }
    let system = events.iter().filter(|event| event.is_dstack());
    let facts: Vec<(String, Vec<u8>)> = system
        .take_while(|event| event.event != SYSTEM_READY)
        .map(|event| (event.event.clone(), event.event_payload.0.clone()))
        .collect();
    for name in ONCE {
        if facts.iter().filter(|(found, _)| found == name).count() > 1 {
            return Err(Reason::EventTwice { event: name.to_owned() });
        }
    }
    Ok(ReplayedLog { facts })
}

fn extend_all(digests: &[Register]) -> Register {
    digests.iter().fold([0; 48], |register, digest| extend(&register, digest))
}

/// The value of a register after it was extended.
pub fn extend(register: &Register, digest: &Register) -> Register {
    Sha384::new().chain_update(register).chain_update(digest).finalize().into()
}

/// The value of RTMR3 after these events.
pub fn register_of(events: &[Event]) -> Register {
    let digests: Vec<Register> = events.iter().map(Event::computed_digest).collect();
    extend_all(&digests)
}

/// Longer logs are not searched: the search replays the log once per event.
const EXPLAINED: usize = 64;

/// Finds the single change that makes the log match: a payload that is the planned one in the register, or two
/// neighbours that were swapped.
fn explain(events: &[Event], quoted: &Register, planned: &[(&str, Vec<u8>)]) -> Option<Reason> {
    let app: Vec<&Event> = events.iter().filter(|event| event.imr == APP_REGISTER).collect();
    if app.len() > EXPLAINED || app.iter().any(|event| !event.is_dstack()) {
        return None;
    }
    let digests: Vec<Register> = app.iter().map(|event| event.computed_digest()).collect();
    for (name, payload) in planned {
        let Some(at) = app.iter().position(|event| event.event == *name) else { continue };
        let mut changed = digests.clone();
        let event = Event { event_payload: HexBytes(payload.clone()), ..app[at].clone() };
        changed[at] = event.computed_digest();
        if extend_all(&changed) == *quoted {
            return Some(Reason::EventAltered {
                event: (*name).to_owned(),
                logged: app[at].event_payload.clone(),
                quoted: HexBytes(payload.clone()),
            });
        }
    }
    for at in 1..digests.len() {
        let mut changed = digests.clone();
        changed.swap(at - 1, at);
        if extend_all(&changed) == *quoted {
            return Some(Reason::EventOrder {
                first: app[at].event.clone(),
                second: app[at - 1].event.clone(),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests;
