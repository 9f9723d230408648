//! Which server and which key: flags, then the environment, then the data directory. A key goes only
//! to the server it is for: the local one's never to a named URL, Phala Cloud's never to the local
//! one.

use casemate_client::Client;
use casemate_server::config::variable;
use secrecy::SecretString;

use crate::{cli::Global, fail::Fail, local::DataDir};

/// Where to go, as flags and environment say.
#[derive(Debug, Default)]
struct Given {
    url: Option<String>,
    key: Option<SecretString>,
    phala_key: Option<SecretString>,
}

/// What to do about it.
#[derive(Debug)]
enum Choice {
    Named(String, SecretString),
    Local(Option<SecretString>),
}

impl Given {
    fn read(global: &Global) -> Self {
        let url = || variable("CASEMATE_API_URL").or_else(|| variable("PHALA_CLOUD_API_PREFIX"));
        let key = || variable("CASEMATE_API_KEY").map(SecretString::from);
        Self {
            url: global.api_url.clone().or_else(url),
            key: global.api_key.clone().or_else(key),
            phala_key: variable("PHALA_CLOUD_API_KEY").map(SecretString::from),
        }
    }

    fn choose(self) -> Result<Choice, Fail> {
        let Some(url) = self.url else { return Ok(Choice::Local(self.key)) };
        match self.key.or(self.phala_key) {
            Some(key) => Ok(Choice::Named(url, key)),
            None => Err(Fail::usage(format!("no API key for {url}"))
                .suggest("Give one with --api-key, CASEMATE_API_KEY or PHALA_CLOUD_API_KEY.")),
        }
    }
}

/// A client of the server that the user means.
pub fn client(global: &Global) -> Result<Client, Fail> {
    match Given::read(global).choose()? {
        Choice::Named(url, key) => named(&url, key),
        Choice::Local(key) => local(&DataDir::find(global.data_dir.as_deref()), key),
    }
}

/// A client of the server that the user means, where a token is the credential: without a key if there
/// is none.
pub fn without_key(global: &Global) -> Result<Client, Fail> {
    let given = Given::read(global);
    match given.url.clone() {
        Some(url) if given.key.is_none() => named(&url, SecretString::from(String::new())),
        _ => client(global),
    }
}

/// A client of the server that flags name, if they name one.
pub fn by_flags(global: &Global) -> Result<Option<Client>, Fail> {
    let Some(url) = &global.api_url else { return Ok(None) };
    let given = Given { url: Some(url.clone()), ..Given::read(global) };
    match given.choose()? {
        Choice::Named(url, key) => named(&url, key).map(Some),
        Choice::Local(_) => Ok(None),
    }
}

fn named(url: &str, key: SecretString) -> Result<Client, Fail> {
    Client::new(url, key).map_err(|error| Fail::usage(error.to_string()).detail("url", url))
}

fn local(dir: &DataDir, key: Option<SecretString>) -> Result<Client, Fail> {
    let nothing = || {
        Fail::new("no-server", format!("no Casemate has been started in {}", dir.path().display()))
            .suggest("Start one with `casemate up` or `casemate serve`.")
            .suggest("Or name a server with --api-url and --api-key.")
    };
    match (dir.api_url(), key) {
        (None, _) => Err(nothing()),
        (Some(url), Some(key)) => named(&url, key),
        (Some(_), None) => dir.client()?.ok_or_else(nothing),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn given(url: Option<&str>, key: Option<&str>, phala: Option<&str>) -> Given {
        Given {
            url: url.map(str::to_owned),
            key: key.map(SecretString::from),
            phala_key: phala.map(SecretString::from),
        }
    }

    #[test]
    fn a_key_goes_only_to_the_server_it_is_for() {
        let key = |choice| match choice {
            Choice::Named(_, key) | Choice::Local(Some(key)) => {
                Some(key.expose_secret().to_owned())
            }
            Choice::Local(None) => None,
        };
        let choose = |given: Given| given.choose().map(key);
        assert_eq!(choose(given(None, None, Some("cloud"))), Ok(None));
        assert_eq!(choose(given(None, Some("mine"), Some("cloud"))), Ok(Some("mine".to_owned())));
        let url = Some("https://h/api/v1");
        assert_eq!(choose(given(url, None, Some("cloud"))), Ok(Some("cloud".to_owned())));
        assert_eq!(choose(given(url, Some("mine"), Some("cloud"))), Ok(Some("mine".to_owned())));
        assert_eq!(given(url, None, None).choose().map(|_| ()).unwrap_err().exit, 2);
    }
}
