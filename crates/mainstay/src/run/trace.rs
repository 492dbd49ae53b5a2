//! Questions of `mainstay trace` in, what the kernel's maps say of a packet out.
//!
//! The kernel is read anew for each question, and its numbers are given names by a programmer that adopts what was
//! read: what is printed is what the kernel does, not what was meant.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::{Context, Result};
use api::kinds;
use api::object::ObjectKey;
use api::status::Status;
use compile::nft::interpret::{Circumstances, Interpreter, Memory, Packet};
use compile::nft::state::State;
use compile::nft::trace::{Question, trace};
use compile::nft::words::ServiceId;
use compile::nft::{Programmer, rules};
use compile::service_table::Config;
use compile::snapshot::{Changes, Protocol, Snapshot};
use dataplane::Dataplane;
use dataplane::nft::{Nft, encoded_len};
use futures::FutureExt;
use futures::future::BoxFuture;
use kernel::nl::route::Rtnetlink;
use pods::sandbox::Sandbox;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Answers for one running instance.
pub(crate) struct Tracer {
    /// Where the node's network is.
    pub(crate) sandbox: Arc<Sandbox>,
    /// What the dataplane is told of the node.
    pub(crate) table: Config,
    /// Addresses that serve node ports.
    pub(crate) node_ports: watch::Receiver<Vec<IpAddr>>,
    /// Newest snapshot.
    pub(crate) latest: watch::Receiver<Arc<Snapshot>>,
}

/// Where a packet comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// This host.
    Host,
    /// An address.
    Address(IpAddr),
    /// A pod, by namespace and name.
    Pod(ObjectKey),
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Sender.
    pub(crate) from: From,
    /// Receiver.
    pub(crate) to: SocketAddr,
    /// Transport protocol.
    pub(crate) protocol: Protocol,
}

impl Asked {
    /// For the wire.
    pub(crate) fn to_json(&self) -> Value {
        let from = match &self.from {
            From::Host => "host".to_owned(),
            From::Address(address) => address.to_string(),
            From::Pod(key) => format!("pod/{}/{}", key.namespace, key.name),
        };
        json!({ "from": from, "to": self.to.to_string(), "protocol": protocol_name(self.protocol) })
    }

    fn of_json(body: &Value) -> Option<Self> {
        let from = match body["from"].as_str()? {
            "host" => From::Host,
            text => match text.strip_prefix("pod/") {
                Some(pod) => pod.split_once('/').map(|(namespace, name)| From::Pod(ObjectKey::new(namespace, name)))?,
                None => From::Address(text.parse().ok()?),
            },
        };
        Some(Self { from, to: body["to"].as_str()?.parse().ok()?, protocol: protocol(body["protocol"].as_str()?)? })
    }
}

/// A transport protocol by its name, in small letters or large.
pub(crate) fn protocol(name: &str) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|one| protocol_name(*one).eq_ignore_ascii_case(name))
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

impl Tracer {
    /// Answers a request under `/mainstay/`; none if it is not about a packet.
    pub(crate) fn work(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Option<BoxFuture<'static, Result<Value, Status>>> {
        if (method, path) != ("POST", "/mainstay/trace") {
            return None;
        }
        let Some(asked) = Asked::of_json(body) else {
            let wrong =
                Status::bad_request("from, to and protocol must name a sender, ADDRESS:PORT and tcp, udp or sctp");
            return Some(async move { Err(wrong) }.boxed());
        };
        let mut config = self.table.clone();
        config.node_port_addresses = self.node_ports.borrow().clone();
        let (sandbox, snapshot) = (self.sandbox.clone(), self.latest.borrow().clone());
        let answer = move || {
            let source = match &asked.from {
                From::Pod(key) => Some(pod_address(&snapshot, key, asked.to)?),
                From::Address(address) => Some(*address),
                From::Host => None,
            };
            let seen = kernel::namespace::within_net(sandbox.netns(), || {
                Seen::here(&config, source, asked.to).map_err(std::io::Error::other)
            });
            let seen = seen.map_err(|error| Status::internal(format!("cannot read the kernel's rules: {error}")))?;
            Ok(seen.answer(&asked, &config, Some(&snapshot)))
        };
        let task = tokio::task::spawn_blocking(answer);
        Some(
            async move { task.await.unwrap_or_else(|_| Err(Status::internal("the trace ended without an answer"))) }
                .boxed(),
        )
    }
}

fn pod_address(snapshot: &Snapshot, key: &ObjectKey, to: SocketAddr) -> Result<IpAddr, Status> {
    let pod = snapshot.pods.get(key).ok_or_else(|| Status::not_found(&kinds::POD, &key.name))?;
    let address = pod.ips.iter().find(|address| address.is_ipv4() == to.is_ipv4());
    address.copied().ok_or_else(|| {
        let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
        Status::bad_request(format!("pod {key} has no {family} address to send to {to} from"))
    })
}

/// What a network namespace shows.
pub(crate) struct Seen {
    state: State,
    memory: Memory,
    host: Vec<IpAddr>,
    source: IpAddr,
    from_host: bool,
}

impl Seen {
    /// Reads the kernel of the calling thread's network. Without a source it is the address that this host would send
    /// from.
    pub(crate) fn here(config: &Config, source: Option<IpAddr>, to: SocketAddr) -> Result<Self> {
        let mut nft = Nft::open_with(config.rules(true)).context("cannot open nftables")?;
        let state = nft.observe().context("cannot read table inet mainstay")?;
        let state = state.context("there is no table inet mainstay of this version")?;
        let memory = nft.clients().context("cannot read the clients that are remembered")?;
        let mut links = Rtnetlink::open().context("cannot open rtnetlink")?;
        let host: Vec<IpAddr> =
            links.addresses().context("cannot read addresses")?.into_iter().map(|one| one.address).collect();
        let (source, from_host) = match source {
            Some(source) => (source, host.contains(&source)),
            None => (own_address(to).with_context(|| format!("there is no way from this host to {}", to.ip()))?, true),
        };
        Ok(Self { state, memory, host, source, from_host })
    }

    /// What becomes of the packet. The snapshot gives names, and says whether the kernel is up to date.
    pub(crate) fn answer(&self, asked: &Asked, config: &Config, snapshot: Option<&Snapshot>) -> Value {
        let mut programmer = Programmer::new(config.clone());
        programmer.adopt(self.state.clone());
        let behind = snapshot.map(|snapshot| {
            let plan = programmer.plan(snapshot, &Changes::default(), usize::MAX, &encoded_len);
            plan.batches.iter().map(|batch| batch.delete.len() + batch.add.len()).sum::<usize>()
        });
        let numbers = programmer.numbers();
        let names = |id: ServiceId| {
            let (key, port) = numbers.get(&id)?;
            let named = snapshot.and_then(|snapshot| {
                let service = snapshot.services.get(key)?;
                let own = service.ports.iter().find(|own| (own.port, own.protocol) == (port.port, port.protocol))?;
                (!own.name.is_empty()).then(|| own.name.to_string())
            });
            Some(format!("{key}:{}", named.unwrap_or_else(|| port.port.to_string())))
        };
        let rules = Interpreter::new(rules::ruleset(config.rules(true)));
        let question =
            Question { rules: &rules, state: &self.state, memory: &self.memory, host: &self.host, names: &names };
        let packet = Packet {
            source: self.source,
            destination: asked.to.ip(),
            protocol: asked.protocol,
            port: asked.to.port(),
            source_is_host: self.from_host,
        };
        let traced = trace(&question, &packet, Circumstances::default());
        let mut answer = traced.to_json();
        let mut text = traced.text();
        if let Some(changes) = behind.filter(|changes| *changes > 0) {
            text.push_str(&format!("The kernel is {changes} changes behind the API. See: mainstay status\n"));
        }
        answer["behind"] = behind.into();
        answer["text"] = text.into();
        answer
    }
}

/// The address that this host sends from; nothing is sent to find out.
fn own_address(to: SocketAddr) -> std::io::Result<IpAddr> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_survives_the_wire() {
        for from in [From::Host, From::Address([10, 0, 0, 1].into()), From::Pod(ObjectKey::new("shop", "web-0"))] {
            for (to, protocol) in [("10.96.0.1:80", Protocol::Tcp), ("[fd96::1]:53", Protocol::Udp)] {
                let asked = Asked { from: from.clone(), to: to.parse().unwrap(), protocol };
                assert_eq!(Asked::of_json(&asked.to_json()), Some(asked));
            }
        }
        assert_eq!(Asked::of_json(&json!({ "from": "pod/web", "to": "10.96.0.1:80", "protocol": "tcp" })), None);
        assert_eq!(Asked::of_json(&json!({ "from": "host", "to": "10.96.0.1", "protocol": "tcp" })), None);
        assert_eq!(Asked::of_json(&json!({ "from": "host", "to": "10.96.0.1:1", "protocol": "icmp" })), None);
    }
}
