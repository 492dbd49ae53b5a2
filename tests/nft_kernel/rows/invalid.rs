//! Corner 15 of section 7 (and the last line of 3.3): a segment beyond the window belongs to no flow for connection
//! tracking, so it is not translated. Wherever it went untranslated, somebody would reset a good connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use compile::service_table::Config;
use serde_json::{Value, json};

use super::world::*;
use crate::raw::Tap;
use crate::topology::{PATIENCE, ip};

/// Both ends of a connection through the Service, and what listens at them.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    taps: [Tap; 2],
}

/// Who sends the stray segment.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Client,
    Server,
}

/// `web` has the one endpoint b, on a port whose connections this test holds.
fn world(config: Config, more: &Value) -> (World, [TcpListener; 2]) {
    let mut world = World::with(config);
    world.web(more.clone());
    for (index, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
        let endpoint = json!({ "addresses": [world.addresses(Who::B)[index]], "nodeName": "n1" });
        let slice = json!({
            "metadata": { "labels": { "kubernetes.io/service-name": "web" } }, "addressType": family,
            "ports": [{ "name": "t", "protocol": "TCP", "port": 8090 }], "endpoints": [endpoint],
        });
        world.put("endpointslices", "ns", family, &slice);
    }
    world.sync();
    let listen = |address| world.b.netns.run(|| TcpListener::bind(SocketAddr::new(address, 8090)).unwrap());
    let listeners = world.addresses(Who::B).map(listen);
    (world, listeners)
}

fn connect(world: &World, listener: &TcpListener, who: Who, target: SocketAddr) -> Pair {
    let tap = |who| world.netns(who).run(|| Tap::new(target.is_ipv4()));
    let taps = [tap(who), tap(Who::B)];
    let client = world.netns(who).run(|| TcpStream::connect_timeout(&target, PATIENCE).unwrap());
    let (server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
    }
    Pair { client, server, taps }
}

impl Pair {
    /// A byte each way.
    fn talk(&mut self) -> std::io::Result<()> {
        let mut byte = [0];
        self.client.write_all(b"q")?;
        self.server.read_exact(&mut byte)?;
        self.server.write_all(b"a")?;
        self.client.read_exact(&mut byte)
    }

    /// Sends a segment beyond the window, as the stream of one end.
    fn stray(&self, side: Side) {
        let (tap, stream) = match side {
            Side::Client => (&self.taps[0], &self.client),
            Side::Server => (&self.taps[1], &self.server),
        };
        let (own, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let position = tap.data(peer.port(), own.port());
        tap.send_beyond_the_window(own, peer, position);
    }
}

/// Clients and where they connect; then who sends the stray segment. Together they cross every hook that matters.
const WAYS: [(Who, [&str; 2], u16, Side); 6] = [
    // A pod's answer to a pod, forwarded.
    (Who::A, CLUSTER, 80, Side::Server),
    // A pod's answer to an outside client that is masqueraded: it is for the node.
    (Who::Out, VIP, 80, Side::Server),
    // The client's own segments: for the node port, for an address that somebody else holds, for a cluster IP.
    (Who::Out, NODE, 30080, Side::Client),
    (Who::Out, VIP, 80, Side::Client),
    (Who::A, VIP, 80, Side::Client),
    (Who::A, NODE, 30080, Side::Client),
];

fn spec(policy: &str) -> Value {
    json!({ "type": "LoadBalancer", "externalTrafficPolicy": policy, "status": ingress(VIP) })
}

#[test]
fn segments_beyond_the_window_are_dropped_and_the_connection_lives() {
    for policy in ["Cluster", "Local"] {
        let (mut world, listeners) = world(config(), &spec(policy));
        for (who, at, port, side) in WAYS {
            for (listener, address) in listeners.iter().zip(at) {
                let target = SocketAddr::new(ip(address), port);
                let mut pair = connect(&world, listener, who, target);
                pair.talk().unwrap();
                let before = world.counted("dropped_invalid");
                pair.stray(side);
                let deadline = std::time::Instant::now() + PATIENCE;
                while world.counted("dropped_invalid") == before {
                    assert!(std::time::Instant::now() < deadline, "{who:?} {target} {side:?} {policy}: not dropped");
                }
                pair.talk().unwrap_or_else(|error| panic!("{who:?} {target} {side:?} {policy}: {error}"));
            }
        }
    }
}

/// What the rules prevent: without them the same segments end the connection.
#[test]
fn without_those_rules_the_same_segments_reset_it() {
    let (world, listeners) = world(Config { drop_invalid: false, ..config() }, &spec("Cluster"));
    for (who, at, port, side) in [WAYS[0], WAYS[1], WAYS[2], WAYS[3]] {
        for (listener, address) in listeners.iter().zip(at) {
            let target = SocketAddr::new(ip(address), port);
            let mut pair = connect(&world, listener, who, target);
            pair.talk().unwrap();
            pair.stray(side);
            let sender = if side == Side::Client { &mut pair.client } else { &mut pair.server };
            let error = sender.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{who:?} {target} {side:?}");
        }
    }
}
