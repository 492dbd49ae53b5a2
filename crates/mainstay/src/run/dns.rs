//! Cluster DNS: snapshots in, a zone that the server on the node's addresses answers from; shown as a pod.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use api::kinds;
use async_trait::async_trait;
use compile::snapshot::{Changes, Snapshot};
use compile::zone::{Answer, QueryType, ZoneBuilder, ZoneConfig};
use contract::access::Access;
use contract::applied::SinkHandle;
use controller::{Backoff, Sink, SinkError, Subscription, drive};
use dns::{BindTcp, BindUdp, Handle, Options, Resolvers};
use pods::builtin::{BuiltIn, LogLine};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use serde_json::json;
use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;

use crate::config::Network;

const PORT: u16 = 53;
const IMAGE: &str = "mainstay/dns";
const NAMESPACE: &str = "kube-system";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The running server.
#[derive(Clone)]
pub(crate) struct Names {
    handle: Handle,
}

/// Starts the server in the node's network and the sink that feeds it.
pub(crate) async fn start(
    network: &Network,
    domain: &str,
    node: &Runtime,
    subscription: Subscription,
    confirm: SinkHandle,
) -> Result<Names> {
    let own: Vec<IpAddr> = network.dns_addresses.iter().chain(&network.node_addresses).copied().collect();
    let (udp, tcp) = (own.clone(), own.clone());
    let bind_udp: BindUdp = Box::new(move || udp.iter().map(|address| bind_udp(*address)).collect());
    let bind_tcp: BindTcp = Box::new(move || tcp.iter().map(|address| bind_tcp(*address)).collect());
    let options = Options {
        bind_udp,
        bind_tcp,
        serve: node.clone(),
        forward: Runtime::current(),
        resolvers: Resolvers::file("/etc/resolv.conf", own).behind_stub(crate::host::neighbours::RESOLVED_UPLINKS),
    };
    let handle = dns::start(options).await.context("cannot start the DNS server")?;
    let config = ZoneConfig {
        domain: domain.into(),
        reverse: network.service_cidrs.iter().chain(&network.pod_cidrs).copied().collect(),
        servers: network.dns_addresses.clone(),
    };
    let sink = ZoneSink { builder: ZoneBuilder::new(config), handle: handle.clone() };
    tokio::spawn(drive(subscription, sink, confirm, Backoff::default()));
    Ok(Names { handle })
}

/// A socket that a successor may join: a restarted worker binds before its predecessor ends.
fn bind_udp(address: IpAddr) -> io::Result<UdpSocket> {
    let (family, address) = (family(address), SocketAddr::new(address, PORT));
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    let socket = UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind_tcp(address: IpAddr) -> io::Result<TcpListener> {
    let (family, address) = (family(address), SocketAddr::new(address, PORT));
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

struct ZoneSink {
    builder: ZoneBuilder,
    handle: Handle,
}

impl Sink for ZoneSink {
    fn apply(&mut self, snapshot: &Arc<Snapshot>, changes: &Changes) -> Result<(), SinkError> {
        self.handle.publish(self.builder.update(snapshot, changes));
        Ok(())
    }
}

impl Names {
    /// The server as a pod without a process.
    pub(crate) fn built_in(&self) -> Arc<dyn BuiltIn> {
        Arc::new(Worker { handle: self.handle.clone(), started: AtomicBool::new(false) })
    }

    /// The addresses that are answered for a name now; none before the first zone, or if the name is not ours.
    pub(crate) fn addresses(&self) -> super::advice::Lookup {
        let handle = self.handle.clone();
        Box::new(move |name| {
            let zone = handle.zone()?;
            let mut all = Vec::new();
            for query in [QueryType::A, QueryType::Aaaa] {
                match zone.lookup(name, query) {
                    Answer::Elsewhere => return None,
                    Answer::V4(addresses) => all.extend(addresses.iter().map(|address| IpAddr::V4(*address))),
                    Answer::V6(addresses) => all.extend(addresses.iter().map(|address| IpAddr::V6(*address))),
                    Answer::Address(address) => all.push(address),
                    _ => {}
                }
            }
            Some(all)
        })
    }

    /// Prints the zone that is answered from now.
    pub(crate) fn text(&self) -> Box<dyn Fn() -> String + Send + Sync> {
        let handle = self.handle.clone();
        Box::new(move || handle.zone().map_or_else(String::new, |zone| zone.text()))
    }
}

/// The server while its pod lives. Deleting the pod does not silence it: it answers until its successor has taken over.
struct Worker {
    handle: Handle,
    started: AtomicBool,
}

#[async_trait]
impl BuiltIn for Worker {
    fn image(&self) -> &str {
        IMAGE
    }

    async fn start(&self) -> Result<(), String> {
        // The first pod finds the server running: it was started before any pod, so that names resolve from the start.
        if self.started.swap(true, Ordering::Relaxed) {
            return self.handle.restart().await.map_err(|error| error.to_string());
        }
        Ok(())
    }

    async fn stop(&self) {
        self.handle.log("the pod was deleted: answering until the next one starts");
    }

    fn logs(&self) -> Vec<LogLine> {
        let line = |line: dns::Line| LogLine { at_ms: unix_ms(line.at), text: line.text };
        self.handle.logs().into_iter().map(line).collect()
    }
}

fn unix_ms(at: std::time::SystemTime) -> i64 {
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Keeps one pod for the server on this node: whenever there is none that is not being deleted, a new one is made.
pub(crate) async fn keep_pod(access: Arc<dyn Access>, node: String, mut latest: watch::Receiver<Arc<Snapshot>>) {
    loop {
        let missing = |snapshot: &Arc<Snapshot>| snapshot.revision.0 > 0 && !has_pod(snapshot, &node);
        if latest.wait_for(missing).await.is_err() {
            return;
        }
        match access.create(&kinds::POD, pod(&node)).await {
            Ok(created) => {
                let seen = |snapshot: &Arc<Snapshot>| snapshot.revision >= created.revision;
                if latest.wait_for(seen).await.is_err() {
                    return;
                }
            }
            Err(status) => {
                tracing::debug!(%status, "the pod of the DNS server is not there yet: trying again");
                if latest.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

fn has_pod(snapshot: &Snapshot, node: &str) -> bool {
    snapshot.pods.values().any(|pod| {
        let ours = &*pod.meta.key.namespace == NAMESPACE
            && pod.meta.labels.get("k8s-app").is_some_and(|app| &**app == "kube-dns");
        ours && !pod.meta.deleting && pod.node.as_deref() == Some(node)
    })
}

fn pod(node: &str) -> serde_json::Value {
    let container = json!({
        "name": "dns", "image": IMAGE,
        "ports": [
            { "name": "dns", "containerPort": PORT, "protocol": "UDP" },
            { "name": "dns-tcp", "containerPort": PORT, "protocol": "TCP" },
        ],
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "kube-dns-", "namespace": NAMESPACE, "labels": { "k8s-app": "kube-dns" },
            // Shows what runs in this process, as a mirror pod does: `kubectl drain` leaves it alone.
            "annotations": { "kubernetes.io/config.mirror": "mainstay" },
        },
        "spec": {
            "nodeName": node, "hostNetwork": true, "dnsPolicy": "Default", "terminationGracePeriodSeconds": 1,
            "containers": [container],
        },
    })
}
