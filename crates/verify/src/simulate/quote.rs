//! The bytes of a development quote: version 4, TDX 1.0 body, attestation key certified by a quoting enclave.

use dcap_qvl::{
    INTEL_QE_VENDOR_ID,
    quote::{
        AuthData, AuthDataV4, CertificationData, Data, EnclaveReport, Header,
        QEReportCertificationData, Quote, Report, TDReport10,
    },
};
use p256::ecdsa::SigningKey;
use parity_scale_codec::Encode;
use sha2::{Digest, Sha256};

use super::{DevelopmentRoot, SimulateError, TD_ATTRIBUTES, pki};

/// What the quoted VM measured about itself. `TdReport::default()` is a VM that measured nothing.
#[derive(Debug, Clone)]
pub struct TdReport {
    /// The measurement of the firmware.
    pub mrtd: [u8; 48],
    /// RTMR0 (virtual hardware), RTMR1 (kernel), RTMR2 (kernel command line, initial file system), RTMR3 (app).
    pub rtmr: [[u8; 48]; 4],
    /// What the caller binds to the quote, for example a nonce.
    pub report_data: [u8; 64],
    /// `MRCONFIGID`, which dstack uses to bind the compose hash before boot; zero if unused.
    pub mr_config_id: [u8; 48],
    /// Which platform quotes. The device id is the SHA-256 of this.
    pub ppid: [u8; 16],
    /// Whether the VM's memory is open to its host.
    pub debug: bool,
}

impl Default for TdReport {
    fn default() -> Self {
        Self {
            mrtd: [0; 48],
            rtmr: [[0; 48]; 4],
            report_data: [0; 64],
            mr_config_id: [0; 48],
            ppid: [0; 16],
            debug: false,
        }
    }
}

/// The type of certification data that holds a report of the quoting enclave, and the one that holds a PEM chain.
const QE_REPORT: u16 = 6;
const PCK_CHAIN: u16 = 5;

pub(super) fn build(root: &DevelopmentRoot, report: &TdReport) -> Result<Vec<u8>, SimulateError> {
    let key = root.key_of("attestation");
    let attestation_key: [u8; 64] =
        fixed(&key.verifying_key().to_encoded_point(false).as_bytes()[1..])?;
    let certification = quoting_enclave(root, &report.ppid, &attestation_key)?;
    let auth = AuthDataV4 {
        ecdsa_signature: [0; 64],
        ecdsa_attestation_key: attestation_key,
        certification_data: CertificationData {
            cert_type: QE_REPORT,
            body: Data::new(certification.encode()),
        },
        qe_report_data: certification,
    };
    let mut quote = Quote {
        header: header(),
        report: Report::TD10(body(report)),
        auth_data: AuthData::V4(auth),
    };
    let signature = signature_of(&key, &quote)?;
    if let AuthData::V4(auth) = &mut quote.auth_data {
        auth.ecdsa_signature = signature;
    }
    Ok(quote.encode())
}

fn signature_of(key: &SigningKey, quote: &Quote) -> Result<[u8; 64], SimulateError> {
    let bytes = quote.encode();
    fixed(&pki::sign(key, &bytes[..quote.signed_length()]))
}

fn header() -> Header {
    Header {
        version: 4,
        attestation_key_type: 2,
        tee_type: 0x81,
        qe_svn: 0,
        pce_svn: 0,
        qe_vendor_id: INTEL_QE_VENDOR_ID,
        user_data: [0; 20],
    }
}

fn body(report: &TdReport) -> TDReport10 {
    let mut td_attributes = TD_ATTRIBUTES;
    td_attributes[0] |= u8::from(report.debug);
    let [rt_mr0, rt_mr1, rt_mr2, rt_mr3] = report.rtmr;
    TDReport10 {
        tee_tcb_svn: [0; 16],
        mr_seam: [0; 48],
        mr_signer_seam: [0; 48],
        seam_attributes: [0; 8],
        td_attributes,
        xfam: [0; 8],
        mr_td: report.mrtd,
        mr_config_id: report.mr_config_id,
        mr_owner: [0; 48],
        mr_owner_config: [0; 48],
        rt_mr0,
        rt_mr1,
        rt_mr2,
        rt_mr3,
        report_data: report.report_data,
    }
}

/// The quoting enclave's report, which commits to the attestation key and is signed by the platform's PCK.
fn quoting_enclave(
    root: &DevelopmentRoot,
    ppid: &[u8; 16],
    attestation_key: &[u8; 64],
) -> Result<QEReportCertificationData, SimulateError> {
    let auth_data = vec![0; 32];
    let mut report_data = [0; 64];
    report_data[..32].copy_from_slice(
        &Sha256::new().chain_update(attestation_key).chain_update(&auth_data).finalize(),
    );
    let report = EnclaveReport {
        cpu_svn: pki::CPU_SVN,
        misc_select: 0,
        reserved1: [0; 28],
        attributes: [0; 16],
        mr_enclave: [0; 32],
        reserved2: [0; 32],
        mr_signer: pki::QE_SIGNER,
        reserved3: [0; 96],
        isv_prod_id: pki::QE_PRODUCT,
        isv_svn: pki::QE_SVN,
        reserved4: [0; 60],
        report_data,
    };
    let qe_report: [u8; 384] = fixed(&report.encode())?;
    let qe_report_signature = fixed(&pki::sign(&pki::pck_key(root, ppid), &qe_report))?;
    let chain = pki::pck_chain(root, ppid)?.into_bytes();
    Ok(QEReportCertificationData {
        qe_report,
        qe_report_signature,
        qe_auth_data: Data::new(auth_data),
        certification_data: CertificationData { cert_type: PCK_CHAIN, body: Data::new(chain) },
    })
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], SimulateError> {
    bytes
        .try_into()
        .map_err(|_| SimulateError::Encode(format!("{} bytes where {N} belong", bytes.len())))
}
