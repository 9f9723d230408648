//! Which OS images the contract of a KMS lets apps boot. Asked before the transaction that prepares a deployment.

use std::collections::BTreeMap;

use casemate_api::{error::ErrorCode, provision::ProvisionRequest};
use casemate_core::id::Address;
use casemate_engine::node::Image;

use super::passthrough;
use crate::app::{
    Ctx, Error,
    fleet::{self, FleetKms, FleetNode},
    governance, kms, views,
};

/// What the contract of a KMS allows; without one, everything.
#[derive(Debug, Clone, Default)]
pub struct AllowedImages {
    governed: Option<ByContract>,
    /// Whether a deployment that needs another image is made all the same, for a plan, which says so.
    planned: bool,
}

#[derive(Debug, Clone)]
struct ByContract {
    contract: Address,
    chain_id: u64,
    /// By hash; an image that is not here is not known to be allowed or refused.
    said: BTreeMap<[u8; 32], bool>,
}

impl AllowedImages {
    /// Asks the contract of the KMS that a deployment names about the images of all nodes. Of a chain that does
    /// not answer nothing is known. Never within a transaction.
    pub async fn ask(ctx: &Ctx, request: &ProvisionRequest) -> Self {
        // What is wrong with the KMS is told when the deployment is prepared.
        let Ok(meant) = kms::choose(ctx, request, passthrough::seals(request)) else {
            return Self::default();
        };
        let node = request.node_id.and_then(|id| ctx.fleet.node(id));
        let used =
            |kms: &&&FleetKms| node.as_ref().is_none_or(|node| ctx.fleet.node_uses(node, &kms.id));
        let Some(governed) = meant.iter().find(used).and_then(|kms| kms.governed.as_ref()) else {
            return Self::default();
        };
        let mut hashes: Vec<[u8; 32]> = Vec::new();
        for node in ctx.fleet.all() {
            hashes.extend(node.observed().0.images.iter().filter_map(fleet::image_hash));
        }
        hashes.sort_unstable();
        hashes.dedup();
        let said = match governance::kms_allows(governed, &[], &hashes).await {
            Ok((_, allowed)) => hashes.into_iter().zip(allowed).collect(),
            Err(_) => BTreeMap::new(),
        };
        let (contract, chain_id) = (governed.contract, governed.chain.chain_id());
        Self { governed: Some(ByContract { contract, chain_id, said }), planned: false }
    }

    /// The same for a plan: of images that are refused the best is taken, and the plan says that it is refused.
    pub fn for_a_plan(self) -> Self {
        Self { planned: true, ..self }
    }

    /// Whether a contract decides.
    pub const fn is_governed(&self) -> bool {
        self.governed.is_some()
    }

    /// Whether an image is allowed; `None`: not known.
    pub fn says(&self, image: &Image) -> Option<bool> {
        match &self.governed {
            None => Some(true),
            Some(governed) => governed.said.get(&fleet::image_hash(image)?).copied(),
        }
    }

    /// What a client should know of an image of which nothing is known.
    pub fn warning(&self, image: &Image) -> Option<String> {
        let name = &image.name;
        self.says(image).is_none().then(|| {
            format!("whether the contract of the KMS lets apps boot the OS image {name} is not known here")
        })
    }

    /// Whether a node may take something with the image of this name.
    pub fn boots_on(&self, node: &FleetNode, name: &str) -> bool {
        let (inventory, _) = node.observed();
        let own = inventory.images.iter().find(|image| image.name == name);
        self.planned || own.is_none_or(|own| self.says(own) != Some(false))
    }

    /// Sorts images of which a contract decides: what it allows first, then what is not known; for production
    /// before those with login tools, as few contracts allow the latter; the newest first.
    pub fn sort(&self, images: &mut Vec<Image>, version: impl Fn(&Image) -> Vec<u32>) {
        if !self.planned {
            images.retain(|image| self.says(image) != Some(false));
        }
        images.sort_by_cached_key(|image| {
            let rank = match self.says(image) {
                Some(true) => 0,
                None => 1,
                Some(false) => 2,
            };
            (rank, image.is_dev, std::cmp::Reverse(version(image)))
        });
    }

    /// Refuses images that the contract refuses: the one that was named, or all that fit.
    pub fn refusal(&self, named: Option<&str>, known: &[Image]) -> Error {
        let names = |of: &mut dyn Iterator<Item = &Image>| {
            of.map(|image| image.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let which = named.map_or_else(|| names(&mut known.iter()), str::to_owned);
        let contract = match &self.governed {
            None => String::new(),
            Some(ByContract { contract, chain_id, .. }) => {
                format!(", {} on chain {chain_id}", views::contract(*contract))
            }
        };
        let why = format!("{which}: the contract of the KMS{contract} does not let apps boot it");
        let error = Error::field(ErrorCode::IncompatibleConfiguration, "image", why);
        let allowed = names(&mut known.iter().filter(|image| self.says(image) == Some(true)));
        if allowed.is_empty() {
            error
                .suggest("Only the owner of that contract can allow an image, with addOsImageHash.")
        } else {
            error.suggest(format!("It allows: {allowed}."))
        }
    }
}
