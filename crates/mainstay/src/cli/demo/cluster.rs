//! The throw-away sandbox of the demo: started and used as a person would, through commands and the API.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cli::client::Client;
use crate::cli::load::{Outcome, STARTED};

/// How long any single wait of the demo may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a waited-for state is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A running sandbox and how to talk to it.
pub(crate) struct Cluster {
    /// The API.
    pub(crate) api: Client,
    program: PathBuf,
    directory: PathBuf,
    server: Server,
    keep: bool,
}

/// The server of the sandbox. Unless it is to be kept it ends, and its sandbox with it, when this is dropped: also while it
/// starts, and when the demo is interrupted.
struct Server {
    child: Child,
    keep: bool,
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.keep || !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::TERM);
        }
        let began = std::time::Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() > PATIENCE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Cluster {
    /// Starts `mainstay up --sandbox` in `directory` and waits until it says it is ready.
    pub(crate) async fn start(directory: &Path, extra: &[String], keep: bool) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own path")?;
        let log = std::fs::File::create(directory.join("server.log")).context("cannot write the server's log")?;
        let mut command = Command::new(&program);
        command
            .args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--faults", "--data-dir"])
            .arg(directory)
            .args(extra);
        if keep {
            // The server outlives the demo, so the demo's Ctrl-C must not reach it.
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        let server = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let child = server.with_context(|| format!("cannot start {}", program.display()))?;
        let mut server = Server { child, keep };
        let kubeconfig = directory.join("kubeconfig");
        let began = Instant::now();
        loop {
            if let Some(status) = server.child.try_wait()? {
                let log = std::fs::read_to_string(directory.join("server.log")).unwrap_or_default();
                bail!("the server ended with {status}:\n{log}");
            }
            if directory.join("instance.json").exists()
                && let Ok(api) = Client::from_kubeconfig(&kubeconfig)
                && api.get("/readyz").await.is_ok_and(|answer| answer.code == 200)
            {
                return Ok(Self { api, program, directory: directory.to_owned(), server, keep });
            }
            if began.elapsed() > PATIENCE {
                bail!(
                    "the server is not ready after {PATIENCE:?}; its log: {}",
                    directory.join("server.log").display()
                );
            }
            sleep(LOOK).await;
        }
    }

    /// Directory of the sandbox.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Creates every object of a file of manifests.
    pub(crate) async fn create(&self, manifests: &str) -> Result<()> {
        for object in crate::manifest::parse(manifests)? {
            let path = crate::manifest::collection(&object)?;
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            self.api.post(&path, &object).await?.ok().with_context(|| format!("cannot create {path}/{name}"))?;
        }
        Ok(())
    }

    /// A command in the node's network, or in a pod given as `namespace/name`.
    pub(crate) fn command(&self, pod: Option<&str>, argv: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["exec", "--data-dir"]).arg(&self.directory);
        if let Some(pod) = pod {
            command.args(["--pod", pod]);
        }
        command.arg("--").args(argv);
        command
    }

    /// Runs a command to its end: standard output if it succeeded.
    pub(crate) async fn run(&self, pod: Option<&str>, argv: &[&str]) -> Result<String> {
        let mut command = self.command(pod, argv);
        command.stdin(Stdio::null());
        let output: Output = tokio::task::spawn_blocking(move || command.output()).await??;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(anyhow!(
            "{} ended with {}: {}",
            argv.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }

    /// Starts a load on `target` inside a pod and waits until it makes connections; it ends when its standard input is
    /// closed.
    pub(crate) async fn load(&self, pod: &str, target: &str, rate: u32) -> Result<Load> {
        let rate = rate.to_string();
        let argv = ["load", target, "--rate", &rate, "--seconds", "30"];
        let mut command = self.command(Some(pod), &argv);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start the load")?;
        let output = BufReader::new(child.stdout.take().context("the load has no output")?);
        tokio::task::spawn_blocking(move || {
            let mut load = Load { child, output };
            let mut line = String::new();
            load.output.read_line(&mut line)?;
            if line.trim() == STARTED {
                return Ok(load);
            }
            let mut why = String::new();
            load.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut why)).transpose()?;
            bail!("the load did not start: {}", why.trim())
        })
        .await?
    }

    /// Ends a load and returns what it counted.
    pub(crate) async fn finish(mut load: Load) -> Result<Outcome> {
        drop(load.child.stdin.take());
        let text = tokio::task::spawn_blocking(move || -> Result<String> {
            let mut text = String::new();
            load.output.read_to_string(&mut text)?;
            load.child.wait()?;
            Ok(text)
        });
        outcome(&text.await??)
    }

    /// `count` connections to `target` from a pod.
    pub(crate) async fn requests(&self, pod: &str, target: &str, count: u32) -> Result<Outcome> {
        let count = count.to_string();
        outcome(&self.run(Some(pod), &["load", target, "--rate", "4000", "--count", &count]).await?)
    }

    /// An object, or null if there is none.
    pub(crate) async fn object(&self, path: &str) -> Result<Value> {
        let answer = self.api.get(path).await?;
        if answer.code == 404 { Ok(Value::Null) } else { answer.ok() }
    }

    /// Waits until what `path` shows satisfies `done`; the last value otherwise goes into the error.
    pub(crate) async fn wait(&self, path: &str, what: &str, done: impl Fn(&Value) -> bool) -> Result<Value> {
        let began = Instant::now();
        loop {
            let value = self.object(path).await?;
            if done(&value) {
                return Ok(value);
            }
            if began.elapsed() > PATIENCE {
                bail!("{what}: not after {PATIENCE:?}; {path} shows {}", shorten(&value.to_string()));
            }
            sleep(LOOK).await;
        }
    }

    /// Scales a Deployment of the default namespace and waits until the Service's endpoints follow everywhere.
    pub(crate) async fn scale(&self, name: &str, service: &str, replicas: u64) -> Result<()> {
        let path = format!("/apis/apps/v1/namespaces/default/deployments/{name}");
        self.api.merge(&format!("{path}/scale"), &json!({ "spec": { "replicas": replicas } })).await?.ok()?;
        self.ready_endpoints("default", service, replicas as usize).await
    }

    /// Waits until exactly `count` endpoints of a Service are ready, and all nodes have applied that.
    pub(crate) async fn ready_endpoints(&self, namespace: &str, service: &str, count: usize) -> Result<()> {
        let selector = format!("kubernetes.io%2Fservice-name%3D{service}");
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={selector}");
        let slices = self.wait(&path, "endpoints", |slices| ready_addresses(slices) == count).await?;
        let revision = slices["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
        let revision = revision.context("a list without resourceVersion")?;
        self.applied(revision).await
    }

    /// Waits until a pod is ready.
    pub(crate) async fn pod_ready(&self, namespace: &str, name: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let ready = |pod: &Value| {
            let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        self.wait(&path, "the pod to be ready", ready).await.map(|_| ())
    }

    /// Waits until the node has applied `revision`.
    pub(crate) async fn applied(&self, revision: u64) -> Result<()> {
        let reached = |status: &Value| status["applied"].as_u64().is_some_and(|applied| applied >= revision);
        self.wait("/mainstay/status", "applied revision", reached).await.map(|_| ())
    }

    /// Sets the faults of this sandbox (it was started with `--faults`).
    pub(crate) async fn faults(&self, apply_delay_ms: u64, drain: bool) -> Result<()> {
        let faults = json!({ "applyDelayMs": apply_delay_ms, "drain": drain });
        self.api.put("/mainstay/faults", &faults).await?.ok().context("cannot set faults")?;
        Ok(())
    }

    /// Stops the sandbox, unless it is to be kept.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if self.keep {
            return Ok(());
        }
        down(self.program, self.directory).await?;
        let _ = tokio::task::spawn_blocking(move || self.server.child.wait()).await?;
        Ok(())
    }
}

/// Ends whatever of a sandbox is left.
pub(crate) async fn down(program: PathBuf, directory: PathBuf) -> Result<()> {
    let mut down = Command::new(program);
    down.args(["down", "--data-dir"]).arg(directory).stdin(Stdio::null()).stdout(Stdio::null());
    let output = tokio::task::spawn_blocking(move || down.output()).await??;
    if !output.status.success() {
        bail!("mainstay down: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// A running load.
pub(crate) struct Load {
    child: Child,
    output: BufReader<ChildStdout>,
}

/// The last line of a load's output.
fn outcome(text: &str) -> Result<Outcome> {
    let last = text.trim().lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("the load said {text:?}"))
}

/// Ready IPv4 endpoints in a list of slices.
pub(crate) fn ready_addresses(slices: &Value) -> usize {
    let items = slices["items"].as_array();
    let v4 = items.into_iter().flatten().filter(|slice| slice["addressType"] == "IPv4");
    v4.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten())
        .filter(|endpoint| endpoint["conditions"]["ready"] == true)
        .count()
}

fn shorten(text: &str) -> String {
    text.chars().take(300).collect()
}
