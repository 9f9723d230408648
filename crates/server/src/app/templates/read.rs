//! Reading the directory of templates. Everything is bounded: files, their sizes, templates.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_core::app_template::{AppTemplate, Manifest};

/// Most directories that are read.
const MOST: usize = 200;
const MANIFEST: u64 = 64 * 1024;
/// As much as a compose file of a request.
const COMPOSE: u64 = 200 * 1024;
const README: u64 = 256 * 1024;
const ICON: u64 = 32 * 1024;

/// The directory cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the templates in {} cannot be read: {error}", .dir.display())]
pub struct TemplatesUnreadable {
    dir: PathBuf,
    error: io::Error,
}

/// What a directory has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Sorted by slug.
    pub templates: Vec<FoundTemplate>,
    /// Names of directories that are no template, with the reasons.
    pub faults: Vec<(String, Vec<String>)>,
}

/// A template with its icon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTemplate {
    pub template: AppTemplate,
    /// A `data:` URI.
    pub icon: Option<String>,
}

impl Found {
    pub fn get(&self, slug: &str) -> Option<&FoundTemplate> {
        self.templates.iter().find(|one| one.template.slug == slug)
    }

    pub(super) fn log(&self) {
        if !self.templates.is_empty() {
            tracing::info!(count = self.templates.len(), "templates read");
        }
        for (directory, reasons) in &self.faults {
            tracing::warn!(template = directory, "no template: {}", reasons.join("; "));
        }
    }
}

/// Reads all templates. One that cannot be used is a fault and stops no other.
pub fn read(dir: &Path) -> Result<Found, TemplatesUnreadable> {
    let unreadable = |error| TemplatesUnreadable { dir: dir.to_owned(), error };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A checkout has files beside the templates, and `.git`.
        if !name.starts_with('.') && entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort();
    let mut found = Found::default();
    if names.len() > MOST {
        let why = format!(
            "there are {} templates; those after the first {MOST} are left out",
            names.len()
        );
        found.faults.push((names[MOST].clone(), vec![why]));
        names.truncate(MOST);
    }
    for name in names {
        match one(&dir.join(&name), &name) {
            Ok(template) => found.templates.push(template),
            Err(reasons) => found.faults.push((name, reasons)),
        }
    }
    Ok(found)
}

fn one(dir: &Path, slug: &str) -> Result<FoundTemplate, Vec<String>> {
    let text = |name: &str, most| required(dir, name, most).map_err(|why| vec![why]);
    let manifest = text("template.toml", MANIFEST)?;
    let manifest: Manifest = toml::from_str(&manifest)
        .map_err(|why| vec![format!("template.toml: {}", why.message())])?;
    let compose = text("docker-compose.yml", COMPOSE)?;
    let readme = optional(dir, "README.md", README).map_err(|why| vec![why])?;
    let readme = readme.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let icon = icon(dir).map_err(|why| vec![why])?;
    let template = AppTemplate::new(slug.to_owned(), manifest, compose, readme.unwrap_or_default());
    let words = |faults: Vec<_>| faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    Ok(FoundTemplate { template: template.map_err(words)?, icon })
}

fn icon(dir: &Path) -> Result<Option<String>, String> {
    for (name, kind) in [("icon.svg", "image/svg+xml"), ("icon.png", "image/png")] {
        if let Some(bytes) = optional(dir, name, ICON)? {
            return Ok(Some(format!("data:{kind};base64,{}", STANDARD.encode(bytes))));
        }
    }
    Ok(None)
}

fn required(dir: &Path, name: &str, most: u64) -> Result<String, String> {
    let bytes = optional(dir, name, most)?.ok_or_else(|| format!("{name} is missing"))?;
    String::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8"))
}

fn optional(dir: &Path, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
    let path = dir.join(name);
    match fs::metadata(&path) {
        // A device or a pipe would not end.
        Ok(of) if !of.is_file() => return Err(format!("{name} is not a file")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{name}: {error}")),
    }
    let file = File::open(&path).map_err(|error| format!("{name}: {error}"))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= most);
    if fits { Ok(Some(bytes)) } else { Err(format!("{name} has more than {most} bytes")) }
}
