//! Whether a guest gets its keys. dstack-kms asks its authorisation webhook before it gives a guest keys or
//! signs a certificate for it, with facts that it read in the guest's attestation ([`BootRequest`]).
//!
//! A boot is allowed exactly when one CVM of the app satisfies every condition at the same time: it is
//! one of a KMS that asks here, it is to run, its node is in the fleet, it has this document, this device and
//! this OS image, and the TCB, the epochs and the launch ticket are within the policy of the operator.
//! Conditions are never satisfied by two CVMs together: a document of one replica does not boot on the device
//! of another.

mod denial;
mod refusal;
mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use self::{
    denial::{Denial, DenialCode},
    refusal::{KeyRefusal, explain},
    request::{BootRequest, InvalidBootRequest, LaunchTicketHash, Measurement},
};
use crate::{
    cvm::BootIdentity,
    id::{CvmId, DeviceId, InstanceId},
    judge::judge,
};

/// The rules of the operator for guests and for KMS instances.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The device must be the one that is known of the CVM's node.
    pub check_device: bool,
    /// The OS image must have one of the hashes that are known of the CVM's image.
    pub check_os_image: bool,
    pub platform: PlatformPolicy,
    pub kms: KmsPolicy,
}

/// Rules about what is the same for guests and KMS instances.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlatformPolicy {
    /// Allowed TCB statuses, as the verifier words them (`UpToDate`).
    pub tcb_statuses: BTreeSet<String>,
    /// Security advisories that may be open on a platform.
    pub advisory_ids: BTreeSet<String>,
    /// Allowed epochs by name of the field; a field that is not here must be 0, the first epoch.
    pub epochs: BTreeMap<String, BTreeSet<u64>>,
    /// If not empty, a launch ticket with one of these hashes is required.
    pub launch_tickets: BTreeSet<LaunchTicketHash>,
}

/// The KMS instances that may have the root keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KmsPolicy {
    pub mr_aggregated: BTreeSet<Measurement>,
    pub devices: Allowlist<DeviceId>,
    pub os_images: Allowlist<Measurement>,
}

/// Values that are allowed. The default allows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowlist<T> {
    Any,
    Only(BTreeSet<T>),
}

impl<T> Default for Allowlist<T> {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl<T: Ord> Allowlist<T> {
    fn allows(&self, value: Option<&T>) -> bool {
        match self {
            Self::Any => true,
            Self::Only(values) => value.is_some_and(|value| values.contains(value)),
        }
    }
}

/// A live CVM of the app, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub cvm: CvmId,
    /// `None` until its guest has reported it.
    pub instance_id: Option<InstanceId>,
    /// Its keys are those of a KMS that does not ask here: the built-in one, one that a contract governs, or one
    /// that is not configured in this process.
    pub other_kms: bool,
    /// It is to run: neither stopped nor deleted.
    pub wanted: bool,
    /// Configurations that it may boot: the newest configuration, and the one that its node has until it gets that.
    pub boots: Vec<BootIdentity>,
    /// `None`: its node was given up.
    pub node: Option<CandidateNode>,
}

/// The node of a [`Candidate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidateNode {
    pub name: String,
    /// `None` until it is known.
    pub device_id: Option<DeviceId>,
    /// Its TEE is none or simulated: its attestations say nothing about the platform.
    pub without_tee: bool,
    /// Known hashes of each OS image by name.
    pub os_images: BTreeMap<String, BTreeSet<Measurement>>,
}

/// The decision about a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The CVM that it is about: the one that is allowed, else the one that fits best. `None`: no CVM of the
    /// app is known.
    pub cvm: Option<CvmId>,
    /// `None`: allowed.
    pub denial: Option<Denial>,
}

/// Decides about a guest. `candidates` are live CVMs of its app; if there are several, those of the device
/// and the document first.
#[must_use]
pub fn decide_app(request: &BootRequest, candidates: &[Candidate], policy: &Policy) -> Decision {
    // An instance that is known boots where it was put. The disk key depends on the instance id, so another
    // CVM of the app must not take it.
    let same_instance =
        |one: &&Candidate| one.instance_id.is_some() && one.instance_id == request.instance_id;
    let known = candidates.iter().any(|one| same_instance(&one));
    let considered = candidates.iter().filter(|one| !known || same_instance(one));
    match judge(considered, |candidate| checks(request, candidate, policy)) {
        Ok(candidate) => Decision { cvm: Some(candidate.cvm), denial: None },
        Err(Some((best, denial))) => Decision { cvm: Some(best.cvm), denial: Some(denial) },
        Err(None) => Decision { cvm: None, denial: Some(Denial::app_unknown(&request.app_id)) },
    }
}

/// Decides about a KMS instance, which asks for the root keys, or starts with them.
#[must_use]
pub fn decide_kms(request: &BootRequest, policy: &Policy) -> Option<Denial> {
    let rules = &policy.kms;
    let checks = [
        (!rules.mr_aggregated.contains(&request.mr_aggregated))
            .then(|| Denial::kms_measurement(&request.mr_aggregated)),
        (!rules.devices.allows(Some(&request.device_id)))
            .then(|| Denial::kms_device(&request.device_id)),
        (!rules.os_images.allows(request.os_image_hash.as_ref()))
            .then(|| Denial::kms_os_image(request.os_image_hash.as_ref())),
        tcb(request, false, &policy.platform),
        advisory(request, &policy.platform),
        epoch(request, &policy.platform),
        launch_ticket(request, &policy.platform),
    ];
    checks.into_iter().flatten().next()
}

/// The conditions that a candidate does not satisfy, in order.
fn checks(request: &BootRequest, candidate: &Candidate, policy: &Policy) -> Vec<Option<Denial>> {
    let platform = &policy.platform;
    let Some(node) = &candidate.node else { return vec![Some(Denial::node_removed())] };
    vec![
        candidate.other_kms.then(Denial::other_kms),
        (!candidate.wanted).then(Denial::not_wanted),
        document(request, candidate),
        policy.check_device.then(|| device(request, node)).flatten(),
        policy.check_os_image.then(|| os_image(request, candidate, node)).flatten(),
        tcb(request, node.without_tee, platform),
        advisory(request, platform),
        epoch(request, platform),
        launch_ticket(request, platform),
    ]
}

fn document(request: &BootRequest, candidate: &Candidate) -> Option<Denial> {
    let known = candidate.boots.iter().any(|boot| boot.compose_hash == request.compose_hash);
    (!known).then(|| Denial::document(&request.compose_hash))
}

fn device(request: &BootRequest, node: &CandidateNode) -> Option<Denial> {
    match &node.device_id {
        Some(known) if *known == request.device_id => None,
        Some(_) => Some(Denial::device(&request.device_id, &node.name)),
        None => Some(Denial::device_unknown(&request.device_id, &node.name)),
    }
}

/// The image of the configuration with this document: two configurations of one CVM can have the same
/// document and different images.
fn os_image(request: &BootRequest, candidate: &Candidate, node: &CandidateNode) -> Option<Denial> {
    let mut denial = None;
    let boots = candidate.boots.iter().filter(|boot| boot.compose_hash == request.compose_hash);
    for boot in boots {
        let known = node.os_images.get(&boot.image).filter(|hashes| !hashes.is_empty());
        let hash = request.os_image_hash.as_ref();
        match known {
            Some(hashes) if hash.is_some_and(|hash| hashes.contains(hash)) => return None,
            Some(_) => denial = Some(Denial::os_image(hash, &boot.image)),
            None => denial = denial.or_else(|| Some(Denial::os_image_unknown(hash, &boot.image))),
        }
    }
    denial
}

/// Attestations of hosts without a TEE have no TCB, so none is required there. One that they do have counts.
fn tcb(request: &BootRequest, without_tee: bool, policy: &PlatformPolicy) -> Option<Denial> {
    let status = &request.tcb_status;
    let allowed = policy.tcb_statuses.contains(status) || (without_tee && status.is_empty());
    (!allowed).then(|| Denial::tcb(status))
}

fn advisory(request: &BootRequest, policy: &PlatformPolicy) -> Option<Denial> {
    let open = request.advisory_ids.iter().find(|id| !policy.advisory_ids.contains(*id));
    open.map(|id| Denial::advisory(id))
}

fn epoch(request: &BootRequest, policy: &PlatformPolicy) -> Option<Denial> {
    let allowed = |field: &str, epoch: u64| match policy.epochs.get(field) {
        Some(epochs) => epochs.contains(&epoch),
        None => epoch == 0,
    };
    let unknown = request.epochs.iter().find(|(field, epoch)| {
        // What is no number is no epoch that anybody registered.
        !epoch.is_some_and(|epoch| allowed(field, epoch))
    });
    unknown.map(|(field, epoch)| Denial::epoch(field, *epoch))
}

fn launch_ticket(request: &BootRequest, policy: &PlatformPolicy) -> Option<Denial> {
    if policy.launch_tickets.is_empty() {
        return None;
    }
    match &request.launch_ticket_hash {
        None => Some(Denial::ticket_missing()),
        Some(hash) if policy.launch_tickets.contains(hash) => None,
        Some(_) => Some(Denial::ticket()),
    }
}
