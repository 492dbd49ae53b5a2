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

/// Connects to `localhost` as a program of the pod would, IPv4 first.
pub(super) async fn connect(node: &Arc<Node>, key: &ObjectKey, pod: &Pod, port: u16) -> Result<Connection, Status> {
    let failed =
        |why: String| Status::internal(format!("failed to connect to localhost:{port} inside namespace {key}: {why}"));
    let (worker, uid) = (node.clone(), pod.metadata.uid.clone().unwrap_or_default());
    let shared = shares_network(node, pod);
    let sockets = tokio::task::spawn_blocking(move || sockets(&worker, &uid, shared)).await;
    let (four, six) = sockets.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    let (first, why) = match dial(four, Ipv4Addr::LOCALHOST.into(), "tcp4", port).await {
        Ok(stream) => return Ok(Box::new(stream)),
        Err(why) => ("IPv4", why),
    };
    match dial(six, Ipv6Addr::LOCALHOST.into(), "tcp6", port).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(other) => Err(Status { message: failed_text(key, port, first, &why, &other), ..failed(String::new()) }),
    }
}

fn failed_text(key: &ObjectKey, port: u16, first: &str, why: &str, other: &str) -> String {
    format!("failed to connect to localhost:{port} inside namespace \"{key}\", {first}: {why} IPv6: {other}")
}

/// Whether a pod uses the node's network: by its spec, or because it is a part of Mainstay.
fn shares_network(node: &Node, pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let built_in = |image: Option<&str>| node.built_ins.iter().any(|known| Some(known.image()) == image);
    spec.host_network == Some(true) || spec.containers.iter().any(|container| built_in(container.image.as_deref()))
}

/// Sockets of both families that belong to the pod's network for ever.
fn sockets(node: &Node, uid: &str, shared: bool) -> io::Result<(TcpSocket, Option<TcpSocket>)> {
    let make = || Ok((TcpSocket::new_v4()?, TcpSocket::new_v6().ok()));
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

async fn dial(
    socket: impl Into<Option<TcpSocket>>,
    address: IpAddr,
    network: &str,
    port: u16,
) -> Result<TcpStream, String> {
    let address = SocketAddr::new(address, port);
    let failed = |why: &dyn std::fmt::Display| format!("dial {network} {address}: {why}");
    let socket = socket.into().ok_or_else(|| failed(&"the kernel has no such family"))?;
    let stream = socket.connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => failed(&"connect: connection refused"),
        _ => failed(&error),
    })?;
    // Small pieces go on at once, as they came; failing to ask for that only costs time.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
