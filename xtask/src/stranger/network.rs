//! Two network namespaces out: the stranger's machine and its LAN, joined by a cable. Removed when dropped.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// The machine's network and the LAN's.
#[derive(Debug)]
pub(crate) struct Network {
    host: String,
    lan: String,
    keep: std::cell::Cell<bool>,
}

impl Network {
    /// Makes both. The machine is 192.0.2.10 and 2001:db8::10; its router, and a neighbour, is .1 and ::1.
    /// `number` tells networks of one process apart.
    pub(crate) fn make(number: usize) -> Result<Self> {
        let id = format!("{}-{number}", std::process::id());
        let network = Self {
            host: format!("stranger-{id}"),
            lan: format!("stranger-lan-{id}"),
            keep: std::cell::Cell::new(false),
        };
        let (host, lan) = (&network.host, &network.lan);
        for line in [
            format!("netns add {host}"),
            format!("netns add {lan}"),
            format!("-n {host} link add eth0 address 02:00:00:00:00:10 type veth peer name cable netns {lan}"),
            format!("-n {host} link set lo up"),
            format!("-n {lan} link set lo up"),
            format!("-n {lan} link set cable up"),
            format!("-n {host} link set eth0 up"),
            format!("-n {lan} addr add 192.0.2.1/24 dev cable"),
            format!("-n {lan} addr add 2001:db8::1/64 dev cable nodad"),
            format!("-n {host} addr add 192.0.2.10/24 dev eth0"),
            format!("-n {host} addr add 2001:db8::10/64 dev eth0 nodad"),
            format!("-n {host} route add default via 192.0.2.1"),
            format!("-n {host} route add default via 2001:db8::1"),
        ] {
            ip(&line)?;
        }
        Ok(network)
    }

    /// Path of the machine's namespace.
    pub(crate) fn namespace(&self) -> String {
        format!("/run/netns/{}", self.host)
    }

    /// What a neighbour on the LAN gets from the machine.
    pub(crate) fn ask(&self, url: &str) -> Result<String> {
        let ask = ["netns", "exec", &self.lan, "curl", "-fsS", "--globoff", "--max-time", "10", url];
        let output = Command::new("ip").args(ask).output().context("cannot start ip")?;
        if !output.status.success() {
            bail!("{url} from the LAN: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    }

    /// Leaves both when this ends.
    pub(crate) fn keep(&self) {
        self.keep.set(true);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.keep.get() {
            return;
        }
        for name in [&self.host, &self.lan] {
            if let Err(error) = ip(&format!("netns del {name}")) {
                eprintln!("xtask: {error:#}");
            }
        }
    }
}

fn ip(line: &str) -> Result<()> {
    let output = Command::new("ip").args(line.split(' ')).output().context("cannot start ip")?;
    if !output.status.success() {
        bail!("ip {line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
