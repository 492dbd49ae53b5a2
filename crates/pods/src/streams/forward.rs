//! A pod and a port in, a connection to it from inside the pod's own network out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use api::object::ObjectKey;
use api::status::Status;
use contract::streams::Connection;
use k8s_openapi::api::core::v1::Pod;
use kernel::namespace;
use tokio::net::{TcpSocket, TcpStream};

use crate::kubelet::Node;

/// Connects to `localhost` as a program of the pod would, IPv4 first. Parts of Mainstay listen on the pod's addresses only.
pub(super) async fn connect(node: &Arc<Node>, key: &ObjectKey, pod: &Pod, port: u16) -> Result<Connection, Status> {
    let failed = |why: &str| {
        let message = format!("failed to connect to localhost:{port} inside namespace \"{key}\", {why}");
        Status { message, ..Status::internal(why) }
    };
    let (worker, uid) = (node.clone(), pod.metadata.uid.clone().unwrap_or_default());
    let shared = shares_network(node, pod);
    let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    if shared {
        let own = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
        addresses.extend(own.filter_map(|own| own.ip.parse::<IpAddr>().ok()));
    }
    let sockets = tokio::task::spawn_blocking(move || sockets(&worker, &uid, shared, &addresses)).await;
    let sockets = sockets.map_err(|error| failed(&error.to_string()))?.map_err(|error| failed(&error.to_string()))?;
    let mut refusals = Vec::new();
    for (address, socket) in sockets {
        match dial(socket, SocketAddr::new(address, port)).await {
            Ok(stream) => return Ok(Box::new(stream)),
            Err(why) => refusals.push(format!("{}: {why}", if address.is_ipv4() { "IPv4" } else { "IPv6" })),
        }
    }
    Err(failed(&refusals.join(" ")))
}

/// Whether a pod uses the node's network: by its spec, or because it is a part of Mainstay.
fn shares_network(node: &Node, pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let built_in = |image: Option<&str>| node.built_ins.iter().any(|known| Some(known.image()) == image);
    spec.host_network == Some(true) || spec.containers.iter().any(|container| built_in(container.image.as_deref()))
}

/// A socket for each address, which belongs to the pod's network for ever; none where the kernel lacks the family.
fn sockets(node: &Node, uid: &str, shared: bool, addresses: &[IpAddr]) -> io::Result<Vec<(IpAddr, Option<TcpSocket>)>> {
    let socket = |address: &IpAddr| if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let make = || Ok(addresses.iter().map(|address| (*address, socket(address).ok())).collect());
    if shared {
        return namespace::within_net(node.netns.as_fd(), make);
    }
    // Asking for the network of a pod that has none would make one.
    if !node.client.runs(uid)? {
        return Err(io::Error::other("no container of the pod is running"));
    }
    let network: OwnedFd = node.client.pod_netns(uid)?;
    namespace::within_net(network.as_fd(), make)
}

async fn dial(socket: Option<TcpSocket>, address: SocketAddr) -> Result<TcpStream, String> {
    let network = if address.is_ipv4() { "tcp4" } else { "tcp6" };
    let failed = |why: &dyn std::fmt::Display| format!("dial {network} {address}: {why}");
    let socket = socket.ok_or_else(|| failed(&"the kernel has no such family"))?;
    let stream = socket.connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => failed(&"connect: connection refused"),
        _ => failed(&error),
    })?;
    // Small pieces go on at once, as they came; failing to ask for that only costs time.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
