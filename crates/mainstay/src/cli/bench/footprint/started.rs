//! A program in, an instance of it in a directory of its own out, observed from outside; both are gone when dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kernel::usage::{self, Usage};

/// Longest wait for readiness or the first answer; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Address of the Service in the manifest.
const URL: &str = "http://10.96.100.1/";

/// A started instance.
pub(in crate::cli::bench) struct Started {
    program: PathBuf,
    flags: Vec<String>,
    directory: PathBuf,
    began: Instant,
    server: Option<Child>,
}

impl Started {
    /// Starts an instance. `prepare` gets its directory before and returns more flags.
    pub(in crate::cli::bench) fn new(
        program: &Path,
        flags: &[&str],
        prepare: impl FnOnce(&Path) -> Result<Vec<String>>,
    ) -> Result<Self> {
        let directory = crate::cli::throw_away::directory("footprint")?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut started = Self { program: program.to_owned(), flags, directory, began: Instant::now(), server: None };
        let more = prepare(&started.directory)?;
        started.flags.extend(more);
        started.start()?;
        Ok(started)
    }

    fn start(&mut self) -> Result<()> {
        let log = std::fs::File::create(self.log())?;
        self.began = Instant::now();
        let server = Command::new(&self.program)
            .args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&self.directory)
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.server = Some(server.with_context(|| format!("cannot start {}", self.program.display()))?);
        Ok(())
    }

    /// Kills the server and starts another on what it left.
    pub(in crate::cli::bench) fn restart(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill().context("cannot kill the server")?;
            server.wait()?;
        }
        self.start()
    }

    /// What its dataplane did since its start, by name of the total.
    pub(in crate::cli::bench) fn programming(&self) -> Result<serde_json::Value> {
        let output = self.command("status").args(["-o", "json"]).output()?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("mainstay status: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok(status["programming"].clone())
    }

    /// How long after its start it said that it is ready.
    pub(in crate::cli::bench) fn ready(&mut self) -> Result<Duration> {
        self.until(|started| Ok(std::fs::read_to_string(started.log())?.contains("ready in ")))
    }

    /// How long after its start a request through the Service was answered.
    pub(super) fn first_answer(&mut self) -> Result<Duration> {
        self.until(|started| {
            let asked = started.command("exec").args(["--", "curl", "-s", "-f", "-m", "1", URL]).output()?;
            Ok(asked.status.success())
        })
    }

    /// Lets it rest; the processor time that all of its processes took meanwhile, in percent of one processor, and what
    /// they use in the end.
    pub(super) fn rest(&self, rest: Duration) -> Result<(f64, Vec<Usage>)> {
        let (before, began) = (self.usages()?, Instant::now());
        std::thread::sleep(rest);
        let (after, took) = (self.usages()?, began.elapsed());
        let cpu = |usages: &[Usage]| usages.iter().map(|usage| usage.cpu).sum::<Duration>().as_secs_f64();
        let percent = 100.0 * (cpu(&after) - cpu(&before)) / took.as_secs_f64();
        Ok(((percent * 100.0).round() / 100.0, after))
    }

    fn usages(&self) -> Result<Vec<Usage>> {
        let server = self.server.as_ref().context("the instance was not started")?;
        let family = usage::family(server.id())?;
        family.into_iter().map(usage::of).collect::<std::io::Result<_>>().context(
            "cannot read the memory of the instance's processes.\nThose in namespaces are shown to root: try sudo",
        )
    }

    /// Asks again and again until `done`; how long after the start that was.
    fn until(&mut self, done: impl Fn(&Self) -> Result<bool>) -> Result<Duration> {
        while !done(self)? {
            let ended = self.server.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || self.began.elapsed() > PATIENCE {
                let text = std::fs::read_to_string(self.log()).unwrap_or_default();
                bail!("the instance is not there after {:?} ({ended:?}):\n{text}", self.began.elapsed());
            }
            // The instance needs the processor more than this loop does.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(self.began.elapsed())
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([verb, "--data-dir"]).arg(&self.directory).stdin(Stdio::null());
        command
    }

    fn log(&self) -> PathBuf {
        self.directory.join("server.log")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let down = self.command("down").output();
        if !down.is_ok_and(|output| output.status.success()) {
            eprintln!("mainstay: the instance in {} is left: type mainstay down", self.directory.display());
            return;
        }
        let _ended = self.server.as_mut().map(Child::wait);
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("mainstay: cannot remove {}: {error}", self.directory.display());
        }
    }
}
