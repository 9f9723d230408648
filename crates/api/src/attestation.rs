//! Evidence of guests: `/cvms/{id}/attestation`, `/apps/{id}/attestations` and `/attestations/…`.

use serde::{Deserialize, Serialize};

/// `GET /cvms/{id}/attestation`. Strict. The newest evidence of a CVM; a CVM that is down shows none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmAttestation {
    pub name: Option<String>,
    /// The CVM runs.
    pub is_online: bool,
    /// Anybody may read it (`public_tcbinfo`).
    pub is_public: bool,
    /// Why there is no evidence, or what it lacks.
    pub error: Option<String>,
    /// The certificate of the app and its issuers; `null`: there is no evidence.
    pub app_certificates: Option<Vec<Certificate>>,
    /// `null`: the app does not show it.
    pub tcb_info: Option<TcbInfo>,
    /// The app-compose document.
    pub compose_file: Option<String>,
    /// The quote, hex (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// SHA-256 of the quote: its name in `/attestations/…` (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// When the guest showed it, RFC 3339 (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected_at: Option<String>,
    /// It is from a node without TEE and proves nothing about hardware (Casemate only).
    #[serde(default)]
    pub simulated: bool,
    /// What a verifier found (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// What a verifier found in evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Verdict {
    /// RFC 3339.
    pub verified_at: String,
    /// No claim failed and none that the policy requires is missing.
    pub accepted: bool,
    /// One entry a claim.
    pub claims: Vec<ClaimResult>,
}

/// What became of one claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClaimResult {
    /// Its name, as `casemate verify --json` writes it.
    pub claim: String,
    pub state: ClaimState,
    /// What proves it, why it failed, or why it is not shown.
    pub reason: String,
}

/// The three states of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClaimState {
    Proven,
    Failed,
    NotShown,
}

/// What a guest measured. Registers are hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TcbInfo {
    pub mrtd: String,
    pub rootfs_hash: Option<String>,
    pub rtmr0: String,
    pub rtmr1: String,
    pub rtmr2: String,
    pub rtmr3: String,
    pub event_log: Vec<LoggedEvent>,
    /// The document that the guest runs.
    pub app_compose: String,
}

/// An entry of an event log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoggedEvent {
    /// The register that it extends, 0 to 3.
    pub imr: u32,
    pub event_type: u32,
    /// SHA-384, hex.
    pub digest: String,
    pub event: String,
    /// Hex.
    pub event_payload: String,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Certificate {
    pub subject: CertificateSubject,
    pub issuer: CertificateIssuer,
    /// Hex.
    pub serial_number: String,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
    /// `v3`.
    pub version: String,
    /// SHA-256 of the certificate, hex.
    pub fingerprint: String,
    /// `ecdsa-with-SHA256`, or an object identifier.
    pub signature_algorithm: String,
    /// DNS names.
    pub sans: Option<Vec<String>>,
    pub is_ca: bool,
    /// 0: the certificate of the app.
    pub position_in_chain: Option<u32>,
    /// The quote in it, hex.
    pub quote: Option<String>,
    /// The app id in it, hex.
    pub app_id: Option<String>,
    /// What it is for.
    pub cert_usage: Option<String>,
}

/// The subject of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateSubject {
    pub common_name: Option<String>,
    pub organization: Option<String>,
    pub country: Option<String>,
    pub state: Option<String>,
    pub locality: Option<String>,
}

/// The issuer of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateIssuer {
    pub common_name: Option<String>,
    pub organization: Option<String>,
    pub country: Option<String>,
}

/// `GET /apps/{id}/attestations`. Strict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppAttestations {
    /// Hex, without prefix.
    pub app_id: String,
    /// The contract of the app, `0x…`; the app id where it has none.
    pub contract_address: String,
    pub kms_info: AttestedKms,
    /// The CVMs of the app that the caller may see.
    pub instances: Vec<InstanceAttestation>,
    /// Always `null`: the KMS shows no evidence here.
    pub kms_guest_agent_info: Option<serde_json::Value>,
    /// Always `null`, as above.
    pub gateway_guest_agent_info: Option<serde_json::Value>,
    /// Always `null`: measurements belong to an image and a node.
    pub qemu_version: Option<String>,
}

/// The KMS of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttestedKms {
    /// Empty: it has none.
    pub contract_address: String,
    /// Decimal; clients expect text here.
    pub chain_id: Option<String>,
    pub version: String,
    pub url: String,
    pub gateway_app_id: Option<String>,
    pub gateway_app_url: String,
    /// `phala`, `ethereum`, `base`.
    pub kms_type: String,
}

/// The newest evidence of one CVM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceAttestation {
    pub vm_uuid: Option<String>,
    pub name: String,
    pub instance_id: Option<String>,
    pub status: String,
    pub image_version: Option<String>,
    /// Hex.
    pub quote: Option<String>,
    /// Platform id of the host's processor, hex; empty: the quote does not show it.
    pub ppid: String,
    pub device_id: String,
    pub tcb_info: Option<TcbInfo>,
    pub app_certificates: Option<Vec<Certificate>>,
    pub compose_file: Option<String>,
    /// Why there is no evidence, or what it lacks.
    pub error: Option<String>,
    /// SHA-256 of the quote (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// It is from a node without TEE (Casemate only).
    #[serde(default)]
    pub simulated: bool,
    /// What a verifier found (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// `GET /apps/{id}/attestations/tcb-evaluation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TcbEvaluation {
    pub app_id: String,
    /// Always `early`.
    pub update: String,
    pub instances: Vec<InstanceTcb>,
}

/// How a platform stands against the newest data of its vendor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceTcb {
    pub vm_uuid: Option<String>,
    pub name: Option<String>,
    pub instance_id: Option<String>,
    pub status: Option<String>,
    pub image_version: Option<String>,
    pub ppid: String,
    pub device_id: Option<String>,
    /// Always `early`.
    pub evaluation_update: String,
    /// `null`: not evaluated.
    pub evaluation_ok: Option<bool>,
    /// `UpToDate`, `OutOfDate`, …
    pub evaluation_status: Option<String>,
    /// Why it was not evaluated, or what is wrong.
    pub error: Option<String>,
}

/// Asks for new evidence: `POST /cvms/{id}/attestation/requests`. Casemate only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EvidenceRequest {
    /// What the quote must contain so that it is fresh: 1 to 64 bytes, hex, padded with zeros to 64. Nodes whose
    /// guests cannot be asked for it refuse the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// A request for new evidence. Casemate only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EvidenceRequestState {
    pub id: String,
    pub state: EvidenceState,
    /// 128 hex digits.
    pub nonce: Option<String>,
    /// RFC 3339.
    pub requested_at: String,
    /// RFC 3339.
    pub answered_at: Option<String>,
    /// Of the evidence: `GET /attestations/view/{checksum}`.
    pub checksum: Option<String>,
    /// Why there is none.
    pub message: Option<String>,
}

/// Whether instances of an app need accepted evidence to get its requests: `/casemate/apps/{id}/evidence-policy`.
/// Casemate only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EvidencePolicy {
    /// The gateway gives requests for the app only to instances whose evidence of the present boot is accepted.
    pub required: bool,
}

/// `GET /casemate/attestation/root`. Casemate only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DevelopmentRoot {
    /// The certificate under which guests without a TEE sign their quotes, PEM.
    pub certificate: String,
}

/// How far a request for evidence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EvidenceState {
    Pending,
    Collected,
    Failed,
}

/// A quote and what is known of it: `POST /attestations/verify`, `GET /attestations/view/{checksum}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VerifiedQuote {
    /// The checksum.
    pub id: String,
    /// The quote is genuine and its platform is acceptable.
    pub success: bool,
    /// The quote is from a host of this fleet.
    pub proof_of_cloud: bool,
    /// `null`: it cannot be parsed.
    pub quote: Option<Quote>,
    /// SHA-256 of the quote, hex.
    pub checksum: Option<String>,
    /// It is kept: `GET /attestations/raw/{checksum}`.
    pub can_download: Option<bool>,
    /// RFC 3339.
    pub uploaded_at: Option<String>,
    /// RFC 3339.
    pub verified_at: Option<String>,
    pub quote_collateral: Option<QuoteCollateral>,
    pub node_provider: Option<NodeProvider>,
    /// What a verifier found (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// A host of this fleet whose quote it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeProvider {
    pub proof_of_cloud: bool,
    pub provider: Option<String>,
    pub ppid: String,
}

/// Data of the vendor that a quote is verified with. Certificates are PEM, lists of revoked certificates DER
/// as hex, signatures hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuoteCollateral {
    pub pck_crl_issuer_chain: String,
    pub root_ca_crl: Option<String>,
    pub pck_crl: String,
    pub tcb_info_issuer_chain: String,
    pub tcb_info: String,
    pub tcb_info_signature: String,
    pub qe_identity_issuer_chain: String,
    pub qe_identity: String,
    pub qe_identity_signature: String,
}

/// A parsed quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quote {
    pub header: QuoteHeader,
    /// Certification data, hex.
    pub cert_data: Option<String>,
    pub body: QuoteBody,
    /// The quote is genuine and its platform is acceptable.
    pub verified: Option<bool>,
}

/// The header of a quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuoteHeader {
    pub version: u16,
    /// 2: ECDSA over P-256.
    pub ak_type: u16,
    /// 129: TDX.
    pub tee_type: u32,
    /// Hex.
    pub qe_vendor: String,
    /// Hex.
    pub user_data: String,
}

/// The report of a TDX quote, hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(missing_docs, reason = "the names are those of Intel's structure")]
pub struct QuoteBody {
    pub tee_tcb_svn: String,
    pub mrseam: String,
    pub mrsignerseam: String,
    pub seamattributes: String,
    pub tdattributes: String,
    pub xfam: String,
    pub mrtd: String,
    pub mrconfig: String,
    pub mrowner: String,
    pub mrownerconfig: String,
    pub rtmr0: String,
    pub rtmr1: String,
    pub rtmr2: String,
    pub rtmr3: String,
    pub reportdata: String,
}

/// A host: `GET /attestations/nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttestedNode {
    /// Always `node`.
    pub object_type: String,
    pub id: Option<i64>,
    pub node_id: Option<i64>,
    pub name: Option<String>,
    pub region: Option<String>,
    /// `null`: not known yet.
    pub device_id: Option<String>,
    pub ppid: Option<String>,
    /// `ONLINE`, `OFFLINE`, `MAINTENANCE`.
    pub status: Option<String>,
    pub version: Option<String>,
}
