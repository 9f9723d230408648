//! Images that were pulled with a login of an app. An engine gives an image to whoever names it; here another
//! app gets such an image only after the registry has given it to that app too.
//!
//! Kept in the node's directory as `private-images.json`, by the engine's ids of images. While an image is
//! being pulled it has no id yet, so its name stands for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::files::{self, PRIVATE};

const FILE: &str = "private-images.json";

/// Apps by the ids and names of images.
type Apps = BTreeMap<String, BTreeSet<String>>;

/// The record of a node.
#[derive(Debug)]
pub(super) struct PrivateImages {
    file: PathBuf,
    apps: Mutex<Apps>,
}

impl PrivateImages {
    /// Reads the record of a node's directory.
    pub fn load(dir: &Path) -> io::Result<Self> {
        let file = dir.join(FILE);
        let apps = match files::read(&file)? {
            Some(bytes) => serde_json::from_slice(&bytes)?,
            None => Apps::new(),
        };
        Ok(Self { file, apps: Mutex::new(apps) })
    }

    /// Whether an app may run an image that is there, by its id and its name.
    pub fn allows(&self, id: &str, name: &str, app: &str) -> bool {
        let apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        [id, name].iter().all(|key| apps.get(*key).is_none_or(|apps| apps.contains(app)))
    }

    /// Whether an app may run an image, by its id alone.
    pub fn allows_id(&self, id: &str, app: &str) -> bool {
        self.allows(id, "", app)
    }

    /// An app is about to pull an image with its login.
    pub fn begin(&self, name: &str, app: &str) -> io::Result<()> {
        self.change(|apps| {
            apps.entry(name.to_owned()).or_default().insert(app.to_owned());
        })
    }

    /// An app has pulled an image with its login. `was_public`: it was on the node before, for all.
    pub fn pulled(&self, id: &str, name: &str, app: &str, was_public: bool) -> io::Result<()> {
        self.change(|apps| {
            apps.remove(name);
            if !was_public {
                apps.entry(id.to_owned()).or_default().insert(app.to_owned());
            }
        })
    }

    /// A registry has given an image to an app without a login.
    pub fn published(&self, id: &str, name: &str) -> io::Result<()> {
        let apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = apps.contains_key(id) || apps.contains_key(name);
        drop(apps);
        if !is_known {
            return Ok(());
        }
        self.change(|apps| {
            apps.remove(id);
            apps.remove(name);
        })
    }

    /// Whether an image with this id is for some apps only.
    pub fn is_private(&self, id: &str) -> bool {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    fn change(&self, change: impl FnOnce(&mut Apps)) -> io::Result<()> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = apps.clone();
        change(&mut changed);
        if changed != *apps {
            files::write(&self.file, &serde_json::to_vec(&changed)?, PRIVATE)?;
            *apps = changed;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:1";
    const NAME: &str = "ghcr.io/me/app:1";

    #[test]
    fn an_image_is_for_those_to_whom_a_registry_gave_it() {
        let dir = tempfile::tempdir().unwrap();
        let images = PrivateImages::load(dir.path()).unwrap();
        assert!(images.allows(ID, NAME, "b"), "nobody has a login for it");
        images.begin(NAME, "a").unwrap();
        assert!(!images.allows(ID, NAME, "b"), "it is being pulled");
        images.pulled(ID, NAME, "a", false).unwrap();
        let again = PrivateImages::load(dir.path()).unwrap();
        for images in [&images, &again] {
            assert!(images.allows(ID, NAME, "a") && !images.allows(ID, NAME, "b"));
            assert!(!images.allows(ID, "other/name", "b"), "another name is no way to it");
        }
        again.begin(NAME, "b").unwrap();
        again.pulled(ID, NAME, "b", false).unwrap();
        assert!(again.allows(ID, NAME, "a") && again.allows(ID, NAME, "b"));
        again.published(ID, NAME).unwrap();
        assert!(again.allows(ID, NAME, "c"));
    }

    #[test]
    fn an_image_that_all_have_stays_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let images = PrivateImages::load(dir.path()).unwrap();
        images.begin(NAME, "a").unwrap();
        images.pulled(ID, NAME, "a", true).unwrap();
        assert!(images.allows(ID, NAME, "b") && !images.is_private(ID));
    }
}
