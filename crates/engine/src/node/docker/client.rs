//! Finding the engine and the compose command of this host.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use tokio::process::Command;

use super::{ConnectError, DockerConfig};

const LIMIT: Duration = Duration::from_secs(30);
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
const NOBODY: u32 = 65534;

/// What the docker command needs of the operator's environment, and which engine it talks to.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(Default))]
pub(super) struct ClientEnv {
    /// Address of the engine, always said.
    pub host: String,
    own: Vec<(String, String)>,
}

impl ClientEnv {
    /// Reads the environment of this process, and the docker context if nothing else names an engine.
    pub async fn find(config: &DockerConfig) -> Self {
        let own = ["PATH", "HOME", "DOCKER_CONFIG", "XDG_RUNTIME_DIR"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), var(name)?)))
            .collect();
        let told = config.host.clone().or_else(|| var("DOCKER_HOST"));
        let mut client = Self { host: DEFAULT_HOST.to_owned(), own };
        if let Some(host) = told.filter(|host| !host.is_empty()) {
            client.host = host;
        } else if let Some(host) = client.context(config).await {
            client.host = host;
        }
        client
    }

    /// Environment of compose while it is looked for: its plugin may lie in the operator's home.
    pub fn finding(&self) -> Vec<(String, String)> {
        let fixed = [("DOCKER_HOST", self.host.as_str()), ("COMPOSE_ANSI", "never")];
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.own.iter().cloned().chain(fixed).collect()
    }

    /// Environment of a compose process that acts. Without the operator's home it has no logins.
    pub fn acting(&self) -> Vec<(String, String)> {
        let homeless = self
            .finding()
            .into_iter()
            .filter(|(name, _)| name != "HOME" && name != "DOCKER_CONFIG");
        let none = [("HOME", "/nonexistent"), ("DOCKER_CONFIG", "/nonexistent")];
        homeless.chain(none.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
    }

    /// Whether the engine shares this host's files and addresses.
    pub fn is_local(&self) -> bool {
        self.host.starts_with("unix://")
    }

    async fn context(&self, config: &DockerConfig) -> Option<String> {
        let args = ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"];
        let output = run(&config.docker, &args, &self.own, false).await.ok()?;
        let host = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !host.is_empty()).then_some(host)
    }
}

fn var(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

/// The compose command.
#[derive(Debug, Clone)]
pub(super) struct ComposeFound {
    pub program: PathBuf,
    /// Arguments before compose's own.
    pub before: Vec<String>,
    pub version: String,
    /// Whether it also runs as `nobody`.
    pub unprivileged: bool,
}

/// Finds Compose v2. The plugin is run by itself where it can be: killing the docker command would
/// leave its plugin running.
pub(super) async fn find_compose(
    config: &DockerConfig,
    client: &ClientEnv,
) -> Result<ComposeFound, ConnectError> {
    let docker = &config.docker;
    let env = client.finding();
    let version = run(docker, &["compose", "version", "--short"], &env, false).await;
    let version = match version {
        Err(error) => return Err(no_compose(docker, &error.to_string())),
        Ok(output) if !output.status.success() => return Err(no_compose(docker, &said(&output))),
        Ok(output) => {
            String::from_utf8_lossy(&output.stdout).trim().trim_start_matches('v').to_owned()
        }
    };
    if version.starts_with("1.") {
        return Err(no_compose(docker, &format!("it is version {version}")));
    }
    let plugin = plugin(docker, &env).await;
    let (program, before) = match plugin {
        Some(path) => (path, Vec::new()),
        None => (docker.clone(), vec!["compose".to_owned()]),
    };
    let unprivileged = works_as_nobody(&program, &before).await;
    Ok(ComposeFound { program, before, version, unprivileged })
}

async fn plugin(docker: &Path, env: &[(String, String)]) -> Option<PathBuf> {
    let format = "{{range .ClientInfo.Plugins}}{{if eq .Name \"compose\"}}{{.Path}}{{end}}{{end}}";
    let output = run(docker, &["info", "--format", format], env, false).await.ok()?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let alone = run(&path, &["version", "--short"], env, false).await.ok()?;
    (path.is_absolute() && alone.status.success()).then_some(path)
}

/// Only root can become `nobody`, and the program may lie where `nobody` cannot go.
async fn works_as_nobody(program: &Path, before: &[String]) -> bool {
    let args: Vec<&str> = before.iter().map(String::as_str).chain(["version", "--short"]).collect();
    let env = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    run(program, &args, &env, true).await.is_ok_and(|output| output.status.success())
}

async fn run(
    program: impl AsRef<OsStr>,
    args: &[&str],
    env: &[(String, String)],
    nobody: bool,
) -> std::io::Result<Output> {
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(env.iter().map(|(name, value)| (name, value)));
    command.current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    if nobody {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = tokio::time::timeout(LIMIT, command.output()).await;
    output.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut)))
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("no reason given")
        .to_owned()
}

fn no_compose(docker: &Path, cause: &str) -> ConnectError {
    ConnectError::Compose(format!(
        "Compose v2 is missing: `{} compose version` says: {cause}. Compose v1 (docker-compose 1.x) \
         cannot run these files. Get v2 as a package (docker-compose-plugin from Docker's \
         repositories, docker-compose-v2 on Ubuntu), or put the docker-compose binary of a release \
         from https://github.com/docker/compose/releases into ~/.docker/cli-plugins, executable",
        docker.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compose_process_that_acts_has_no_login_of_the_operator() {
        let own = [("HOME", "/home/operator"), ("DOCKER_CONFIG", "/etc/docker"), ("PATH", "/bin")];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let env = ClientEnv { host: DEFAULT_HOST.to_owned(), own }.acting();
        let values = |name: &str| {
            let found = env.iter().filter(|(key, _)| key == name);
            found.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        assert_eq!(values("HOME"), ["/nonexistent"]);
        assert_eq!(values("DOCKER_CONFIG"), ["/nonexistent"]);
        assert_eq!(
            (values("PATH"), values("DOCKER_HOST")),
            (vec!["/bin".into()], vec![DEFAULT_HOST.into()])
        );
    }

    #[tokio::test]
    async fn without_compose_the_error_tells_the_way_to_it() {
        let config = DockerConfig { docker: "/bin/false".into(), ..DockerConfig::new("/tmp/x") };
        let client = ClientEnv { host: DEFAULT_HOST.to_owned(), own: Vec::new() };
        let error = find_compose(&config, &client).await.unwrap_err().to_string();
        assert!(
            error.contains("Compose v2 is missing") && error.contains("cli-plugins"),
            "{error}"
        );
        let config = DockerConfig { docker: "/no/docker".into(), ..config };
        assert!(find_compose(&config, &client).await.is_err());
    }
}
