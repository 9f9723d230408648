//! Claims about hardware, firmware and image: what the quote or report itself says.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{FoundImage, Guest, Judge, Level, Platform, hex_of, report_data};
use crate::{
    ClaimId, Missing, Reason, Roots,
    claim::{Evidence, Proof, Root, Unproven},
    hexes::Hex,
    policy::{AcceptedImage, ExpectedMeasurements},
    reason::Measured,
    snp, tdx,
};

pub(super) fn judge(
    judge: &Judge<'_>,
    roots: &Roots,
    now: Timestamp,
) -> Result<Platform, Unproven> {
    let platform = if let Some(evidence) = &judge.bundle.tdx {
        from_tdx(tdx::judge(evidence, roots, now)?)
    } else if let Some(evidence) = &judge.bundle.snp {
        from_snp(snp::judge(evidence, roots, now)?)
    } else {
        return Err(Missing::NoEvidence.into());
    };
    match &platform.root {
        Root::Development { name } if !judge.policy.simulated => {
            Err(Reason::SimulatedNotAllowed { root: name.clone() }.into())
        }
        _ => Ok(platform),
    }
}

fn from_tdx(facts: tdx::TdxFacts) -> Platform {
    let report = facts.report;
    Platform {
        root: facts.root,
        level: Level::Tdx { status: facts.status, advisories: facts.advisories },
        debug: facts.debug,
        report_data: report.report_data,
        device_id: Sha256::digest(&facts.ppid).into(),
        device_evidence: Evidence::PlatformCertificate,
        measured: vec![
            (Measured::Mrtd, report.mr_td),
            (Measured::Rtmr0, report.rt_mr0),
            (Measured::Rtmr1, report.rt_mr1),
            (Measured::Rtmr2, report.rt_mr2),
        ],
        registers: Some([report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3]),
        snp: None,
    }
}

fn from_snp(facts: snp::SnpFacts) -> Platform {
    let report = facts.report;
    Platform {
        root: facts.root,
        level: Level::Snp,
        debug: report.policy.debug_allowed(),
        report_data: report.report_data,
        device_id: Sha256::digest(report.chip_id).into(),
        device_evidence: Evidence::ChipId,
        measured: vec![(Measured::SnpMeasurement, report.measurement)],
        registers: None,
        snp: Some(Box::new(report)),
    }
}

impl Judge<'_> {
    pub(super) fn tcb(&self, platform: &Platform) -> Result<Proof, Unproven> {
        let Level::Tdx { status, advisories } = &platform.level else {
            if let Some(report) = &platform.snp {
                snp::meets(self.policy.snp_minimum, report)?;
            }
            return Ok(platform.prove(Evidence::SnpTcb));
        };
        if !self.policy.tcb_status.contains(status) {
            let advisories = advisories.clone();
            return Err(Reason::TcbStatus { status: status.to_string(), advisories }.into());
        }
        let open: Vec<String> = advisories
            .iter()
            .filter(|name| !self.policy.advisories.contains(name))
            .cloned()
            .collect();
        if !open.is_empty() {
            return Err(Reason::Advisories { status: status.to_string(), advisories: open }.into());
        }
        Ok(platform.prove(Evidence::TcbStatus { status: status.to_string() }))
    }

    pub(super) fn debug_off(&self, platform: &Platform) -> Result<Proof, Unproven> {
        match (platform.debug, self.policy.debug) {
            (false, _) => Ok(platform.prove(Evidence::Attributes)),
            (true, false) => Err(Reason::Debug.into()),
            (true, true) => Err(Missing::DebugAllowed.into()),
        }
    }

    pub(super) fn report_data(&self, platform: &Platform) -> Result<Proof, Unproven> {
        let stated = self.bundle.report_data.as_ref();
        let (own, nonce) = match (&self.expected.nonce, stated) {
            (Some(own), Some(stated)) if stated.nonce.0 != *own => {
                return Err(
                    Reason::Nonce { expected: hex_of(own), bundle: stated.nonce.clone() }.into()
                );
            }
            (Some(own), _) => (true, own.as_slice()),
            (None, Some(stated)) => (false, stated.nonce.as_slice()),
            (None, None) => return Err(Missing::NotInBundle { field: "report_data" }.into()),
        };
        let form = stated.map(|stated| stated.form).unwrap_or_default();
        let made = report_data(nonce, form);
        if made != Some(platform.report_data) {
            let expected = made.map_or_else(|| hex_of(nonce), |made| hex_of(&made));
            return Err(
                Reason::ReportData { expected, quoted: hex_of(&platform.report_data) }.into()
            );
        }
        if own { Ok(platform.prove(Evidence::Nonce)) } else { Err(Missing::NonceNotYours.into()) }
    }

    pub(super) fn device_id(&self, platform: &Platform) -> Result<Proof, Unproven> {
        let stated = self.bundle.cvm.device_id.map(|id| id.0);
        let planned = &self.expected.device_ids;
        if planned.is_empty() && stated.is_none() {
            return Err(Missing::NotInBundle { field: "cvm.device_id" }.into());
        }
        let found = platform.device_id;
        let other = stated
            .filter(|stated| *stated != found)
            .or_else(|| planned.first().copied().filter(|_| !planned.contains(&found)));
        match other {
            Some(planned) => {
                Err(Reason::Device { planned: hex_of(&planned), quoted: hex_of(&found) }.into())
            }
            None => Ok(platform.prove(platform.device_evidence.clone())),
        }
    }

    /// Compares the registers with the measurements that are expected for an image. Only a complete set of registers
    /// proves an image.
    pub(super) fn measurements(
        &self,
        platform: &Platform,
        guest: Option<&Guest>,
    ) -> Result<(Proof, FoundImage), Unproven> {
        let candidates: Vec<&ExpectedMeasurements> = self
            .policy
            .measurements
            .iter()
            .chain(&self.expected.measurements)
            .filter(|one| {
                platform
                    .measured
                    .iter()
                    .all(|(register, _)| expected_value(one, *register).is_some())
            })
            .collect();
        let differs = |one: &ExpectedMeasurements| {
            platform.measured.iter().find_map(|(register, quoted)| {
                let expected = expected_value(one, *register)?;
                (expected.0 != *quoted).then_some((*register, expected, *quoted))
            })
        };
        if let Some(one) = candidates.iter().find(|one| differs(one).is_none()) {
            let evidence = Evidence::Measurements {
                image: one.image.clone(),
                node: one.node_revision.clone(),
            };
            let image = FoundImage { os_image_hash: one.os_image_hash, name: one.image.clone() };
            return Ok((platform.prove(evidence), image));
        }
        let stated = self.stated_image(guest);
        let of_image =
            |one: &&&ExpectedMeasurements| stated.is_some_and(|hash| one.os_image_hash == hash);
        let revision = &self.bundle.cvm.node_revision;
        let same_node = |one: &&&ExpectedMeasurements| one.node_revision == *revision;
        let closest = candidates
            .iter()
            .filter(of_image)
            .find(same_node)
            .or_else(|| candidates.iter().find(of_image))
            .ok_or(Missing::NothingExpected {
                option: "measurements of this image in the policy",
            })?;
        self.same_vm_config(closest)?;
        match differs(closest) {
            Some((register, expected, quoted)) => Err(Reason::Measurement {
                register,
                image: closest.image.clone(),
                node: closest.node_revision.clone(),
                expected: hex_of(&expected.0),
                quoted: hex_of(&quoted),
            }
            .into()),
            None => {
                Err(Missing::NothingExpected { option: "measurements of this image in the policy" }
                    .into())
            }
        }
    }

    /// A difference in the VM configuration explains one in the registers, so it is named first.
    fn same_vm_config(&self, expected: &ExpectedMeasurements) -> Result<(), Reason> {
        if expected.vm_config.is_empty() {
            return Ok(());
        }
        let Some(text) = &self.bundle.vm_config else { return Ok(()) };
        let booted: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|_| Reason::VmConfigMalformed)?;
        for (field, planned) in &expected.vm_config {
            let found = booted.get(field).unwrap_or(&serde_json::Value::Null);
            if found != planned {
                let short =
                    |value: &serde_json::Value| value.to_string().chars().take(128).collect();
                let field = field.clone();
                return Err(Reason::VmConfig {
                    field,
                    planned: short(planned),
                    booted: short(found),
                });
            }
        }
        Ok(())
    }

    /// The image that the guest recorded, or that the bundle names.
    fn stated_image(&self, guest: Option<&Guest>) -> Option<Hex<32>> {
        let recorded = guest.and_then(|guest| guest.os_image_hash.as_ref());
        let recorded = recorded.and_then(|hash| hash.as_slice().try_into().ok()).map(Hex);
        recorded.or_else(|| self.bundle.image.as_ref().map(|image| image.os_image_hash))
    }

    /// The image must be one that the policy accepts, and shown by measurements. If the policy says so, the guest's
    /// own word is enough.
    pub(super) fn os_image(
        &self,
        platform: &Platform,
        guest: Option<&Guest>,
        measured: Option<&(Proof, FoundImage)>,
    ) -> Result<(Proof, FoundImage), Unproven> {
        let stated = self.bundle.image.as_ref().map(|image| image.os_image_hash);
        let recorded = guest.and_then(|guest| guest.os_image_hash.as_ref());
        if let (Some(stated), Some(recorded)) = (stated, recorded)
            && stated.as_slice() != recorded.as_slice()
        {
            let measured = hex_of(recorded);
            return Err(Reason::ImageDiffers { bundle: hex_of(stated.as_slice()), measured }.into());
        }
        if let Some((proof, image)) = measured {
            if let Some(stated) = self.stated_image(guest)
                && stated != image.os_image_hash
            {
                let measured = hex_of(image.os_image_hash.as_slice());
                return Err(
                    Reason::ImageDiffers { bundle: hex_of(stated.as_slice()), measured }.into()
                );
            }
            let accepted = self.accepted(image.os_image_hash)?;
            return Ok((
                proof.clone(),
                FoundImage { name: accepted.name.clone(), ..image.clone() },
            ));
        }
        let hash = self.stated_image(guest).ok_or(Missing::NotInBundle { field: "image" })?;
        if self.policy.images.is_empty() {
            return Err(Missing::NothingExpected { option: "images in the policy" }.into());
        }
        let accepted = self.accepted(hash)?;
        if !self.policy.reported_images {
            return Err(Missing::ImageReportedOnly.into());
        }
        if guest.is_none_or(|guest| guest.os_image_hash.is_none()) {
            return Err(Missing::NoEvent { event: "os-image-hash" }.into());
        }
        let evidence = Evidence::ReportedImage { image: accepted.name.clone() };
        Ok((
            platform.prove(evidence),
            FoundImage { os_image_hash: hash, name: accepted.name.clone() },
        ))
    }

    pub(super) fn accepted(&self, hash: Hex<32>) -> Result<&AcceptedImage, Reason> {
        let found = self.policy.images.iter().find(|image| image.os_image_hash == hash);
        found.ok_or(Reason::ImageNotAccepted { os_image_hash: hex_of(hash.as_slice()) })
    }

    /// On a production image nobody can log in; SSH keys given to it have no effect.
    pub(super) fn no_login(
        &self,
        os_image: &Result<(Proof, FoundImage), Unproven>,
    ) -> Result<Proof, Unproven> {
        let stated =
            self.bundle.image.as_ref().filter(|image| image.dev).map(|image| image.name.clone());
        let dev = match os_image {
            Ok((_, image)) => self.accepted(image.os_image_hash)?.dev.then(|| image.name.clone()),
            Err(_) => None,
        };
        match (dev.or(stated), os_image) {
            (Some(image), _) if !self.policy.dev_images => Err(Reason::DevImage { image }.into()),
            (Some(_), _) => Err(Missing::LoginAllowed.into()),
            (None, Ok((proof, _))) => Ok(proof.clone()),
            (None, Err(_)) => Err(Missing::RestsOn { claim: ClaimId::OsImage }.into()),
        }
    }
}

fn expected_value(one: &ExpectedMeasurements, register: Measured) -> Option<Hex<48>> {
    match register {
        Measured::Mrtd => one.mrtd,
        Measured::Rtmr0 => one.rtmr0,
        Measured::Rtmr1 => one.rtmr1,
        Measured::Rtmr2 => one.rtmr2,
        Measured::SnpMeasurement => one.snp_measurement,
    }
}
