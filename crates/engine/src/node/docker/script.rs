//! Scripts of an app: init, pre-launch, and the main script of runner `bash`.
//!
//! In a guest they run on the machine itself. Here they run in a container of their own, never on
//! the host, with the guest's directories mounted, the guest agent's sockets, and the variables. A
//! pre-launch script is *sourced* in a guest: what it exports is seen by the compose file. So the
//! exports are handed back, through the container's output, which the engine does not keep.

mod output;

use std::{collections::HashMap, io, path::Path, time::Duration};

use bollard::{
    container::LogOutput,
    models::{
        ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType,
        NetworkCreateRequest,
    },
    query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptionsBuilder},
};
use futures_util::StreamExt;
use secrecy::SecretString;

use self::output::Output;
use super::{
    HostAccess,
    agent::Answers,
    archive::Archive,
    container::{LABEL_SCRIPT, LABEL_SERVICE},
    derive::{
        AGENT_DIR, BRIDGE_NAME, LABEL_CVM, LABEL_NODE, LABEL_VM, Limits, bridge_name, log_bounds,
    },
    engine::{Engine, call_error},
    env::GuestEnv,
    guestfs, images,
    shared::Shared,
    vm::Vm,
};

/// Service name of the main script of runner `bash`.
pub(super) const MAIN: &str = "main";
/// Directories of the guest that scripts may use.
const DIRS: [&str; 8] = ["/dstack", "/root", "/home", "/data", "/mnt", "/opt", "/srv", "/tmp"];

/// Bash if the image has it.
const RUN: &str = "#!/bin/sh
export PATH=\"$PATH:/casemate/bin\"
for shell in bash sh; do
  if command -v $shell >/dev/null 2>&1; then exec $shell \"$@\"; fi
done
";
/// Programs that scripts find in a guest, for images that do not have them.
const TOOLS: [(&str, &str); 5] = [
    ("curl", include_str!("script/tools/curl")),
    ("docker", include_str!("script/tools/docker")),
    ("dstack-util", include_str!("script/tools/dstack-util")),
    ("jq", include_str!("script/tools/jq")),
    ("tdxctl", include_str!("script/tools/dstack-util")),
];
const SWEEP: &str = "rm -rf /guest/* /guest/.[!.]* /guest/..?*\n";
/// A pre-launch script sees and changes the variables of the app.
const SOURCED: &str = "cd /dstack
set -e
if [ -n \"$BASH_VERSION\" ]; then set -o pipefail; fi
. /casemate/script.sh
set +e
printf '\\n%s\\n' 'MARK'
env -0
";

/// Where and with what scripts of a VM run.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub engine: &'a Engine,
    pub vm: &'a Vm,
    pub project: &'a str,
    pub image: &'a str,
    pub labels: Vec<(String, String)>,
    pub limits: &'a Limits,
    /// Longest time of a script that has to end.
    pub script_limit: Duration,
    /// What a log may take on disk, in MiB.
    pub log_mb: u32,
    pub host_access: HostAccess,
    /// A text no output holds by chance.
    pub mark: String,
}

/// The stage of a VM.
pub(super) fn stage<'a>(
    node: &'a Shared,
    vm: &'a Vm,
    limits: &'a Limits,
    project: &'a str,
) -> Stage<'a> {
    let mut mark = [0; 16];
    node.entropy.fill(&mut mark);
    let cvm = vm.record().manifest.mark().map(|mark| mark.uuid().to_string()).unwrap_or_default();
    let labels =
        [(LABEL_VM, vm.id.to_string()), (LABEL_CVM, cvm), (LABEL_NODE, node.ident.node.clone())];
    Stage {
        engine: &node.engine,
        vm,
        project,
        image: &node.config.script_image,
        labels: labels.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        limits,
        script_limit: Duration::from_secs(node.config.script_timeout_s.into()),
        log_mb: node.config.log_mb,
        host_access: node.config.host_access,
        mark: hex::encode(mark),
    }
}

impl Stage<'_> {
    /// Runs a script to its end; returns what it exported.
    pub async fn run(
        &self,
        step: &str,
        script: &str,
        env: &GuestEnv,
    ) -> Result<Vec<(String, SecretString)>, String> {
        self.network().await?;
        let body = self.guest(step, &["/casemate/sourced.sh"], env, true)?;
        let sourced = SOURCED.replace("MARK", &self.mark);
        let id =
            self.create(step, body, &[("sourced.sh", &sourced), ("script.sh", script)]).await?;
        let ended = tokio::time::timeout(self.script_limit, self.follow(&id, step, env)).await;
        let removed = self.engine.remove(&id).await;
        let late = |_| {
            let limit = self.script_limit.as_secs();
            format!("{step} script did not end within {limit} s: start what runs on in a service")
        };
        let (code, output) = ended.map_err(late)??;
        removed.map_err(|error| error.to_string())?;
        if code != 0 {
            let last = env.scrub(&output.last_lines()).await;
            return Err(format!("{step} script ended with {code}: {last}"));
        }
        Ok(output.exports())
    }

    /// Starts the main script of runner `bash`; it goes on by itself.
    pub async fn start_main(&self, script: &str, env: &GuestEnv) -> Result<(), String> {
        self.network().await?;
        let body = self.guest(MAIN, &["/casemate/script.sh"], env, false)?;
        let id = self.create(MAIN, body, &[("script.sh", script)]).await?;
        self.engine.start(&id).await.map_err(|error| error.to_string())
    }

    /// Empties the guest's file system from inside a container: what containers wrote as root, a
    /// process that is not root cannot delete.
    pub async fn sweep(&self) -> Result<(), String> {
        let root = bind(&self.vm.dir.root(), "/guest", false);
        let network_mode = Some("none".to_owned());
        let host = HostConfig { mounts: Some(vec![root]), network_mode, ..Default::default() };
        let body = self.container("sweep", &["/casemate/script.sh"], host, true);
        let id = self.create("sweep", body, &[("script.sh", SWEEP)]).await?;
        let ended = self.follow(&id, "sweep", &GuestEnv::default()).await;
        let removed = self.engine.remove(&id).await;
        ended?;
        removed.map_err(|error| error.to_string())
    }

    fn name(&self, step: &str) -> String {
        format!("{}-{step}", self.project)
    }

    /// The VM's network for its scripts: the engine's own would be shared with other CVMs.
    pub async fn network(&self) -> Result<String, String> {
        let name = self.name("default");
        let docker = self.engine.docker();
        if docker.inspect_network(&name, None).await.is_ok() {
            return Ok(name);
        }
        let labels = Some(self.labels.iter().cloned().collect());
        let bridge =
            (BRIDGE_NAME.to_owned(), bridge_name(self.host_access, self.project, "default"));
        let request = NetworkCreateRequest {
            name: name.clone(),
            labels,
            options: Some(HashMap::from([bridge])),
            ..Default::default()
        };
        docker.create_network(request).await.map_err(|error| call_error(&error).to_string())?;
        Ok(name)
    }

    /// Removes the network of scripts, where the app has others.
    pub async fn remove_network(&self) -> Result<(), String> {
        let removed = self.engine.remove_network(&self.name("default")).await;
        removed.map_err(|error| error.to_string())
    }

    fn container(
        &self,
        step: &str,
        args: &[&str],
        host: HostConfig,
        boot_only: bool,
    ) -> ContainerCreateBody {
        let mut labels: HashMap<String, String> = self.labels.iter().cloned().collect();
        labels.insert(LABEL_SERVICE.to_owned(), step.to_owned());
        if boot_only {
            labels.insert(LABEL_SCRIPT.to_owned(), step.to_owned());
        }
        let entrypoint = ["sh", "/casemate/run.sh"].map(str::to_owned).to_vec();
        ContainerCreateBody {
            image: Some(self.image.to_owned()),
            entrypoint: Some(entrypoint),
            cmd: Some(args.iter().map(|&arg| arg.to_owned()).collect()),
            user: Some("0:0".to_owned()),
            hostname: Some(self.project.to_owned()),
            labels: Some(labels),
            host_config: Some(host),
            ..Default::default()
        }
    }

    /// A container with the guest's directories and variables.
    fn guest(
        &self,
        step: &str,
        args: &[&str],
        env: &GuestEnv,
        boot_only: bool,
    ) -> Result<ContainerCreateBody, String> {
        let host = self.host_config(boot_only)?;
        Ok(ContainerCreateBody {
            env: Some(env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            working_dir: Some("/dstack".to_owned()),
            ..self.container(step, args, host, boot_only)
        })
    }

    fn host_config(&self, boot_only: bool) -> Result<HostConfig, String> {
        let log = if boot_only {
            HostConfigLogConfig { typ: Some("none".to_owned()), config: None }
        } else {
            let [size, files] = log_bounds(self.log_mb);
            let bounds = [("max-size".to_owned(), size), ("max-file".to_owned(), files)];
            let typ = Some("json-file".to_owned());
            HostConfigLogConfig { typ, config: Some(HashMap::from(bounds)) }
        };
        let mut config = HostConfig {
            mounts: Some(self.mounts().map_err(|error| format!("guest directories: {error}"))?),
            log_config: Some(log),
            network_mode: Some(self.name("default")),
            init: Some(true),
            ..Default::default()
        };
        match self.limits {
            Limits::Parent(group) => config.cgroup_parent = Some(group.clone()),
            Limits::PerService { vcpu, memory_mb, pids } => {
                config.pids_limit = Some(i64::from(*pids));
                config.nano_cpus = Some(i64::from(*vcpu) * 1_000_000_000);
                config.memory = Some(i64::from(*memory_mb) * 1024 * 1024);
            }
        }
        Ok(config)
    }

    fn mounts(&self) -> io::Result<Vec<Mount>> {
        let root = self.vm.dir.root();
        let mut mounts = vec![bind(&self.vm.dir.run(), AGENT_DIR, true)];
        for dir in DIRS {
            mounts.push(bind(&guestfs::source(&root, Path::new(dir))?, dir, false));
        }
        Ok(mounts)
    }

    /// Makes a container, in place of one that a crash left behind, and puts files into it.
    async fn create(
        &self,
        step: &str,
        body: ContainerCreateBody,
        files: &[(&str, &str)],
    ) -> Result<String, String> {
        images::ensure(self.engine, self.image).await?;
        let name = self.name(step);
        self.engine.remove(&name).await.map_err(|error| error.to_string())?;
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let made = self.engine.docker().create_container(Some(options), body).await;
        let id = made.map_err(|error| call_error(&error).to_string())?.id;
        let tar = archive(files, &self.vm.agent_answers())
            .map_err(|error| format!("the script cannot be packed: {error}"))?;
        self.engine.upload(&id, tar).await.map_err(|error| error.to_string())?;
        Ok(id)
    }

    /// Starts a container and reads along until it ends.
    async fn follow(&self, id: &str, step: &str, env: &GuestEnv) -> Result<(i64, Output), String> {
        let docker = self.engine.docker();
        let text = |error: bollard::errors::Error| call_error(&error).to_string();
        let options =
            AttachContainerOptionsBuilder::new().stream(true).stdout(true).stderr(true).build();
        let mut attached = docker.attach_container(id, Some(options)).await.map_err(text)?;
        self.engine.start(id).await.map_err(|error| error.to_string())?;
        let mut output = Output::new(&self.mark);
        while let Some(item) = attached.output.next().await {
            let lines = match item.map_err(text)? {
                LogOutput::StdErr { message } => output.stderr(&message),
                other => output.stdout(other.as_ref()),
            };
            self.say(step, &lines, env).await;
        }
        self.say(step, &output.finish(), env).await;
        Ok((self.exit_code(id).await?, output))
    }

    async fn say(&self, step: &str, lines: &[String], env: &GuestEnv) {
        for line in lines {
            self.vm.say(step, &env.scrub(line).await);
        }
    }

    async fn exit_code(&self, id: &str) -> Result<i64, String> {
        let mut wait = Box::pin(self.engine.docker().wait_container(id, None));
        match wait.next().await {
            Some(Ok(ended)) => Ok(ended.status_code),
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => Err(call_error(&error).to_string()),
            None => Err("the engine does not say how the script ended".to_owned()),
        }
    }
}

fn archive(files: &[(&str, &str)], answers: &Answers) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.file("casemate/run.sh", RUN.as_bytes())?;
    archive.file("casemate/info.json", answers.info.as_bytes())?;
    archive.file("casemate/version.json", answers.version.as_bytes())?;
    for (name, text) in TOOLS {
        archive.file(&format!("casemate/bin/{name}"), text.as_bytes())?;
    }
    for (name, content) in files {
        archive.file(&format!("casemate/{name}"), content.as_bytes())?;
    }
    for socket in ["dstack.sock", "tappd.sock"] {
        archive.link(&format!("var/run/{socket}"), &format!("{AGENT_DIR}/{socket}"))?;
    }
    archive.finish()
}

fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Default::default()
    }
}
