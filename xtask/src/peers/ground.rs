//! Network namespaces: nothing in, a place for an API server and fresh nodes beside it out; all are gone when dropped.
//!
//! A node has a cable to the API server's namespace and two pods, a client and a server with two addresses.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

/// Where the API server listens.
pub(super) const API: &str = "192.0.2.1";
/// The node's own address.
pub(super) const NODE: &str = "192.0.2.2";
/// Addresses of the server pod.
pub(super) const SERVERS: [&str; 2] = ["10.240.1.10", "10.240.1.11"];
/// Processors: the API server and clients have the first, a server the second, a proxy under test both.
pub(super) const API_CPU: &str = "0";
/// See [`API_CPU`].
pub(super) const PROXY_CPUS: &str = "0,1";

/// The namespace of the API server, and a directory for everything.
pub(super) struct Ground {
    api: String,
    directory: PathBuf,
    nodes: AtomicUsize,
}

impl Ground {
    /// Makes both.
    pub(super) fn make() -> Result<Self> {
        let id = std::process::id();
        let directory = std::env::temp_dir().join(format!("mainstay-peers-{id}"));
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let ground = Self { api: format!("peers-{id}-api"), directory, nodes: AtomicUsize::new(0) };
        add(&ground.api)?;
        ip(&["-n", &ground.api, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &ground.api, "address", "add", &format!("{API}/24"), "dev", "bridge"])?;
        ip(&["-n", &ground.api, "link", "set", "bridge", "up"])?;
        Ok(ground)
    }

    /// Name of the API server's namespace.
    pub(super) fn api(&self) -> &str {
        &self.api
    }

    /// A command in the API server's namespace, on its processor.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command(&self.api, API_CPU, program)
    }

    /// Where files go.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A node that nobody has touched.
    pub(super) fn node(&self) -> Result<Node> {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        let name = |what: &str| format!("peers-{}-{what}{number}", std::process::id());
        let node = Node { node: name("node"), client: name("client"), server: name("server") };
        for name in [&node.node, &node.client, &node.server] {
            add(name)?;
        }
        let cable = |there: &str, inside: &str, outside: &str, to: &str| {
            ip(&["-n", there, "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", to])
        };
        let up = |name: &str, device: &str, addresses: &[&str]| -> Result<()> {
            for address in addresses {
                ip(&["-n", name, "address", "add", address, "dev", device])?;
            }
            ip(&["-n", name, "link", "set", device, "up"])
        };
        let outside = format!("node{number}");
        cable(&self.api, "eth0", &outside, &node.node)?;
        ip(&["-n", &self.api, "link", "set", &outside, "master", "bridge", "up"])?;
        up(&node.node, "eth0", &[&format!("{NODE}/24")])?;
        ip(&["-n", &node.node, "route", "add", "default", "via", API])?;
        cable(&node.node, "eth0", "client", &node.client)?;
        cable(&node.node, "eth0", "server", &node.server)?;
        up(&node.node, "client", &["10.240.1.1/29"])?;
        up(&node.client, "eth0", &["10.240.1.2/29"])?;
        ip(&["-n", &node.client, "route", "add", "default", "via", "10.240.1.1"])?;
        up(&node.node, "server", &["10.240.1.9/29"])?;
        up(&node.server, "eth0", &SERVERS.map(|address| format!("{address}/29")).each_ref().map(String::as_str))?;
        ip(&["-n", &node.server, "route", "add", "default", "via", "10.240.1.9"])?;
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
        shell(&node.node, forward)?;
        // A flow of a probe is forgotten before its port comes again.
        let forget = "cd /proc/sys/net/netfilter; for name in udp_timeout udp_timeout_stream; do echo 3 > nf_conntrack_$name; done";
        shell(&node.node, forget)?;
        // Thousands of connections a second to one address use up the ports of one minute otherwise.
        let ports =
            "echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse; echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range";
        shell(&node.client, ports)?;
        Ok(node)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        remove(&self.api);
        if std::env::var_os("PEERS_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// A node and its pods.
pub(super) struct Node {
    /// Names of the namespaces.
    pub(super) node: String,
    /// See [`Node::node`].
    pub(super) client: String,
    /// See [`Node::node`].
    pub(super) server: String,
}

impl Node {
    /// A command on the node.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command(&self.node, PROXY_CPUS, program)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for name in [&self.client, &self.server, &self.node] {
            remove(name);
        }
    }
}

/// A command in a namespace, on some processors. It replaces itself by the program: the process is the program's.
pub(super) fn command(namespace: &str, processors: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "taskset", "-c", processors]).arg(program);
    command
}

fn add(name: &str) -> Result<()> {
    ip(&["netns", "add", name])?;
    ip(&["-n", name, "link", "set", "lo", "up"])
}

fn remove(name: &str) {
    if let Err(error) = ip(&["netns", "delete", name]) {
        eprintln!("xtask: {error:#}");
    }
}

fn shell(namespace: &str, text: &str) -> Result<()> {
    ip(&["netns", "exec", namespace, "sh", "-c", text])
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run ip (package iproute2)")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
