//! What a docker node reads of an app-compose document. Lenient like the guest: what it does not
//! know it passes over.

use serde::Deserialize;

/// The fields of an app-compose document that decide how the app is run.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    pub name: String,
    pub runner: String,
    #[serde(default)]
    pub docker_compose_file: Option<String>,
    #[serde(default)]
    pub bash_script: Option<String>,
    #[serde(default)]
    pub pre_launch_script: Option<String>,
    #[serde(default)]
    init_script: Option<Scripts>,
    #[serde(default)]
    pub allowed_envs: Vec<String>,
    #[serde(default)]
    pub default_gateway_domain: Option<String>,
    #[serde(default)]
    pub no_instance_id: bool,
    #[serde(default)]
    kms_enabled: bool,
    #[serde(default)]
    key_provider: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Scripts {
    One(String),
    Many(Vec<String>),
}

/// What runs the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// A compose file.
    Compose(String),
    /// A shell script.
    Bash(String),
}

impl Document {
    /// Reads the document; the error is fit for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text)
            .map_err(|error| format!("app-compose document cannot be read: {error}"))
    }

    /// What to run.
    pub fn program(&self) -> Result<Program, String> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        match self.runner.as_str() {
            "docker-compose" | "nerdctl-compose" => filled(&self.docker_compose_file)
                .map(Program::Compose)
                .ok_or_else(|| "app-compose document has no docker_compose_file".to_owned()),
            "bash" => filled(&self.bash_script)
                .map(Program::Bash)
                .ok_or_else(|| "app-compose document has no bash_script".to_owned()),
            other => Err(format!(
                "runner {other:?} is not known; known: docker-compose, nerdctl-compose, bash"
            )),
        }
    }

    /// Scripts to run before everything else, in order.
    pub fn init_scripts(&self) -> Vec<String> {
        let scripts = match &self.init_script {
            None => Vec::new(),
            Some(Scripts::One(script)) => vec![script.clone()],
            Some(Scripts::Many(scripts)) => scripts.clone(),
        };
        scripts.into_iter().filter(|script| !script.trim().is_empty()).collect()
    }

    /// The pre-launch script, if there is one.
    pub fn pre_launch(&self) -> Option<&str> {
        self.pre_launch_script.as_deref().filter(|script| !script.trim().is_empty())
    }

    /// Whether the guest gets keys from a KMS: without them a guest passes a sealed environment over.
    pub fn has_kms(&self) -> bool {
        self.key_provider.as_deref().map_or(self.kms_enabled, |provider| provider == "kms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_that_of_the_runner() {
        let compose = Document::parse(
            r#"{"manifest_version":2,"runner":"docker-compose","docker_compose_file":"services: {}","salt":"x"}"#,
        )
        .unwrap();
        assert_eq!(compose.program(), Ok(Program::Compose("services: {}".to_owned())));
        assert!(!compose.has_kms());
        let bash = Document::parse(
            r#"{"runner":"bash","bash_script":"sleep 1","init_script":["a",""],"kms_enabled":true}"#,
        )
        .unwrap();
        assert_eq!(bash.program(), Ok(Program::Bash("sleep 1".to_owned())));
        assert_eq!(bash.init_scripts(), ["a"]);
        assert!(bash.has_kms());
    }

    #[test]
    fn what_cannot_run_says_why() {
        for (text, word) in [
            (r#"{"runner":"docker-compose"}"#, "docker_compose_file"),
            (r#"{"runner":"bash","bash_script":" "}"#, "bash_script"),
            (r#"{"runner":"podman"}"#, "podman"),
        ] {
            let error = Document::parse(text).unwrap().program().unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(Document::parse("{").unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn key_provider_wins_over_the_boolean() {
        let text = r#"{"runner":"bash","kms_enabled":true,"key_provider":"none"}"#;
        assert!(!Document::parse(text).unwrap().has_kms());
    }
}
