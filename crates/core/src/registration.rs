//! Whether dstack-gateway may accept the registration of an instance. A gateway that asks accepts nobody without an
//! answer, so this is the one gate that no request passes before it opens; health checks of the gateway fail open.
//!
//! What an instance says of itself is attested. Here it is compared with what Casemate wants and knows.
//!
//! Guests with images before 0.6 do not boot without a registration, so [`Rule::AfterBoot`] lets them in while
//! they boot.

use sha2::{Digest, Sha256};

use crate::{
    cvm::{Boot, DesiredState, EngineState, Phase, Power, Status, VmPower},
    id::{AppId, ComposeHash, DeviceId, InstanceId},
    judge::judge,
};

/// What an instance that registers is, as its certificate or its attestation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// Its app.
    pub app: AppId,
    /// Its instance id.
    pub instance: InstanceId,
    /// The document it booted.
    pub compose_hash: ComposeHash,
    /// The host it runs on; `None`: its evidence names none.
    pub device: Option<DeviceId>,
}

/// A CVM with the instance id of a registration.
#[derive(Debug, Clone)]
pub struct KnownCvm<'a> {
    /// Its app.
    pub app: AppId,
    /// The newest document of its configuration.
    pub compose_hash: ComposeHash,
    /// Whether its document asks for a gateway.
    pub gateway_enabled: bool,
    /// Version of its OS image; empty: not known.
    pub image_version: &'a str,
    /// What users see.
    pub phase: Phase,
    /// What it should be.
    pub desired: &'a DesiredState,
    /// What it is.
    pub status: &'a Status,
    /// Its node, if that is part of the fleet.
    pub node: Option<KnownNode>,
    /// Its KMS asks the KMS webhook, which gives keys on the known device only. So a guest that has keys can show
    /// that device, and one that does not show it is refused.
    pub device_checked: bool,
    /// What its present boot has shown, if its app or its workspace requires that.
    pub evidence: EvidenceState,
}

/// What a CVM may get requests for, by the evidence of its present boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceState {
    /// Neither its app nor its workspace requires evidence.
    NotRequired,
    /// A verifier accepted it.
    Accepted,
    /// A verifier refused it.
    Refused,
    /// This boot has shown nothing yet.
    NotSeen,
}

impl EvidenceState {
    /// Whether the CVM may get requests for its app.
    #[must_use]
    pub const fn allows_requests(self) -> bool {
        matches!(self, Self::NotRequired | Self::Accepted)
    }
}

/// The node of a CVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownNode {
    /// Identity of the host; `None`: not known.
    pub device: Option<DeviceId>,
}

/// From when on an instance is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// While it boots.
    WhileBooting,
    /// When its boot is done.
    AfterBoot,
}

/// Why a registration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No CVM has the instance id. That of a new guest is not known before it has reported it.
    #[error("no CVM has this instance id (yet)")]
    UnknownInstance,
    /// The CVM belongs to another app.
    #[error("the CVM with this instance id belongs to another app")]
    OtherApp,
    /// The document of the CVM asks for no gateway.
    #[error("the document of this CVM does not ask for a gateway")]
    GatewayOff,
    /// Its node is not part of the fleet.
    #[error("the node of this CVM is not part of the fleet")]
    NodeNotManaged,
    /// Its evidence does not say where it runs, and its KMS would give it no keys without that.
    #[error("its evidence names no device, and the KMS webhook checks devices")]
    DeviceNotShown,
    /// The device of its node is not known, so its KMS would give it no keys.
    #[error(
        "the device of the node is not known, and the KMS webhook checks devices: set its device_id"
    )]
    DeviceUnknown,
    /// The guest runs on another host than the CVM.
    #[error("it runs on another host than the node of the CVM")]
    OtherDevice,
    /// The guest booted another document.
    #[error("it booted another document than that of the CVM")]
    OtherDocument,
    /// The CVM is down, or is to go down.
    #[error("the CVM is down or going down")]
    GoingDown,
    /// Its operation failed.
    #[error("the last operation of the CVM failed")]
    Failed,
    /// Its boot is not done.
    #[error("the boot of the CVM is not done")]
    NotBooted,
    /// Its evidence was verified and refused.
    #[error("the app requires accepted evidence, and the evidence of this boot is refused")]
    EvidenceRefused,
    /// Its evidence was not collected yet. The guest asks again.
    #[error("the app requires accepted evidence, and this boot has shown none yet")]
    EvidenceNotSeen,
    /// Its evidence cannot be collected before it is accepted.
    #[error(
        "the app requires accepted evidence before requests, and guests with an image before 0.6 do not boot \
         without a gateway: use an image of 0.6 or later"
    )]
    EvidenceNeedsNewerImage,
}

impl Denial {
    /// The word in replies, logs and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownInstance => "unknown_instance",
            Self::OtherApp => "other_app",
            Self::GatewayOff => "gateway_off",
            Self::NodeNotManaged => "node_not_managed",
            Self::DeviceNotShown => "device_not_shown",
            Self::DeviceUnknown => "device_unknown",
            Self::OtherDevice => "other_device",
            Self::OtherDocument => "other_document",
            Self::GoingDown => "going_down",
            Self::Failed => "failed",
            Self::NotBooted => "not_booted",
            Self::EvidenceRefused => "evidence_refused",
            Self::EvidenceNotSeen => "evidence_not_seen",
            Self::EvidenceNeedsNewerImage => "evidence_needs_newer_image",
        }
    }
}

/// Accepts a registration if one CVM with its instance id allows it. The denial is that of the CVM that fits best.
pub fn admit(registration: &Registration, cvms: &[KnownCvm<'_>], rule: Rule) -> Result<(), Denial> {
    match judge(cvms, |cvm| checks(registration, cvm, rule)) {
        Ok(_) => Ok(()),
        Err(Some((_, denial))) => Err(denial),
        Err(None) => Err(Denial::UnknownInstance),
    }
}

/// The conditions that a CVM does not satisfy, in order.
fn checks(registration: &Registration, cvm: &KnownCvm<'_>, rule: Rule) -> [Option<Denial>; 7] {
    // A configuration for the next start is newer than what runs.
    let is_newest = cvm.status.pushed >= cvm.desired.generation;
    let other_document = is_newest && cvm.compose_hash != registration.compose_hash;
    let waits = rule == Rule::AfterBoot && boots_without_gateway(cvm.image_version);
    let observed = cvm.status.observed.as_ref();
    let not_booted = waits && observed.is_none_or(|vm| vm.boot != Boot::Done);
    [
        (cvm.app != registration.app).then_some(Denial::OtherApp),
        (!cvm.gateway_enabled).then_some(Denial::GatewayOff),
        device(registration.device, cvm),
        is_up_to_stay(cvm).err(),
        other_document.then_some(Denial::OtherDocument),
        not_booted.then_some(Denial::NotBooted),
        evidence(cvm),
    ]
}

fn evidence(cvm: &KnownCvm<'_>) -> Option<Denial> {
    match cvm.evidence {
        EvidenceState::NotRequired | EvidenceState::Accepted => None,
        EvidenceState::Refused => Some(Denial::EvidenceRefused),
        EvidenceState::NotSeen if boots_without_gateway(cvm.image_version) => {
            Some(Denial::EvidenceNotSeen)
        }
        EvidenceState::NotSeen => Some(Denial::EvidenceNeedsNewerImage),
    }
}

/// The identity of a host without evidence: the hash of nothing. It tells no host from another.
fn without_evidence() -> DeviceId {
    DeviceId::from_bytes(Sha256::digest([]).into())
}

fn device(said: Option<DeviceId>, cvm: &KnownCvm<'_>) -> Option<Denial> {
    let Some(node) = cvm.node else { return Some(Denial::NodeNotManaged) };
    match (node.device, said) {
        (Some(known), Some(said)) => (known != said).then_some(Denial::OtherDevice),
        (Some(known), None) if known == without_evidence() => None,
        (Some(_), None) => cvm.device_checked.then_some(Denial::DeviceNotShown),
        (None, _) => cvm.device_checked.then_some(Denial::DeviceUnknown),
    }
}

/// That the guest is up and no desired state brings it down.
fn is_up_to_stay(cvm: &KnownCvm<'_>) -> Result<(), Denial> {
    let KnownCvm { desired, status, .. } = cvm;
    let observed = status.observed.as_ref();
    let is_up = observed.is_some_and(|vm| vm.power == VmPower::Running);
    let stays = matches!(status.engine, EngineState::Present { .. })
        && desired.power == Power::Running
        && status.stopping.is_none()
        && status.drains_until.is_none()
        && is_up;
    if !stays {
        return Err(Denial::GoingDown);
    }
    let is_current =
        status.run >= desired.run && status.pushed >= desired.generation && status.vm >= desired.vm;
    match cvm.phase {
        Phase::Running => Ok(()),
        Phase::Starting | Phase::Restarting | Phase::Updating if is_current => Ok(()),
        // A failed service does not affect the others.
        Phase::Error if status.failure.as_ref().is_none_or(|failure| failure.rolled_back) => Ok(()),
        Phase::Error => Err(Denial::Failed),
        Phase::Starting
        | Phase::Restarting
        | Phase::Updating
        | Phase::Stopping
        | Phase::ShuttingDown
        | Phase::Stopped
        | Phase::Deleted => Err(Denial::GoingDown),
    }
}

/// Whether a guest with an image of this version boots although it is refused, and registers later: `0.6` and later.
fn boots_without_gateway(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(0)), Some(Ok(minor))) => minor >= 6,
        (Some(Ok(major)), Some(Ok(_))) => major > 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cvm::{Failure, FailureCode, ObservedVm, StopMode, Stopping},
        id::EngineVmId,
        time::Timestamp,
    };

    const AT: Timestamp = Timestamp::from_micros(1_000_000);

    fn registration() -> Registration {
        Registration {
            app: AppId::from_bytes([1; 20]),
            instance: InstanceId::from_bytes([2; 20]),
            compose_hash: ComposeHash::from_bytes([3; 32]),
            device: Some(DeviceId::from_bytes([4; 32])),
        }
    }

    const DESIRED: DesiredState =
        DesiredState { power: Power::Running, run: 2, generation: 3, vm: 1, stop: StopMode::Hard };

    fn status(boot: Boot) -> Status {
        let id = EngineVmId("a".to_owned());
        let vm = ObservedVm {
            id: id.clone(),
            power: VmPower::Running,
            boot,
            boot_error: None,
            shutdown_progress: None,
            instance_id: Some(InstanceId::from_bytes([2; 20])),
            started_at: None,
            exited_at: None,
            faults: Vec::new(),
            published: None,
        };
        let engine = EngineState::Present { vm: id };
        Status { engine, pushed: 3, run: 2, observed: Some(vm), ..Status::new() }
    }

    fn known<'a>(phase: Phase, desired: &'a DesiredState, status: &'a Status) -> KnownCvm<'a> {
        KnownCvm {
            app: AppId::from_bytes([1; 20]),
            compose_hash: ComposeHash::from_bytes([3; 32]),
            gateway_enabled: true,
            image_version: "0.6.6",
            phase,
            desired,
            status,
            node: Some(KnownNode { device: Some(DeviceId::from_bytes([4; 32])) }),
            device_checked: false,
            evidence: EvidenceState::NotRequired,
        }
    }

    fn answer(cvm: KnownCvm<'_>, rule: Rule) -> Result<(), Denial> {
        admit(&registration(), &[cvm], rule)
    }

    #[test]
    fn only_what_is_known_and_as_it_should_be_is_accepted() {
        let up = status(Boot::Done);
        let good = || known(Phase::Running, &DESIRED, &up);
        let rule = Rule::AfterBoot;
        assert_eq!(answer(good(), rule), Ok(()));
        assert_eq!(admit(&registration(), &[], rule), Err(Denial::UnknownInstance));
        let other = AppId::from_bytes([9; 20]);
        assert_eq!(answer(KnownCvm { app: other, ..good() }, rule), Err(Denial::OtherApp));
        let off = KnownCvm { gateway_enabled: false, ..good() };
        assert_eq!(answer(off, rule), Err(Denial::GatewayOff));
        assert_eq!(answer(KnownCvm { node: None, ..good() }, rule), Err(Denial::NodeNotManaged));
        let elsewhere = Some(KnownNode { device: Some(DeviceId::from_bytes([9; 32])) });
        assert_eq!(answer(KnownCvm { node: elsewhere, ..good() }, rule), Err(Denial::OtherDevice));
        let not_known = Some(KnownNode { device: None });
        assert_eq!(answer(KnownCvm { node: not_known, ..good() }, rule), Ok(()));
        let document = ComposeHash::from_bytes([9; 32]);
        let changed = KnownCvm { compose_hash: document, ..good() };
        assert_eq!(answer(changed, rule), Err(Denial::OtherDocument));
    }

    /// Every case of: what is known of the node, what the evidence says, whether the KMS webhook checks devices.
    #[test]
    fn a_device_that_is_not_shown_is_refused_where_the_kms_would_refuse_it() {
        let up = status(Boot::Done);
        let (here, there) = (DeviceId::from_bytes([4; 32]), DeviceId::from_bytes([9; 32]));
        let nothing = without_evidence();
        for (known_device, said, unchecked, checked) in [
            (Some(here), Some(here), Ok(()), Ok(())),
            (Some(here), Some(there), Err(Denial::OtherDevice), Err(Denial::OtherDevice)),
            (Some(here), Some(nothing), Err(Denial::OtherDevice), Err(Denial::OtherDevice)),
            (Some(here), None, Ok(()), Err(Denial::DeviceNotShown)),
            (None, Some(here), Ok(()), Err(Denial::DeviceUnknown)),
            (None, None, Ok(()), Err(Denial::DeviceUnknown)),
            (Some(nothing), Some(nothing), Ok(()), Ok(())),
            (Some(nothing), None, Ok(()), Ok(())),
            (Some(nothing), Some(here), Err(Denial::OtherDevice), Err(Denial::OtherDevice)),
        ] {
            for (device_checked, expected) in [(false, unchecked), (true, checked)] {
                let cvm = KnownCvm {
                    node: Some(KnownNode { device: known_device }),
                    device_checked,
                    ..known(Phase::Running, &DESIRED, &up)
                };
                let asked = Registration { device: said, ..registration() };
                let answer = admit(&asked, &[cvm], Rule::AfterBoot);
                assert_eq!(answer, expected, "{known_device:?} {said:?} {device_checked}");
            }
        }
    }

    #[test]
    fn the_denial_is_that_of_the_cvm_that_fits_best() {
        let up = status(Boot::Done);
        let other = AppId::from_bytes([9; 20]);
        let document = ComposeHash::from_bytes([9; 32]);
        let near = KnownCvm { compose_hash: document, ..known(Phase::Running, &DESIRED, &up) };
        let far = KnownCvm { app: other, ..known(Phase::Running, &DESIRED, &up) };
        for cvms in [[near.clone(), far.clone()], [far.clone(), near]] {
            assert_eq!(admit(&registration(), &cvms, Rule::AfterBoot), Err(Denial::OtherDocument));
        }
        let cvms = [far, known(Phase::Running, &DESIRED, &up)];
        assert_eq!(admit(&registration(), &cvms, Rule::AfterBoot), Ok(()));
    }

    #[test]
    fn a_guest_that_goes_down_does_not_register_again() {
        let up = status(Boot::Done);
        let deny = |cvm: KnownCvm<'_>| answer(cvm, Rule::WhileBooting).unwrap_err();
        for power in [Power::Stopped, Power::Deleted] {
            let desired = DesiredState { power, ..DESIRED };
            assert_eq!(deny(known(Phase::Stopping, &desired, &up)), Denial::GoingDown);
            assert_eq!(deny(known(Phase::Running, &desired, &up)), Denial::GoingDown);
        }
        for desired in [
            DesiredState { run: 3, ..DESIRED },
            DesiredState { generation: 4, ..DESIRED },
            DesiredState { vm: 2, ..DESIRED },
        ] {
            assert_eq!(deny(known(Phase::Updating, &desired, &up)), Denial::GoingDown);
        }
        let drains = Status { drains_until: Some(AT), ..up.clone() };
        assert_eq!(deny(known(Phase::Running, &DESIRED, &drains)), Denial::GoingDown);
        let asked = Stopping { until: AT, forced: false, sent: true };
        let stopping = Status { stopping: Some(asked), ..up.clone() };
        assert_eq!(deny(known(Phase::Restarting, &DESIRED, &stopping)), Denial::GoingDown);
        assert_eq!(deny(known(Phase::Starting, &DESIRED, &Status::new())), Denial::GoingDown);
        let at = AT;
        let cause = String::new();
        let failure = Failure { code: FailureCode::BootTimeout, cause, at, rolled_back: false };
        let failed = Status { failure: Some(failure.clone()), ..up.clone() };
        assert_eq!(deny(known(Phase::Error, &DESIRED, &failed)), Denial::Failed);
        let back = Failure { rolled_back: true, ..failure };
        let back = Status { failure: Some(back), ..up };
        assert_eq!(answer(known(Phase::Error, &DESIRED, &back), Rule::AfterBoot), Ok(()));
    }

    #[test]
    fn a_configuration_for_the_next_start_does_not_shut_out_what_runs() {
        let up = status(Boot::Done);
        let newer = DesiredState { generation: 4, ..DESIRED };
        let document = ComposeHash::from_bytes([9; 32]);
        let cvm = KnownCvm { compose_hash: document, ..known(Phase::Running, &newer, &up) };
        assert_eq!(answer(cvm, Rule::AfterBoot), Ok(()));
    }

    #[test]
    fn required_evidence_is_accepted_before_the_guest_is() {
        let up = status(Boot::Done);
        for (evidence, version, expected) in [
            (EvidenceState::NotRequired, "0.5.8", Ok(())),
            (EvidenceState::Accepted, "0.5.8", Ok(())),
            (EvidenceState::Accepted, "0.6.6", Ok(())),
            (EvidenceState::Refused, "0.6.6", Err(Denial::EvidenceRefused)),
            (EvidenceState::Refused, "0.5.8", Err(Denial::EvidenceRefused)),
            (EvidenceState::NotSeen, "0.6.6", Err(Denial::EvidenceNotSeen)),
            (EvidenceState::NotSeen, "0.5.16", Err(Denial::EvidenceNeedsNewerImage)),
            (EvidenceState::NotSeen, "", Err(Denial::EvidenceNeedsNewerImage)),
        ] {
            for rule in [Rule::WhileBooting, Rule::AfterBoot] {
                let cvm = known(Phase::Running, &DESIRED, &up);
                let cvm = KnownCvm { evidence, image_version: version, ..cvm };
                assert_eq!(answer(cvm, rule), expected, "{evidence:?} {version}");
            }
        }
    }

    #[test]
    fn only_guests_that_boot_without_a_gateway_wait_for_the_end_of_their_boot() {
        let booting = status(Boot::Progress("setting up dstack-gateway".to_owned()));
        for (version, rule, expected) in [
            ("0.6.0", Rule::AfterBoot, Err(Denial::NotBooted)),
            ("v0.6.0-rc1", Rule::AfterBoot, Err(Denial::NotBooted)),
            ("1.0", Rule::AfterBoot, Err(Denial::NotBooted)),
            ("0.5.16", Rule::AfterBoot, Ok(())),
            ("", Rule::AfterBoot, Ok(())),
            ("nightly", Rule::AfterBoot, Ok(())),
            ("0.6.0", Rule::WhileBooting, Ok(())),
        ] {
            let cvm = known(Phase::Starting, &DESIRED, &booting);
            let cvm = KnownCvm { image_version: version, ..cvm };
            assert_eq!(answer(cvm, rule), expected, "{version} {rule:?}");
        }
    }
}
