//! A `casemate serve` of the binary just built, on a data directory of its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Its data directory.
    pub data_dir: PathBuf,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub fn start(binary: &Path, data_dir: &Path, node: &str) -> anyhow::Result<Self> {
        Self::start_with(binary, data_dir, node, &[])
    }

    /// Starts it with these variables on top and waits until it is ready.
    pub fn start_with(
        binary: &Path,
        data_dir: &Path,
        node: &str,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        Self::start_on("127.0.0.1:0", binary, data_dir, node, variables)
    }

    /// The same, with the API at this address.
    pub fn start_on(
        listen: &str,
        binary: &Path,
        data_dir: &Path,
        node: &str,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(data_dir)?;
        // One that was killed left it.
        let _ = fs::remove_file(data_dir.join("api.url"));
        let log = data_dir.join("serve.log");
        let output = File::create(&log)?;
        let child = Command::new(binary)
            .args(["serve", "--listen", listen, "--gateway-listen", "127.0.0.1:0"])
            .args(["--node", node, "--data-dir"])
            .arg(data_dir)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut server = Self { child, data_dir: data_dir.to_owned() };
        server.wait_until_ready(&log)?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, log: &Path) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let ready = self.data_dir.join("api.url");
        while !ready.exists() {
            if let Some(status) = self.child.try_wait()? {
                bail!("casemate serve ended with {status}:\n{}", fs::read_to_string(log)?);
            }
            if Instant::now() > deadline {
                bail!("casemate serve is not ready after 30 s:\n{}", fs::read_to_string(log)?);
            }
            thread::park_timeout(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as an operator does and waits for its end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("casemate serve ended with {status} after SIGTERM");
        }
        Ok(())
    }

    /// The text of one of its files (`api.url`, `gateway.url`, `admin.key`).
    pub fn file(&self, name: &str) -> anyhow::Result<String> {
        let path = self.data_dir.join(name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.trim().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
