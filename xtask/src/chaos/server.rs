//! The instance under test: builds and orders to kill in, a running instance again out.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::world::World;

/// How long any state is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// The server of the instance.
pub(super) struct Server<'a> {
    world: &'a World,
    flags: Vec<String>,
    build: PathBuf,
    process: Option<Child>,
    /// Length of the log when it was last started.
    started_at: u64,
}

impl<'a> Server<'a> {
    /// No server yet; `flags` choose host mode and agree to what it changes.
    pub(super) fn new(world: &'a World, flags: &[String]) -> Self {
        Self { world, flags: flags.to_owned(), build: PathBuf::new(), process: None, started_at: 0 }
    }

    /// The build that runs.
    pub(super) fn build(&self) -> &Path {
        &self.build
    }

    /// Starts a build.
    pub(super) fn start(&mut self, build: &Path) -> Result<()> {
        build.clone_into(&mut self.build);
        let path = self.log_path();
        let log = File::options().create(true).append(true).open(&path).context("cannot write the server's log")?;
        self.started_at = log.metadata()?.len();
        let mut command = self.world.host(build);
        command.arg("up").args(&self.flags).args(["--listen", "127.0.0.1:16443", "--data-dir"]).arg(self.data());
        let second = log.try_clone()?;
        self.process = Some(command.stdin(Stdio::null()).stdout(log).stderr(second).spawn()?);
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub(super) fn ready(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            let log = std::fs::read(self.log_path())?;
            let since = usize::try_from(self.started_at)?;
            if String::from_utf8_lossy(log.get(since..).unwrap_or_default()).contains("ready in ") {
                return Ok(());
            }
            if let Some(status) = self.process.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("the server ended with {status}");
            }
            if began.elapsed() > PATIENCE {
                bail!("the server was not ready in {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `kill -9` of the server.
    pub(super) fn kill(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// `kill -9` of the holder, if one is recorded and lives.
    pub(super) fn kill_holder(&self) -> Result<()> {
        if let Some(pid) = self.holder() {
            // It may have ended meanwhile, which is as good.
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status()?;
        }
        Ok(())
    }

    /// Waits until a live holder answers again.
    pub(super) fn holder_again(&self) -> Result<()> {
        let began = Instant::now();
        while self.holder().is_none() {
            if began.elapsed() > PATIENCE {
                bail!("no new holder in {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The recorded holder, while it lives.
    fn holder(&self) -> Option<u64> {
        let record: Value = serde_json::from_slice(&std::fs::read(self.data().join("holder.json")).ok()?).ok()?;
        let pid = record["pid"].as_u64()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
        let same = fields.get(19)?.parse::<u64>().ok()? == record["start_time"].as_u64()?;
        (same && fields[0] != "Z").then_some(pid)
    }

    /// Names, uids, starts and restarts of all pods.
    pub(super) fn pods(&self) -> Result<String> {
        let columns = "custom-columns=NAME:.metadata.name,UID:.metadata.uid,IP:.status.podIP,\
                       STARTED:.status.containerStatuses[0].state.running.startedAt,\
                       RESTARTS:.status.containerStatuses[0].restartCount";
        self.kubectl(&["get", "pods", "-o", columns])
    }

    /// Applies manifests.
    pub(super) fn apply(&self, manifest: &str) -> Result<()> {
        let mut command = self.kubectl_command(&["apply", "-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).spawn().context("cannot run kubectl")?;
        child.stdin.take().context("kubectl has an input")?.write_all(manifest.as_bytes())?;
        if !child.wait()?.success() {
            bail!("kubectl apply failed");
        }
        Ok(())
    }

    /// Standard output of a kubectl that must succeed.
    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl_command(arguments).output().context("cannot run kubectl")?;
        if !output.status.success() {
            bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.host(Path::new("kubectl"));
        command.arg("--kubeconfig").arg(self.data().join("kubeconfig")).args(arguments).stdout(Stdio::piped());
        command
    }

    /// Ends the instance.
    pub(super) fn down(&mut self, build: &Path) -> Result<()> {
        let status = self.world.host(build).args(["down", "--data-dir"]).arg(self.data()).status()?;
        if let Some(mut process) = self.process.take() {
            process.wait()?;
        }
        if !status.success() {
            bail!("mainstay down ended with {status}");
        }
        Ok(())
    }

    /// The last lines of its log.
    pub(super) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn data(&self) -> PathBuf {
        self.world.directory().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.world.directory().join("server.log")
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // After an error the instance still runs; without it this does nothing.
        if !self.build.as_os_str().is_empty() {
            let mut down = self.world.host(&self.build);
            let _ = down.args(["down", "--data-dir"]).arg(self.data()).stdout(Stdio::null()).status();
            let _ = self.kill();
        }
    }
}
