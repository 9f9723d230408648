//! Why a claim failed, and why one is not shown: typed, with a sentence in plain words for each.

mod text;

use jiff::Timestamp;
use serde::Serialize;

use crate::hexes::{Hex, HexBytes};

/// A signed part of the collateral.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The levels at which a platform is up to date.
    TcbInfo,
    /// What the quoting enclave must be.
    QeIdentity,
    /// The root's list of revoked certificates.
    RootRevocationList,
    /// The platform CA's list of revoked certificates.
    PlatformRevocationList,
}

/// A certificate on the way from the root to the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// Intel's certificate of the platform (PCK).
    Platform,
    /// The CA that issues platform certificates.
    PlatformCa,
    /// The certificate that signs the TCB info.
    TcbSigner,
    /// The certificate that signs the QE identity.
    QeSigner,
    /// AMD's root (ARK).
    Ark,
    /// AMD's intermediate (ASK).
    Ask,
    /// AMD's certificate of the chip (VCEK).
    Vcek,
}

/// A field of a quote's header that no supported quote has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderField {
    /// Neither version 4 nor 5.
    Version,
    /// Not ECDSA on P-256.
    KeyType,
    /// Not a TDX quote.
    TeeType,
    /// Not Intel's quoting enclave.
    Vendor,
}

/// An attribute of a TD that lets somebody in or is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attribute {
    /// Bits that must be zero.
    Reserved,
    /// The VM may be migrated by a service VM.
    Migratable,
    /// A service VM is bound to it.
    ServiceTd,
    /// `SEPT_VE_DISABLE` is off: the host can inject exceptions on memory accesses.
    SeptVe,
}

/// What a register or field depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measured {
    /// The firmware.
    Mrtd,
    /// The virtual hardware.
    Rtmr0,
    /// The kernel.
    Rtmr1,
    /// The kernel's command line and the initial file system.
    Rtmr2,
    /// SEV-SNP's launch measurement: firmware, kernel and virtual CPUs.
    SnpMeasurement,
}

impl Measured {
    /// The register's name.
    pub fn register(self) -> &'static str {
        match self {
            Self::Mrtd => "MRTD",
            Self::Rtmr0 => "RTMR0",
            Self::Rtmr1 => "RTMR1",
            Self::Rtmr2 => "RTMR2",
            Self::SnpMeasurement => "the launch measurement",
        }
    }

    /// What it measures.
    pub fn input(self) -> &'static str {
        match self {
            Self::Mrtd => "the virtual firmware",
            Self::Rtmr0 => "the virtual hardware: CPUs, memory, devices, ACPI tables",
            Self::Rtmr1 => "the kernel",
            Self::Rtmr2 => "the kernel command line and the initial file system",
            Self::SnpMeasurement => "firmware, kernel and virtual CPUs",
        }
    }
}

/// Why a claim failed. The code is stable; the sentence may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "each variant's fields are the values that its sentence below names"
)]
pub enum Reason {
    /// The bytes are no quote.
    QuoteMalformed,
    /// The quote carries bytes behind its end.
    QuoteTrailingBytes { bytes: usize },
    /// The header is not that of a TDX quote.
    QuoteHeader { field: HeaderField },
    /// The attestation key did not sign header and body.
    QuoteSignature,
    /// The platform's certificate did not sign the quoting enclave's report.
    QeReportSignature,
    /// The quoting enclave's report commits to another attestation key.
    QeReportHash,
    /// The quoting enclave is not the one that the QE identity describes.
    QeIdentityDiffers,
    /// A certificate cannot be read.
    CertificateMalformed { certificate: Link },
    /// A certificate was not signed by the one above it.
    CertificateSignature { certificate: Link },
    /// A certificate is no longer valid.
    CertificateExpired { certificate: Link, until: Timestamp },
    /// A certificate is not valid yet.
    CertificateNotYetValid { certificate: Link, from: Timestamp },
    /// The issuer revoked a certificate.
    CertificateRevoked { certificate: Link },
    /// The chain ends at a root that nobody gave.
    UnknownRoot,
    /// The chain ends at a development root and the policy wants real hardware.
    SimulatedNotAllowed { root: String },
    /// A part of the collateral cannot be read.
    CollateralMalformed { part: Part },
    /// A part of the collateral was not signed by its issuer.
    CollateralSignature { part: Part },
    /// A part of the collateral is too old.
    CollateralExpired { part: Part, until: Timestamp },
    /// A part of the collateral is from the future.
    CollateralNotYetValid { part: Part, from: Timestamp },
    /// The collateral is about another processor family.
    CollateralOtherPlatform { quoted: Hex<6>, collateral: String },
    /// The platform is below every level of the TCB info.
    NoTcbLevel,
    /// The TDX module is not the one that the TCB info describes.
    ModuleDiffers,
    /// The platform's keys are revoked.
    TcbRevoked { advisories: Vec<String> },
    /// The platform's TCB status is not accepted by the policy.
    TcbStatus { status: String, advisories: Vec<String> },
    /// Advisories apply that the policy does not accept.
    Advisories { status: String, advisories: Vec<String> },
    /// The host can read the VM's memory.
    Debug,
    /// An attribute of the VM is unsafe.
    VmAttribute { attribute: Attribute },
    /// `dcap-qvl` refused the quote for a reason without a name here.
    QuoteRefused { detail: String },
    /// The report data is not made of the nonce.
    ReportData { expected: HexBytes, quoted: HexBytes },
    /// The bundle's nonce is not the one that was asked with.
    Nonce { expected: HexBytes, bundle: HexBytes },
    /// An event names a register that does not exist.
    EventRegister { index: usize, event: String, register: u32 },
    /// An event has a version that is not known.
    EventVersion { index: usize, event: String, version: u8 },
    /// An event's digest is not the digest of its name and payload.
    EventDigest { index: usize, event: String },
    /// An event's preimage is not its name and payload.
    EventPreimage { index: usize, event: String },
    /// The log has another payload than the register.
    EventAltered { event: String, logged: HexBytes, quoted: HexBytes },
    /// The log has two events in the wrong order.
    EventOrder { first: String, second: String },
    /// An event that a boot records once is there twice.
    EventTwice { event: String },
    /// An event's payload has the wrong form.
    EventPayload { event: String },
    /// The replayed log does not end at the quoted register.
    Register { register: u32, quoted: Hex<48>, replayed: Hex<48> },
    /// The guest booted something else than planned.
    Booted { event: String, planned: HexBytes, booted: HexBytes },
    /// The compose file in the bundle is not the one that was measured.
    ComposeFile { file: HexBytes, measured: HexBytes },
    /// The quote comes from another machine.
    Device { planned: HexBytes, quoted: HexBytes },
    /// A register differs from what was expected for image, VM configuration and node.
    Measurement {
        register: Measured,
        image: String,
        node: Option<String>,
        expected: HexBytes,
        quoted: HexBytes,
    },
    /// The VM configuration differs from the one that measurements are expected for.
    VmConfig { field: String, planned: String, booted: String },
    /// The VM configuration is not JSON.
    VmConfigMalformed,
    /// The image is not one that the policy accepts.
    ImageNotAccepted { os_image_hash: HexBytes },
    /// The bundle names another image than the guest.
    ImageDiffers { bundle: HexBytes, measured: HexBytes },
    /// Anybody with the image's login can enter.
    DevImage { image: String },
    /// The KMS is not one that the policy accepts.
    KmsRootNotAccepted { root_public_key: HexBytes },
    /// The KMS did not sign the app's key.
    AppKeySignature,
    /// The KMS did not sign the app's key for sealed environment variables.
    EnvKeySignature,
    /// The guest took its keys from another provider than the bundle names.
    KeyProvider { planned: String, booted: String },
    /// The report is not an SEV-SNP report.
    SnpMalformed,
    /// The chip's certificate did not sign the report.
    SnpSignature,
    /// The chip's certificate was issued for another chip.
    SnpChip { certificate: HexBytes, report: HexBytes },
    /// The chip's certificate was issued for another firmware level.
    SnpTcb { component: String, certificate: u8, report: u8 },
    /// The firmware level is below the policy's minimum.
    SnpTcbBelow { component: String, minimum: u8, report: u8 },
    /// The report's host data is not the hash of the configuration document.
    SnpHostData { expected: HexBytes, report: HexBytes },
    /// The configuration document cannot be read.
    SnpConfigMalformed,
    /// The GPU token cannot be read.
    GpuTokenMalformed,
    /// The GPU token is signed by a key that nobody gave.
    GpuKeyUnknown { key_id: String },
    /// The GPU token's signature is wrong.
    GpuSignature,
    /// The GPU token is not valid yet.
    GpuTokenNotYetValid { from: Timestamp },
    /// NVIDIA says that the GPU is not in order.
    GpuResult,
    /// The GPU token answers another nonce.
    GpuNonce,
    /// A token about one GPU is not the one that the overall token names.
    GpuDevice { device: String },
    /// The contracts did not allow it at the given block.
    ContractsDeny { what: String, block: u64 },
    /// The contracts were asked about something else.
    ContractsAskedOther { planned: HexBytes, asked: HexBytes },
}

/// Why a claim could be neither proven nor refuted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "each variant's fields are the values that its sentence below names"
)]
pub enum Missing {
    /// The bundle has neither quote nor report.
    NoEvidence,
    /// The bundle has a quote but no collateral.
    NoCollateral,
    /// The evidence that this claim rests on is not proven.
    RestsOn { claim: crate::ClaimId },
    /// This kind of TEE has no such evidence.
    NotForThisTee,
    /// The bundle does not have this field.
    NotInBundle { field: &'static str },
    /// The guest recorded no such event.
    NoEvent { event: &'static str },
    /// Nobody said what it should be.
    NothingExpected { option: &'static str },
    /// The nonce was chosen by whoever made the bundle.
    NonceNotYours,
    /// The guest names the image, but no measurements were given to check it.
    ImageReportedOnly,
    /// The policy names no KMS, so a signature under the bundle's own key proves nothing.
    NoKmsPinned,
    /// No key set was given to check the token.
    NoGpuKeys,
    /// The token is too old to say something about now. NVIDIA's tokens live for about an hour.
    GpuTokenExpired { until: Timestamp },
    /// Somebody says so; nothing in the bundle proves it.
    StatementOnly { at: String },
    /// People can log in and the policy allows it.
    LoginAllowed,
    /// The VM's memory is open to its host and the policy allows it.
    DebugAllowed,
}
