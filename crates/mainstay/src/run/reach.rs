//! Addresses by which others reach this node: fixed in a sandbox, the host's own (which change) in host mode.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Network;
use crate::host::Host;

/// The addresses, as they change.
#[derive(Clone)]
pub(crate) struct Reach {
    /// The node's InternalIPs.
    pub(crate) primary: watch::Receiver<Vec<IpAddr>>,
    /// Where node ports are served.
    pub(crate) node_ports: watch::Receiver<Vec<IpAddr>>,
}

impl Reach {
    /// Of a host, or of a sandbox.
    pub(crate) fn of(host: Option<&Arc<Host>>, network: &Network) -> Self {
        match host {
            Some(host) => Self { primary: host.primary(), node_ports: host.node_ports() },
            None => {
                let fixed = watch::channel(network.node_addresses.clone()).1;
                Self { primary: fixed.clone(), node_ports: fixed }
            }
        }
    }
}
