//! The bundle: every piece of evidence about one CVM in one JSON document (`docs/bundle.md`).
//!
//! A field that this version does not know is refused: it could be evidence that somebody expects to be checked.
//! New fields therefore need a new format number.

use dcap_qvl::QuoteCollateralV3;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    event_log::Event,
    hexes::{Hex, HexBytes},
};

/// The format that this crate reads and writes.
pub const FORMAT: &str = "casemate-bundle/1";

/// Limits, in bytes and items. They are far above what a real CVM produces.
pub const MAX_BUNDLE: usize = 8 << 20;
/// The longest quote.
pub const MAX_QUOTE: usize = 64 << 10;
/// The longest text of collateral, certificates, tokens and documents other than the compose file.
pub const MAX_TEXT: usize = 256 << 10;
/// The longest app-compose document.
pub const MAX_COMPOSE: usize = 1 << 20;
/// The most events of a log.
pub const MAX_EVENTS: usize = 2048;
/// The longest event name and payload.
pub const MAX_EVENT: usize = 64 << 10;
/// The most SSH keys.
pub const MAX_KEYS: usize = 1024;

/// Why a file is not a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The file is larger than any bundle.
    #[error("the bundle has {found} bytes; at most {MAX_BUNDLE} are read")]
    TooLarge {
        /// The length of the file.
        found: usize,
    },
    /// The file is not JSON, or a field has the wrong type or is unknown.
    #[error("the bundle is not valid at line {line}, column {column}: {what}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What was expected.
        what: String,
    },
    /// The file says another format.
    #[error("the bundle has the format {found:?}; this version reads {FORMAT:?}")]
    Format {
        /// What the file says.
        found: String,
    },
    /// A field is longer than its limit.
    #[error("{field} is longer than {limit}")]
    Limit {
        /// The field's path.
        field: &'static str,
        /// The limit, in bytes or items.
        limit: usize,
    },
    /// The bundle has evidence of two kinds of TEE; a CVM runs in one.
    #[error("the bundle has both a TDX quote and an SEV-SNP report; a CVM has one of them")]
    TwoReports,
}

/// Everything that was collected about one CVM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// [`FORMAT`].
    pub format: String,
    /// When the evidence was collected. A statement, not evidence.
    pub collected_at: Timestamp,
    /// Which CVM it is said to be.
    pub cvm: Cvm,
    /// The TDX quote and what belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdx: Option<Tdx>,
    /// The SEV-SNP report and what belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snp: Option<Snp>,
    /// What the quote's or the report's 64 bytes of report data were made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_data: Option<ReportData>,
    /// The app-compose document, exactly the bytes that the guest hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_compose: Option<String>,
    /// The guest's `vm_config` document, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_config: Option<String>,
    /// Which OS image is said to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Which key management service gave the CVM its keys, and its signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms: Option<Kms>,
    /// What the contracts said, at which block. A statement, not evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contracts: Option<Contracts>,
    /// Who can log in. A statement, not evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// The GPUs' attestation token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
}

/// The ids of the CVM, as the control plane knows them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cvm {
    /// The control plane's id (`cvm_…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The CVM's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The app's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<Hex<20>>,
    /// The instance's id; absent or empty for apps with `no_instance_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<HexBytes>,
    /// The id of the machine it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<Hex<32>>,
    /// The node's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The revision of the node's software, which expected measurements belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_revision: Option<String>,
}

/// A TDX quote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tdx {
    /// The quote, version 4 or 5.
    pub quote: HexBytes,
    /// What the vendor says about the platform, in `dcap-qvl`'s format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collateral: Option<QuoteCollateralV3>,
    /// The guest's event log.
    #[serde(default)]
    pub event_log: Vec<Event>,
}

/// An SEV-SNP report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snp {
    /// The report, 1184 bytes.
    pub report: HexBytes,
    /// AMD's root certificate, PEM; empty: the known one that signed `ask`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ark: String,
    /// AMD's intermediate certificate, PEM; empty: not shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ask: String,
    /// The chip's certificate, PEM; empty: not shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vcek: String,
    /// dstack's configuration document, whose hash the report's host data holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mr_config: Option<String>,
}

/// How report data is made from a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportDataForm {
    /// The nonce itself, padded with zero bytes to 64.
    #[default]
    Raw,
    /// SHA-256 of `app-data:` and the nonce, as dstack's guest agent of version 0 computes it.
    AppDataSha256,
    /// SHA-384 likewise.
    AppDataSha384,
    /// SHA-512 likewise (dstack's default).
    AppDataSha512,
}

/// The nonce that the quote was asked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportData {
    /// The nonce.
    pub nonce: HexBytes,
    /// How it became report data.
    #[serde(default)]
    pub form: ReportDataForm,
}

/// An OS image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The image's name.
    pub name: String,
    /// SHA-256 of the image's `sha256sum.txt`.
    pub os_image_hash: Hex<32>,
    /// Whether the image has login tools.
    #[serde(default)]
    pub dev: bool,
}

/// A key management service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kms {
    /// Where it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its root public key (secp256k1, 33 bytes), which signs keys of apps.
    pub root_public_key: Hex<33>,
    /// The public key of its CA (DER), which the guest records as its key provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_public_key: Option<HexBytes>,
    /// The app's signing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_key: Option<AppKey>,
    /// The app's key for sealed environment variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_key: Option<EnvKey>,
}

/// The app's secp256k1 key and the KMS's signature of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppKey {
    /// The public key, compressed.
    pub public_key: Hex<33>,
    /// `r`, `s`, recovery id.
    pub signature: Hex<65>,
}

/// The app's X25519 key and the KMS's signature of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvKey {
    /// The public key.
    pub public_key: Hex<32>,
    /// `r`, `s`, recovery id.
    pub signature: Hex<65>,
    /// The time in the signed message, seconds since 1970; absent in the older form of the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<u64>,
}

/// What contracts said at one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contracts {
    /// The chain.
    pub chain_id: u64,
    /// The block's number.
    pub block_number: u64,
    /// The block's hash.
    pub block_hash: Hex<32>,
    /// The KMS contract.
    pub kms_contract: Hex<20>,
    /// The compose hash that was asked about.
    pub compose_hash: Hex<32>,
    /// Whether the app contract allowed the compose hash.
    pub compose_hash_allowed: bool,
    /// The device that was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<Hex<32>>,
    /// Whether the app contract allowed the device, or every device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_allowed: Option<bool>,
    /// Whether the KMS contract allowed the OS image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_image_allowed: Option<bool>,
}

/// Who can log in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Public keys given to the guest. They are not measured.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
}

/// A GPU attestation token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// The token: a JWT, or NVIDIA's detached token (`[["JWT", …], {"GPU-0": …}]`) as text.
    pub token: String,
    /// The nonce that the GPUs were asked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<HexBytes>,
}

impl Bundle {
    /// Reads a bundle and checks its limits. Nothing is verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            format: String,
        }
        if bytes.len() > MAX_BUNDLE {
            return Err(BundleError::TooLarge { found: bytes.len() });
        }
        let head: Head = serde_json::from_slice(bytes).map_err(|error| json_error(&error))?;
        if head.format != FORMAT {
            return Err(BundleError::Format { found: head.format.chars().take(64).collect() });
        }
        let bundle: Self = serde_json::from_slice(bytes).map_err(|error| json_error(&error))?;
        bundle.check_limits()?;
        Ok(bundle)
    }

    fn check_limits(&self) -> Result<(), BundleError> {
        if self.tdx.is_some() && self.snp.is_some() {
            return Err(BundleError::TwoReports);
        }
        if let Some(tdx) = &self.tdx {
            limit("tdx.quote", tdx.quote.0.len(), MAX_QUOTE)?;
            limit("tdx.event_log", tdx.event_log.len(), MAX_EVENTS)?;
            let longest = tdx.event_log.iter().map(Event::len).max().unwrap_or(0);
            limit("tdx.event_log[].event_payload", longest, MAX_EVENT)?;
        }
        if let Some(snp) = &self.snp {
            limit("snp.report", snp.report.0.len(), MAX_QUOTE)?;
            limit("snp.ark", snp.ark.len(), MAX_TEXT)?;
            limit("snp.ask", snp.ask.len(), MAX_TEXT)?;
            limit("snp.vcek", snp.vcek.len(), MAX_TEXT)?;
            limit("snp.mr_config", snp.mr_config.as_ref().map_or(0, String::len), MAX_TEXT)?;
        }
        limit("app_compose", self.app_compose.as_ref().map_or(0, String::len), MAX_COMPOSE)?;
        limit("vm_config", self.vm_config.as_ref().map_or(0, String::len), MAX_TEXT)?;
        limit(
            "login.ssh_keys",
            self.login.as_ref().map_or(0, |login| login.ssh_keys.len()),
            MAX_KEYS,
        )?;
        limit("gpu.token", self.gpu.as_ref().map_or(0, |gpu| gpu.token.len()), MAX_TEXT)?;
        let nonce = self.report_data.as_ref().map_or(0, |data| data.nonce.0.len());
        limit("report_data.nonce", nonce, MAX_EVENT)
    }
}

fn limit(field: &'static str, found: usize, limit: usize) -> Result<(), BundleError> {
    if found > limit { Err(BundleError::Limit { field, limit }) } else { Ok(()) }
}

fn json_error(error: &serde_json::Error) -> BundleError {
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or(&what).chars().take(256).collect();
    BundleError::Json { line: error.line(), column: error.column(), what }
}
