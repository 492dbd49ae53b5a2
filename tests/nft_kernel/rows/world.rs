//! A node of a cluster, its neighbours, and objects as an API server would send them -> what real sockets meet.
//!
//! Pods a and b run on this node (n1), c runs on n2; `out` is a client from elsewhere, `lb` is a load balancer that
//! holds addresses itself. Everything that the node does not know goes to `lb`.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use api::object::{ObjectKey, Revision};
use compile::nft::Programmer;
use compile::service_table::{Config, IngressAddresses};
use compile::snapshot::Builder;
use dataplane::Dataplane;
use dataplane::nft::{Nft, encoded_len};
use serde_json::{Value, json};

use crate::elements::{TCP, UDP};
use crate::topology::*;

/// The node's own addresses; node ports are served on the first of each family only.
pub(crate) const NODE: [&str; 2] = ["192.0.2.1", "fd00:bad::1"];
pub(crate) const SECOND: [&str; 2] = ["192.0.2.2", "fd00:bad::2"];
/// Of the Service `web`.
pub(crate) const CLUSTER: [&str; 2] = ["10.96.0.10", "fd00:96::10"];
/// Held by `lb`.
pub(crate) const VIP: [&str; 2] = ["203.0.113.1", "fd00:b::1"];
/// Nobody's.
pub(crate) const EXTERNAL: [&str; 2] = ["203.0.113.77", "fd00:b::77"];

/// What the endpoint saw of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seen {
    /// Its own address.
    Client,
    /// The node's.
    Node,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    A,
    B,
    C,
    Out,
    Node,
}

pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) nft: Nft,
    pub(crate) a: Host,
    pub(crate) b: Host,
    pub(crate) c: Host,
    pub(crate) out: Host,
    builder: Builder,
    programmer: Programmer,
    revision: u64,
    /// How long the kernel took for the last change.
    pub(crate) kernel_took: Duration,
}

/// The usual node of somebody else's cluster.
pub(crate) fn config() -> Config {
    Config {
        node: "n1".into(),
        pod_cidrs: ["10.244.0.0/16", "fd00:244::/32"].map(|range| range.parse().unwrap()).into(),
        service_cidrs: ["10.96.0.0/16", "fd00:96::/112"].map(|range| range.parse().unwrap()).into(),
        node_port_addresses: NODE.map(ip).into(),
        node_addresses: NODE.map(ip).into(),
        ingress: IngressAddresses::All,
        ..Config::default()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: Config) -> Self {
        let node = Node::with(NODE);
        SECOND.iter().for_each(|address| node.local_address(ip(address)));
        let a = node.attach("poda", "10.244.0.2", "fd00:244::2");
        let b = node.attach("podb", "10.244.0.3", "fd00:244::3");
        let c = node.attach("n2", "10.244.1.4", "fd00:244:1::4");
        let out = node.attach("out", "198.51.100.9", "fd00:c11e::9");
        let lb = node.attach("lb", VIP[0], VIP[1]);
        node.default_route("lb", &lb);
        for (host, name) in [(&a, "a"), (&b, "b"), (&c, "c")] {
            serve(&host.netns, 8080, name);
        }
        serve(&lb.netns, 80, "lb");
        let mut nft = node.netns.run(|| Nft::open_with(config.rules(true)).unwrap());
        nft.install().unwrap();
        let programmer = Programmer::new(config);
        let mut world = Self {
            node,
            nft,
            a,
            b,
            c,
            out,
            builder: Builder::default(),
            programmer,
            revision: 0,
            kernel_took: Duration::ZERO,
        };
        for (name, pod, on) in [("a", 2, "n1"), ("b", 3, "n1")] {
            let ips = [json!({ "ip": format!("10.244.0.{pod}") }), json!({ "ip": format!("fd00:244::{pod}") })];
            world.put(
                "pods",
                "ns",
                name,
                &json!({ "metadata": {}, "spec": { "nodeName": on }, "status": { "podIPs": ips } }),
            );
        }
        world
    }

    /// Takes an object; the kernel follows at [`World::sync`].
    pub(crate) fn put(&mut self, plural: &str, namespace: &str, name: &str, object: &Value) {
        self.revision += 1;
        let key = ObjectKey::new(namespace, name);
        self.builder.put(plural, &key, Revision(self.revision), object.to_string().as_bytes()).unwrap();
    }

    pub(crate) fn delete(&mut self, plural: &str, namespace: &str, name: &str) {
        self.revision += 1;
        self.builder.delete(plural, &ObjectKey::new(namespace, name));
    }

    /// Brings the kernel to what was put, and forgets all flows: rows are about new connections, and a socket may get
    /// the port of an earlier one.
    pub(crate) fn sync(&mut self) {
        let (snapshot, changes) = self.builder.publish(Revision(self.revision));
        let plan = self.programmer.plan(&snapshot, &changes, self.nft.batch_bytes_max(), &encoded_len);
        let began = std::time::Instant::now();
        plan.batches.iter().for_each(|batch| self.nft.apply(batch).unwrap());
        self.kernel_took = began.elapsed();
        let forget = || std::process::Command::new("conntrack").arg("-F").output();
        let forgot =
            self.node.netns.run(forget).unwrap_or_else(|error| panic!("conntrack: {error}; apt-get install it"));
        assert!(forgot.status.success(), "{}", String::from_utf8_lossy(&forgot.stderr));
    }

    /// Why anything is not programmed.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.programmer.problems().map(|problem| problem.why.clone()).collect()
    }

    /// The Service `web`: port 80 of every protocol in both families, with more of its spec; `status` and `metadata`
    /// may be among it.
    pub(crate) fn web(&mut self, more: Value) {
        self.service("web", CLUSTER, more);
    }

    pub(crate) fn service(&mut self, name: &str, cluster_ips: [&str; 2], more: Value) {
        let port =
            |name: &str, protocol: &str| json!({ "name": name, "protocol": protocol, "port": 80, "nodePort": 30080 });
        let ports = [port("t", "TCP"), port("u", "UDP"), port("s", "SCTP")];
        let mut spec = json!({ "clusterIP": cluster_ips[0], "clusterIPs": cluster_ips, "ports": ports });
        let mut object = json!({ "metadata": {}, "status": {} });
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            let top = key == "status" || key == "metadata";
            let into = if top { &mut object } else { &mut spec };
            into[key] = value;
        }
        object["spec"] = spec;
        self.put("services", "ns", name, &object);
        self.sync();
    }

    /// The endpoints of `web`: one slice per family.
    pub(crate) fn endpoints(&mut self, endpoints: &[Value]) {
        self.slices("web", endpoints);
    }

    /// Endpoints whose `addresses` hold one of each family.
    pub(crate) fn slices(&mut self, service: &str, endpoints: &[Value]) {
        for (index, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
            let one = |endpoint: &Value| {
                let mut endpoint = endpoint.clone();
                endpoint["addresses"] = json!([endpoint["addresses"][index]]);
                endpoint
            };
            let endpoints: Vec<Value> = endpoints.iter().map(one).collect();
            self.slice(&format!("{service}-{family}"), service, family, &endpoints);
        }
        self.sync();
    }

    pub(crate) fn slice(&mut self, name: &str, service: &str, family: &str, endpoints: &[Value]) {
        let port = |name: &str, protocol: &str| json!({ "name": name, "protocol": protocol, "port": 8080 });
        let slice = json!({
            "metadata": { "labels": { "kubernetes.io/service-name": service } }, "addressType": family,
            "ports": [port("t", "TCP"), port("u", "UDP"), port("s", "SCTP")], "endpoints": endpoints,
        });
        self.put("endpointslices", "ns", name, &slice);
    }

    /// a and b here, c on the other node, all ready.
    pub(crate) fn three(&mut self) {
        let all = [self.on_n1(Who::A), self.on_n1(Who::B), self.on_n2()];
        self.endpoints(&all);
    }

    /// A ready endpoint of this node.
    pub(crate) fn on_n1(&self, who: Who) -> Value {
        json!({ "addresses": self.addresses(who), "nodeName": "n1", "conditions": { "ready": true } })
    }

    /// c, ready.
    pub(crate) fn on_n2(&self) -> Value {
        json!({ "addresses": self.addresses(Who::C), "nodeName": "n2", "conditions": { "ready": true } })
    }

    pub(crate) fn addresses(&self, who: Who) -> [IpAddr; 2] {
        match who {
            Who::A => [self.a.four, self.a.six],
            Who::B => [self.b.four, self.b.six],
            Who::C => [self.c.four, self.c.six],
            Who::Out => [self.out.four, self.out.six],
            Who::Node => NODE.map(ip),
        }
    }

    pub(crate) fn netns(&self, who: Who) -> &Netns {
        match who {
            Who::A => &self.a.netns,
            Who::B => &self.b.netns,
            Who::C => &self.c.netns,
            Who::Out => &self.out.netns,
            Who::Node => &self.node.netns,
        }
    }

    /// Everybody who answers `who` at an address, and what they see of it. Forty questions miss one of three endpoints
    /// with a probability of 3e-7.
    pub(crate) fn answers(&self, who: Who, target: SocketAddr, protocol: u8) -> BTreeSet<(String, Seen)> {
        let own = self.addresses(who);
        let answers = self
            .netns(who)
            .run(|| (0..40).map(|_| crate::ask(protocol, target)).collect::<std::io::Result<Vec<Answer>>>());
        let answers = answers.unwrap_or_else(|error| panic!("{who:?} asks {target} ({protocol}): {error}"));
        // The last two are its addresses on every link, which it uses towards a neighbour.
        let node = [NODE, SECOND, ["169.254.1.1", "fe80::1"]].concat();
        let node: Vec<IpAddr> = node.into_iter().map(ip).collect();
        let seen = |address: IpAddr| match () {
            () if node.contains(&address) => Seen::Node,
            () if own.contains(&address) => Seen::Client,
            () => panic!("{who:?} was seen at {target} as {address}"),
        };
        answers.into_iter().map(|answer| (answer.name, seen(answer.seen))).collect()
    }

    /// `who` reaches exactly these at port `port` of both addresses, over TCP and UDP, and is seen like this.
    pub(crate) fn reaches(&self, who: Who, at: [&str; 2], port: u16, expected: &[(&str, Seen)]) {
        let expected: BTreeSet<(String, Seen)> = expected.iter().map(|(name, seen)| ((*name).into(), *seen)).collect();
        for address in at {
            for protocol in [TCP, UDP] {
                let target = SocketAddr::new(ip(address), port);
                assert_eq!(self.answers(who, target, protocol), expected, "{who:?} at {target} ({protocol})");
            }
        }
    }

    /// `who` is told at once that nobody is there.
    pub(crate) fn refused(&self, who: Who, at: [&str; 2], port: u16) {
        for address in at {
            for protocol in [TCP, UDP] {
                let target = SocketAddr::new(ip(address), port);
                let error = self.netns(who).run(|| crate::ask(protocol, target)).unwrap_err();
                // A host's own datagram gets EPERM, as with every reject in the output hook.
                let own = who == Who::Node && error.kind() == ErrorKind::PermissionDenied;
                assert!(own || error.kind() == ErrorKind::ConnectionRefused, "{who:?} at {target}: {error}");
            }
        }
    }

    /// What `who` sends is dropped, and counted under this name; it hears nothing.
    pub(crate) fn dropped(&mut self, who: Who, at: [&str; 2], port: u16, counter: &str) {
        for address in at {
            for protocol in [TCP, UDP] {
                let before = self.counted(counter);
                let target = SocketAddr::new(ip(address), port);
                // The counter says what became of the packet; the wait only gives an answer the time to be wrong.
                let heard = self.netns(who).run(|| hears(protocol, target, Duration::from_millis(150)));
                // A host's own datagram gets EPERM, as with every drop in the output hook.
                let silent = matches!(heard.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
                    || (who == Who::Node && heard.kind() == ErrorKind::PermissionDenied);
                assert!(silent, "{who:?} at {target} ({protocol}): {heard}");
                assert!(self.counted(counter) > before, "{who:?} at {target} ({protocol}) is not counted as {counter}");
            }
        }
    }

    /// Packets that one of the named counters has counted.
    pub(crate) fn counted(&mut self, counter: &str) -> u64 {
        self.nft.counters().unwrap().named[counter].packets
    }
}

/// The error that a client gets within `wait`.
fn hears(protocol: u8, target: SocketAddr, wait: Duration) -> std::io::Error {
    if protocol == TCP {
        return TcpStream::connect_timeout(&target, wait).map(|_| ()).unwrap_err();
    }
    let any = if target.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.connect(target).unwrap();
    socket.set_read_timeout(Some(wait)).unwrap();
    socket.send(b"?").and_then(|_| socket.recv(&mut [0; 64])).unwrap_err()
}

/// The same endpoint with other conditions.
pub(crate) fn with(mut endpoint: Value, field: &str, value: Value) -> Value {
    endpoint[field] = value;
    endpoint
}

/// Shutting down; it may still serve.
pub(crate) fn ending(endpoint: Value, serving: bool) -> Value {
    with(endpoint, "conditions", json!({ "ready": false, "serving": serving, "terminating": true }))
}

/// A status with these load-balancer addresses.
pub(crate) fn ingress(addresses: [&str; 2]) -> Value {
    json!({ "loadBalancer": { "ingress": addresses.map(|address| json!({ "ip": address, "ipMode": "VIP" })) } })
}
