//! The two proxies: a node and a kubeconfig in, a running one that has programmed everything out.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::api::{Api, NODE_NAME};
use super::ground::{Ground, Node};
use super::process::{Process, output};
use super::sources::Peers;

/// How long a proxy may take to program everything; kube-proxy takes minutes for a hundred thousand endpoints.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// `mainstay node`.
    Mainstay,
    /// kube-proxy in nftables mode.
    KubeProxy,
}

/// Both, in the order of every round.
pub(super) const SIDES: [Side; 2] = [Side::KubeProxy, Side::Mainstay];

impl Side {
    /// Its name in figures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mainstay => "mainstay",
            Self::KubeProxy => "kube_proxy",
        }
    }

    /// The map that has an element for every port of a Service.
    fn map(self) -> [&'static str; 3] {
        match self {
            Self::Mainstay => ["inet", "mainstay", "front4"],
            Self::KubeProxy => ["ip", "kube-proxy", "service-ips"],
        }
    }
}

/// What proxies are started from.
pub(super) struct Programs<'a> {
    /// Mainstay.
    pub(super) binary: &'a Path,
    /// The build of it that plays the node role.
    pub(super) node: &'a Path,
    /// kube-proxy among others.
    pub(super) peers: &'a Peers,
    /// Which are measured, in the order of every round.
    pub(super) sides: Vec<Side>,
}

/// A proxy that has programmed everything.
pub(super) struct Proxy {
    process: Process,
    /// From its start to its last rule.
    pub(super) cold: Duration,
}

impl Proxy {
    /// Starts it on a node and waits until it has programmed everything.
    pub(super) fn start(side: Side, programs: &Programs<'_>, ground: &Ground, node: &Node, api: &Api) -> Result<Self> {
        Self::start_with(side, &[], programs, ground, node, api)
    }

    /// The same with more flags.
    pub(super) fn start_with(
        side: Side,
        flags: &[&str],
        programs: &Programs<'_>,
        ground: &Ground,
        node: &Node,
        api: &Api,
    ) -> Result<Self> {
        let log = ground.directory().join(format!("{}-{}.log", node.node, side.name()));
        let mut command = match side {
            Side::KubeProxy => kube_proxy(&programs.peers.program("kube-proxy"), ground, node, api)?,
            Side::Mainstay => mainstay(programs.node, node, api),
        };
        command.args(flags);
        let mut process = Process::start(side.name(), command, &log)?;
        let cold = process.until(PATIENCE, |log| is_complete(side, log))?;
        Ok(Self { process, cold })
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to end; its rules stay.
    pub(super) fn stop(mut self) -> Result<()> {
        self.process.stop()
    }
}

/// What its log says when the first complete state is in the kernel.
fn is_complete(side: Side, log: &str) -> bool {
    match side {
        // Each family has its own; lists that are empty because nothing has come yet are not synced.
        Side::KubeProxy => ["IPv4", "IPv6"].iter().all(|family| {
            log.lines().any(|line| line.contains("SyncProxyRules complete") && line.contains(&format!("\"{family}\"")))
        }),
        Side::Mainstay => log.contains("programmed at revision"),
    }
}

fn kube_proxy(program: &Path, ground: &Ground, node: &Node, api: &Api) -> Result<Command> {
    let config = format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n\
         clientConnection: {{kubeconfig: {}}}\nhostnameOverride: {NODE_NAME}\n\
         clusterCIDR: 10.240.0.0/12\ndetectLocalMode: ClusterCIDR\nconntrack: {{maxPerCore: 0, min: 0}}\n\
         healthzBindAddress: 127.0.0.1:10256\nmetricsBindAddress: 127.0.0.1:10249\n",
        api.kubeconfig().display()
    );
    let path: PathBuf = ground.directory().join(format!("{}.yaml", node.node));
    std::fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = node.command(program);
    command.arg("--config").arg(path).arg("-v=2");
    Ok(command)
}

fn mainstay(program: &Path, node: &Node, api: &Api) -> Command {
    let mut command = node.command(program);
    command.args(["node", "--hostname-override", NODE_NAME, "--cluster-cidr", "10.240.0.0/12"]);
    command.args(["--conntrack-max-per-core", "0", "--conntrack-min", "0", "--kubeconfig"]);
    command.arg(api.kubeconfig());
    command
}

/// Checks that the kernel has an element for every Service: what the log says is not enough.
pub(super) fn check_complete(side: Side, node: &Node, services: usize) -> Result<()> {
    let [family, table, map] = side.map();
    let text = output(node.command("nft").args(["list", "map", family, table, map]))?;
    let elements = text.matches(if side == Side::KubeProxy { "goto" } else { " : " }).count();
    if elements < services {
        bail!(
            "{} programmed {elements} of {services} Services:\n{}",
            side.name(),
            text.lines().take(6).collect::<String>()
        );
    }
    Ok(())
}

/// Takes everything of ours away; `--take-over` does that with what is kube-proxy's.
pub(super) fn clean_up(programs: &Programs<'_>, node: &Node) -> Result<()> {
    output(node.command(programs.node).args(["node", "--cleanup"])).map(|_| ())
}
