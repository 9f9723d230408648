//! Placement: which node takes a CVM, and why others cannot.
//!
//! Absent on purpose: reservation. People provision to preview; admission happens at commit, with figures
//! read in that transaction ([`admit`]).

pub mod simulate;

use std::collections::BTreeMap;

use crate::{
    id::{KmsId, NodeId},
    node::NodeState,
};

/// A node with its capacity and usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: NodeId,
    /// For messages.
    pub name: String,
    pub region: String,
    /// Set by the operator.
    pub state: NodeState,
    /// Whether it answered last time.
    pub reachable: bool,
    /// Names of its OS images.
    pub images: Vec<String>,
    /// Where its guests can take their keys.
    pub kms: KeySource,
    /// `none`, `simulated`, `tdx`, `sev-snp`.
    pub tee: String,
    /// Set by the operator.
    pub labels: Labels,
    /// Product ids of its free GPUs, one for each.
    pub free_gpus: Vec<String>,
    /// For all CVMs together.
    pub capacity: Amount,
    /// Current usage.
    pub taken: Amount,
}

/// The KMS that guests of a node can take their keys from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySource {
    /// Their ids; none if the node's KMS is not known here.
    pub ids: Vec<KmsId>,
    /// For messages: `the KMS rack-kms`.
    pub label: String,
}

/// Resources of a node or CVM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Number of CVMs.
    pub slots: i64,
    /// Virtual CPUs.
    pub vcpu: i64,
    /// MiB.
    pub memory_mb: i64,
    /// GB.
    pub disk_gb: i64,
}

/// The requirements of a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// Only this node.
    pub node: Option<NodeId>,
    /// Only this region, ignoring case.
    pub region: Option<String>,
    pub image: String,
    /// Its keys come from one of these.
    pub kms: Vec<KmsId>,
    pub amount: Amount,
    /// What else the node must be.
    pub selector: Selector,
}

/// Labels of nodes, by key.
pub type Labels = BTreeMap<String, String>;

/// What a node must be beyond room, image and region. The default: any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// It has each of these labels.
    pub labels: Labels,
    /// Its TEE.
    pub tee: Option<String>,
    /// Free GPUs of a product, `10de:2335`, and how many.
    pub gpus: Option<(String, usize)>,
}

/// Why a node cannot take a CVM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is cordoned or removed.
    #[error("is {}", .0.as_str())]
    Closed(NodeState),
    /// It did not answer last time.
    #[error("does not answer")]
    Unreachable,
    /// It is in another region.
    #[error("is in region {0}")]
    Region(String),
    /// Its guests take their keys from another KMS, which this names.
    #[error("takes keys from {0}")]
    Kms(String),
    /// It has another value of this label, or none.
    #[error("has the label {key} = {}, {wanted} needed", .found.as_deref().unwrap_or("(none)"))]
    Label { key: String, wanted: String, found: Option<String> },
    /// It has another TEE.
    #[error("has TEE {0}")]
    Tee(String),
    /// Too few free GPUs of a product.
    #[error("has {free} free GPUs {product}, {wanted} needed")]
    Gpus { product: String, free: usize, wanted: usize },
    /// It lacks the OS image.
    #[error("does not have the image {0}")]
    Image(String),
    /// It has the maximum number of CVMs.
    #[error("has no free slot of {0}")]
    Slots(i64),
    /// Too few free CPUs.
    #[error("has {free} vCPU free, {wanted} needed")]
    Vcpu { free: i64, wanted: i64 },
    /// Too little free memory.
    #[error("has {free} MB memory free, {wanted} needed")]
    Memory { free: i64, wanted: i64 },
    /// Too little free disk.
    #[error("has {free} GB disk free, {wanted} needed")]
    Disk { free: i64, wanted: i64 },
}

/// Why no node can take a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPlace {
    /// The requested node does not exist.
    UnknownNode(NodeId),
    /// Each node with its refusal.
    Refused(Vec<(String, Refusal)>),
}

/// Whether an amount fits into the free capacity.
pub fn admit(capacity: Amount, taken: Amount, wanted: Amount) -> Result<(), Refusal> {
    let free = |of: fn(&Amount) -> i64| of(&capacity).saturating_sub(of(&taken));
    let (vcpu, memory, disk) = (free(|a| a.vcpu), free(|a| a.memory_mb), free(|a| a.disk_gb));
    if free(|a| a.slots) < wanted.slots {
        return Err(Refusal::Slots(capacity.slots));
    }
    if vcpu < wanted.vcpu {
        return Err(Refusal::Vcpu { free: vcpu, wanted: wanted.vcpu });
    }
    if memory < wanted.memory_mb {
        return Err(Refusal::Memory { free: memory, wanted: wanted.memory_mb });
    }
    if disk < wanted.disk_gb {
        return Err(Refusal::Disk { free: disk, wanted: wanted.disk_gb });
    }
    Ok(())
}

fn refusal(node: &Candidate, demand: &Demand) -> Option<Refusal> {
    if node.state != NodeState::Active {
        return Some(Refusal::Closed(node.state));
    }
    if !node.reachable {
        return Some(Refusal::Unreachable);
    }
    if demand.region.as_ref().is_some_and(|region| !region.eq_ignore_ascii_case(&node.region)) {
        return Some(Refusal::Region(node.region.clone()));
    }
    if !node.kms.ids.iter().any(|id| demand.kms.contains(id)) {
        return Some(Refusal::Kms(node.kms.label.clone()));
    }
    if let Some(why) = unselected(node, &demand.selector) {
        return Some(why);
    }
    if !node.images.contains(&demand.image) {
        return Some(Refusal::Image(demand.image.clone()));
    }
    admit(node.capacity, node.taken, demand.amount).err()
}

/// Why a node is not what the selector wants.
fn unselected(node: &Candidate, selector: &Selector) -> Option<Refusal> {
    let other = selector.labels.iter().find(|(key, wanted)| node.labels.get(*key) != Some(*wanted));
    if let Some((key, wanted)) = other {
        let found = node.labels.get(key).cloned();
        return Some(Refusal::Label { key: key.clone(), wanted: wanted.clone(), found });
    }
    if selector.tee.as_ref().is_some_and(|tee| *tee != node.tee) {
        return Some(Refusal::Tee(node.tee.clone()));
    }
    let (product, wanted) = selector.gpus.as_ref()?;
    let free = node.free_gpus.iter().filter(|free| *free == product).count();
    (free < *wanted).then(|| Refusal::Gpus { product: product.clone(), free, wanted: *wanted })
}

/// The node whose scarcest resource has the largest free share; ties go to the lower id.
pub fn place(nodes: &[Candidate], demand: &Demand) -> Result<NodeId, NoPlace> {
    if let Some(wanted) = demand.node
        && !nodes.iter().any(|node| node.id == wanted)
    {
        return Err(NoPlace::UnknownNode(wanted));
    }
    let eligible = nodes.iter().filter(|node| demand.node.is_none_or(|wanted| node.id == wanted));
    let mut refused = Vec::new();
    let mut best: Option<&Candidate> = None;
    for node in eligible {
        match refusal(node, demand) {
            Some(why) => refused.push((node.name.clone(), why)),
            None if best.is_none_or(|best| score(node) > score(best)) => best = Some(node),
            None => {}
        }
    }
    best.map(|node| node.id).ok_or(NoPlace::Refused(refused))
}

/// Free per mille of the scarcest resource.
fn score(node: &Candidate) -> i64 {
    let share = |of: fn(&Amount) -> i64| match of(&node.capacity) {
        0 => 0,
        all => (all - of(&node.taken)).saturating_mul(1000) / all,
    };
    share(|a| a.slots).min(share(|a| a.vcpu)).min(share(|a| a.memory_mb)).min(share(|a| a.disk_gb))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: i64, taken_vcpu: i64) -> Candidate {
        Candidate {
            id: NodeId(id),
            name: format!("node-{id}"),
            region: "local".to_owned(),
            state: NodeState::Active,
            reachable: true,
            images: vec!["dstack-0.5.4".to_owned()],
            kms: keys(&["kms_a", "kms_b"]),
            tee: "tdx".to_owned(),
            labels: Labels::from([("disk".to_owned(), "nvme".to_owned())]),
            free_gpus: vec!["10de:2335".to_owned()],
            capacity: Amount { slots: 10, vcpu: 8, memory_mb: 16384, disk_gb: 500 },
            taken: Amount { slots: 1, vcpu: taken_vcpu, memory_mb: 2048, disk_gb: 20 },
        }
    }

    fn keys(ids: &[&str]) -> KeySource {
        let ids = ids.iter().map(|id| KmsId((*id).to_owned())).collect();
        KeySource { ids, label: "the KMS x".to_owned() }
    }

    fn demand() -> Demand {
        Demand {
            node: None,
            region: None,
            image: "dstack-0.5.4".to_owned(),
            kms: vec![KmsId("kms_a".to_owned())],
            amount: Amount { slots: 1, vcpu: 2, memory_mb: 2048, disk_gb: 20 },
            selector: Selector::default(),
        }
    }

    #[test]
    fn a_node_is_chosen_by_label_tee_and_gpu() {
        let label = |value: &str| Labels::from([("disk".to_owned(), value.to_owned())]);
        let of = |selector: Selector| {
            place(&[node(1, 0)], &Demand { selector, ..demand() }).map_err(|why| match why {
                NoPlace::Refused(mut refused) => refused.remove(0).1,
                NoPlace::UnknownNode(id) => panic!("{id}"),
            })
        };
        assert_eq!(of(Selector { labels: label("nvme"), ..Selector::default() }), Ok(NodeId(1)));
        let refused = of(Selector { labels: label("hdd"), ..Selector::default() }).unwrap_err();
        assert_eq!(refused.to_string(), "has the label disk = nvme, hdd needed");
        let missing = Labels::from([("rack".to_owned(), "7".to_owned())]);
        let refused = of(Selector { labels: missing, ..Selector::default() }).unwrap_err();
        assert_eq!(refused.to_string(), "has the label rack = (none), 7 needed");
        let tee = |tee: &str| Selector { tee: Some(tee.to_owned()), ..Selector::default() };
        assert_eq!(of(tee("tdx")), Ok(NodeId(1)));
        assert_eq!(of(tee("sev-snp")), Err(Refusal::Tee("tdx".to_owned())));
        let gpus =
            |count| Selector { gpus: Some(("10de:2335".to_owned(), count)), ..Selector::default() };
        assert_eq!(of(gpus(1)), Ok(NodeId(1)));
        assert_eq!(of(gpus(2)).unwrap_err().to_string(), "has 1 free GPUs 10de:2335, 2 needed");
    }

    #[test]
    fn the_emptiest_node_wins() {
        assert_eq!(place(&[node(1, 4), node(2, 1), node(3, 1)], &demand()), Ok(NodeId(2)));
    }

    #[test]
    fn every_refused_node_says_why() {
        let away = Candidate { reachable: false, ..node(1, 0) };
        let elsewhere = Candidate { region: "eu".to_owned(), ..node(2, 0) };
        let closed = Candidate { state: NodeState::Cordoned, ..node(5, 0) };
        let bare = Candidate { images: vec![], ..node(3, 0) };
        let foreign = Candidate { kms: keys(&["kms_b"]), ..node(6, 0) };
        let keyless = Candidate { kms: keys(&[]), ..node(7, 0) };
        let wanted = Demand { region: Some("LOCAL".to_owned()), ..demand() };
        let Err(NoPlace::Refused(why)) =
            place(&[away, elsewhere, bare, node(4, 7), closed, foreign, keyless], &wanted)
        else {
            panic!("no node can take this");
        };
        let why: Vec<_> = why.into_iter().map(|(_, why)| why).collect();
        assert_eq!(
            why,
            [
                Refusal::Unreachable,
                Refusal::Region("eu".to_owned()),
                Refusal::Image("dstack-0.5.4".to_owned()),
                Refusal::Vcpu { free: 1, wanted: 2 },
                Refusal::Closed(NodeState::Cordoned),
                Refusal::Kms("the KMS x".to_owned()),
                Refusal::Kms("the KMS x".to_owned()),
            ]
        );
    }

    #[test]
    fn a_kms_decides_over_room() {
        let full_of_room = Candidate { kms: keys(&["kms_b"]), ..node(1, 0) };
        let nodes = [full_of_room, node(2, 5)];
        assert_eq!(place(&nodes, &demand()), Ok(NodeId(2)));
        let either = vec![KmsId("kms_b".to_owned()), KmsId("kms_a".to_owned())];
        assert_eq!(place(&nodes, &Demand { kms: either, ..demand() }), Ok(NodeId(1)));
        assert!(place(&nodes, &Demand { kms: Vec::new(), ..demand() }).is_err());
    }

    #[test]
    fn a_wanted_node_is_taken_or_named() {
        let wanted = |id| Demand { node: Some(NodeId(id)), ..demand() };
        assert_eq!(place(&[node(1, 6), node(2, 0)], &wanted(1)), Ok(NodeId(1)));
        assert_eq!(place(&[node(1, 0)], &wanted(9)), Err(NoPlace::UnknownNode(NodeId(9))));
    }
}
