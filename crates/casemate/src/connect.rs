//! Selects the server and the API key: flags, then the environment, then the data directory. A key goes only
//! to its own server: the local key never to a settings URL, a Phala Cloud key never to the local server.

use casemate_client::Client;
use casemate_server::config::variable;
use secrecy::SecretString;

use crate::{cli::Global, fail::Fail, local::DataDir};

/// Server and keys, as settings by flags and environment.
#[derive(Debug, Default)]
struct ConnectionSettings {
    url: Option<String>,
    key: Option<SecretString>,
    phala_key: Option<SecretString>,
}

#[derive(Debug)]
enum Choice {
    Named(String, SecretString),
    Local(Option<SecretString>),
}

impl ConnectionSettings {
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
                .suggest("Set --api-key, CASEMATE_API_KEY or PHALA_CLOUD_API_KEY.")),
        }
    }
}

/// A client of the selected server.
pub fn client(global: &Global) -> Result<Client, Fail> {
    match ConnectionSettings::read(global).choose()? {
        Choice::Named(url, key) => client_for_url(&url, key),
        Choice::Local(key) => local(&DataDir::find(global.data_dir.as_deref()), key),
    }
}

/// A client of the selected server for requests with a commit token; the API key is optional.
pub fn client_without_key(global: &Global) -> Result<Client, Fail> {
    let settings = ConnectionSettings::read(global);
    match settings.url.clone() {
        Some(url) if settings.key.is_none() => {
            client_for_url(&url, SecretString::from(String::new()))
        }
        _ => client(global),
    }
}

/// A client of the selected server that sends no key.
pub fn client_without_any_key(global: &Global) -> Result<Client, Fail> {
    let url = ConnectionSettings::read(global).url;
    let url = url.or_else(|| DataDir::find(global.data_dir.as_deref()).api_url());
    let url = url.ok_or_else(|| Fail::usage("no server is named; use --api-url"))?;
    client_for_url(&url, SecretString::from(String::new()))
}

/// A client of the server that flags name; `None` if they name none.
pub fn client_from_flags(global: &Global) -> Result<Option<Client>, Fail> {
    let Some(url) = &global.api_url else { return Ok(None) };
    let settings =
        ConnectionSettings { url: Some(url.clone()), ..ConnectionSettings::read(global) };
    match settings.choose()? {
        Choice::Named(url, key) => client_for_url(&url, key).map(Some),
        Choice::Local(_) => Ok(None),
    }
}

fn client_for_url(url: &str, key: SecretString) -> Result<Client, Fail> {
    Client::new(url, key).map_err(|error| Fail::usage(error.to_string()).detail("url", url))
}

fn local(dir: &DataDir, key: Option<SecretString>) -> Result<Client, Fail> {
    let nothing = || {
        Fail::new("no-server", format!("no server was started in {}", dir.path().display()))
            .suggest("Start one with `casemate up` or `casemate serve`.")
            .suggest("Or use another server with --api-url and --api-key.")
    };
    match (dir.api_url(), key) {
        (None, _) => Err(nothing()),
        (Some(url), Some(key)) => client_for_url(&url, key),
        (Some(_), None) => dir.client()?.ok_or_else(nothing),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn settings(url: Option<&str>, key: Option<&str>, phala: Option<&str>) -> ConnectionSettings {
        ConnectionSettings {
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
        let choose = |settings: ConnectionSettings| settings.choose().map(key);
        assert_eq!(choose(settings(None, None, Some("cloud"))), Ok(None));
        assert_eq!(
            choose(settings(None, Some("mine"), Some("cloud"))),
            Ok(Some("mine".to_owned()))
        );
        let url = Some("https://h/api/v1");
        assert_eq!(choose(settings(url, None, Some("cloud"))), Ok(Some("cloud".to_owned())));
        assert_eq!(choose(settings(url, Some("mine"), Some("cloud"))), Ok(Some("mine".to_owned())));
        assert_eq!(settings(url, None, None).choose().map(|_| ()).unwrap_err().exit, 2);
    }
}
