//! KMS: machines, and the contracts that several of them serve.

use casemate_api::{kms_type::KmsType, reply::KmsNode};
use casemate_core::id::KmsId;

/// Contract "address" and slug of the KMS that no chain governs; its chain id is 0.
pub const PHALA_CONTRACT: &str = "phala";

/// A KMS machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsView {
    /// `kms_…`.
    pub id: KmsId,
    /// Name in paths.
    pub slug: Option<String>,
    /// Address of its API.
    pub url: String,
    /// Version of its software.
    pub version: String,
    /// Chain of its contract.
    pub chain_id: Option<u64>,
    /// Address of its contract, `0x…`.
    pub kms_contract_address: Option<String>,
    /// App id of the gateway that its CVMs trust.
    pub gateway_app_id: Option<String>,
    /// Kind.
    pub kind: KmsType,
    /// Root public key, secp256k1, hex.
    pub k256_public_key: Option<String>,
    /// CA certificate's public key, hex or PEM.
    pub ca_public_key: Option<String>,
    /// OS images that its contract allows, by name; empty where nobody asks.
    pub supported_os_images: Vec<String>,
}

impl KmsView {
    /// The contract it serves: chain and address.
    fn contract_key(&self) -> (u64, String) {
        match (self.chain_id, &self.kms_contract_address) {
            (Some(chain), Some(address)) => (chain, address.to_ascii_lowercase()),
            _ => (0, PHALA_CONTRACT.to_owned()),
        }
    }

    /// Whether a path names it: by id, slug or kind.
    pub fn is_called(&self, reference: &str) -> bool {
        self.id.as_ref() == reference
            || self.slug.as_deref() == Some(reference)
            || self.kind.as_str().eq_ignore_ascii_case(reference)
    }
}

/// A KMS contract with its machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsContractView {
    /// `kc_…`, made of chain and address.
    pub id: String,
    /// Name in paths.
    pub slug: String,
    /// Name for people.
    pub label: String,
    /// Address, `0x…`, or [`PHALA_CONTRACT`].
    pub contract_address: String,
    /// Chain, 0 without one.
    pub chain_id: u64,
    /// The machines that serve it, in the order they came in.
    pub nodes: Vec<KmsView>,
}

impl KmsContractView {
    /// Whether a path names it: by id, slug or address.
    pub fn is_called(&self, reference: &str) -> bool {
        self.id == reference
            || self.slug == reference
            || self.contract_address.eq_ignore_ascii_case(reference)
    }
}

/// The contracts that these machines serve, each in the place of its first machine.
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
    let (id, slug, label) = if *chain_id == 0 {
        (format!("kc_{PHALA_CONTRACT}"), PHALA_CONTRACT.to_owned(), "Phala".to_owned())
    } else {
        let short: String = address.trim_start_matches("0x").chars().take(8).collect();
        (format!("kc_{chain_id}_{short}"), format!("{kind}-{short}"), format!("{kind} {chain_id}"))
    };
    let contract_address = first.kms_contract_address.clone().filter(|_| *chain_id != 0);
    KmsContractView {
        id,
        slug,
        label,
        contract_address: contract_address.unwrap_or_else(|| PHALA_CONTRACT.to_owned()),
        chain_id: *chain_id,
        nodes: vec![first.clone()],
    }
}

/// The KMS as clients want it, in every version.
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
