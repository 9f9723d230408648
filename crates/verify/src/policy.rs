//! What a verifier accepts. The default is strict: real hardware, up to date, no debugging, and an OS image whose
//! measurements the policy lists.

use dcap_qvl::TcbStatus;
use serde::{Deserialize, Serialize};

use crate::{
    ClaimId,
    hexes::{Hex, HexBytes},
};

/// A policy, from TOML or JSON. Every field may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// TCB statuses that are accepted, as the vendor spells them. `Revoked` is never accepted.
    pub tcb_status: Vec<TcbStatus>,
    /// Advisories that may apply to an accepted platform.
    pub advisories: Vec<String>,
    /// The lowest firmware levels of an SEV-SNP platform.
    pub snp_minimum: SnpMinimum,
    /// Whether the VM's memory may be open to its host.
    pub debug: bool,
    /// Whether evidence under a development root is accepted, as simulated.
    pub simulated: bool,
    /// Whether development images, which have login tools, are accepted.
    pub dev_images: bool,
    /// Whether an accepted image may be named by the guest itself, without measurements.
    pub reported_images: bool,
    /// Claims that must be proven.
    pub required: Vec<ClaimId>,
    /// KMS root keys that are accepted.
    pub kms_roots: Vec<KmsRoot>,
    /// OS images that are accepted.
    pub images: Vec<AcceptedImage>,
    /// Expected measurements of these images.
    pub measurements: Vec<ExpectedMeasurements>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tcb_status: vec![TcbStatus::UpToDate],
            advisories: Vec::new(),
            snp_minimum: SnpMinimum::default(),
            debug: false,
            simulated: false,
            dev_images: false,
            reported_images: false,
            required: vec![
                ClaimId::Hardware,
                ClaimId::Tcb,
                ClaimId::DebugOff,
                ClaimId::OsImage,
                ClaimId::ComposeHash,
                ClaimId::AppId,
            ],
            kms_roots: Vec::new(),
            images: Vec::new(),
            measurements: Vec::new(),
        }
    }
}

/// The lowest firmware levels of an SEV-SNP platform; 0 accepts any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnpMinimum {
    /// The boot loader of the security processor.
    pub bootloader: u8,
    /// Its operating system.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// The microcode.
    pub microcode: u8,
}

/// An accepted KMS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsRoot {
    /// What to call it.
    pub name: String,
    /// Its root public key (secp256k1, compressed).
    pub root_public_key: Hex<33>,
    /// The public key of its CA (DER), which guests record as key provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_public_key: Option<HexBytes>,
}

/// An accepted OS image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedImage {
    /// What to call it.
    pub name: String,
    /// Its hash.
    pub os_image_hash: Hex<32>,
    /// Whether it has login tools.
    #[serde(default)]
    pub dev: bool,
}

/// What the registers hold for one image, one VM configuration and one revision of a node's software.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedMeasurements {
    /// The hash of the image.
    pub os_image_hash: Hex<32>,
    /// The image's name, for messages.
    pub image: String,
    /// The revision of the node's software (QEMU and host configuration).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_revision: Option<String>,
    /// The fields of `vm_config` that the measurements were computed for, for example `cpu_count`.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub vm_config: serde_json::Map<String, serde_json::Value>,
    /// The firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mrtd: Option<Hex<48>>,
    /// The virtual hardware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmr0: Option<Hex<48>>,
    /// The kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmr1: Option<Hex<48>>,
    /// The kernel command line and the initial file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmr2: Option<Hex<48>>,
    /// SEV-SNP's launch measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snp_measurement: Option<Hex<48>>,
}

/// Why a text is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy is not valid: {0}")]
pub struct PolicyError(String);

impl Policy {
    /// Reads a policy: JSON if the text begins with a brace, TOML otherwise.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.trim_start().starts_with('{') {
            return serde_json::from_str(text).map_err(|error| PolicyError(error.to_string()));
        }
        toml::from_str(text).map_err(|error| PolicyError(error.to_string().trim_end().to_owned()))
    }
}
