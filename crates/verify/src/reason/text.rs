//! The sentences. They name what differs, what was expected and what was found, and what to do where that is known.

use std::fmt;

use super::{Attribute, HeaderField, Link, Missing, Part, Reason};

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
            Self::GpuTokenExpired { until } => {
                write!(f, "the GPU token was valid until {until}; it says nothing about later")
            }
            Self::NoGpuKeys => f.write_str("no key set for GPU tokens was given"),
            Self::StatementOnly { at } => write!(f, "a statement, not evidence: {at}"),
            Self::DebugAllowed => f.write_str("the VM runs in debug mode, and the policy allows it"),
            Self::LoginAllowed => f.write_str("people can log in, and the policy allows it"),
        }
    }
}
