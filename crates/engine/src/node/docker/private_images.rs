//! Images that were pulled with a login of an app. An engine gives an image to whoever names it; here another
//! app gets such an image only after the registry has given it to that app too.
//!
//! Kept in the node's directory as `private-images.json`, by the engine's ids of images. While an image is
//! being pulled it has no id yet, so its repository ([`super::images::repository`]) stands for all of its images.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::images::repository;
use crate::files::{self, PRIVATE};

const FILE: &str = "private-images.json";

/// Stands among the apps of an image that a registry gave away without a login. No app has this name.
const EVERYBODY: &str = "*";

/// Apps by the ids of images and by repositories.
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
        let kept: Apps = match files::read(&file)? {
            Some(bytes) => serde_json::from_slice(&bytes)?,
            None => Apps::new(),
        };
        let mut apps = Apps::new();
        for (key, of_key) in kept {
            // Earlier versions wrote names as the compose file had them.
            let key = if key.starts_with("sha256:") { key } else { repository(&key) };
            apps.entry(key).or_default().extend(of_key);
        }
        Ok(Self { file, apps: Mutex::new(apps) })
    }

    /// Whether an app may run an image that is there, by its id and its repository.
    pub fn allows(&self, id: &str, repository: &str, app: &str) -> bool {
        let apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        [id, repository].iter().all(|key| {
            apps.get(*key).is_none_or(|apps| apps.contains(app) || apps.contains(EVERYBODY))
        })
    }

    /// Whether it is written down to whom a registry gave an image. An engine may have others: pulled before this record
    /// was kept, or by its operator.
    pub fn is_recorded(&self, id: &str) -> bool {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    /// Whether an app may run an image, by its id alone.
    pub fn allows_id(&self, id: &str, app: &str) -> bool {
        self.allows(id, "", app)
    }

    /// Refuses an image that the engine has from another repository too, and that was not given to this app. Of an image
    /// that is there an engine fetches nothing, so a registry that only knows its id could give it away. `digests` are the
    /// engine's `RepoDigests`, `name` is what was pulled now.
    pub fn check_origin(
        &self,
        id: &str,
        digests: &[String],
        name: &str,
        app: &str,
    ) -> Result<(), String> {
        let is_ours = self.is_public(id) || (self.is_recorded(id) && self.allows_id(id, app));
        let own = repository(name);
        if is_ours || digests.iter().all(|digest| repository(digest) == own) {
            return Ok(());
        }
        Err(format!(
            "image {name} is on this node from another repository, which did not give it to this app: name the image of \
             that repository"
        ))
    }

    /// An app is about to pull an image of a repository with its login.
    pub fn begin(&self, repository: &str, app: &str) -> io::Result<()> {
        self.change(|apps| {
            apps.entry(repository.to_owned()).or_default().insert(app.to_owned());
        })
    }

    /// An app has pulled an image with its login. `was_public`: it was on the node before, for all.
    pub fn pulled(
        &self,
        id: &str,
        repository: &str,
        app: &str,
        was_public: bool,
    ) -> io::Result<()> {
        self.change(|apps| {
            // Another app may be pulling from it too.
            if let Some(pulling) = apps.get_mut(repository) {
                pulling.remove(app);
                if pulling.is_empty() {
                    apps.remove(repository);
                }
            }
            let of_image = apps.entry(id.to_owned()).or_default();
            of_image.insert(if was_public { EVERYBODY } else { app }.to_owned());
        })
    }

    /// A registry has given an image to an app without a login. Registries give away whole repositories.
    pub fn published(&self, id: &str, repository: &str) -> io::Result<()> {
        self.change(|apps| {
            apps.insert(id.to_owned(), BTreeSet::from([EVERYBODY.to_owned()]));
            apps.remove(repository);
        })
    }

    /// Whether an image with this id is for everybody.
    pub fn is_public(&self, id: &str) -> bool {
        let apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        apps.get(id).is_some_and(|apps| apps.contains(EVERYBODY))
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
    const NAME: &str = "ghcr.io/me/app";

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
    fn two_apps_that_pull_from_one_repository_do_not_open_it_to_a_third() {
        let dir = tempfile::tempdir().unwrap();
        let named = format!(r#"{{"{NAME}:1":["a"],"{ID}":["a"]}}"#);
        std::fs::write(dir.path().join(FILE), named).unwrap();
        let images = PrivateImages::load(dir.path()).unwrap();
        assert!(!images.allows("sha256:2", NAME, "c"), "kept under a name with a tag");
        images.begin(NAME, "b").unwrap();
        images.pulled(ID, NAME, "a", false).unwrap();
        assert!(!images.allows("sha256:2", NAME, "c"), "b still pulls");
        images.pulled("sha256:2", NAME, "b", false).unwrap();
        assert!(!images.allows("sha256:2", NAME, "c") && images.allows("sha256:3", NAME, "c"));
    }

    #[test]
    fn an_image_that_all_have_stays_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let images = PrivateImages::load(dir.path()).unwrap();
        images.begin(NAME, "a").unwrap();
        images.pulled(ID, NAME, "a", true).unwrap();
        assert!(images.allows(ID, NAME, "b") && images.is_public(ID));
        images.pulled(ID, NAME, "c", false).unwrap();
        assert!(images.allows(ID, NAME, "b"), "a login takes nothing away");
    }

    #[test]
    fn a_registry_cannot_give_away_what_another_gave_to_an_app() {
        let dir = tempfile::tempdir().unwrap();
        let images = PrivateImages::load(dir.path()).unwrap();
        images.pulled(ID, NAME, "a", false).unwrap();
        let both = [format!("{NAME}@sha256:00"), "evil.test/x@sha256:00".to_owned()];
        let check = |id, app| images.check_origin(id, &both, "evil.test/x:1", app);
        assert!(check(ID, "b").unwrap_err().contains("another repository"));
        assert!(check("sha256:2", "b").is_err(), "nothing is written down");
        assert_eq!(check(ID, "a"), Ok(()), "it has it already");
        let own = [format!("{NAME}@sha256:00")];
        assert_eq!(images.check_origin(ID, &own, &format!("{NAME}:1"), "b"), Ok(()));
        images.published(ID, NAME).unwrap();
        assert_eq!(images.check_origin(ID, &both, "evil.test/x:1", "b"), Ok(()), "all have it");
    }

    #[test]
    fn what_is_not_written_down_is_known_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let images = PrivateImages::load(dir.path()).unwrap();
        assert!(!images.is_recorded(ID));
        images.published(ID, NAME).unwrap();
        let again = PrivateImages::load(dir.path()).unwrap();
        assert!(again.is_recorded(ID) && again.is_public(ID));
        again.begin("other/name", "a").unwrap();
        assert!(!again.is_recorded("sha256:2"), "a repository is no image");
    }
}
