//! The decrypted environment of a guest. It lives in memory only: in the environment of the compose
//! process that interpolates with it, and in what the engine is told of containers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use casemate_core::seal::{self, EnvSecretKey, SealedEnv};
use secrecy::{ExposeSecret, SecretString};

use super::document::Document;

/// Shorter values are not hidden in messages: they would take half of every text with them.
const HIDE_FROM: usize = 4;

/// Names that would act on the docker command of the host instead of on the app. A guest has a
/// docker of its own for that; here they are kept away from the host's.
const RESERVED: [&str; 22] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "GCONV_PATH",
    "LOCPATH",
    "GLIBC_TUNABLES",
    "GODEBUG",
    "GOTRACEBACK",
    "GOCOVERDIR",
    "GOMAXPROCS",
    "GOMEMLIMIT",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "DOCKER_API_VERSION",
    "DOCKER_DEFAULT_PLATFORM",
    "DOCKER_AUTH_CONFIG",
];
const RESERVED_PREFIXES: [&str; 8] =
    ["LD_", "DYLD_", "COMPOSE_", "DOCKER_CLI_", "BUILDKIT_", "BUILDX_", "OTEL_", "XDG_"];

/// Linux takes no longer `NAME=value` in the environment of a process.
const MAX_PAIR: usize = 128 * 1024 - 2;

/// Variables by name. `Debug` shows names only.
#[derive(Clone, Default)]
pub(super) struct GuestEnv {
    vars: BTreeMap<String, SecretString>,
    /// Those that are no secrets.
    public: BTreeSet<String>,
}

impl fmt::Debug for GuestEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.vars.keys()).finish()
    }
}

/// Opens the sealed environment as the guest does. Notes tell what was passed over.
pub(super) fn open(
    sealed: Option<&SealedEnv>,
    document: &Document,
    key: impl FnOnce() -> EnvSecretKey,
) -> Result<(GuestEnv, Vec<String>), String> {
    let Some(sealed) = sealed else { return Ok((GuestEnv::default(), Vec::new())) };
    if !document.has_kms() {
        let note = "the sealed environment is passed over: the app-compose document has no KMS";
        return Ok((GuestEnv::default(), vec![note.to_owned()]));
    }
    let vars =
        seal::unseal(sealed, &key()).map_err(|error| format!("cannot decrypt env: {error}"))?;
    let admitted = seal::admit(vars, &document.allowed_envs)
        .map_err(|error| format!("env is not acceptable: {error}"))?;
    let notes = admitted
        .skipped
        .iter()
        .map(|name| format!("variable {name} is passed over: allowed_envs has it not"))
        .collect();
    Ok((admitted.vars.into_iter().map(|var| (var.key, var.value)).collect(), notes))
}

impl FromIterator<(String, SecretString)> for GuestEnv {
    fn from_iter<I: IntoIterator<Item = (String, SecretString)>>(vars: I) -> Self {
        Self { vars: vars.into_iter().collect(), public: BTreeSet::new() }
    }
}

impl GuestEnv {
    /// Adds variables; later ones win.
    pub fn extend(&mut self, vars: impl IntoIterator<Item = (String, SecretString)>) {
        for (name, value) in vars {
            if self.get(&name) != Some(value.expose_secret()) {
                self.public.remove(&name);
            }
            self.vars.insert(name, value);
        }
    }

    /// Adds a variable that is no secret, unless the app was sent one of that name.
    pub fn provide(&mut self, name: &str, value: impl Into<String>) {
        if !self.vars.contains_key(name) {
            self.vars.insert(name.to_owned(), SecretString::from(value.into()));
            self.public.insert(name.to_owned());
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(ExposeSecret::expose_secret)
    }

    /// All variables.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.vars.iter().map(|(name, value)| (name.as_str(), value.expose_secret()))
    }

    /// What the compose process may see of it. A reserved name that the compose file uses stops the
    /// boot: without it the file would silently mean something else.
    pub fn for_compose(&self, compose_file: &str) -> Result<Vec<(&str, &str)>, String> {
        let mut passed = Vec::new();
        for (name, value) in self.iter() {
            if name.len() + value.len() > MAX_PAIR {
                return Err(format!("value of variable {name} is too long for a process"));
            }
            if !reserved(name) {
                passed.push((name, value));
            } else if mentions(compose_file, name) {
                return Err(format!(
                    "variable {name} cannot be used in the compose file on a docker node: it would \
                     act on the host's own docker command; give it another name"
                ));
            }
        }
        Ok(passed)
    }

    /// The text with every value hidden, also where it was quoted or split into lines.
    pub fn scrub(&self, text: &str) -> String {
        let mut hidden: Vec<String> = self
            .iter()
            .filter(|(name, _)| !self.public.contains(*name))
            .flat_map(|(_, value)| forms(value))
            .filter(|form| form.len() >= HIDE_FROM)
            .collect();
        hidden.sort_by_key(|form| std::cmp::Reverse(form.len()));
        hidden.iter().fold(text.to_owned(), |text, form| text.replace(form.as_str(), "***"))
    }
}

/// The value, its lines, and both as they stand between quotes.
fn forms(value: &str) -> Vec<String> {
    let lines = value.lines().map(str::trim).filter(|_| value.contains('\n'));
    std::iter::once(value).chain(lines).flat_map(|text| [text.to_owned(), quoted(text)]).collect()
}

fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
}

fn reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the text has this name as a whole word.
fn mentions(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name)
        .any(|(at, _)| !text[..at].ends_with(word) && !text[at + name.len()..].starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> GuestEnv {
        vars.iter().map(|(name, value)| ((*name).to_owned(), SecretString::from(*value))).collect()
    }

    #[test]
    fn values_are_hidden_in_every_form_but_short_ones_stay() {
        let env = env(&[
            ("A", "s3cret"),
            ("B", "yes"),
            ("C", "one \"line\"\nother line"),
            ("D", "s3cret-long"),
        ]);
        assert_eq!(env.scrub("bad s3cret-long, s3cret, yes"), "bad ***, ***, yes");
        assert_eq!(env.scrub(r#"got "one \"line\"" and other line"#), "got \"***\" and ***");
        assert_eq!(env.scrub(r#"v: "one \"line\"\nother line""#), "v: \"***\"");
        assert!(!format!("{env:?}").contains("s3cret"));
    }

    #[test]
    fn what_the_guest_provides_is_no_secret_and_gives_way() {
        let mut env = env(&[("DSTACK_APP_NAME", "own-name")]);
        env.provide("DSTACK_APP_NAME", "app");
        env.provide("DSTACK_APP_ID", "abcdef");
        assert_eq!(env.get("DSTACK_APP_NAME"), Some("own-name"));
        assert_eq!(env.scrub("abcdef own-name"), "abcdef ***");
        env.extend([("DSTACK_APP_ID".to_owned(), "abcdef".into())]);
        assert_eq!(env.scrub("abcdef"), "abcdef");
        env.extend([("DSTACK_APP_ID".to_owned(), "secret".into())]);
        assert_eq!(env.scrub("secret"), "***");
    }

    #[test]
    fn variables_of_the_docker_command_do_not_reach_it() {
        let env =
            env(&[("LD_PRELOAD", "/x.so"), ("HOME", "/h"), ("KEY", "v"), ("DOCKER_USER", "u")]);
        let passed = env.for_compose("services: {a: {image: b}}").unwrap();
        assert_eq!(passed, [("DOCKER_USER", "u"), ("KEY", "v")]);
        assert!(env.for_compose("command: echo ${HOME}").unwrap_err().contains("HOME"));
        assert!(env.for_compose("command: echo ${MY_HOME} ${HOMES}").is_ok());
    }

    #[test]
    fn without_kms_the_environment_is_passed_over_with_a_note() {
        let document = Document::parse(r#"{"runner":"bash"}"#).unwrap();
        let sealed = SealedEnv::from_bytes(vec![1; 80]).unwrap();
        let (env, notes) = open(Some(&sealed), &document, || unreachable!()).unwrap();
        assert_eq!(env.iter().count(), 0);
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn garbage_fails_without_showing_content() {
        let document = Document::parse(r#"{"runner":"bash","kms_enabled":true}"#).unwrap();
        let sealed = SealedEnv::from_bytes(vec![7; 80]).unwrap();
        let error =
            open(Some(&sealed), &document, || EnvSecretKey::from_bytes([1; 32])).unwrap_err();
        assert!(error.starts_with("cannot decrypt env"), "{error}");
    }
}
