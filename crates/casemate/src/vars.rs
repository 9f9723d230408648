//! The variables of an app, from files and flags.

use std::{fs, path::Path};

use casemate_client::{OsEntropy, dotenv, seal_env};
use casemate_core::seal::valid_env_name;
use secrecy::{ExposeSecret, SecretString};

use crate::{fail::Fail, ui};

/// Names and values; names are unique.
pub type Vars = Vec<(String, SecretString)>;

/// The variables of the file (`.env` beside the compose file by default), overridden by flags.
pub fn collect(dir: &Path, file: Option<&Path>, flags: &[SecretString]) -> Result<Vars, Fail> {
    let beside = Some(dir.join(".env")).filter(|beside| file.is_none() && beside.is_file());
    given(file.or(beside.as_deref()), flags)
}

/// The variables of the file, if one is given, overridden by flags.
pub fn given(file: Option<&Path>, flags: &[SecretString]) -> Result<Vars, Fail> {
    let mut vars = file.map_or(Ok(Vars::new()), read)?;
    for flag in flags {
        // The error does not repeat the flag, which may contain a secret.
        let (name, value) = flag
            .expose_secret()
            .split_once('=')
            .ok_or_else(|| Fail::usage("-e needs KEY=VALUE, and one argument has no `=`"))?;
        put(&mut vars, name, value.into());
    }
    checked(vars)
}

/// The variables of flags that are `KEY=VALUE` or a file; later ones override earlier ones.
pub fn from_flags(flags: &[SecretString]) -> Result<Vars, Fail> {
    let mut vars = Vars::new();
    for flag in flags {
        match flag.expose_secret().split_once('=') {
            Some((name, value)) => put(&mut vars, name, value.into()),
            None => {
                for (name, value) in read(Path::new(flag.expose_secret()))? {
                    put(&mut vars, &name, value);
                }
            }
        }
    }
    checked(vars)
}

/// The variables, encrypted to the key of an app, as hex; `None` if there are none. Plain values never leave
/// this process.
pub fn sealed(vars: &[(String, SecretString)], key: Option<&str>) -> Result<Option<String>, Fail> {
    if vars.is_empty() {
        return Ok(None);
    }
    let key =
        key.ok_or_else(|| Fail::new("no-env-key", "the app has no encryption key for variables"))?;
    let sealed = seal_env(vars, key, &OsEntropy)
        .map_err(|error| Fail::new("env", format!("cannot encrypt the variables: {error}")))?;
    Ok(Some(sealed.to_string()))
}

pub fn names(vars: &Vars) -> Vec<String> {
    vars.iter().map(|(name, _)| name.clone()).collect()
}

fn put(vars: &mut Vars, name: &str, value: SecretString) {
    match vars.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => vars.push((name.to_owned(), value)),
    }
}

fn checked(vars: Vars) -> Result<Vars, Fail> {
    match vars.iter().find(|(name, _)| !valid_env_name(name)) {
        None => Ok(vars),
        Some((name, _)) => Err(Fail::usage(format!("{name:?} is not a valid variable name"))
            .suggest("Use letters, digits and `_`, and do not start with a digit.")),
    }
}

fn read(file: &Path) -> Result<Vars, Fail> {
    let shown = file.display();
    let bytes = fs::read(file).map_err(|error| Fail::usage(format!("{shown}: {error}")))?;
    let read = dotenv::read(&bytes).map_err(|why| Fail::usage(format!("{shown} {why}")))?;
    for name in &read.with_hash {
        ui::print_note(format!(
            "note: {shown}: the value of {name} goes on after its #, as Docker Compose reads it; the phala \
             CLI ends it there. Put it in quotes, and all agree."
        ));
    }
    Ok(read.vars)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(vars: Result<Vars, Fail>) -> Result<Vec<(String, String)>, Fail> {
        let show = |(name, value): (String, SecretString)| (name, value.expose_secret().to_owned());
        vars.map(|vars| vars.into_iter().map(show).collect())
    }

    fn flags(all: &[&str]) -> Vec<SecretString> {
        all.iter().map(|text| SecretString::from(*text)).collect()
    }

    #[test]
    fn flags_win_over_the_file_and_are_literal() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".env"), "A='1' # one\nB=2\n").unwrap();
        let vars = shown(collect(dir.path(), None, &flags(&["B='x' # y", "C="]))).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(vars, [pair("A", "1"), pair("B", "'x' # y"), pair("C", "")]);
        let other = dir.path().join("other");
        fs::write(&other, "D=4").unwrap();
        assert_eq!(shown(collect(dir.path(), Some(&other), &[])).unwrap(), [pair("D", "4")]);
    }

    #[test]
    fn files_and_pairs_mix_and_the_later_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("prod.env");
        fs::write(&file, "A=1\nB=2\n").unwrap();
        let vars = shown(from_flags(&flags(&["B=0", file.to_str().unwrap(), "A=x=y"]))).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(vars, [pair("B", "2"), pair("A", "x=y")]);
        assert_eq!(from_flags(&flags(&["gone.env"])).unwrap_err().exit, 2);
    }

    #[test]
    fn what_no_guest_takes_is_refused_without_its_value() {
        let dir = tempfile::tempdir().unwrap();
        for flag in ["1A=hunter2", "hunter2", "a.b=hunter2", "=hunter2"] {
            let error = collect(dir.path(), None, &flags(&[flag])).unwrap_err();
            assert_eq!(error.exit, 2);
            assert!(!error.text().contains("hunter2"), "{}", error.text());
        }
        assert_eq!(shown(collect(dir.path(), None, &[])).unwrap(), []);
        let gone = dir.path().join("gone");
        assert_eq!(collect(dir.path(), Some(&gone), &[]).unwrap_err().exit, 2);
    }
}
