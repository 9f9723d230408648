//! The compose file and the name of its CVM.

use std::{
    fs,
    path::{Path, PathBuf},
};

use casemate_core::{
    compose::{docker, template::Known},
    name,
};

use crate::{fail::Fail, ui};

/// In the order of preference of Docker Compose.
const NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Files that Docker Compose merges into a compose file.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];
/// Maximum size in bytes; the server has the same limit.
const MAX_COMPOSE: u64 = 200 * 1024;

#[derive(Debug)]
pub struct Project {
    /// Directory of the compose file; `.env` is read from it.
    pub dir: PathBuf,
    /// The unchanged text.
    pub compose: String,
    /// Name of the CVM.
    pub name: String,
    /// Instance type, where a template says one.
    pub instance_type: Option<String>,
}

impl Project {
    /// Reads the given compose file, or the one in the given directory.
    pub fn read(path: &Path, name: Option<&str>) -> Result<Self, Fail> {
        let file = find(path)?;
        let shown = file.display().to_string();
        let unreadable = |error: std::io::Error| {
            Fail::new("compose-file", error.to_string()).detail("file", &shown)
        };
        let size = fs::metadata(&file).map_err(unreadable)?.len();
        if size > MAX_COMPOSE {
            let why = format!("the compose file has {size} bytes; the limit is {MAX_COMPOSE}");
            return Err(Fail::new("compose-file", why).detail("file", &shown));
        }
        let compose = fs::read_to_string(&file).map_err(unreadable)?;
        // The server checks the values of variables: any of them may be sealed.
        let inspected = docker::inspect_with(&compose, &|_| Known::Secret)
            .map_err(|why| refused(&why, &shown))?;
        if path.is_dir()
            && let Some(override_file) = override_file(path)
        {
            ui::print_note(format!(
                "note: {override_file} is left out, only {shown} is deployed. To deploy both: docker \
                 compose config --no-interpolate > merged.yml, and name merged.yml."
            ));
        }
        if let Some(note) = not_reachable(&inspected.not_tcp) {
            ui::print_note(note);
        }
        let absolute = fs::canonicalize(&file).map_err(unreadable)?;
        let dir = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        let name = cvm_name(name, inspected.name.as_deref(), &dir)?;
        Ok(Self { dir, compose, name, instance_type: None })
    }

    /// Only the name, for a CVM whose compose file may no longer exist.
    pub fn name(path: &Path, name: Option<&str>) -> Result<String, Fail> {
        match name {
            Some(given) => checked(given),
            None => Self::read(path, None).map(|project| project.name),
        }
    }
}

/// Says which published ports get no URL; the server lists none either, and the gateway answers for none.
fn not_reachable(not_tcp: &[u16]) -> Option<String> {
    let ports: Vec<String> = not_tcp.iter().map(u16::to_string).collect();
    (!ports.is_empty()).then(|| {
        format!(
            "note: the gateway forwards TCP only: published port {} of another protocol gets no URL. Services \
             of the app reach it by name.",
            ports.join(", ")
        )
    })
}

/// A file that Docker Compose would merge into the compose file of this directory.
fn override_file(dir: &Path) -> Option<&'static str> {
    OVERRIDES.into_iter().find(|name| dir.join(name).is_file())
}

fn find(path: &Path) -> Result<PathBuf, Fail> {
    let kind = fs::metadata(path).map_err(|error| {
        Fail::usage(format!("{}: {error}", path.display()))
            .suggest("Give a compose file, or a directory that contains one.")
    })?;
    if !kind.is_dir() {
        return Ok(path.to_owned());
    }
    let found = NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        Fail::new("compose-file", format!("no compose file in {}", path.display()))
            .detail("looked for", NAMES.join(", "))
            .suggest("Give a file: casemate up FILE.")
    })
}

/// The problems of a compose file, one line each.
fn refused(why: &docker::NotCompose, file: &str) -> Fail {
    let fail = Fail::new("compose-file", "the compose file is not accepted").detail("file", file);
    why.problems.iter().fold(fail, |fail, problem| {
        fail.detail(&problem.place.to_string(), problem.kind.to_string())
    })
}

fn checked(given: &str) -> Result<String, Fail> {
    match name::check(given) {
        Ok(()) => Ok(given.to_owned()),
        Err(why) => Err(Fail::usage(format!("the name {given:?} {why}"))),
    }
}

/// The given name, else `name:` of the file, else the directory's name. The latter two are adapted to the
/// rules.
fn cvm_name(given: Option<&str>, own: Option<&str>, dir: &Path) -> Result<String, Fail> {
    if let Some(given) = given {
        return checked(given);
    }
    let own = own.map(str::to_owned);
    let dir_name = || dir.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = to_cvm_name(&own.or_else(dir_name).unwrap_or_default());
    name::check(&name).map_err(|why| {
        Fail::usage(format!("the directory's name does not give a CVM name: {name:?} {why}"))
            .suggest("Set a name with --name.")
    })?;
    Ok(name)
}

/// The given name, else that of the template, adapted to the rules.
pub fn template_name(given: Option<&str>, template: &str) -> Result<String, Fail> {
    given.map_or_else(|| Ok(to_cvm_name(template)), checked)
}

/// Adapts a text to a CVM name: lower case, hyphens for invalid characters, a leading letter, `-app` appended
/// if it is too short.
fn to_cvm_name(text: &str) -> String {
    const LONGEST: usize = 63;
    const SHORTEST: usize = 5;
    let mut name = String::new();
    for c in text.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        name = format!("app-{name}");
    }
    name.truncate(LONGEST);
    let mut name = name.trim_end_matches('-').to_owned();
    if name.len() < SHORTEST {
        name.push_str("-app");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSE: &str = "services: {web: {image: nginx}}\n";

    #[test]
    fn any_text_makes_a_name() {
        for (text, expected) in [
            ("hello", "hello"),
            ("My Shop_2", "my-shop-2"),
            ("api", "api-app"),
            ("a", "a-app"),
            ("", "app-app"),
            ("2048", "app-2048"),
            (".hidden--dir.", "hidden-dir"),
            ("日本", "app-app"),
            ("über", "ber-app"),
        ] {
            let name = to_cvm_name(text);
            assert_eq!(name, expected, "{text:?}");
            assert_eq!(name::check(&name), Ok(()), "{text:?}");
        }
        let long = to_cvm_name(&format!("{}-x{}", "a".repeat(62), "b".repeat(9)));
        assert_eq!(long, "a".repeat(62));
    }

    #[test]
    fn the_name_given_wins_then_the_files_then_the_directorys() {
        let dir = Path::new("/x/my_shop");
        let own = Some("Big Shop");
        assert_eq!(cvm_name(Some("given"), own, dir).unwrap(), "given");
        assert_eq!(cvm_name(None, own, dir).unwrap(), "big-shop");
        assert_eq!(cvm_name(None, None, dir).unwrap(), "my-shop");
        assert_eq!(cvm_name(Some("no"), None, dir).unwrap_err().exit, 2);
    }

    #[test]
    fn the_file_is_found_or_its_absence_explained() {
        let dir = tempfile::tempdir().unwrap();
        let error = Project::read(dir.path(), None).unwrap_err();
        assert!(error.text().contains("compose.yaml, compose.yml"), "{}", error.text());
        fs::write(dir.path().join("docker-compose.yml"), COMPOSE).unwrap();
        assert_eq!(Project::read(dir.path(), Some("my-app")).unwrap().compose, COMPOSE);
        assert_eq!(override_file(dir.path()), None);
        fs::write(dir.path().join("docker-compose.override.yml"), COMPOSE).unwrap();
        assert_eq!(override_file(dir.path()), Some("docker-compose.override.yml"));
        assert_eq!(not_reachable(&[]), None);
        assert!(not_reachable(&[53, 123]).unwrap().contains("published port 53, 123"));
        fs::write(dir.path().join("compose.yaml"), "services: {web: {build: .}}").unwrap();
        let error = Project::read(dir.path(), None).unwrap_err();
        assert!(error.text().contains("build context"), "{}", error.text());
        assert_eq!(Project::read(&dir.path().join("gone"), None).unwrap_err().exit, 2);
    }
}
