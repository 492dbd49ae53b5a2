//! The flags of `mainstay up` that only host mode has.

use clap::Args;

use super::NodePorts;

/// Flags of host mode.
#[derive(Args, Debug)]
pub(crate) struct HostFlags {
    /// Run on this host itself: its programs reach Services, pods reach the network. Lists what it changes, and asks; mainstay
    /// down takes it back. Needs root
    #[arg(long, conflicts_with = "sandbox")]
    pub(crate) host: bool,
    /// Addresses of this host that serve node ports: `primary` (those of the default route), `all`, or ranges
    #[arg(long, default_value = "primary", value_name = "CIDR[,CIDR]|primary|all", conflicts_with = "sandbox")]
    pub(super) nodeport_addresses: String,
    /// Agree to the changes of this host without being asked
    #[arg(long, requires = "host", conflicts_with = "sandbox")]
    pub(super) yes: bool,
    /// Where a firewall, Docker or a VPN of this host would eat packets of pods, make the lines that let them pass, and make
    /// them again when they are lost; mainstay down takes them back. Without it, such a host is refused with those lines
    #[arg(long, requires = "host", conflicts_with = "sandbox")]
    pub(super) fix_forward: bool,
    /// Only list what would be changed on this host
    #[arg(long, requires = "host", conflicts_with = "sandbox")]
    pub(super) dry_run: bool,
}

impl HostFlags {
    /// Which addresses serve node ports.
    pub(super) fn node_ports(&self) -> anyhow::Result<NodePorts> {
        self.nodeport_addresses.parse().map_err(|why: String| anyhow::anyhow!("--nodeport-addresses {why}"))
    }
}
