//! KMS: machines up to 2026-05-22, contracts from 2026-06-23 on.

use casemate_api::{
    page::{Page, PageRequest},
    reply::{
        KmsContract, KmsContractNode, KmsContractNodes, KmsList, KmsNode, KmsOne, KmsPubkey,
        NextAppId, NextAppIds,
    },
    version::ApiVersion,
};
use casemate_core::id::AppId;

use super::count;
use crate::view::{KmsContractView, KmsView, contracts};

/// `GET /kms`, out of the whole list. Strict.
pub fn kms_list(machines: &[KmsView], request: PageRequest, version: ApiVersion) -> KmsList {
    if version.kms_are_contracts() {
        KmsList::Contracts(page(&contracts(machines), request, contract))
    } else {
        KmsList::Nodes(page(machines, request, |machine| KmsNode::from(machine)))
    }
}

/// `GET /kms/{ref}`; `None` if nothing is called that. A machine or contract, as the version says,
/// and the other one's name leads to it as well.
pub fn kms_info(machines: &[KmsView], reference: &str, version: ApiVersion) -> Option<KmsOne> {
    let all = contracts(machines);
    let named = all.iter().find(|contract| contract.is_called(reference));
    let serving = || machines.iter().find(|machine| machine.is_called(reference));
    if version.kms_are_contracts() {
        let machine_of = || {
            let machine = serving()?;
            all.iter().find(|contract| contract.nodes.contains(machine))
        };
        return named.or_else(machine_of).map(contract).map(KmsOne::Contract);
    }
    let machine = serving().or_else(|| named.and_then(|contract| contract.nodes.first()));
    machine.map(KmsNode::from).map(KmsOne::Node)
}

/// `GET /kms/{slug}/nodes`, from 2026-06-23 on; `None` if no contract is called that.
pub fn kms_contract_nodes(machines: &[KmsView], reference: &str) -> Option<KmsContractNodes> {
    let node = |view: &KmsView| KmsContractNode {
        id: view.id.to_string(),
        slug: view.slug.clone(),
        url: view.url.clone(),
        version: view.version.clone(),
        kms_type: view.kind.to_string(),
    };
    let contract = contracts(machines).into_iter().find(|found| found.is_called(reference))?;
    let items: Vec<_> = contract.nodes.iter().map(node).collect();
    Some(KmsContractNodes { total: count(&items), items })
}

/// `GET /kms/{ref}/pubkey/{app_id}`: the env key of an app and the signature over it. Strict.
pub fn kms_pubkey(public_key: &[u8; 32], signature: &[u8; 65]) -> KmsPubkey {
    KmsPubkey { public_key: hex::encode(public_key), signature: hex::encode(signature) }
}

/// `GET /kms/phala/next_app_id`: app ids and the nonces that lead to them. Strict.
pub fn next_app_ids(ids: &[(AppId, u64)]) -> NextAppIds {
    let next =
        |(app_id, nonce): &(AppId, u64)| NextAppId { app_id: app_id.to_string(), nonce: *nonce };
    NextAppIds { app_ids: ids.iter().map(next).collect() }
}

fn contract(view: &KmsContractView) -> KmsContract {
    let first = view.nodes.first();
    KmsContract {
        id: view.id.clone(),
        slug: Some(view.slug.clone()),
        label: Some(view.label.clone()),
        contract_address: view.contract_address.clone(),
        chain_id: view.chain_id,
        k256_pubkey: first.and_then(|machine| machine.k256_public_key.clone()),
        ca_pubkey: first.and_then(|machine| machine.ca_public_key.clone()),
        node_count: count(&view.nodes),
    }
}

fn page<T, U>(all: &[T], request: PageRequest, render: impl Fn(&T) -> U) -> Page<U> {
    Page::new(request.slice(all).iter().map(render).collect(), count(all), request)
}

#[cfg(test)]
mod tests {
    use casemate_core::id::KmsId;

    use super::*;
    use casemate_api::kms_type::KmsType;

    fn machine(id: &str, kind: KmsType, contract: Option<(u64, &str)>) -> KmsView {
        KmsView {
            id: KmsId(id.to_owned()),
            slug: Some(format!("slug-{id}")),
            url: "https://kms.test".to_owned(),
            version: "0.5.4".to_owned(),
            chain_id: contract.map(|(chain, _)| chain),
            kms_contract_address: contract.map(|(_, address)| address.to_owned()),
            gateway_app_id: None,
            kind,
            k256_public_key: None,
            ca_public_key: None,
            supported_os_images: Vec::new(),
        }
    }

    fn fleet() -> Vec<KmsView> {
        vec![
            machine("kms_a", KmsType::Phala, None),
            machine(
                "kms_b",
                KmsType::Base,
                Some((8453, "0xABCDEF0123456789abcdef0123456789abcdef01")),
            ),
            machine(
                "kms_c",
                KmsType::Base,
                Some((8453, "0xabcdef0123456789abcdef0123456789abcdef01")),
            ),
            machine("kms_d", KmsType::Phala, None),
        ]
    }

    #[test]
    fn machines_of_one_contract_are_one_contract() {
        let request = PageRequest { page: 1, page_size: 1 };
        let KmsList::Contracts(page) = kms_list(&fleet(), request, ApiVersion::V20260623) else {
            panic!("not contracts");
        };
        assert_eq!((page.total, page.items.len()), (2, 1));
        let phala = &page.items[0];
        assert_eq!((phala.contract_address.as_str(), phala.chain_id), ("phala", 0));
        assert_eq!(phala.node_count, 2);
        let nodes = kms_contract_nodes(&fleet(), "base-abcdef01").unwrap();
        assert_eq!(
            nodes.items.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(),
            ["kms_b", "kms_c"]
        );
        assert!(kms_contract_nodes(&fleet(), "kms_b").is_none());
    }

    #[test]
    fn one_kms_is_found_under_each_of_its_names() {
        let found = |name: &str, version| match kms_info(&fleet(), name, version) {
            Some(KmsOne::Node(node)) => node.id,
            Some(KmsOne::Contract(contract)) => contract.slug.unwrap_or_default(),
            None => String::new(),
        };
        for (name, node, contract) in [
            ("kms_d", "kms_d", "phala"),
            ("slug-kms_c", "kms_c", "slug-kms_b"),
            ("base", "kms_b", "slug-kms_b"),
            ("PHALA", "kms_a", "phala"),
            ("0xabcdef0123456789abcdef0123456789ABCDEF01", "kms_b", "slug-kms_b"),
            ("kc_8453_abcdef01", "kms_b", "slug-kms_b"),
            ("ethereum", "", ""),
        ] {
            assert_eq!(found(name, ApiVersion::V20260522), node, "{name}");
            assert_eq!(found(name, ApiVersion::V20260623), contract, "{name}");
        }
    }
}
