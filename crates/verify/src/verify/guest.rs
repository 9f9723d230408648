//! Claims about the app: what the guest recorded before it handed over to it.

use serde::Deserialize;

use super::{Guest, Judge, KeyProvider, Platform, compose_hash, hex_of};
use crate::{
    Missing, Reason,
    claim::{Evidence, Proof, Recorded, Unproven},
    event_log::{self, ReplayedLog},
    hexes::HexBytes,
    snp,
};

pub(super) fn judge(judge: &Judge<'_>, platform: &Platform) -> Result<Guest, Unproven> {
    match (&platform.registers, &judge.bundle.tdx, &platform.snp, &judge.bundle.snp) {
        (Some(registers), Some(tdx), ..) => {
            let log = event_log::replay(&tdx.event_log, registers, &judge.planned())?;
            let proof = platform.prove(Evidence::Replay { events: tdx.event_log.len() });
            Ok(from_log(&log, proof)?)
        }
        (_, _, Some(report), Some(evidence)) => {
            let document = evidence
                .mr_config
                .as_ref()
                .ok_or(Missing::NotInBundle { field: "snp.mr_config" })?;
            let config = snp::config(document, report)?;
            Ok(from_config(config, platform.prove(Evidence::HostData)))
        }
        _ => Err(Missing::NoEvidence.into()),
    }
}

fn from_log(log: &ReplayedLog, proof: Proof) -> Result<Guest, Reason> {
    #[derive(Deserialize)]
    struct Provider {
        #[serde(default)]
        name: String,
        #[serde(default)]
        id: String,
    }
    let fact = |name: &str| log.fact(name).map(<[u8]>::to_vec);
    let provider = log.fact("key-provider").map(|payload| {
        let parsed: Result<Provider, _> = serde_json::from_slice(payload);
        parsed.map_err(|_| Reason::EventPayload { event: "key-provider".to_owned() })
    });
    let provider = provider.transpose()?.map(|Provider { name, id }| KeyProvider { name, id });
    let recorded = log
        .facts()
        .map(|(event, payload)| Recorded { event: event.to_owned(), payload: hex_of(payload) })
        .collect();
    Ok(Guest {
        proof,
        recorded,
        compose_hash: fact("compose-hash"),
        app_id: fact("app-id"),
        instance_id: fact("instance-id"),
        os_image_hash: fact("os-image-hash"),
        key_provider: provider,
    })
}

fn from_config(config: snp::MrConfig, proof: Proof) -> Guest {
    let id = config.key_provider_id.unwrap_or_default().to_string();
    Guest {
        proof,
        recorded: Vec::new(),
        compose_hash: Some(config.compose_hash.0),
        app_id: config.app_id.map(|id| id.0),
        instance_id: config.instance_id.map(|id| id.0),
        os_image_hash: None,
        key_provider: Some(KeyProvider { name: config.key_provider, id }),
    }
}

impl Judge<'_> {
    fn planned_compose_hash(&self) -> Option<[u8; 32]> {
        self.expected.compose_hash.or_else(|| self.bundle.app_compose.as_deref().map(compose_hash))
    }

    fn planned_app_id(&self) -> Option<[u8; 20]> {
        self.expected.app_id.or(self.bundle.cvm.app_id.map(|id| id.0))
    }

    fn planned_instance_id(&self) -> Option<Vec<u8>> {
        let stated = self.bundle.cvm.instance_id.clone();
        self.expected.instance_id.clone().or(stated.map(|id| id.0))
    }

    /// Payloads that the log should have, to name the event that was changed.
    fn planned(&self) -> Vec<(&'static str, Vec<u8>)> {
        let image = self.bundle.image.as_ref().map(|image| image.os_image_hash.0.to_vec());
        [
            ("compose-hash", self.planned_compose_hash().map(|hash| hash.to_vec())),
            ("app-id", self.planned_app_id().map(|id| id.to_vec())),
            ("instance-id", self.planned_instance_id()),
            ("os-image-hash", image),
        ]
        .into_iter()
        .filter_map(|(event, payload)| Some((event, payload?)))
        .collect()
    }

    pub(super) fn compose_hash(&self, guest: &Guest) -> Result<Proof, Unproven> {
        let booted =
            guest.compose_hash.as_ref().ok_or(Missing::NoEvent { event: "compose-hash" })?;
        if let Some(planned) = self.expected.compose_hash
            && booted.as_slice() != planned
        {
            return Err(differs("compose-hash", &planned, booted).into());
        }
        let Some(document) = &self.bundle.app_compose else {
            return match self.expected.compose_hash {
                Some(_) => Ok(guest.prove("compose-hash")),
                None => Err(Missing::NotInBundle { field: "app_compose" }.into()),
            };
        };
        let file = compose_hash(document);
        if booted.as_slice() != file {
            return Err(
                Reason::ComposeFile { file: hex_of(&file), measured: hex_of(booted) }.into()
            );
        }
        Ok(guest.prove("compose-hash"))
    }

    pub(super) fn app_id(&self, guest: &Guest) -> Result<Proof, Unproven> {
        let planned = [self.expected.app_id, self.bundle.cvm.app_id.map(|id| id.0)];
        let planned: Vec<_> = planned.into_iter().flatten().map(|id| id.to_vec()).collect();
        same(guest, "app-id", guest.app_id.as_deref(), &planned, "cvm.app_id")
    }

    pub(super) fn instance_id(&self, guest: &Guest) -> Result<Proof, Unproven> {
        let stated = self.bundle.cvm.instance_id.clone().map(|id| id.0);
        let planned: Vec<_> =
            [self.expected.instance_id.clone(), stated].into_iter().flatten().collect();
        same(guest, "instance-id", guest.instance_id.as_deref(), &planned, "cvm.instance_id")
    }

    pub(super) fn key_provider(&self, guest: &Guest) -> Result<Proof, Unproven> {
        let booted =
            guest.key_provider.as_ref().ok_or(Missing::NoEvent { event: "key-provider" })?;
        let kms = self.bundle.kms.as_ref().ok_or(Missing::NotInBundle { field: "kms" })?;
        let key = kms
            .ca_public_key
            .as_ref()
            .ok_or(Missing::NotInBundle { field: "kms.ca_public_key" })?;
        let short = |text: &str| text.chars().take(512).collect::<String>();
        let found = HexBytes::parse(&booted.id);
        if booted.name != "kms" || found.as_ref() != Some(key) {
            let booted = format!("{} {}", short(&booted.name), short(&booted.id));
            return Err(Reason::KeyProvider { planned: format!("kms {key}"), booted }.into());
        }
        Ok(guest.prove("key-provider"))
    }

    /// A statement can be refuted by evidence, but not proven by it.
    pub(super) fn contracts(&self, guest: Option<&Guest>) -> Result<Proof, Unproven> {
        let contracts =
            self.bundle.contracts.as_ref().ok_or(Missing::NotInBundle { field: "contracts" })?;
        let booted = guest.and_then(|guest| guest.compose_hash.clone());
        let hash = booted.or_else(|| self.planned_compose_hash().map(|hash| hash.to_vec()));
        if let Some(hash) = hash.filter(|hash| hash.as_slice() != contracts.compose_hash.as_slice())
        {
            let asked = hex_of(contracts.compose_hash.as_slice());
            return Err(Reason::ContractsAskedOther { planned: hex_of(&hash), asked }.into());
        }
        let answers = [
            ("compose hash", Some(contracts.compose_hash_allowed)),
            ("device", contracts.device_allowed),
            ("OS image", contracts.os_image_allowed),
        ];
        if let Some((what, _)) = answers.into_iter().find(|(_, allowed)| *allowed == Some(false)) {
            let block = contracts.block_number;
            return Err(Reason::ContractsDeny { what: what.to_owned(), block }.into());
        }
        let at =
            format!("chain {} allowed it at block {}", contracts.chain_id, contracts.block_number);
        Err(Missing::StatementOnly { at }.into())
    }
}

fn same(
    guest: &Guest,
    event: &'static str,
    booted: Option<&[u8]>,
    planned: &[Vec<u8>],
    field: &'static str,
) -> Result<Proof, Unproven> {
    if planned.is_empty() {
        return Err(Missing::NotInBundle { field }.into());
    }
    let booted = booted.ok_or(Missing::NoEvent { event })?;
    match planned.iter().find(|planned| *planned != booted) {
        Some(planned) => Err(differs(event, planned, booted).into()),
        None => Ok(guest.prove(event)),
    }
}

fn differs(event: &str, planned: &[u8], booted: &[u8]) -> Reason {
    Reason::Booted { event: event.to_owned(), planned: hex_of(planned), booted: hex_of(booted) }
}
