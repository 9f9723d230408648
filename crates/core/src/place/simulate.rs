//! What would fit: CVMs placed one after another on paper.

use std::collections::BTreeMap;

use super::{Candidate, Demand, NoPlace, Refusal, place};
use crate::id::NodeId;

/// Most CVMs of one simulation. The work is this number times that of the nodes.
pub const MOST: u32 = 1000;

/// What would fit where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulation {
    /// How many of those asked for fit.
    pub fits: u32,
    /// How many on each node that takes one.
    pub placed: Vec<(NodeId, u32)>,
    /// Why each node takes no more: each node if something is left over, else those that take none of it.
    pub refused: Vec<(NodeId, Refusal)>,
}

/// Places as many CVMs of one demand, at most [`MOST`], as real placement would.
pub fn simulate(nodes: &[Candidate], demand: &Demand, count: u32) -> Simulation {
    let mut nodes = nodes.to_vec();
    let mut placed: BTreeMap<NodeId, u32> = BTreeMap::new();
    let count = count.min(MOST);
    let mut fits = 0;
    while fits < count {
        let Ok(id) = place(&nodes, demand) else { break };
        if let Some(node) = nodes.iter_mut().find(|node| node.id == id) {
            take(node, demand);
        }
        *placed.entry(id).or_default() += 1;
        fits += 1;
    }
    let refused = nodes.iter().filter_map(|node| {
        let one = std::slice::from_ref(node);
        let Err(NoPlace::Refused(mut why)) = place(one, demand) else { return None };
        let is_told = fits < count || !placed.contains_key(&node.id);
        why.pop().filter(|_| is_told).map(|(_, why)| (node.id, why))
    });
    let refused = refused.collect();
    Simulation { fits, placed: placed.into_iter().collect(), refused }
}

fn take(node: &mut Candidate, demand: &Demand) {
    let (taken, amount) = (&mut node.taken, &demand.amount);
    taken.slots = taken.slots.saturating_add(amount.slots);
    taken.vcpu = taken.vcpu.saturating_add(amount.vcpu);
    taken.memory_mb = taken.memory_mb.saturating_add(amount.memory_mb);
    taken.disk_gb = taken.disk_gb.saturating_add(amount.disk_gb);
    if let Some((product, count)) = &demand.selector.gpus {
        for _ in 0..*count {
            if let Some(at) = node.free_gpus.iter().position(|free| free == product) {
                node.free_gpus.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        id::KmsId,
        node::NodeState,
        place::{Amount, KeySource, Labels, Selector, admit},
    };

    fn node(id: i64, vcpu: i64, gpus: usize) -> Candidate {
        Candidate {
            id: NodeId(id),
            name: format!("node-{id}"),
            region: "eu".to_owned(),
            state: NodeState::Active,
            reachable: true,
            images: vec!["a".to_owned()],
            kms: KeySource { ids: vec![KmsId("kms_a".to_owned())], label: "the KMS a".to_owned() },
            tee: "tdx".to_owned(),
            labels: Labels::new(),
            free_gpus: vec!["g".to_owned(); gpus],
            capacity: Amount { slots: 100, vcpu, memory_mb: 1 << 20, disk_gb: 1 << 20 },
            taken: Amount::default(),
        }
    }

    fn demand(vcpu: i64) -> Demand {
        Demand {
            node: None,
            region: None,
            image: "a".to_owned(),
            kms: vec![KmsId("kms_a".to_owned())],
            amount: Amount { slots: 1, vcpu, memory_mb: 1, disk_gb: 1 },
            selector: Selector::default(),
        }
    }

    #[test]
    fn as_many_fit_as_there_is_room_and_the_rest_has_reasons() {
        let away = Candidate { reachable: false, ..node(3, 64, 0) };
        let nodes = [node(1, 8, 0), node(2, 6, 0), away];
        let all = simulate(&nodes, &demand(2), 7);
        assert_eq!((all.fits, &*all.placed), (7, &[(NodeId(1), 4), (NodeId(2), 3)][..]));
        assert_eq!(all.refused, [(NodeId(3), Refusal::Unreachable)]);
        let some = simulate(&nodes, &demand(2), 9);
        assert_eq!(some.fits, 7);
        let full = Refusal::Vcpu { free: 0, wanted: 2 };
        let refused =
            [(NodeId(1), full.clone()), (NodeId(2), full), (NodeId(3), Refusal::Unreachable)];
        assert_eq!(some.refused, refused);
    }

    #[test]
    fn gpus_are_used_up() {
        let selector = Selector { gpus: Some(("g".to_owned(), 2)), ..Selector::default() };
        let found = simulate(&[node(1, 64, 5)], &Demand { selector, ..demand(1) }, 3);
        assert_eq!(found.fits, 2);
        assert_eq!(found.refused[0].1.to_string(), "has 1 free GPUs g, 2 needed");
    }

    #[test]
    fn nothing_fits_on_no_node_and_the_count_is_bounded() {
        assert_eq!(
            simulate(&[], &demand(1), 3),
            Simulation { fits: 0, placed: vec![], refused: vec![] }
        );
        let wide = Candidate {
            capacity: Amount {
                slots: 1 << 40,
                vcpu: 1 << 40,
                memory_mb: 1 << 40,
                disk_gb: 1 << 40,
            },
            ..node(1, 1, 0)
        };
        assert_eq!(simulate(&[wide], &demand(1), u32::MAX).fits, MOST);
    }

    proptest! {
        /// No node gets more than it has, and what is left over fits nowhere.
        #[test]
        fn a_simulation_keeps_to_capacity(
            sizes in proptest::collection::vec(0_i64..20, 0..6), wanted in 1_i64..6, count in 0_u32..60,
        ) {
            let nodes: Vec<Candidate> =
                (1..).zip(&sizes).map(|(id, vcpu)| node(id, *vcpu, 0)).collect();
            let found = simulate(&nodes, &demand(wanted), count);
            prop_assert_eq!(found.placed.iter().map(|(_, number)| number).sum::<u32>(), found.fits);
            let mut after = nodes.clone();
            for node in &mut after {
                let here = found.placed.iter().find(|(id, _)| *id == node.id).map_or(0, |(_, n)| *n);
                node.taken.vcpu = i64::from(here) * wanted;
                prop_assert!(node.taken.vcpu <= node.capacity.vcpu);
            }
            let room: i64 = sizes.iter().map(|vcpu| vcpu / wanted).sum();
            prop_assert_eq!(i64::from(found.fits), room.min(i64::from(count)));
            if found.fits < count {
                prop_assert_eq!(found.refused.len(), nodes.len());
                for node in &after {
                    prop_assert!(admit(node.capacity, node.taken, demand(wanted).amount).is_err());
                }
            }
        }
    }
}
