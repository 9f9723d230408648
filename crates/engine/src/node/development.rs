//! Evidence of guests without a TEE: quotes in TDX format under a development root. Nothing is measured, so
//! MRTD and RTMR0–2 are zero. RTMR3 holds the events that a dstack guest logs when it boots
//! (`dstack-util/src/system_setup.rs`), so the app's identity can be replayed as on a real host.

use casemate_core::{
    attestation::{GuestEvidence, LoggedEvent, ReportData, TcbInfo},
    id::{AppId, ComposeHash, DeviceId, InstanceId},
};
use casemate_verify::simulate::{DevelopmentRoot, SimulateError, TdReport};
use serde_json::json;
use sha2::{Digest, Sha256, Sha384};

/// `DSTACK_RUNTIME_EVENT_TYPE`.
const RUNTIME_EVENT: u32 = 0x0800_0001;

/// The platform id that a host without a TEE shows; the device id is its SHA-256.
pub type Ppid = [u8; 16];

/// The device id of a host with this platform id.
pub fn device_id(ppid: &Ppid) -> DeviceId {
    DeviceId::from_bytes(Sha256::digest(ppid).into())
}

/// A guest without a TEE.
#[derive(Debug, Clone)]
pub struct DevelopmentGuest {
    pub app_id: AppId,
    pub compose_hash: ComposeHash,
    pub instance_id: Option<InstanceId>,
    /// The document, byte for byte.
    pub app_compose: String,
    /// `kms` or `none`.
    pub key_provider: &'static str,
    pub image: String,
    /// 64 hex digits.
    pub os_image_hash: String,
    pub vcpu: u32,
    pub memory_mb: u32,
    pub ppid: Ppid,
}

impl DevelopmentGuest {
    /// What its boot logged, in order.
    pub fn event_log(&self) -> Vec<LoggedEvent> {
        let instance = self.instance_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
        let provider = json!({ "name": self.key_provider, "id": "" }).to_string();
        let os_image = hex::decode(&self.os_image_hash).unwrap_or_default();
        [
            ("system-preparing", Vec::new()),
            ("app-id", self.app_id.as_bytes().to_vec()),
            ("compose-hash", self.compose_hash.as_bytes().to_vec()),
            ("instance-id", instance),
            ("boot-mr-done", Vec::new()),
            ("os-image-hash", os_image),
            ("key-provider", provider.into_bytes()),
            ("system-ready", Vec::new()),
        ]
        .into_iter()
        .map(|(name, payload)| logged(name, &payload))
        .collect()
    }

    /// The configuration that measurements of a real guest depend on.
    pub fn vm_config(&self) -> String {
        json!({
            "os_image_hash": self.os_image_hash,
            "cpu_count": self.vcpu,
            "memory_size": u64::from(self.memory_mb) * 1024 * 1024,
            "image": self.image,
        })
        .to_string()
    }

    /// What it measured and logged.
    pub fn tcb_info(&self) -> TcbInfo {
        let zero = hex::encode([0; 48]);
        let event_log = self.event_log();
        let rtmr3 = replay(&event_log);
        let mut aggregated = Sha256::new_with_prefix([0; 4 * 48]);
        aggregated.update(rtmr3);
        TcbInfo {
            mrtd: zero.clone(),
            rtmr0: zero.clone(),
            rtmr1: zero.clone(),
            rtmr2: zero,
            rtmr3: hex::encode(rtmr3),
            mr_aggregated: hex::encode(aggregated.finalize()),
            os_image_hash: self.os_image_hash.clone(),
            compose_hash: self.compose_hash.to_string(),
            device_id: device_id(&self.ppid).to_string(),
            rootfs_hash: None,
            event_log,
            app_compose: self.app_compose.clone(),
        }
    }

    /// A quote with this report data.
    pub fn quote(
        &self,
        root: &DevelopmentRoot,
        report_data: ReportData,
    ) -> Result<Vec<u8>, SimulateError> {
        let mut rtmr = [[0; 48]; 4];
        rtmr[3] = replay(&self.event_log());
        root.quote(&TdReport { rtmr, report_data, ppid: self.ppid, ..TdReport::default() })
    }

    /// Everything that it shows; without a nonce the report data are zero.
    pub fn evidence(
        &self,
        root: &DevelopmentRoot,
        nonce: Option<&ReportData>,
    ) -> Result<GuestEvidence, SimulateError> {
        let quote = self.quote(root, nonce.copied().unwrap_or([0; 64]))?;
        Ok(GuestEvidence {
            quote: Some(hex::encode(quote)),
            event_log: None,
            tcb_info: serde_json::to_string(&self.tcb_info()).ok(),
            snp: None,
            vm_config: Some(self.vm_config()),
            certificates: String::new(),
            simulated: true,
        })
    }
}

/// An event of version 1: its digest is SHA-384 of `type (little endian) ":" name ":" payload`.
fn logged(name: &str, payload: &[u8]) -> LoggedEvent {
    let mut digest = Sha384::new_with_prefix(RUNTIME_EVENT.to_le_bytes());
    digest.update(b":");
    digest.update(name);
    digest.update(b":");
    digest.update(payload);
    LoggedEvent {
        imr: 3,
        event_type: RUNTIME_EVENT,
        digest: hex::encode(digest.finalize()),
        event: name.to_owned(),
        event_payload: hex::encode(payload),
    }
}

/// The register after these events: SHA-384 of its value and the digest of each.
fn replay(events: &[LoggedEvent]) -> [u8; 48] {
    events.iter().fold([0; 48], |register, event| {
        let digest = hex::decode(&event.digest).unwrap_or_default();
        Sha384::new_with_prefix(register).chain_update(digest).finalize().into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The event `compose-hash` of a real dstack 0.6.0 guest, and its digest.
    #[test]
    fn the_digest_of_an_event_is_that_of_a_real_guest() {
        let payload =
            hex::decode("69704740a244ec11fd50e3646da83b10526a705f3ba9d7c6d5e037fcc56443d4")
                .unwrap();
        let event = logged("compose-hash", &payload);
        assert_eq!(event.digest, COMPOSE_HASH_DIGEST);
        assert_eq!(event.event_type, 134_217_729);
    }

    const COMPOSE_HASH_DIGEST: &str = "e59eaf2f957c249e0b1131a8286fa1d3112493f1140163e25ad5fd2f4abcb9658eca2e817244d233dbc60e1d17dce137";

    #[test]
    fn another_app_document_or_instance_is_another_register() {
        let guest = DevelopmentGuest {
            app_id: AppId::from_bytes([1; 20]),
            compose_hash: ComposeHash::from_bytes([2; 32]),
            instance_id: Some(InstanceId::from_bytes([3; 20])),
            app_compose: "{}".to_owned(),
            key_provider: "kms",
            image: "dstack-0.5.4".to_owned(),
            os_image_hash: hex::encode([4; 32]),
            vcpu: 1,
            memory_mb: 2048,
            ppid: [0; 16],
        };
        let register = |guest: &DevelopmentGuest| guest.tcb_info().rtmr3;
        let first = register(&guest);
        let others = [
            DevelopmentGuest { app_id: AppId::from_bytes([9; 20]), ..guest.clone() },
            DevelopmentGuest { compose_hash: ComposeHash::from_bytes([9; 32]), ..guest.clone() },
            DevelopmentGuest { instance_id: None, ..guest.clone() },
            DevelopmentGuest { key_provider: "none", ..guest.clone() },
        ];
        for other in &others {
            assert_ne!(register(other), first, "{other:?}");
        }
        let root = DevelopmentRoot::from_seed(&[7; 32]).unwrap();
        let nonce = [5; 64];
        let with = guest.evidence(&root, Some(&nonce)).unwrap();
        let quote = with.quote.clone().unwrap();
        assert!(quote.contains(&hex::encode(nonce)) && quote.contains(&first));
        assert_eq!(guest.evidence(&root, Some(&nonce)).unwrap(), with, "the same again");
        assert_ne!(guest.evidence(&root, None).unwrap().checksum(), with.checksum());
    }
}
