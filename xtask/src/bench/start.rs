//! The program in, how long it takes from its start to the first answer through a Service, and its memory at rest out.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::memory::{self, Share};

/// Longest wait for readiness or the first answer; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);
const ADDRESS: &str = "10.96.100.1";
const MANIFEST: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: echo, namespace: default, labels: {app: echo}}
spec: {containers: [{name: echo, image: mainstay/echo, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec: {clusterIP: 10.96.100.1, selector: {app: echo}, ports: [{port: 80, targetPort: 8080}]}
";

/// What was measured.
#[derive(Debug)]
pub(super) struct Started {
    /// From starting the process to its line that says ready.
    pub(super) ready: Duration,
    /// From starting the process to the first answered request through a cluster IP.
    pub(super) first_answer: Duration,
    /// Memory at rest, one pod running.
    pub(super) memory: Vec<Share>,
}

/// A running instance in a directory of its own; both are gone when dropped.
struct Instance<'a> {
    binary: &'a Path,
    directory: PathBuf,
    server: Child,
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        let down = Command::new(self.binary).args(["down", "--data-dir"]).arg(&self.directory).output();
        if !down.is_ok_and(|output| output.status.success()) {
            eprintln!("xtask: the instance in {} is left: type mainstay down", self.directory.display());
            return;
        }
        let _ended = self.server.wait();
        let _removed = std::fs::remove_dir_all(&self.directory);
    }
}

/// Starts an instance, asks it through a Service, lets it rest, reads its memory.
pub(super) fn measure(binary: &Path, idle_seconds: u64) -> Result<Started> {
    let directory = PathBuf::from(format!("/tmp/mainstay-xtask-{}", std::process::id()));
    std::fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let manifest = directory.join("echo.yaml");
    std::fs::write(&manifest, MANIFEST)?;
    let log = directory.join("server.log");
    let began = Instant::now();
    let server = Command::new(binary)
        .args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&directory)
        .arg("-f")
        .arg(&manifest)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log)?)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let mut instance = Instance { binary, directory, server };
    let ready = until(&mut instance, began, &log, |_| said_ready(&log))?;
    let first_answer = until(&mut instance, began, &log, answered)?;
    std::thread::sleep(Duration::from_secs(idle_seconds));
    let memory = memory::shares(instance.server.id())?;
    Ok(Started { ready, first_answer, memory })
}

/// Asks again and again until `done`; how long after `began` that was.
fn until(
    instance: &mut Instance<'_>,
    began: Instant,
    log: &Path,
    mut done: impl FnMut(&Instance<'_>) -> Result<bool>,
) -> Result<Duration> {
    while !done(instance)? {
        let ended = instance.server.try_wait()?;
        if ended.is_some() || began.elapsed() > PATIENCE {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            bail!("the instance is not there after {:?} ({ended:?}):\n{text}", began.elapsed());
        }
        // The instance needs the processor more than this loop does.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(began.elapsed())
}

fn said_ready(log: &Path) -> Result<bool> {
    Ok(std::fs::read_to_string(log)?.contains("ready in "))
}

/// One request from the node to the Service's address, by a new process.
fn answered(instance: &Instance<'_>) -> Result<bool> {
    let url = format!("http://{ADDRESS}/");
    let output = Command::new(instance.binary)
        .args(["exec", "--data-dir"])
        .arg(&instance.directory)
        .args(["--", "curl", "-s", "-f", "-m", "1", &url])
        .stdin(Stdio::null())
        .output()?;
    Ok(output.status.success())
}
