//! Why a guest or a KMS instance gets no keys.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Measurement;
use crate::id::{AppId, ComposeHash, DeviceId};

/// Kinds of denial that programs may distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenialCode {
    /// The request cannot be read.
    Malformed,
    /// No CVM of the app is known.
    AppUnknown,
    /// The app's KMS does not ask here.
    OtherKms,
    /// The CVM is to be stopped or deleted.
    NotWanted,
    /// The CVM's node was given up.
    NodeRemoved,
    ComposeHashNotAllowed,
    DeviceNotAllowed,
    /// The node's device is not known yet.
    DeviceUnknown,
    OsImageNotAllowed,
    /// No hash of the CVM's OS image is known.
    OsImageUnknown,
    TcbNotAllowed,
    AdvisoryNotAllowed,
    EpochNotAllowed,
    TicketMissing,
    TicketNotAllowed,
    KmsNotAllowed,
    KmsDeviceNotAllowed,
    KmsOsImageNotAllowed,
}

impl DenialCode {
    /// The code in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::AppUnknown => "app_unknown",
            Self::OtherKms => "other_kms",
            Self::NotWanted => "not_wanted",
            Self::NodeRemoved => "node_removed",
            Self::ComposeHashNotAllowed => "compose_hash_not_allowed",
            Self::DeviceNotAllowed => "device_not_allowed",
            Self::DeviceUnknown => "device_unknown",
            Self::OsImageNotAllowed => "os_image_not_allowed",
            Self::OsImageUnknown => "os_image_unknown",
            Self::TcbNotAllowed => "tcb_not_allowed",
            Self::AdvisoryNotAllowed => "advisory_not_allowed",
            Self::EpochNotAllowed => "epoch_not_allowed",
            Self::TicketMissing => "ticket_missing",
            Self::TicketNotAllowed => "ticket_not_allowed",
            Self::KmsNotAllowed => "kms_not_allowed",
            Self::KmsDeviceNotAllowed => "kms_device_not_allowed",
            Self::KmsOsImageNotAllowed => "kms_os_image_not_allowed",
        }
    }
}

/// A denial. The message says what is wrong and what to do; dstack-kms gives it to the guest, whose host can
/// read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    pub code: DenialCode,
    pub message: String,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A hash for people, also if the request had none.
fn shown(hash: Option<&Measurement>) -> String {
    hash.map_or_else(|| "(none)".to_owned(), ToString::to_string)
}

impl Denial {
    fn new(code: DenialCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn malformed(why: &str) -> Self {
        Self::new(DenialCode::Malformed, format!("the request of the KMS cannot be read: {why}"))
    }

    pub(super) fn app_unknown(app: &AppId) -> Self {
        Self::new(DenialCode::AppUnknown, format!("app not known: {app} has no CVM here"))
    }

    pub(super) fn other_kms() -> Self {
        Self::new(
            DenialCode::OtherKms,
            "app of another KMS: its keys are those of the built-in KMS or of one under a contract, or its KMS is not \
             configured here as one of kms.dstack",
        )
    }

    pub(super) fn not_wanted() -> Self {
        Self::new(DenialCode::NotWanted, "CVM not to run: it was stopped or deleted")
    }

    pub(super) fn node_removed() -> Self {
        Self::new(DenialCode::NodeRemoved, "node removed: its operator gave it up")
    }

    pub(super) fn document(hash: &ComposeHash) -> Self {
        Self::new(
            DenialCode::ComposeHashNotAllowed,
            format!("compose hash not allowed: {hash} is not the document of this CVM"),
        )
    }

    pub(super) fn device(device: &DeviceId, node: &str) -> Self {
        Self::new(
            DenialCode::DeviceNotAllowed,
            format!("device not allowed: {device} is not the device of node {node}"),
        )
    }

    pub(super) fn device_unknown(device: &DeviceId, node: &str) -> Self {
        Self::new(
            DenialCode::DeviceUnknown,
            format!(
                "device unknown: the device id of node {node} is not known; if it is {device}, set \
                 it with casemate admin node device, or set kms_webhook.device to any"
            ),
        )
    }

    pub(super) fn os_image(hash: Option<&Measurement>, image: &str) -> Self {
        Self::new(
            DenialCode::OsImageNotAllowed,
            format!("OS image not allowed: {} is no known hash of {image}", shown(hash)),
        )
    }

    pub(super) fn os_image_unknown(hash: Option<&Measurement>, image: &str) -> Self {
        Self::new(
            DenialCode::OsImageUnknown,
            format!(
                "OS image unknown: no hash of {image} is known; if {} is its hash, add it to \
                 kms_webhook.os_images, or set kms_webhook.os_image to any",
                shown(hash)
            ),
        )
    }

    pub(super) fn tcb(status: &str) -> Self {
        let status = if status.is_empty() { "(none)" } else { status };
        Self::new(
            DenialCode::TcbNotAllowed,
            format!(
                "TCB status not allowed: {status}; update the firmware of the host, or add it to \
                 kms_webhook.tcb_statuses"
            ),
        )
    }

    pub(super) fn advisory(id: &str) -> Self {
        Self::new(
            DenialCode::AdvisoryNotAllowed,
            format!(
                "advisory not allowed: {id} is open on the host; update its firmware, or add it to \
                 kms_webhook.advisory_ids"
            ),
        )
    }

    pub(super) fn epoch(field: &str, epoch: Option<u64>) -> Self {
        let epoch = epoch.map_or_else(|| "no number".to_owned(), |epoch| epoch.to_string());
        Self::new(
            DenialCode::EpochNotAllowed,
            format!("epoch not allowed: {field} is {epoch}; register it in kms_webhook.epochs"),
        )
    }

    pub(super) fn ticket_missing() -> Self {
        Self::new(
            DenialCode::TicketMissing,
            "launch ticket missing: kms_webhook.launch_ticket_hashes requires one, and host, guest \
             and KMS need dstack 0.6.5 for it",
        )
    }

    pub(super) fn ticket() -> Self {
        Self::new(
            DenialCode::TicketNotAllowed,
            "launch ticket not allowed: its hash is not in kms_webhook.launch_ticket_hashes",
        )
    }

    pub(super) fn kms_measurement(hash: &Measurement) -> Self {
        Self::new(
            DenialCode::KmsNotAllowed,
            format!("KMS not allowed: add {hash} to kms_webhook.kms.mr_aggregated if it is yours"),
        )
    }

    pub(super) fn kms_device(device: &DeviceId) -> Self {
        Self::new(
            DenialCode::KmsDeviceNotAllowed,
            format!("KMS device not allowed: {device} is not in kms_webhook.kms.devices"),
        )
    }

    pub(super) fn kms_os_image(hash: Option<&Measurement>) -> Self {
        Self::new(
            DenialCode::KmsOsImageNotAllowed,
            format!(
                "KMS OS image not allowed: {} is not in kms_webhook.kms.os_images",
                shown(hash)
            ),
        )
    }
}
