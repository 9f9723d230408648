//! Why a claim failed, and why one is not shown: typed, with a sentence in plain words for each.

use std::fmt;

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
    /// The GPU token is no longer valid.
    GpuTokenExpired { until: Timestamp },
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
    /// Somebody says so; nothing in the bundle proves it.
    StatementOnly { at: String },
    /// People can log in and the policy allows it.
    LoginAllowed,
    /// The VM's memory is open to its host and the policy allows it.
    DebugAllowed,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TcbInfo => "TCB info",
            Self::QeIdentity => "QE identity",
            Self::RootRevocationList => "root revocation list",
            Self::PlatformRevocationList => "platform revocation list",
        })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Platform => "platform certificate (PCK)",
            Self::PlatformCa => "platform CA certificate",
            Self::TcbSigner => "TCB info signing certificate",
            Self::QeSigner => "QE identity signing certificate",
            Self::Ark => "AMD root certificate (ARK)",
            Self::Ask => "AMD intermediate certificate (ASK)",
            Self::Vcek => "chip certificate (VCEK)",
        })
    }
}

impl fmt::Display for HeaderField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "version",
            Self::KeyType => "attestation key type",
            Self::TeeType => "TEE type",
            Self::Vendor => "quoting enclave vendor",
        })
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "reserved attribute bits are set",
            Self::Migratable => "the VM can be migrated by a service VM",
            Self::ServiceTd => "a service VM is bound to the VM",
            Self::SeptVe => "SEPT_VE_DISABLE is off, so the host can inject exceptions into the VM",
        })
    }
}

/// `advisory INTEL-SA-1`, `advisories INTEL-SA-1, INTEL-SA-2`, or that there is none.
fn advisories(names: &[String]) -> String {
    match names {
        [] => "no advisory named".to_owned(),
        [one] => format!("advisory {one}"),
        many => format!("advisories {}", many.join(", ")),
    }
}

/// What the operator of the platform can do about a status.
fn remedy(status: &str) -> &'static str {
    match status {
        "OutOfDate" => "the platform needs a firmware update",
        "OutOfDateConfigurationNeeded" => {
            "the platform needs a firmware update and another BIOS configuration"
        }
        "ConfigurationNeeded" => "the platform needs another BIOS configuration",
        "SWHardeningNeeded" => "the software in the VM needs mitigations",
        "ConfigurationAndSWHardeningNeeded" => {
            "the platform needs another BIOS configuration and the software in the VM needs mitigations"
        }
        "TDRelaunchAdvised" | "TDRelaunchAdvisedConfigurationNeeded" => {
            "the VM started before the last TDX module update; restart it"
        }
        _ => "ask the platform's operator",
    }
}

impl fmt::Display for Reason {
    #[expect(clippy::too_many_lines, reason = "one arm per reason")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QuoteMalformed => f.write_str("the quote cannot be read"),
            Self::QuoteTrailingBytes { bytes } => write!(f, "{bytes} bytes follow the end of the quote"),
            Self::QuoteHeader { field } => write!(f, "the {field} in the quote's header is not that of a TDX quote"),
            Self::QuoteSignature => {
                f.write_str("the quote's signature is wrong: header or body were changed after the hardware signed them")
            }
            Self::QeReportSignature => {
                f.write_str("the platform's certificate did not sign the quoting enclave's report")
            }
            Self::QeReportHash => f.write_str("the quoting enclave vouches for another attestation key"),
            Self::QeIdentityDiffers => f.write_str("the quoting enclave is not the one in the QE identity"),
            Self::CertificateMalformed { certificate } => write!(f, "the {certificate} cannot be read"),
            Self::CertificateSignature { certificate } => {
                write!(f, "the {certificate} was not signed by its issuer")
            }
            Self::CertificateExpired { certificate, until } => {
                write!(f, "the {certificate} was valid until {until}")
            }
            Self::CertificateNotYetValid { certificate, from } => {
                write!(f, "the {certificate} is valid from {from}")
            }
            Self::CertificateRevoked { certificate } => {
                write!(f, "the issuer revoked the {certificate}; do not trust this platform")
            }
            Self::UnknownRoot => f.write_str(
                "the certificate chain does not end at a known root; a quote of a simulated host needs its root by name",
            ),
            Self::SimulatedNotAllowed { root } => write!(
                f,
                "the quote is simulated: it is signed under the development root {root}, and the policy asks for hardware"
            ),
            Self::CollateralMalformed { part } => write!(f, "the {part} in the collateral cannot be read"),
            Self::CollateralSignature { part } => {
                write!(f, "the {part} in the collateral was not signed by its issuer")
            }
            Self::CollateralExpired { part, until } => write!(
                f,
                "the {part} in the collateral was valid until {until}; fetch newer collateral, or verify at an earlier time"
            ),
            Self::CollateralNotYetValid { part, from } => {
                write!(f, "the {part} in the collateral is valid from {from}")
            }
            Self::CollateralOtherPlatform { quoted, collateral } => write!(
                f,
                "the collateral is for the processor family {collateral}, the quote comes from {quoted}"
            ),
            Self::NoTcbLevel => f.write_str("the platform's firmware is older than every level in the TCB info; the platform needs a firmware update"),
            Self::ModuleDiffers => f.write_str("the TDX module is not the one in the TCB info"),
            Self::TcbRevoked { advisories: names } => {
                write!(f, "TCB Revoked: {}; do not trust this platform", advisories(names))
            }
            Self::TcbStatus { status, advisories: names } => {
                write!(f, "TCB {status}: {}; {}", advisories(names), remedy(status))
            }
            Self::Advisories { status, advisories: names } => {
                write!(f, "TCB {status}: {} not accepted by the policy", advisories(names))
            }
            Self::Debug => f.write_str("the VM runs in debug mode: its host can read and change its memory"),
            Self::VmAttribute { attribute } => write!(f, "{attribute}"),
            Self::QuoteRefused { detail } => write!(f, "the quote was refused: {detail}"),
            Self::ReportData { expected, quoted } => {
                write!(f, "report data differs: the nonce gives {expected}, quoted {quoted}")
            }
            Self::Nonce { expected, bundle } => {
                write!(f, "the bundle answers the nonce {bundle}, not {expected}")
            }
            Self::EventRegister { index, event, register } => {
                write!(f, "event {index} ({event}) names register {register}; there are 0 to 3")
            }
            Self::EventVersion { index, event, version } => {
                write!(f, "event {index} ({event}) has version {version}; 1 and 2 are known")
            }
            Self::EventDigest { index, event } => {
                write!(f, "the digest of event {index} ({event}) is not that of its name and payload")
            }
            Self::EventPreimage { index, event } => {
                write!(f, "the preimage of event {index} ({event}) is not its name and payload")
            }
            Self::EventAltered { event, logged, quoted } => write!(
                f,
                "the event log was changed at event {event}: the log has {logged}, RTMR3 was extended with {quoted}"
            ),
            Self::EventOrder { first, second } => {
                write!(f, "the event log was reordered: {first} was recorded before {second}")
            }
            Self::EventTwice { event } => write!(f, "the event {event} is in the log twice"),
            Self::EventPayload { event } => write!(f, "the payload of event {event} has the wrong form"),
            Self::Register { register, quoted, replayed } => write!(
                f,
                "RTMR{register} differs: the event log gives {replayed}, quoted {quoted}; an event was changed, added or left out"
            ),
            Self::Booted { event, planned, booted } => {
                write!(f, "RTMR3 differs at event {event}: planned {planned}, booted {booted}")
            }
            Self::ComposeFile { file, measured } => write!(
                f,
                "RTMR3 differs at event compose-hash: planned {file} (the compose file in the bundle), booted {measured}"
            ),
            Self::Device { planned, quoted } => {
                write!(f, "another machine: planned device {planned}, quoted by {quoted}")
            }
            Self::Measurement { register, image, node, expected, quoted } => write!(
                f,
                "{} differs ({}): image {image}{} gives {expected}, quoted {quoted}",
                register.register(),
                register.input(),
                node.as_ref().map(|node| format!(" on node revision {node}")).unwrap_or_default(),
            ),
            Self::VmConfig { field, planned, booted } => {
                write!(f, "vm_config.{field} differs: planned {planned}, booted {booted}")
            }
            Self::VmConfigMalformed => f.write_str("vm_config is not a JSON object"),
            Self::ImageNotAccepted { os_image_hash } => {
                write!(f, "the policy does not accept the OS image {os_image_hash}")
            }
            Self::ImageDiffers { bundle, measured } => {
                write!(f, "RTMR3 differs at event os-image-hash: planned {bundle}, booted {measured}")
            }
            Self::DevImage { image } => {
                write!(f, "{image} is a development image: people can log in")
            }
            Self::KmsRootNotAccepted { root_public_key } => {
                write!(f, "the policy does not accept the KMS with root key {root_public_key}")
            }
            Self::AppKeySignature => f.write_str("the KMS root key did not sign the app's key for this app id"),
            Self::EnvKeySignature => {
                f.write_str("the KMS root key did not sign the key for environment variables for this app id")
            }
            Self::KeyProvider { planned, booted } => {
                write!(f, "RTMR3 differs at event key-provider: planned {planned}, booted {booted}")
            }
            Self::SnpMalformed => f.write_str("the SEV-SNP report cannot be read"),
            Self::SnpSignature => f.write_str("the chip's certificate did not sign the SEV-SNP report"),
            Self::SnpChip { certificate, report } => {
                write!(f, "the chip's certificate is for chip {certificate}, the report comes from {report}")
            }
            Self::SnpTcb { component, certificate, report } => write!(
                f,
                "the chip's certificate is for {component} level {certificate}, the report says {report}"
            ),
            Self::SnpTcbBelow { component, minimum, report } => write!(
                f,
                "TCB OutOfDate: {component} level {report} is below the policy's {minimum}; the platform needs a firmware update"
            ),
            Self::SnpHostData { expected, report } => {
                write!(f, "host data differs: the configuration document gives {expected}, reported {report}")
            }
            Self::SnpConfigMalformed => f.write_str("the configuration document (mr_config) cannot be read"),
            Self::GpuTokenMalformed => f.write_str("the GPU token cannot be read"),
            Self::GpuKeyUnknown { key_id } => write!(f, "the GPU token is signed by key {key_id:?}, which was not given"),
            Self::GpuSignature => f.write_str("the GPU token's signature is wrong"),
            Self::GpuTokenExpired { until } => write!(f, "the GPU token was valid until {until}"),
            Self::GpuTokenNotYetValid { from } => write!(f, "the GPU token is valid from {from}"),
            Self::GpuResult => f.write_str("NVIDIA's overall result for the GPUs is not true"),
            Self::GpuNonce => f.write_str("the GPU token answers another nonce"),
            Self::GpuDevice { device } => {
                write!(f, "the token about {device} is not the one that the overall token names")
            }
            Self::ContractsDeny { what, block } => {
                write!(f, "the contracts did not allow the {what} at block {block}")
            }
            Self::ContractsAskedOther { planned, asked } => {
                write!(f, "the contracts were asked about {asked}, the CVM has {planned}")
            }
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEvidence => f.write_str("the bundle has neither a TDX quote nor an SEV-SNP report"),
            Self::NoCollateral => f.write_str("the bundle has no collateral, so the quote cannot be judged"),
            Self::RestsOn { claim } => write!(f, "rests on {claim}, which is not proven"),
            Self::NotForThisTee => f.write_str("this kind of TEE has no such evidence"),
            Self::NotInBundle { field } => write!(f, "the bundle has no {field}"),
            Self::NoEvent { event } => write!(f, "the guest recorded no event {event}"),
            Self::NothingExpected { option } => write!(f, "nothing to compare with: give {option}"),
            Self::NonceNotYours => {
                f.write_str("fits the nonce in the bundle, but you gave no nonce of your own, so the quote may be old")
            }
            Self::ImageReportedOnly => {
                f.write_str("the guest names the image itself; give the image's expected measurements in the policy")
            }
            Self::NoKmsPinned => {
                f.write_str("the signature fits the bundle's own KMS key; name accepted KMS roots in the policy")
            }
            Self::NoGpuKeys => f.write_str("no key set for GPU tokens was given"),
            Self::StatementOnly { at } => write!(f, "a statement, not evidence: {at}"),
            Self::DebugAllowed => f.write_str("the VM runs in debug mode, and the policy allows it"),
            Self::LoginAllowed => f.write_str("people can log in, and the policy allows it"),
        }
    }
}
