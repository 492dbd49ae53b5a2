//! Two network namespaces and a cable: nothing in, a host and its LAN out; both are gone when dropped.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Addresses of the host and of the machine in its LAN.
pub(super) const HOST: &str = "192.0.2.1";
const LAN: &str = "192.0.2.2";

/// The namespaces and a directory for the instance.
pub(super) struct World {
    host: String,
    lan: String,
    directory: PathBuf,
}

impl World {
    /// Makes everything.
    pub(super) fn make() -> Result<Self> {
        let id = std::process::id();
        let directory = PathBuf::from(format!("/var/tmp/mainstay-chaos-{id}"));
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let world = Self { host: format!("chaos-{id}-host"), lan: format!("chaos-{id}-lan"), directory };
        for name in [&world.host, &world.lan] {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        ip(&["-n", &world.host, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", &world.lan])?;
        for (name, address) in [(&world.host, HOST), (&world.lan, LAN)] {
            ip(&["-n", name, "address", "add", &format!("{address}/24"), "dev", "eth0"])?;
            ip(&["-n", name, "link", "set", "eth0", "up"])?;
        }
        ip(&["-n", &world.host, "route", "add", "default", "via", LAN])?;
        // Thousands of connections a second to one address use up the ports of one minute otherwise.
        for name in [&world.host, &world.lan] {
            ip(&[
                "netns",
                "exec",
                name,
                "sh",
                "-c",
                "echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse; \
                 echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range",
            ])?;
        }
        Ok(world)
    }

    /// A command on the host.
    pub(super) fn host(&self, program: &Path) -> Command {
        command(&self.host, program)
    }

    /// A command on the machine in the LAN.
    pub(super) fn lan(&self, program: &Path) -> Command {
        command(&self.lan, program)
    }

    /// Where the instance keeps everything.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in [&self.host, &self.lan] {
            if let Err(error) = ip(&["netns", "delete", name]) {
                eprintln!("xtask: {error:#}");
            }
        }
        if std::env::var_os("CHAOS_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

fn command(namespace: &str, program: &Path) -> Command {
    // Replaces itself by the program: the process that is started is the program's.
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run ip (package iproute2)")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
