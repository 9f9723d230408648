//! The envelope that dstack calls `SealedEnv` (0.6.4 and later): HPKE under a key of two epochs. Recognised, never made
//! and never opened here: how its key is delivered and signed is not published.
//!
//! ```text
//! {"version":1,"root_epoch":R,"app_epoch":A,"enc":"<base64>","ciphertext":"<base64>"}      JSON, UTF-8
//! ```

use serde::Deserialize;

/// The epochs of an envelope that is bound to them. No other epochs open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnvelope {
    /// Its form; 1 is the only one that is known.
    pub version: u64,
    /// Epoch of the root keys of the KMS.
    pub root_epoch: u64,
    /// Epoch of the app.
    pub app_epoch: u64,
}

#[derive(Deserialize)]
struct Header {
    version: u64,
    root_epoch: u64,
    app_epoch: u64,
    #[serde(rename = "enc")]
    _enc: String,
    #[serde(rename = "ciphertext")]
    _ciphertext: String,
}

impl EpochEnvelope {
    /// Whether these bytes are such an envelope, of whatever version. The older envelope begins with a random key, which
    /// makes no such JSON.
    pub fn recognise(bytes: &[u8]) -> Option<Self> {
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        if first != Some(&b'{') {
            return None;
        }
        let Header { version, root_epoch, app_epoch, .. } = serde_json::from_slice(bytes).ok()?;
        Some(Self { version, root_epoch, app_epoch })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::seal::{InvalidSealedEnv, SealedEnv};

    fn envelope() -> Value {
        json!({
            "version": 1, "root_epoch": 2, "app_epoch": 3,
            "enc": "A".repeat(44), "ciphertext": "B".repeat(80),
        })
    }

    #[test]
    fn it_is_recognised_by_its_fields() {
        let known = EpochEnvelope { version: 1, root_epoch: 2, app_epoch: 3 };
        let text = envelope().to_string();
        assert_eq!(EpochEnvelope::recognise(text.as_bytes()), Some(known));
        assert_eq!(EpochEnvelope::recognise(format!("\n {text}").as_bytes()), Some(known));
        let newer = text.replace("\"version\":1", "\"version\":2,\"more\":[]");
        assert_eq!(EpochEnvelope::recognise(newer.as_bytes()).unwrap().version, 2);
        for field in ["version", "root_epoch", "app_epoch", "enc", "ciphertext"] {
            let mut without = envelope();
            without.as_object_mut().unwrap().remove(field);
            assert_eq!(EpochEnvelope::recognise(without.to_string().as_bytes()), None, "{field}");
        }
        for bytes in [&b"{"[..], b"", b"{}", &[0x7b; 80], &[7; 80]] {
            assert_eq!(EpochEnvelope::recognise(bytes), None);
        }
    }

    #[test]
    fn it_is_never_taken_for_the_older_envelope() {
        let text = envelope().to_string();
        let refused = SealedEnv::from_bytes(text.clone().into_bytes()).unwrap_err();
        assert!(matches!(refused, InvalidSealedEnv::OfEpochs(of) if of.root_epoch == 2));
        let refused = hex::encode(&text).parse::<SealedEnv>().unwrap_err().to_string();
        assert_eq!(
            refused,
            "it is a SealedEnv of dstack 0.6.4 (version 1, root epoch 2, app epoch 3), and how the key of \
             one is published is not known here"
        );
        // The bytes of the older envelope may begin like JSON.
        assert!(SealedEnv::from_bytes(vec![b'{'; 80]).is_ok());
    }
}
