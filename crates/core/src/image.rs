//! Published OS images of dstack.

/// Images by name with their `os_image_hash`, which is the SHA-256 of the checksum file of a release. Only
/// hashes that a release page prints in full are here.
const PUBLISHED: [(&str, &str); 2] = [
    ("dstack-0.5.16", "f8b445756ada74ee11c01adde02064e846d718ee2c59f3ebaa741c9aa4369cc7"),
    ("dstack-0.6.6", "5aa762ee7cddc62174c13e1081d56f7ab2a9aebc513973a1d63b3775fda250ec"),
];

/// The published `os_image_hash` of an image of this name; `None`: not known here.
pub fn published_hash(name: &str) -> Option<&'static str> {
    PUBLISHED.iter().find(|(published, _)| *published == name).map(|(_, hash)| *hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_hashes() {
        for (name, hash) in PUBLISHED {
            assert_eq!(hash.len(), 64, "{name}");
            assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
            assert_eq!(published_hash(name), Some(hash));
        }
        assert_eq!(published_hash("dstack-dev-0.6.6"), None);
    }
}
