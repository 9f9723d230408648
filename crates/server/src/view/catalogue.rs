//! Instance types and OS images.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceTypeView {
    /// `tdx.small`.
    pub id: String,
    /// `Small`.
    pub name: String,
    pub description: String,
    /// `cpu` or `gpu`; groups the list.
    pub family: String,
    pub vcpu: u32,
    pub memory_mb: u32,
    /// Disk in GB if the request names none.
    pub default_disk_gb: u32,
    /// Price per hour, for example `0.058`; `0` without billing.
    pub hourly_rate: String,
    pub requires_gpu: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsImageView {
    /// `dstack-dev-0.5.4`.
    pub name: String,
    /// `0.5.4`; at most four numbers are compared.
    pub version: String,
    /// Whether it has login tools.
    pub is_dev: bool,
    pub requires_gpu: bool,
    /// SHA-256 of its checksum file, 64 hex digits, if known.
    pub os_image_hash: Option<String>,
}

impl OsImageView {
    /// Name in URLs: the name with dashes instead of dots.
    pub fn slug(&self) -> String {
        self.name.replace('.', "-").to_ascii_lowercase()
    }

    /// The version as three or four numbers; a part that is not a number counts as 0.
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
