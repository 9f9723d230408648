//! The configured chains: their clients, the KMS governed by contracts there, and the check of both for
//! operators.

use std::{collections::BTreeMap, sync::Arc};

use casemate_core::{
    governance::{KmsSettings, Question},
    id::{Address, AppId, ComposeHash, DeviceId, KmsId},
    time::{Clock, Entropy},
};
use casemate_engine::{
    chain::{Chain, rpc, rpc::RpcChain},
    kms::{BuiltinKms, KmsError, RootKeys},
};
use casemate_store::{Db, kms};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::StartError;
use crate::{
    app::fleet::{FleetKms, Governed},
    config::{self, Config},
    system,
};

/// Creates a client for each chain, by its configured name. Sends no request yet.
pub(super) fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<BTreeMap<String, Arc<dyn Chain>>, StartError> {
    let open = |chain: &config::Chain| {
        let way: Arc<dyn Chain> = Arc::new(way(&chain.name, &chain.rpc(), clock)?);
        Ok((chain.name.clone(), way))
    };
    config.chains.iter().map(open).collect()
}

fn way(name: &str, rpc: &rpc::Config, clock: &Arc<dyn Clock>) -> Result<RpcChain, StartError> {
    RpcChain::new(rpc, clock.clone())
        .map_err(|error| StartError::Chain { name: name.to_owned(), reason: error.to_string() })
}

/// The contract of a KMS. `None`: its chain is not configured; `config` refuses that.
pub(super) fn governed(
    config: &Config,
    chains: &Chains,
    chain: &str,
    contract: Address,
    gateway_app_id: Option<String>,
) -> Option<Governed> {
    let configured = config.chains.iter().find(|known| known.name == chain)?;
    Some(Governed {
        kind: configured.kind()?,
        contract,
        gateway_app_id,
        explorer: configured.explorer(),
        chain: chains.get(chain)?.clone(),
    })
}

/// Builds the KMS of the configuration.
pub(super) struct KmsMaker<'a> {
    pub config: &'a Config,
    pub db: &'a Db,
    /// The ungoverned built-in KMS.
    pub builtin: &'a FleetKms,
    /// Keys of the built-in KMS.
    pub keys: &'a Arc<BuiltinKms>,
}

/// Chain clients by their configured names.
pub(super) type Chains = BTreeMap<String, Arc<dyn Chain>>;

/// The governed KMS, and the keys of every KMS.
pub(super) type GovernedKms = (Vec<FleetKms>, BTreeMap<KmsId, Arc<BuiltinKms>>);

impl KmsMaker<'_> {
    /// The KMS of each configured contract. Each has its own root keys.
    pub async fn governed(
        &self,
        chains: &Chains,
        entropy: &dyn Entropy,
    ) -> Result<GovernedKms, StartError> {
        let mut all = Vec::new();
        let mut keys = BTreeMap::from([(self.builtin.id.clone(), self.keys.clone())]);
        for contract in &self.config.kms.contracts {
            let gateway = contract.gateway_app_id.clone();
            let (chain, address) = (&contract.chain, contract.address);
            let Some(governed_by) = governed(self.config, chains, chain, address, gateway) else {
                continue;
            };
            let (kms, own) = self.under(contract, governed_by, entropy).await?;
            keys.insert(kms.id.clone(), own);
            all.push(kms);
        }
        Ok((all, keys))
    }

    async fn under(
        &self,
        contract: &config::KmsContract,
        governed: Governed,
        entropy: &dyn Entropy,
    ) -> Result<(FleetKms, Arc<BuiltinKms>), StartError> {
        let failed = |error: KmsError| StartError::RootKeys(error.to_string());
        // Earlier versions used the built-in KMS's keys for every KMS. What was sealed to them opens only
        // with those keys.
        let shared = self.builtin.under(&contract.slug, governed.clone(), None).map_err(failed)?;
        if contract.root_key_file.is_none()
            && kms::has_apps(self.db, &shared.id).await.map_err(super::first)?
        {
            tracing::warn!(
                kms = contract.slug,
                "this KMS has apps from a version in which it shared the root keys of the built-in \
                 one, and goes on with them; a KMS with another slug and contract gets its own"
            );
            return Ok((shared, self.keys.clone()));
        }
        let own = Arc::new(self.own_keys(contract, &governed, entropy)?);
        let kms = self.builtin.under(&contract.slug, governed, Some(&own)).map_err(failed)?;
        Ok((kms, own))
    }

    /// From its file, or derived: every process with the same root keys derives the same.
    fn own_keys(
        &self,
        contract: &config::KmsContract,
        governed: &Governed,
        entropy: &dyn Entropy,
    ) -> Result<BuiltinKms, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError::RootKeys(error.to_string());
        let Some(file) = &contract.root_key_file else {
            let chain_id = governed.chain.chain_id().to_be_bytes();
            let name: [&[u8]; 2] = [&chain_id, governed.contract.as_bytes()];
            return self.keys.separate(&name).map_err(|error| failed(&error));
        };
        let mut scalars = [0; 64];
        entropy.fill(&mut scalars);
        let keys = RootKeys::load_or_create(file, &scalars).map_err(|error| failed(&error))?;
        Ok(BuiltinKms::new(keys))
    }
}

/// What a running server knows that KMS contracts are checked against. Not the hosts of its nodes: which of those
/// get an app's keys says the app, and the devices that a KMS contract lists are those of the KMS itself.
#[derive(Debug, Clone, Default)]
pub struct NodeFacts {
    /// Root public keys of KMS, in hex, by the addresses of their contracts.
    pub kms_keys: Vec<(Address, String)>,
    /// Hashes of OS images by name.
    pub os_images: Vec<(String, [u8; 32])>,
}

/// The result of a check of chains and contracts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Per chain, with every endpoint.
    pub chains: Vec<ChainReport>,
    pub contracts: Vec<ContractReport>,
    /// One sentence per problem.
    pub problems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// Configured name.
    pub name: String,
    pub chain_id: u64,
    /// In the order of the configuration.
    pub endpoints: Vec<EndpointReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointReport {
    /// Host and port only: the URL may contain a key.
    pub host: String,
    /// Its newest block.
    pub block: Option<u64>,
    /// The error, if it did not answer.
    pub error: Option<String>,
}

/// A KMS contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContractReport {
    /// Slug of the KMS.
    pub slug: String,
    pub chain: String,
    /// `0x…`.
    pub address: String,
    /// Whether it answers like a KMS contract.
    pub exists: Option<bool>,
    /// `0x…`; `None`: none, or not known.
    pub owner: Option<String>,
    /// The contract that new apps are proxies of, `0x…`; `None`: not set, or not known.
    pub app_implementation: Option<String>,
    /// App id of the gateway; `None`: not set, or not known.
    pub gateway_app_id: Option<String>,
    /// Whether its `kmsInfo` has the key of the KMS; `None`: it has none, or that key is not known.
    pub key_matches: Option<bool>,
    /// OS images of the nodes: whether the contract allows apps to boot them.
    pub os_images: Vec<Listed>,
}

/// An OS image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub name: String,
    /// 64 hex digits.
    pub id: String,
    /// Whether the contract lists it.
    pub allowed: Option<bool>,
}

/// Checks every configured chain, and every KMS contract for its settings and the images of the nodes.
pub async fn check(config: &Config, nodes: &NodeFacts) -> Result<Report, StartError> {
    let clock = system::clock();
    let mut report = Report::default();
    for chain in &config.chains {
        let checked = check_chain(chain, &clock).await?;
        for endpoint in &checked.endpoints {
            if let Some(error) = &endpoint.error {
                report.problems.push(format!("{}: {}: {error}", chain.name, endpoint.host));
            }
        }
        report.chains.push(checked);
    }
    let chains = open(config, &clock)?;
    for contract in &config.kms.contracts {
        if let Some(chain) = chains.get(&contract.chain) {
            let checked = check_contract(contract, &**chain, nodes, &mut report.problems).await;
            report.contracts.push(checked);
        }
    }
    Ok(report)
}

async fn check_chain(
    chain: &config::Chain,
    clock: &Arc<dyn Clock>,
) -> Result<ChainReport, StartError> {
    let mut endpoints = Vec::with_capacity(chain.rpc_urls.len());
    for url in &chain.rpc_urls {
        let alone = rpc::Config { endpoints: vec![url.clone()], ..chain.rpc() };
        let said = way(&chain.name, &alone, clock)?.state(&probe_question([0; 20])).await;
        endpoints.push(EndpointReport {
            host: host(url),
            block: said.as_ref().ok().map(|state| state.block.number),
            error: said.err().map(|fault| fault.to_string()),
        });
    }
    Ok(ChainReport { name: chain.name.clone(), chain_id: chain.chain_id, endpoints })
}

async fn check_contract(
    contract: &config::KmsContract,
    chain: &dyn Chain,
    nodes: &NodeFacts,
    problems: &mut Vec<String>,
) -> ContractReport {
    let (slug, address) = (&contract.slug, format!("0x{}", contract.address));
    let state = chain.state(&probe_question(*contract.address.as_bytes())).await;
    match &state {
        Ok(state) if !state.kms_exists => problems.push(format!(
            "{slug}: no contract of a KMS answers at {address} on {} (chain {})",
            contract.chain,
            chain.chain_id()
        )),
        Ok(_) => {}
        Err(fault) => problems.push(format!("{slug}: {fault}")),
    }
    let exists = state.as_ref().is_ok_and(|state| state.kms_exists);
    let settings = match chain.kms_settings(&contract.address).await {
        Ok(settings) if exists => Some(settings),
        _ => None,
    };
    let key = nodes.kms_keys.iter().find(|(address, _)| *address == contract.address);
    let key_matches = settings
        .as_ref()
        .and_then(|settings| settings.keys.as_ref())
        .zip(key)
        .map(|(keys, (_, key))| same_point(&keys.k256, key));
    if let Some(settings) = &settings {
        problems.extend(problems_of(contract, settings, key_matches));
    }
    let images: Vec<[u8; 32]> = nodes.os_images.iter().map(|(_, image)| *image).collect();
    let said = chain.kms_allows(&contract.address, &[], &images).await.ok();
    let listed = |at: usize, name: &str, id: String, all: Option<&Vec<bool>>| Listed {
        name: name.to_owned(),
        id,
        allowed: all.and_then(|all| all.get(at).copied()),
    };
    let of_images = said.as_ref().map(|(_, images)| images);
    if !images.is_empty() && of_images.is_some_and(|allowed| !allowed.contains(&true)) {
        problems
            .push(format!("{slug}: it allows no OS image of the nodes, so that no app can boot"));
    }
    ContractReport {
        slug: slug.clone(),
        chain: contract.chain.clone(),
        address,
        exists: state.ok().map(|state| state.kms_exists),
        owner: settings.as_ref().and_then(|it| it.owner).map(|owner| format!("0x{owner}")),
        app_implementation: settings
            .as_ref()
            .and_then(|it| it.app_implementation)
            .map(|of| format!("0x{of}")),
        gateway_app_id: settings.and_then(|it| it.gateway_app_id),
        key_matches,
        os_images: (nodes.os_images.iter().enumerate())
            .map(|(at, (name, id))| listed(at, name, hex::encode(id), of_images))
            .collect(),
    }
}

/// What is wrong with the settings of a contract.
fn problems_of(
    contract: &config::KmsContract,
    settings: &KmsSettings,
    key_matches: Option<bool>,
) -> Vec<String> {
    let (slug, address) = (&contract.slug, format!("0x{}", contract.address));
    let mut problems = Vec::new();
    if settings.owner.is_none() {
        problems.push(format!(
            "{slug}: {address} has no owner: it is the implementation behind a proxy, whose address is to be \
             configured instead, or its ownership was renounced"
        ));
    }
    if settings.app_implementation.is_none() {
        problems.push(format!(
            "{slug}: no app can be deployed through {address}: its owner has to call setAppImplementation"
        ));
    }
    let plain = |id: &str| {
        let bare = id.strip_prefix("app_").or_else(|| id.strip_prefix("0x")).unwrap_or(id);
        bare.to_ascii_lowercase()
    };
    let (configured, said) = (&contract.gateway_app_id, &settings.gateway_app_id);
    if configured.as_deref().map(plain) != said.as_deref().map(plain) {
        let or_none = |id: &Option<String>| id.clone().unwrap_or_else(|| "none".to_owned());
        problems.push(format!(
            "{slug}: gateway_app_id is {}, and gatewayAppId() of {address} is {}",
            or_none(configured),
            or_none(said)
        ));
    }
    if key_matches == Some(false) {
        problems.push(format!(
            "{slug}: kmsInfo of {address} has another key than this KMS: whoever trusts the contract does not \
             trust its signatures; the owner of the contract corrects that with setKmsInfo"
        ));
    }
    problems
}

/// Whether two SEC1 encodings, compressed or not, begin with the same coordinate. That they are one of two points
/// is enough for a check against mistakes.
fn same_point(one: &[u8], other: &str) -> bool {
    let other = hex::decode(other.trim_start_matches("0x")).unwrap_or_default();
    one.get(1..33).is_some() && one.get(1..33) == other.get(1..33)
}

/// A question about no real app: whether the contract answers does not depend on the app.
fn probe_question(kms: [u8; 20]) -> Question {
    Question {
        kms: Address::from_bytes(kms),
        app: AppId::from_bytes([0; 20]),
        hash: ComposeHash::from_bytes([0; 32]),
        device: DeviceId::from_bytes([0; 32]),
        os_image: None,
        transaction: None,
    }
}

/// Host and port of a URL that was validated to have a host.
fn host(url: &SecretString) -> String {
    let url: Option<http::Uri> = url.expose_secret().parse().ok();
    let authority = url.as_ref().and_then(http::Uri::authority);
    let name = |authority: &http::uri::Authority| match authority.port_u16() {
        Some(port) => format!("{}:{port}", authority.host()),
        None => authority.host().to_owned(),
    };
    authority.map(name).unwrap_or_default()
}
