//! What a simulated host is like: how slow it is and what it says of itself.

use std::time::Duration;

use casemate_core::node::{Capabilities, NodeKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::node::{Capacity, Image};

/// Settings of a [`super::SimNode`]. Every field has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimConfig {
    /// A whole boot takes about this long.
    pub boot_ms: u64,
    /// A guest that was asked to shut down is off after about this long.
    pub shutdown_ms: u64,
    /// A removed VM is gone after about this long.
    pub remove_ms: u64,
    /// Every delay differs from its mean by up to this many per cent, drawn from the seed.
    pub jitter_percent: u32,
    /// How often a followed log is looked at.
    pub follow_poll_ms: u64,
    /// What the host says it can take. It never refuses a VM for lack of room; no dstack host does.
    pub capacity: Capacity,
    /// OS images of the host.
    pub images: Vec<Image>,
    /// Seed of all delays and random faults, fixed when the host is first opened; `None`: a new one.
    pub seed: Option<u64>,
    /// What the host says it can take: by default what a dstack host can.
    pub capabilities: Capabilities,
    /// Which calls go to the journal.
    pub journal: Journal,
    /// The host keeps the hash of a document beside it and does not start other bytes. dstack-vmm does not.
    pub checks_documents: bool,
}

/// Which calls a simulated host writes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Journal {
    /// None. [`super::Audit`] then knows only what is there now.
    Off,
    /// Those that change something, and those that met a fault.
    #[default]
    Changes,
    /// All, also looks.
    All,
}

impl SimConfig {
    /// A host for tests in real time: a boot takes about 60 ms, and every call is written down.
    pub fn fast() -> Self {
        Self {
            boot_ms: 60,
            shutdown_ms: 25,
            remove_ms: 15,
            follow_poll_ms: 20,
            journal: Journal::All,
            ..Self::default()
        }
    }

    pub(super) fn has_image(&self, name: &str) -> bool {
        self.images.iter().any(|image| image.name == name)
    }

    /// `mean` with the jitter that `draw` decides.
    pub(super) fn jittered(&self, mean: Duration, draw: u64) -> Duration {
        let spread = u64::from(self.jitter_percent.min(100));
        let percent = 100 - spread + draw % (2 * spread + 1);
        let micros = u64::try_from(mean.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros.saturating_mul(percent) / 100)
    }
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            boot_ms: 1500,
            shutdown_ms: 700,
            remove_ms: 300,
            jitter_percent: 20,
            follow_poll_ms: 200,
            capacity: Capacity { slots: 64, vcpu: 256, memory_mb: 512 * 1024, disk_gb: 8 * 1024 },
            images: ["dstack-0.5.4", "dstack-dev-0.5.4", "dstack-0.5.5", "dstack-dev-0.5.5"]
                .map(image)
                .into(),
            seed: None,
            capabilities: Capabilities::of_vm_host(NodeKind::Sim),
            journal: Journal::default(),
            checks_documents: true,
        }
    }
}

/// An image as its directory name tells it, with a hash made of that name.
fn image(name: &str) -> Image {
    let digest = Sha256::digest(format!("simulated os image {name}"));
    Image {
        name: name.to_owned(),
        version: name.rsplit('-').next().unwrap_or_default().to_owned(),
        is_dev: name.contains("-dev-"),
        os_image_hash: Some(hex::encode(digest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_images_are_stable_and_told_apart() {
        let config = SimConfig::default();
        let names: Vec<_> =
            config.images.iter().map(|i| (i.name.as_str(), i.version.as_str(), i.is_dev)).collect();
        assert_eq!(
            names,
            [
                ("dstack-0.5.4", "0.5.4", false),
                ("dstack-dev-0.5.4", "0.5.4", true),
                ("dstack-0.5.5", "0.5.5", false),
                ("dstack-dev-0.5.5", "0.5.5", true),
            ]
        );
        let mut hashes: Vec<_> = config.images.into_iter().map(|i| i.os_image_hash).collect();
        hashes.dedup();
        assert_eq!(hashes.len(), 4);
    }

    #[test]
    fn a_config_is_read_from_any_part_of_it_and_unknown_keys_are_refused() {
        let read = |text| serde_json::from_str::<SimConfig>(text);
        assert_eq!(read("{}").unwrap(), SimConfig::default());
        assert_eq!(read(r#"{"boot_ms": 5, "journal": "off"}"#).unwrap().boot_ms, 5);
        assert!(read(r#"{"boot": 5}"#).is_err());
    }

    #[test]
    fn jitter_stays_within_its_bounds() {
        let config = SimConfig { jitter_percent: 20, ..SimConfig::default() };
        let mean = Duration::from_millis(100);
        for draw in 0..1000 {
            let jittered = config.jittered(mean, draw);
            assert!((80..=120).contains(&jittered.as_millis()), "{jittered:?}");
        }
        let steady = SimConfig { jitter_percent: 0, ..config };
        assert_eq!(steady.jittered(mean, 12345), mean);
    }
}
