//! What can be asked for: instance types and OS images.

/// A size of CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceTypeView {
    /// `tdx.small`.
    pub id: String,
    /// `Small`.
    pub name: String,
    /// For people.
    pub description: String,
    /// `cpu`, `gpu`: groups the list.
    pub family: String,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in MB.
    pub memory_mb: u32,
    /// Disk in GB where none is asked for.
    pub default_disk_gb: u32,
    /// Price per hour, `0.058`; `0` where nothing is billed.
    pub hourly_rate: String,
    /// Needs a GPU.
    pub requires_gpu: bool,
}

/// An OS image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsImageView {
    /// `dstack-dev-0.5.4`.
    pub name: String,
    /// `0.5.4`; up to four numbers count.
    pub version: String,
    /// With login tools.
    pub is_dev: bool,
    /// Needs a GPU.
    pub requires_gpu: bool,
    /// SHA-256 over its checksum file, 64 hex digits, where known.
    pub os_image_hash: Option<String>,
}

impl OsImageView {
    /// Name in paths: the name with dashes for dots.
    pub fn slug(&self) -> String {
        self.name.replace('.', "-").to_ascii_lowercase()
    }

    /// The version as three or four numbers; what is no number counts as 0.
    pub fn version_numbers(&self) -> Vec<u32> {
        let number = |part: &str| {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap_or(0)
        };
        let core = self.version.trim_start_matches('v');
        let mut numbers: Vec<u32> = core.split('.').take(4).map(number).collect();
        while numbers.len() < 3 {
            numbers.push(0);
        }
        numbers
    }
}
