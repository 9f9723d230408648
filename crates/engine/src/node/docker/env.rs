//! The decrypted environment of a guest. It lives in memory only: in the environment of the compose
//! process that interpolates with it, and in what the engine is told of containers.

mod scrubber;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    sync::OnceLock,
};

use casemate_core::seal::{self, EnvSecretKey, SealedEnv};
use secrecy::{ExposeSecret, SecretString};

use self::scrubber::{Scrubber, TOO_MUCH};
use super::document::Document;

/// Longer texts are searched off the async threads.
const LONG_TEXT: usize = 16 * 1024;

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
    /// Finds the secret values in texts; built at the first use after a change.
    scrubber: OnceLock<Scrubber>,
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
        Self { vars: vars.into_iter().collect(), ..Self::default() }
    }
}

impl GuestEnv {
    /// Adds variables; later ones win.
    pub fn extend(&mut self, vars: impl IntoIterator<Item = (String, SecretString)>) {
        self.scrubber.take();
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
        let mut words = None;
        for (name, value) in self.iter() {
            if name.len() + value.len() > MAX_PAIR {
                return Err(format!("value of variable {name} is too long for a process"));
            }
            if !reserved(name) {
                passed.push((name, value));
            } else if words.get_or_insert_with(|| words_of(compose_file)).contains(name) {
                return Err(format!(
                    "variable {name} cannot be used in the compose file on a docker node: it would \
                     act on the host's own docker command; give it another name"
                ));
            }
        }
        Ok(passed)
    }

    /// The text with every secret value hidden, also where it was quoted or split into lines.
    pub async fn scrub(&self, text: &str) -> String {
        let scrubber = if let Some(scrubber) = self.scrubber.get() {
            scrubber.clone()
        } else {
            let values = self.secrets();
            let built = tokio::task::spawn_blocking(move || Scrubber::new(&values)).await;
            let Ok(built) = built else { return TOO_MUCH.to_owned() };
            self.scrubber.get_or_init(|| built).clone()
        };
        if text.len() <= LONG_TEXT {
            return scrubber.scrub(text);
        }
        let text = text.to_owned();
        let scrubbed = tokio::task::spawn_blocking(move || scrubber.scrub(&text)).await;
        scrubbed.unwrap_or_else(|_| TOO_MUCH.to_owned())
    }

    fn secrets(&self) -> Vec<SecretString> {
        let secret = self.vars.iter().filter(|(name, _)| !self.public.contains(*name));
        secret.map(|(_, value)| value.clone()).collect()
    }
}

fn reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// All words of a text that could be names of variables.
fn words_of(text: &str) -> HashSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> GuestEnv {
        vars.iter().map(|(name, value)| ((*name).to_owned(), SecretString::from(*value))).collect()
    }

    #[tokio::test]
    async fn values_are_hidden_in_every_form_but_short_ones_stay() {
        let env = env(&[
            ("A", "s3cret"),
            ("B", "yes"),
            ("C", "one \"line\"\nother line"),
            ("D", "s3cret-long"),
        ]);
        assert_eq!(env.scrub("bad s3cret-long, s3cret, yes").await, "bad ***, ***, yes");
        assert_eq!(env.scrub(r#"got "one \"line\"" and other line"#).await, "got \"***\" and ***");
        assert_eq!(env.scrub(r#"v: "one \"line\"\nother line""#).await, "v: \"***\"");
        assert!(!format!("{env:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn what_the_guest_provides_is_no_secret_and_gives_way() {
        let mut env = env(&[("DSTACK_APP_NAME", "own-name")]);
        env.provide("DSTACK_APP_NAME", "app");
        env.provide("DSTACK_APP_ID", "abcdef");
        assert_eq!(env.get("DSTACK_APP_NAME"), Some("own-name"));
        assert_eq!(env.scrub("abcdef own-name").await, "abcdef ***");
        env.extend([("DSTACK_APP_ID".to_owned(), "abcdef".into())]);
        assert_eq!(env.scrub("abcdef").await, "abcdef");
        env.extend([("DSTACK_APP_ID".to_owned(), "secret".into())]);
        assert_eq!(env.scrub("secret").await, "***");
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

    /// A pre-launch script can export hundreds of thousands of variables.
    #[test]
    fn many_reserved_names_take_no_pass_each_over_the_compose_file() {
        let name = |at| (format!("LD_{at}"), SecretString::from("x"));
        let mut env: GuestEnv = (0..100_000).map(name).collect();
        let file = "command: echo hello ".repeat(10_000);
        let begun = std::time::Instant::now();
        assert!(env.for_compose(&file).unwrap().is_empty());
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
        env.extend([("LD_ME".to_owned(), "x".into())]);
        assert!(env.for_compose("command: echo ${LD_ME:-x}").unwrap_err().contains("LD_ME"));
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
