//! What a running guest shows about itself. A verifier decides what it proves; nothing here is believed.

use serde::{Deserialize, Serialize};

use crate::stored::Stored;

/// Data that a verifier has put into a quote so that it is fresh: 64 bytes, as TDX and SEV-SNP take them.
pub type ReportData = [u8; 64];

/// What one guest showed at one time. Stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GuestEvidence {
    /// The quote, hex. `None`: the guest shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// The event log of the quote, a JSON list as the guest wrote it. `None`: it is in `tcb_info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log: Option<String>,
    /// Measurements, event log and document, a JSON object as the guest wrote it. `None`: the app does not
    /// show them (`public_tcbinfo`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcb_info: Option<String>,
    /// The report of an SEV-SNP guest, and what belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snp: Option<SnpReport>,
    /// What the measurements of the VM depend on, JSON as the guest wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_config: Option<String>,
    /// The certificate of the app and its issuers, PEM; empty: it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub certificates: String,
    /// It is from a node without TEE, under a development root.
    #[serde(default)]
    pub simulated: bool,
}

/// A report of AMD SEV-SNP.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnpReport {
    /// Hex.
    pub report: String,
    /// AMD's intermediate certificate, PEM. `None`: the guest shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
    /// The certificate of the chip, PEM. `None`: the guest shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcek: Option<String>,
    /// dstack's document whose hash is in the report, as text. `None`: the guest shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mr_config: Option<String>,
}

impl Stored for GuestEvidence {}

impl GuestEvidence {
    /// The SHA-256 of the quote or report, or of everything where there is none, 64 hex digits.
    pub fn checksum(&self) -> String {
        use sha2::{Digest, Sha256};
        let report = self.snp.as_ref().map(|snp| &*snp.report);
        let quote = self.quote.as_deref().or(report).and_then(|quote| hex::decode(quote).ok());
        let shown = quote.unwrap_or_else(|| serde_json::to_vec(self).unwrap_or_default());
        hex::encode(Sha256::digest(shown))
    }
}

/// What a verifier found in evidence. Stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVerdict {
    /// No claim failed, and none that is required is missing.
    pub accepted: bool,
    /// In the verifier's order.
    pub claims: Vec<JudgedClaim>,
}

impl Stored for StoredVerdict {}

impl StoredVerdict {
    /// Why it is not accepted: a sentence for each claim that failed or is required and missing.
    pub fn why_not(&self) -> Vec<String> {
        let counts = |claim: &&JudgedClaim| match claim.state {
            ClaimState::Proven => false,
            ClaimState::Failed => true,
            ClaimState::NotShown => claim.required,
        };
        let sentence = |claim: &JudgedClaim| format!("{}: {}", claim.claim, claim.reason);
        self.claims.iter().filter(counts).map(sentence).collect()
    }
}

/// What became of one claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedClaim {
    /// The verifier's name of it.
    pub claim: String,
    pub state: ClaimState,
    /// Whether the policy requires it.
    pub required: bool,
    /// What proves it, why it failed, or why it is not shown.
    pub reason: String,
}

/// The three states of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimState {
    /// Proven, or simulated under a development root.
    Proven,
    Failed,
    NotShown,
}

/// What a guest measured, as far as replies show it: the JSON object in `tcb_info`. Registers are hex.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TcbInfo {
    pub mrtd: String,
    pub rtmr0: String,
    pub rtmr1: String,
    pub rtmr2: String,
    pub rtmr3: String,
    pub mr_aggregated: String,
    pub os_image_hash: String,
    pub compose_hash: String,
    pub device_id: String,
    pub rootfs_hash: Option<String>,
    pub event_log: Vec<LoggedEvent>,
    pub app_compose: String,
}

/// An entry of an event log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LoggedEvent {
    /// The register it extends, 0 to 3.
    pub imr: u32,
    pub event_type: u32,
    /// SHA-384, hex.
    pub digest: String,
    pub event: String,
    /// Hex.
    pub event_payload: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_bytes_of_the_quote() {
        let evidence = GuestEvidence { quote: Some("00ff".to_owned()), ..GuestEvidence::default() };
        // printf '\x00\xff' | sha256sum
        let sum = "06eb7d6a69ee19e5fbdf749018d3d2abfa04bcbd1365db312eb86dc7169389b8";
        assert_eq!(evidence.checksum(), sum);
        let other = GuestEvidence { simulated: true, ..evidence };
        assert_eq!(other.checksum(), sum);
        let without = GuestEvidence { quote: None, ..other };
        assert_ne!(without.checksum(), GuestEvidence::default().checksum());
    }
}
