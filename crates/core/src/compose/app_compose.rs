//! The app-compose document: normalised once, hashed as bytes, stored and sent as those bytes.
//!
//! Canonical form, as all clients have it: JSON with keys in ascending order, no white space, UTF-8
//! unescaped. Defaults are written out, because dstack's own defaults differ (`secure_time` and
//! `public_logs`, for example). Fields without a value are left out: JavaScript's `getComposeHash` of the
//! parsed document must give the same hash.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{docker, problem::Problem, template::Known};
use crate::{id::ComposeHash, ready::Check, seal};

/// Maximum size of compose file and pre-launch script together.
pub const MAX_COMPOSE_BYTES: usize = 200 * 1024;

/// The compose hash: SHA-256 of the document's bytes.
#[must_use]
pub fn hash(document: &str) -> ComposeHash {
    ComposeHash::from_bytes(Sha256::digest(document.as_bytes()).into())
}

/// A client's input for an app-compose document; `None`: not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ComposeInput {
    /// Names of variables that the guest accepts.
    pub allowed_envs: Vec<String>,
    /// Program for the runner `bash`.
    pub bash_script: Option<String>,
    /// Domain that the guest passes to its apps.
    pub default_gateway_domain: Option<String>,
    /// The user's compose file, byte for byte.
    pub docker_compose_file: Option<String>,
    /// Deprecated feature list; dstack still interprets only `tproxy-net`.
    pub features: Option<Vec<String>>,
    /// Whether the guest registers with the gateway; default true.
    pub gateway_enabled: Option<bool>,
    /// Script to run before the container engine starts.
    pub init_script: Option<String>,
    /// Whether keys come from the KMS; default true.
    pub kms_enabled: Option<bool>,
    /// Whether keys come from the host's sealing enclave; default false.
    pub local_key_provider_enabled: Option<bool>,
    /// 1, 2 (default) or 3.
    pub manifest_version: Option<u32>,
    /// Name in the document; default: the CVM's name.
    pub name: Option<String>,
    /// Whether the guest has no instance id; default false.
    pub no_instance_id: Option<bool>,
    /// Script to run before the containers start; empty means none.
    pub pre_launch_script: Option<String>,
    /// Whether container logs are readable without a key; default true.
    pub public_logs: Option<bool>,
    /// Whether system information is readable without a key; default true.
    pub public_sysinfo: Option<bool>,
    /// Whether measurements are readable without a key; default true.
    pub public_tcbinfo: Option<bool>,
    /// `docker-compose` (default), `nerdctl-compose` or `bash`.
    pub runner: Option<String>,
    /// Free text that only changes the hash.
    pub salt: Option<String>,
    /// Whether the guest waits for synchronised time before boot; default false (dstack's default is true).
    pub secure_time: Option<bool>,
    /// File system of the data disk; `None`: not given, default zfs; `Some(None)`: dstack's choice.
    pub storage_fs: Option<Option<String>>,
    /// Older name of `gateway_enabled`.
    pub tproxy_enabled: Option<bool>,
}

/// Why an app-compose document is invalid. `field` names the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct ComposeError {
    /// The field as clients call it, without `compose_file.`.
    pub field: &'static str,
    /// The kind of error, for decisions.
    pub reason: Reason,
    /// What is wrong and what would be right; begins with a verb.
    pub message: String,
    /// Problems of the compose file with their places.
    pub problems: Vec<Problem>,
}

/// The kind of a field's error, for decisions; the message is for people only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The value is not allowed.
    Invalid,
    /// The field is missing or empty.
    Required,
    /// The field would be ignored in this combination.
    NoEffect,
    /// The value is smaller than the current one, and can only grow.
    CanOnlyGrow,
    /// The change would lose data of the guest.
    LosesData,
}

fn refuse<T>(field: &'static str, message: impl Into<String>) -> Result<T, ComposeError> {
    refuse_for(Reason::Invalid, field, message)
}

fn refuse_for<T>(
    reason: Reason,
    field: &'static str,
    message: impl Into<String>,
) -> Result<T, ComposeError> {
    Err(ComposeError { field, reason, message: message.into(), problems: Vec::new() })
}

/// A normalised document. The fields must stay in alphabetical order, which is the canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppCompose {
    /// Names of variables that the guest accepts.
    #[serde(default)]
    pub allowed_envs: Vec<String>,
    /// Program for the runner `bash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bash_script: Option<String>,
    /// Domain that the guest passes to its apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_gateway_domain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_compose_file: Option<String>,
    /// Feature list, consistent with the booleans.
    #[serde(default)]
    pub features: Vec<String>,
    /// Whether the guest registers with the gateway.
    pub gateway_enabled: bool,
    /// Script to run before the container engine starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_script: Option<String>,
    /// Whether keys come from the KMS.
    pub kms_enabled: bool,
    /// Whether keys come from the host's sealing enclave.
    pub local_key_provider_enabled: bool,
    /// 1 and 2 are numbers, 3 is text, as dstack expects.
    pub manifest_version: ManifestVersion,
    pub name: String,
    /// Whether the guest has no instance id.
    pub no_instance_id: bool,
    /// Script to run before the containers start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_launch_script: Option<String>,
    /// Whether logs are readable without a key.
    pub public_logs: bool,
    /// Whether system information is readable without a key.
    pub public_sysinfo: bool,
    /// Whether measurements are readable without a key.
    pub public_tcbinfo: bool,
    pub runner: String,
    /// Only changes the hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Whether the guest waits for synchronised time.
    pub secure_time: bool,
    /// File system of the data disk; absent: dstack's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_fs: Option<String>,
    /// Same as `gateway_enabled`, for older guests.
    pub tproxy_enabled: bool,
}

/// `manifest_version`: a number up to 2, text from 3 on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ManifestVersion {
    /// 1 or 2.
    Number(u32),
    /// `"3"`.
    Text(String),
}

impl AppCompose {
    /// Normalises a client's input. `cvm_name` fills an empty `name`; `env_keys` are allowed, too.
    pub fn new(
        input: ComposeInput,
        cvm_name: &str,
        env_keys: &[String],
    ) -> Result<Self, ComposeError> {
        let runner = input.runner.clone().unwrap_or_else(|| "docker-compose".to_owned());
        check_size(&input)?;
        let allowed_envs = allowed_envs(&input.allowed_envs, env_keys)?;
        check_program(&runner, &input, &allowed_envs)?;
        let gateway = gateway_enabled(&input);
        let kms = input.kms_enabled.unwrap_or(true);
        Ok(Self {
            allowed_envs,
            bash_script: non_empty(input.bash_script),
            default_gateway_domain: non_empty(input.default_gateway_domain),
            docker_compose_file: non_empty(input.docker_compose_file),
            features: features(input.features, kms, gateway),
            gateway_enabled: gateway,
            init_script: non_empty(input.init_script),
            kms_enabled: kms,
            local_key_provider_enabled: input.local_key_provider_enabled.unwrap_or(false),
            manifest_version: manifest_version(input.manifest_version)?,
            name: non_empty(input.name).unwrap_or_else(|| cvm_name.to_owned()),
            no_instance_id: input.no_instance_id.unwrap_or(false),
            pre_launch_script: non_empty(input.pre_launch_script),
            public_logs: input.public_logs.unwrap_or(true),
            public_sysinfo: input.public_sysinfo.unwrap_or(true),
            public_tcbinfo: input.public_tcbinfo.unwrap_or(true),
            runner,
            salt: non_empty(input.salt),
            secure_time: input.secure_time.unwrap_or(false),
            storage_fs: storage_fs(input.storage_fs)?,
            tproxy_enabled: gateway,
        })
    }

    /// The canonical bytes: hashed, stored and sent.
    pub fn document(&self) -> String {
        // A struct of strings, booleans, numbers and lists of strings always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses a stored document.
    pub fn parse(document: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(document)
    }
}

/// Normalising the result gives the same document.
impl From<&AppCompose> for ComposeInput {
    fn from(document: &AppCompose) -> Self {
        Self {
            allowed_envs: document.allowed_envs.clone(),
            bash_script: document.bash_script.clone(),
            default_gateway_domain: document.default_gateway_domain.clone(),
            docker_compose_file: document.docker_compose_file.clone(),
            features: Some(document.features.clone()),
            gateway_enabled: Some(document.gateway_enabled),
            init_script: document.init_script.clone(),
            kms_enabled: Some(document.kms_enabled),
            local_key_provider_enabled: Some(document.local_key_provider_enabled),
            manifest_version: Some(document.manifest_version.number()),
            name: Some(document.name.clone()),
            no_instance_id: Some(document.no_instance_id),
            pre_launch_script: document.pre_launch_script.clone(),
            public_logs: Some(document.public_logs),
            public_sysinfo: Some(document.public_sysinfo),
            public_tcbinfo: Some(document.public_tcbinfo),
            runner: Some(document.runner.clone()),
            salt: document.salt.clone(),
            secure_time: Some(document.secure_time),
            storage_fs: Some(document.storage_fs.clone()),
            tproxy_enabled: None,
        }
    }
}

impl ManifestVersion {
    pub fn number(&self) -> u32 {
        match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.parse().unwrap_or(3),
        }
    }
}

/// Properties of a document for lists and routes, stored with the spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Whether logs are readable without a key.
    pub public_logs: bool,
    /// Whether system information is readable without a key.
    pub public_sysinfo: bool,
    /// Whether measurements are readable without a key.
    pub public_tcbinfo: bool,
    /// Whether the app is reachable through the gateway.
    pub gateway_enabled: bool,
    /// Whether the guest waits for synchronised time.
    pub secure_time: bool,
    /// File system of the data disk, if one is named.
    pub storage_fs: Option<String>,
    pub features: Vec<String>,
    /// Version of the document.
    pub manifest_version: u32,
    pub runner: String,
    /// Published TCP ports, ascending.
    pub ports: Vec<u16>,
    /// SHA-256 of the compose file, hex.
    pub docker_compose_hash: Option<String>,
    /// SHA-256 of the pre-launch script, hex.
    pub pre_launch_script_hash: Option<String>,
    /// Readiness check in the compose file's labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Check>,
}

impl AppCompose {
    /// The contents of its compose file, as far as they are known before the app runs.
    pub fn inspected(&self) -> Option<docker::Inspected> {
        let file = self.docker_compose_file.as_deref()?;
        docker::inspect_with(file, &known_before(&self.allowed_envs)).ok()
    }

    /// Variables that its compose file uses without a value or default: they are empty or stop the boot.
    /// Variables named in its scripts are left out, because the scripts may set them.
    pub fn unset_variables(&self) -> Vec<String> {
        let scripts = [&self.pre_launch_script, &self.init_script];
        let is_given = |name: &str| {
            self.allowed_envs.iter().any(|one| one == name)
                || docker::GUEST_VARIABLES.contains(&name)
                || scripts
                    .iter()
                    .any(|script| script.as_ref().is_some_and(|text| text.contains(name)))
        };
        let inspected = self.inspected();
        let unset = inspected.map(|seen| seen.variables.unset(&is_given)).unwrap_or_default();
        unset.into_iter().collect()
    }

    pub fn facts(&self) -> Facts {
        let digest = |text: &String| hash(text).to_string();
        let known = |name: &str| {
            if self.allowed_envs.iter().any(|one| one == name) {
                Known::Secret
            } else {
                Known::Unset
            }
        };
        let file = self.docker_compose_file.as_deref();
        let inspected = file.and_then(|text| docker::inspect_with(text, &known).ok());
        Facts {
            public_logs: self.public_logs,
            public_sysinfo: self.public_sysinfo,
            public_tcbinfo: self.public_tcbinfo,
            gateway_enabled: self.gateway_enabled,
            secure_time: self.secure_time,
            storage_fs: self.storage_fs.clone(),
            features: self.features.clone(),
            manifest_version: self.manifest_version.number(),
            runner: self.runner.clone(),
            readiness: inspected.as_ref().and_then(|seen| seen.readiness.clone()),
            ports: inspected.map(|seen| seen.published).unwrap_or_default(),
            docker_compose_hash: self.docker_compose_file.as_ref().map(digest),
            pre_launch_script_hash: self.pre_launch_script.as_ref().map(digest),
        }
    }
}

fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Allowed variables have values that only the guest knows; all others are unset.
fn known_before(allowed_envs: &[String]) -> impl Fn(&str) -> Known {
    |name| if allowed_envs.iter().any(|one| one == name) { Known::Secret } else { Known::Unset }
}

fn check_program(
    runner: &str,
    input: &ComposeInput,
    allowed_envs: &[String],
) -> Result<(), ComposeError> {
    let compose = input.docker_compose_file.as_deref().unwrap_or("");
    let bash = input.bash_script.as_deref().unwrap_or("");
    match runner {
        "bash" if bash.trim().is_empty() => {
            refuse_for(Reason::Required, "bash_script", "is required with runner bash")
        }
        "bash" if !compose.is_empty() => refuse_for(
            Reason::NoEffect,
            "docker_compose_file",
            "has no effect with runner bash; leave it out",
        ),
        "bash" => Ok(()),
        "docker-compose" if !bash.is_empty() => refuse_for(
            Reason::NoEffect,
            "bash_script",
            "has no effect with runner docker-compose; set runner to bash",
        ),
        "docker-compose" if compose.trim().is_empty() => {
            refuse_for(Reason::Required, "docker_compose_file", "is required and must not be empty")
        }
        "docker-compose" => docker::inspect_with(compose, &known_before(allowed_envs))
            .map(|_| ())
            .map_err(|error| ComposeError {
                field: "docker_compose_file",
                reason: Reason::Invalid,
                message: format!("is not accepted: {error}"),
                problems: error.problems,
            }),
        _ => refuse("runner", "must be docker-compose or bash"),
    }
}

fn check_size(input: &ComposeInput) -> Result<(), ComposeError> {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let total = length(&input.docker_compose_file) + length(&input.pre_launch_script);
    if total > MAX_COMPOSE_BYTES {
        return refuse(
            "docker_compose_file",
            format!("with pre_launch_script is {total} bytes, the limit is {MAX_COMPOSE_BYTES}"),
        );
    }
    Ok(())
}

fn allowed_envs(listed: &[String], env_keys: &[String]) -> Result<Vec<String>, ComposeError> {
    let mut names: Vec<String> = Vec::new();
    for name in listed.iter().chain(env_keys) {
        if !seal::valid_env_name(name) {
            return refuse(
                "allowed_envs",
                format!(
                    "{name:?} is not a variable name: letters, digits and _, not a digit first"
                ),
            );
        }
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    Ok(names)
}

fn gateway_enabled(input: &ComposeInput) -> bool {
    let from_features = input
        .features
        .as_ref()
        .map(|features| features.iter().any(|feature| feature == "tproxy-net"));
    input.gateway_enabled.or(input.tproxy_enabled).or(from_features).unwrap_or(true)
}

/// The feature list, consistent with the booleans; other features are kept.
fn features(given: Option<Vec<String>>, kms: bool, gateway: bool) -> Vec<String> {
    let mut features = given.unwrap_or_else(|| vec!["kms".to_owned(), "tproxy-net".to_owned()]);
    for (name, wanted) in [("kms", kms), ("tproxy-net", gateway)] {
        match features.iter().any(|feature| feature == name) {
            false if wanted => features.push(name.to_owned()),
            true if !wanted => features.retain(|feature| feature != name),
            _ => {}
        }
    }
    features
}

fn manifest_version(given: Option<u32>) -> Result<ManifestVersion, ComposeError> {
    match given.unwrap_or(2) {
        number @ (1 | 2) => Ok(ManifestVersion::Number(number)),
        3 => Ok(ManifestVersion::Text("3".to_owned())),
        _ => refuse("manifest_version", "must be 1, 2 or 3"),
    }
}

fn storage_fs(given: Option<Option<String>>) -> Result<Option<String>, ComposeError> {
    match given.unwrap_or_else(|| Some("zfs".to_owned())) {
        Some(fs) if fs != "zfs" && fs != "ext4" => {
            refuse("storage_fs", "must be zfs, ext4 or null")
        }
        fs => Ok(fs),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn input(compose: &str) -> ComposeInput {
        ComposeInput { docker_compose_file: Some(compose.to_owned()), ..ComposeInput::default() }
    }

    const COMPOSE: &str = "services:\n  web:\n    image: nginx\n";

    #[test]
    fn the_default_document_is_this_text() {
        let document = AppCompose::new(input(COMPOSE), "my-app", &[]).unwrap().document();
        insta::assert_snapshot!(document, @r#"{"allowed_envs":[],"docker_compose_file":"services:\n  web:\n    image: nginx\n","features":["kms","tproxy-net"],"gateway_enabled":true,"kms_enabled":true,"local_key_provider_enabled":false,"manifest_version":2,"name":"my-app","no_instance_id":false,"public_logs":true,"public_sysinfo":true,"public_tcbinfo":true,"runner":"docker-compose","secure_time":false,"storage_fs":"zfs","tproxy_enabled":true}"#);
        insta::assert_snapshot!(hash(&document), @"1bac853403af87d874fbaed356054526571d55c3920c53da4f8b4454b9bf8376");
    }

    #[test]
    fn the_three_ways_to_say_gateway_agree_in_the_document() {
        let cases = [
            (Some(false), Some(true), None, false),
            (None, Some(false), None, false),
            (None, None, Some(vec!["kms".to_owned()]), false),
            (Some(true), None, Some(vec![]), true),
            (None, None, None, true),
        ];
        for (gateway, tproxy, features, expected) in cases {
            let made = AppCompose::new(
                ComposeInput {
                    gateway_enabled: gateway,
                    tproxy_enabled: tproxy,
                    features,
                    ..input(COMPOSE)
                },
                "my-app",
                &[],
            )
            .unwrap();
            assert_eq!(made.gateway_enabled, expected);
            assert_eq!(made.tproxy_enabled, expected);
            assert_eq!(made.features.iter().any(|name| name == "tproxy-net"), expected);
        }
    }

    #[test]
    fn a_refusal_names_its_field() {
        let long = "#".repeat(MAX_COMPOSE_BYTES);
        let cases = [
            (input(""), "docker_compose_file"),
            (input("services: ["), "docker_compose_file"),
            (input("version: '3'\n"), "docker_compose_file"),
            (input(&format!("{COMPOSE}{long}")), "docker_compose_file"),
            (ComposeInput { runner: Some("podman".into()), ..input(COMPOSE) }, "runner"),
            (ComposeInput { bash_script: Some("true".into()), ..input(COMPOSE) }, "bash_script"),
            (ComposeInput { storage_fs: Some(Some("xfs".into())), ..input(COMPOSE) }, "storage_fs"),
            (ComposeInput { manifest_version: Some(4), ..input(COMPOSE) }, "manifest_version"),
            (ComposeInput { allowed_envs: vec!["1A".into()], ..input(COMPOSE) }, "allowed_envs"),
        ];
        for (input, field) in cases {
            assert_eq!(AppCompose::new(input, "my-app", &[]).unwrap_err().field, field);
        }
    }

    #[test]
    fn env_keys_are_allowed_too_and_named_once() {
        let made = AppCompose::new(
            ComposeInput { allowed_envs: vec!["B".into(), "A".into()], ..input(COMPOSE) },
            "my-app",
            &["A".to_owned(), "C".to_owned()],
        );
        assert_eq!(made.unwrap().allowed_envs, ["B", "A", "C"]);
    }

    fn sorted_and_compact(document: &str) -> String {
        let value: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_str(document).unwrap();
        serde_json::to_string(&value).unwrap()
    }

    proptest! {
        /// Parsing, sorting and compact writing, as in the JavaScript SDK, give the same bytes. So every
        /// client computes our hash from `GET compose_file`.
        #[test]
        fn any_document_is_its_own_canonical_form(
            text in "\\PC{0,40}", script in any::<Option<String>>(), salt in any::<Option<String>>(),
            name in any::<Option<String>>(), flag in any::<Option<bool>>(), version in 1_u32..=3,
            fs in prop_oneof![Just(None), Just(Some(None)), Just(Some(Some("ext4".to_owned())))],
        ) {
            let made = AppCompose::new(ComposeInput {
                docker_compose_file: Some(format!("services: {{a: {{image: x}}}}\n# {text}\n")),
                pre_launch_script: script, salt, name, secure_time: flag, gateway_enabled: flag,
                manifest_version: Some(version), storage_fs: fs, ..ComposeInput::default()
            }, "my-app", &[]).unwrap();
            let document = made.document();
            prop_assert_eq!(&sorted_and_compact(&document), &document);
            prop_assert_eq!(AppCompose::parse(&document).unwrap(), made);
        }
    }
}
