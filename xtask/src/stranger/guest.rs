//! A root directory in; a machine with systemd as its init out, by systemd-nspawn in a network namespace of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A running machine. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Guest {
    nspawn: Child,
    leader: i32,
    keep: bool,
}

/// What a step did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) lines: Vec<String>,
}

/// How long a machine may take to boot or to end: this box is slow at times.
const PATIENCE: Duration = Duration::from_secs(180);

impl Guest {
    /// Boots, and waits until systemd has started what it was to start.
    pub(crate) fn boot(root: &Path, network: &str) -> Result<Self> {
        let log = root.with_extension("log");
        let nspawn = Command::new("systemd-nspawn")
            // Sysctls of its own network are the machine's to set.
            .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
            .arg("--quiet")
            .arg("--boot")
            .args(["--register=no", "--keep-unit", "--console=pipe", "--capability=all", "--machine=stranger"])
            .args(["--hostname=stranger", "--resolv-conf=off", "--timezone=off", "--link-journal=no"])
            .arg(format!("--network-namespace-path={network}"))
            .arg(format!("--directory={}", root.display()))
            .args(["--", "systemd.show_status=no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .context("cannot start systemd-nspawn.\nType: apt-get install systemd-container")?;
        let mut guest = Self { nspawn, leader: 0, keep: false };
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = guest.nspawn.try_wait()? {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("systemd-nspawn ended: {status}: {}", said.trim());
            }
            guest.leader = guest.leader_now().unwrap_or(0);
            let state =
                if guest.leader == 0 { String::new() } else { guest.say("systemctl is-system-running 2>&1")? };
            if ["running", "degraded"].contains(&state.trim()) {
                guest.say("while ip -6 address show tentative | grep -q .; do sleep 0.1; done")?;
                return Ok(guest);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        bail!("the machine did not boot in {} s", PATIENCE.as_secs())
    }

    /// The init of the machine as this host sees it: the child of nspawn (its pid 1).
    fn leader_now(&self) -> Option<i32> {
        let id = self.nspawn.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        let child = children.split_whitespace().last()?.parse().ok()?;
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (name.trim() == "systemd").then_some(child)
    }

    pub(crate) fn leader(&self) -> i32 {
        self.leader
    }

    /// Lets the machine go on when this ends.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.leader.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"])
            .args(["--root", "--wd", "--"])
            .args(["env", "-i", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(["LC_ALL=C.UTF-8", "sh", "-euc", script])
            .stdin(Stdio::null());
        command
    }

    fn say(&self, script: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.shell(script).output()?.stdout).into_owned())
    }

    /// Runs a step as root. With `cut` the step is not waited for to its end: it prints `CUT` when the power may go.
    pub(crate) fn run(&self, script: &str, cut: bool) -> Result<Outcome> {
        let script = format!(". /root/stranger/lib.sh\n{script}");
        let log = tempfile::NamedTempFile::new()?;
        let said = log.reopen()?;
        let mut child = self.shell(&script).stdout(said.try_clone()?).stderr(said).spawn()?;
        let read = || std::fs::read_to_string(log.path()).unwrap_or_default();
        let success = loop {
            if let Some(status) = child.try_wait()? {
                break status.success() && !cut;
            }
            if cut && read().contains("CUT") {
                break true;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Ok(Outcome { success, lines: read().lines().map(str::to_owned).collect() })
    }

    /// Ends the machine: in order, or every process at once, in the middle of whatever it does. Files keep what was written,
    /// synced or not: what a disk loses is the crash harness's matter.
    pub(crate) fn end(&mut self, in_order: bool) -> Result<()> {
        self.keep = true;
        if in_order {
            self.say("systemctl poweroff 2>&1")?;
        } else {
            // Killing the init ends all.
            let status = Command::new("kill").args(["-9", &self.leader.to_string()]).status()?;
            if !status.success() {
                self.nspawn.kill()?;
            }
        }
        let began = Instant::now();
        while self.nspawn.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                bail!("the machine did not end in {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !self.keep && self.leader != 0 {
            let _ = self.end(false);
        }
    }
}
