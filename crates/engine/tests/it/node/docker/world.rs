//! A docker node in a directory of its own, and what tests ask of it.

use std::{
    fs::File,
    future::Future,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use casemate_core::{
    cvm::{Boot, ObservedVm, VmPower},
    id::{AppId, EngineVmId},
    seal::{self, EnvVar, SealedEnv},
    time::{Clock, Entropy, Timestamp},
};
use casemate_engine::{
    kms::{BuiltinKms, RootKeys},
    node::{
        Dial, DialError, LogQuery, Node, VmConfig,
        docker::{DockerConfig, DockerNode, GuestKeys},
    },
};
use casemate_testing::wait::poll;
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Image of the tests, made by `scripts/test-env.sh images`.
pub const IMAGE: &str = "busybox:1.36";
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs on from 2026-01-01.
#[derive(Debug)]
struct Running(Instant);

impl Clock for Running {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_767_225_600_000_000).plus(self.0.elapsed())
    }
}

#[derive(Debug)]
pub struct Random;

impl Entropy for Random {
    fn fill(&self, buffer: &mut [u8]) {
        File::open("/dev/urandom").unwrap().read_exact(buffer).unwrap();
    }
}

/// A node and its directory.
pub struct World {
    dir: PathBuf,
    own: Option<TempDir>,
    pub node: DockerNode,
    kms: Arc<BuiltinKms>,
    config: DockerConfig,
}

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self::in_dir(dir.path()).await;
        world.own = Some(dir);
        world
    }

    /// A node that is set up in another way.
    pub async fn with(change: impl FnOnce(&mut DockerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self::in_dir_with(dir.path(), change).await;
        world.own = Some(dir);
        world
    }

    /// A node in this directory, which stays.
    pub async fn in_dir(dir: &Path) -> Self {
        Self::in_dir_with(dir, |_| {}).await
    }

    async fn in_dir_with(dir: &Path, change: impl FnOnce(&mut DockerConfig)) -> Self {
        let mut config = DockerConfig::new(dir.join("node"));
        IMAGE.clone_into(&mut config.script_image);
        change(&mut config);
        let kms = Arc::new(BuiltinKms::new(RootKeys::from_bytes(&[7; 64]).unwrap()));
        let node = connect(&config, &kms).await;
        Self { dir: dir.to_owned(), own: None, node, kms, config }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends the node as a crash does: whatever runs in this process stops where it is.
    pub async fn crash_and_reopen(&mut self) {
        self.node.close().await;
        self.node = connect(&self.config, &self.kms).await;
    }

    /// The same, with another configuration.
    pub async fn reopen_with(&mut self, change: impl FnOnce(&mut DockerConfig)) {
        change(&mut self.config);
        self.crash_and_reopen().await;
    }

    /// Stops a VM, starts it again and waits for the end of its boot.
    pub async fn restart(&self, config: &VmConfig, vm: &EngineVmId) {
        self.node.stop(vm).await.unwrap();
        self.node.start(vm).await.unwrap();
        self.booted(config).await;
    }

    /// What a second process on the same directory is told.
    pub async fn try_open_again(&self) -> Result<DockerNode, String> {
        let keys = Arc::clone(&self.kms) as Arc<dyn GuestKeys>;
        let clock = Arc::new(Running(Instant::now()));
        let node = DockerNode::connect(self.config.clone(), keys, clock, Arc::new(Random)).await;
        node.map_err(|error| error.to_string())
    }

    /// Variables sealed to an app.
    pub fn seal(&self, app: &AppId, vars: &[(&str, &str)]) -> SealedEnv {
        let vars: Vec<EnvVar> = vars
            .iter()
            .map(|(key, value)| EnvVar { key: (*key).to_owned(), value: (*value).into() })
            .collect();
        let key = self.kms.env_secret_key(app).unwrap();
        let (mut ephemeral, mut iv) = ([0; 32], [0; 12]);
        Random.fill(&mut ephemeral);
        Random.fill(&mut iv);
        seal::seal(&vars, &key.public(), ephemeral, iv).unwrap()
    }

    /// Creates and starts a VM.
    pub async fn start(&self, config: &VmConfig) -> EngineVmId {
        let vm = self.node.create(config).await.unwrap();
        assert_eq!(self.look(config).await.power, VmPower::Stopped);
        self.node.start(&vm).await.unwrap();
        vm
    }

    /// Creates and starts a VM and waits for the end of its boot.
    pub async fn up(&self, config: &VmConfig) -> EngineVmId {
        let vm = self.start(config).await;
        self.booted(config).await;
        vm
    }

    /// The VM as it is.
    pub async fn look(&self, config: &VmConfig) -> ObservedVm {
        let mut found = self.node.find(&config.mark).await.unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    /// Waits for the end of a boot.
    pub async fn booted(&self, config: &VmConfig) -> ObservedVm {
        eventually("boot done", || async {
            let seen = self.look(config).await;
            if let Boot::Failed(cause) = &seen.boot {
                panic!("boot failed: {cause}");
            }
            (seen.boot == Boot::Done).then_some(seen)
        })
        .await
    }

    /// Waits for the failure of a boot; returns its cause.
    pub async fn failed(&self, config: &VmConfig) -> String {
        eventually("boot failed", || async {
            match self.look(config).await.boot {
                Boot::Failed(cause) => Some(cause),
                Boot::Done => panic!("the boot went well"),
                _ => None,
            }
        })
        .await
    }

    pub async fn power(&self, config: &VmConfig, power: VmPower) {
        eventually(&format!("{power:?}"), || async {
            (self.look(config).await.power == power).then_some(())
        })
        .await;
    }

    /// The body of `GET /` at a published port.
    pub async fn get(&self, vm: &EngineVmId, port: u16) -> String {
        eventually(&format!("an answer at {port}"), || async {
            match self.node.resolve_port(vm, port).await {
                Ok(Dial::Tcp(address)) => http_get(address).await,
                Ok(Dial::Page(_)) => panic!("a docker node has containers"),
                Err(DialError::NotUp(_)) => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await
    }

    /// The whole log.
    pub async fn log(&self, vm: &EngineVmId) -> String {
        let query = LogQuery { follow: false, tail: 1000 };
        let mut stream = self.node.logs(vm, query).await.unwrap();
        let mut text = String::new();
        while let Some(piece) = stream.next().await {
            text.push_str(&String::from_utf8_lossy(&piece.unwrap()));
        }
        text
    }

    /// Removes a VM and waits until it is gone.
    pub async fn remove(&self, config: &VmConfig, vm: &EngineVmId) {
        self.node.remove(vm).await.unwrap();
        eventually("removed", || async {
            let found = self.node.find(&config.mark).await.unwrap();
            assert!(found.iter().all(|seen| seen.power == VmPower::Removing), "{found:?}");
            found.is_empty().then_some(())
        })
        .await;
    }

    /// Where the guest sees a path.
    pub fn guest(&self, vm: &EngineVmId, path: &str) -> PathBuf {
        self.dir.join("node/vms").join(&vm.0).join("root").join(path.trim_start_matches('/'))
    }
}

impl Drop for World {
    /// What a failed test leaves in the engine would disturb nobody, but it would stay for ever.
    fn drop(&mut self) {
        let id = std::fs::read_to_string(self.dir.join("node/node-id")).unwrap_or_default();
        let filter = format!("label=casemate.node={}", id.trim());
        for (list, remove) in [
            (&["ps", "-aq"][..], &["rm", "-fv"][..]),
            (&["network", "ls", "-q"], &["network", "rm"]),
            (&["volume", "ls", "-q"], &["volume", "rm", "-f"]),
        ] {
            let found = docker(&[list, &["--filter", &filter]].concat());
            for one in found.lines() {
                docker(&[remove, &[one]].concat());
            }
        }
        for vm in std::fs::read_dir(self.dir.join("node/vms")).into_iter().flatten().flatten() {
            for controller in ["", "cpu", "memory", "pids"] {
                let group = Path::new("/sys/fs/cgroup").join(controller).join("casemate");
                let _ = std::fs::remove_dir(group.join(vm.file_name()));
            }
        }
    }
}

async fn connect(config: &DockerConfig, kms: &Arc<BuiltinKms>) -> DockerNode {
    static START: OnceLock<Instant> = OnceLock::new();
    let clock = Arc::new(Running(*START.get_or_init(Instant::now)));
    let keys = Arc::clone(kms) as Arc<dyn GuestKeys>;
    match DockerNode::connect(config.clone(), keys, clock, Arc::new(Random)).await {
        Ok(node) => node,
        Err(error) => panic!(
            "these tests need a container engine and Compose v2 ({error}); \
             run scripts/test-env.sh docker compose images"
        ),
    }
}

/// Asks again until there is an answer, with an end.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let answer = poll(PATIENCE, async || ask().await).await;
    answer.unwrap_or_else(|| panic!("no {what} within {PATIENCE:?}"))
}

async fn http_get(address: std::net::SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.trim().to_owned())
}

/// Output of the docker command.
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Ids of what the engine has of a VM.
pub fn left(kind: &[&str], vm: &EngineVmId) -> String {
    docker(&[kind, &["-q", "--filter", &format!("label=casemate.vm={vm}")]].concat())
}

/// The running container of a service.
pub fn container(vm: &EngineVmId, service: &str) -> String {
    let filters =
        [format!("label=casemate.vm={vm}"), format!("label=com.docker.compose.service={service}")];
    docker(&["ps", "-q", "--filter", &filters[0], "--filter", &filters[1]])
}

/// When a container was started last.
pub fn started_at(container: &str) -> String {
    docker(&["inspect", container, "--format", "{{.State.StartedAt}}"])
}

/// What an HTTP server at a Unix socket answers.
pub async fn unix_get(socket: &str, path: &str) -> String {
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let request = format!("POST {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Whether any file below holds this text.
pub fn holds(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            return holds(&entry.path(), text);
        }
        kind.is_file()
            && String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).contains(text)
    })
}
