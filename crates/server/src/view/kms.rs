//! KMS, and their contracts, which several KMS may share.

use casemate_api::{kms_type::KmsType, reply::KmsNode};
use casemate_core::id::KmsId;

/// Contract "address" and slug of the ungoverned KMS; its chain id is 0.
pub const PHALA_CONTRACT: &str = "phala";

/// A KMS instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsView {
    /// `kms_…`.
    pub id: KmsId,
    /// Part of URLs.
    pub slug: Option<String>,
    /// Base URL of its API.
    pub url: String,
    pub version: String,
    /// Chain of its contract.
    pub chain_id: Option<u64>,
    /// Address of its contract, `0x…`.
    pub kms_contract_address: Option<String>,
    /// App id of the gateway that its CVMs trust.
    pub gateway_app_id: Option<String>,
    pub kind: KmsType,
    /// Root public key, secp256k1, hex.
    pub k256_public_key: Option<String>,
    /// Public key of its CA certificate, hex or PEM.
    pub ca_public_key: Option<String>,
    /// Names of the OS images that its contract allows; empty if unknown.
    pub supported_os_images: Vec<String>,
}

impl KmsView {
    /// Chain id and address of its contract.
    fn contract_key(&self) -> (u64, String) {
        match (self.chain_id, &self.kms_contract_address) {
            (Some(chain), Some(address)) => (chain, address.to_ascii_lowercase()),
            _ => (0, PHALA_CONTRACT.to_owned()),
        }
    }

    /// Whether a reference in a URL is its id, slug or kind.
    pub fn is_called(&self, reference: &str) -> bool {
        self.id.as_ref() == reference
            || self.slug.as_deref() == Some(reference)
            || self.kind.as_str().eq_ignore_ascii_case(reference)
    }
}

/// A KMS contract with its KMS instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsContractView {
    /// `kc_…`, derived from chain and address.
    pub id: String,
    /// Part of URLs: that of its first KMS, as configured.
    pub slug: String,
    /// The same derived from its address, which is a name of it too.
    pub short: String,
    pub label: String,
    /// Address, `0x…`, or [`PHALA_CONTRACT`].
    pub contract_address: String,
    /// 0 without a chain.
    pub chain_id: u64,
    /// Its KMS instances in their original order.
    pub nodes: Vec<KmsView>,
}

impl KmsContractView {
    /// Whether a reference in a URL is its id, slug or address.
    pub fn is_called(&self, reference: &str) -> bool {
        self.id == reference
            || self.slug == reference
            || self.short == reference
            || self.contract_address.eq_ignore_ascii_case(reference)
    }
}

/// Groups KMS instances by contract, in the order of their first instance.
pub fn contracts(machines: &[KmsView]) -> Vec<KmsContractView> {
    let mut found: Vec<((u64, String), KmsContractView)> = Vec::new();
    for machine in machines {
        let key = machine.contract_key();
        if let Some((_, contract)) = found.iter_mut().find(|(other, _)| *other == key) {
            contract.nodes.push(machine.clone());
        } else {
            let contract = contract(&key, machine);
            found.push((key, contract));
        }
    }
    found.into_iter().map(|(_, contract)| contract).collect()
}

fn contract((chain_id, address): &(u64, String), first: &KmsView) -> KmsContractView {
    let kind = first.kind.as_str();
    let (id, short, label) = if *chain_id == 0 {
        (format!("kc_{PHALA_CONTRACT}"), PHALA_CONTRACT.to_owned(), "Phala".to_owned())
    } else {
        let short: String = address.trim_start_matches("0x").chars().take(8).collect();
        (format!("kc_{chain_id}_{short}"), format!("{kind}-{short}"), format!("{kind} {chain_id}"))
    };
    let contract_address = first.kms_contract_address.clone().filter(|_| *chain_id != 0);
    KmsContractView {
        id,
        slug: first.slug.clone().filter(|_| *chain_id != 0).unwrap_or_else(|| short.clone()),
        short,
        label,
        contract_address: contract_address.unwrap_or_else(|| PHALA_CONTRACT.to_owned()),
        chain_id: *chain_id,
        nodes: vec![first.clone()],
    }
}

/// The form for clients, the same in every API version.
impl From<&KmsView> for KmsNode {
    fn from(view: &KmsView) -> Self {
        Self {
            id: view.id.to_string(),
            slug: view.slug.clone(),
            url: view.url.clone(),
            version: view.version.clone(),
            chain_id: view.chain_id,
            kms_contract_address: view.kms_contract_address.clone(),
            gateway_app_id: view.gateway_app_id.clone(),
        }
    }
}
