//! A command in, a process that writes into a file and ends when dropped out.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a log is looked at: rarely enough not to be seen on a processor.
const LOOK: Duration = Duration::from_millis(3);
/// How long a process may take to end after it was asked.
const END: Duration = Duration::from_secs(15);

/// A running process.
pub(super) struct Process {
    name: String,
    child: Child,
    began: Instant,
    log: PathBuf,
}

impl Process {
    /// Starts it; standard output and error go into `log`.
    pub(super) fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, began, log: log.to_owned() })
    }

    /// Its id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its log says what `done` looks for; how long after its start that was.
    pub(super) fn until(&mut self, patience: Duration, done: impl Fn(&str) -> bool) -> Result<Duration> {
        loop {
            let text = String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned();
            if done(&text) {
                return Ok(self.began.elapsed());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || self.began.elapsed() > patience {
                let lines: Vec<&str> = text.lines().collect();
                let tail = lines[lines.len().saturating_sub(15)..].join("\n");
                bail!("{} is not there after {:?} ({ended:?}):\n{tail}", self.name, self.began.elapsed());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Asks it to end, and waits.
    pub(super) fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // By its id: it is our own child and not yet waited for.
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().context("cannot run kill")?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > END {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} did not end within {END:?} and was killed", self.name);
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("xtask: {error:#}");
        }
    }
}

/// Standard output of a command that must succeed.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
