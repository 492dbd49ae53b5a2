//! The name server on loopback: real packets in, answers read by another DNS library (`domain`).

mod forward;
mod malformed;
mod restart;
mod rows;

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;
use std::sync::Arc;

use api::object::{ObjectKey, Revision};
use compile::snapshot::{
    Changes, Endpoint, EndpointSlice, Family, Meta, Protocol, Service, ServicePort, ServiceType, SlicePort, Snapshot,
    TargetPort,
};
use compile::zone::{Zone, ZoneBuilder, ZoneConfig};
use domain::base::iana::{Class, Rtype};
use domain::base::name::Name;
use domain::base::{Message, MessageBuilder};
use domain::rdata::AllRecordData;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Handle, Options, Resolvers, start};

fn service(name: &str, address: Option<&str>) -> Service {
    let port = ServicePort {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port: 80,
        target: TargetPort::Number(80),
        node_port: 0,
        app_protocol: None,
    };
    Service {
        meta: Meta { key: ObjectKey::new("ns", name), ..Meta::default() },
        cluster_ips: address.map(|text| text.parse().unwrap()).into_iter().collect(),
        headless: address.is_none(),
        ports: vec![port],
        ..Service::default()
    }
}

fn alias(name: &str, target: &str) -> Service {
    let external_name = target.into();
    Service { service_type: ServiceType::ExternalName, external_name, headless: false, ..service(name, None) }
}

fn endpoints(name: &str, count: u32) -> EndpointSlice {
    let endpoint = |number: u32| Endpoint {
        address: IpAddr::V4((0x0af4_0000 + number).into()),
        ready: true,
        serving: true,
        terminating: false,
        node: None,
        zone: None,
        hostname: None,
        pod: None,
        pod_uid: None,
        hint_zones: Vec::new(),
        hint_nodes: Vec::new(),
        weight: None,
    };
    EndpointSlice {
        meta: Meta { key: ObjectKey::new("ns", name), ..Meta::default() },
        family: Some(Family::V4),
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: Some(80), app_protocol: None }],
        endpoints: (1..=count).map(endpoint).collect(),
        owner_uid: None,
        trigger_time: None,
        weights_unread: None,
    }
}

fn zone() -> Arc<Zone> {
    let mut world = Snapshot { revision: Revision(42), ..Snapshot::default() };
    let mut changes = Changes::default();
    let services = [
        service("web", Some("10.96.0.20")),
        service("six", Some("fd00:96::20")),
        alias("in", "web.ns.svc.cluster.local"),
        alias("out", "www.example.com"),
        alias("loop", "loop.ns.svc.cluster.local"),
    ];
    let sets = [("three", 3), ("hundred", 100), ("many", 5000)];
    for service in services.into_iter().chain(sets.map(|(name, _)| service(name, None))) {
        changes.services.insert(service.meta.key.clone());
        world.services.insert_mut(service.meta.key.clone(), Arc::new(service));
    }
    for (name, count) in sets {
        let key = ObjectKey::new("ns", name);
        world.slices.insert_mut(key.clone(), Arc::new(endpoints(name, count)));
        world.slices_of.insert_mut(key.clone(), Arc::new([key]));
    }
    let reverse = ["10.96.0.0/16", "10.244.0.0/16"].map(|range| range.parse().unwrap()).to_vec();
    let servers = vec!["10.96.0.10".parse().unwrap()];
    let config = ZoneConfig { domain: "cluster.local".into(), reverse, servers };
    ZoneBuilder::new(config).update(&Arc::new(world), &changes)
}

/// A UDP socket with SO_REUSEPORT on `address`.
fn reuse_port(address: SocketAddr) -> std::io::Result<UdpSocket> {
    use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket.into())
}

/// A server on a free port of loopback, UDP and TCP; `upstream` are its resolvers.
async fn serve(upstream: Vec<SocketAddr>) -> (Handle, SocketAddr) {
    let first = reuse_port("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = first.local_addr().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = listener.local_addr().unwrap();
    TCP.with(|map| map.borrow_mut().insert(address, tcp));
    let options = Options {
        bind_udp: Box::new(move || Ok(vec![reuse_port(address)?])),
        bind_tcp: Box::new(move || Ok(vec![listener.try_clone()?])),
        serve: tokio::runtime::Handle::current(),
        forward: tokio::runtime::Handle::current(),
        resolvers: Resolvers::fixed(upstream, vec![]),
    };
    let handle = start(options).await.unwrap();
    drop(first);
    (handle, address)
}

thread_local! {
    /// The TCP address that goes with a UDP address.
    static TCP: std::cell::RefCell<std::collections::BTreeMap<SocketAddr, SocketAddr>> = const {
        std::cell::RefCell::new(std::collections::BTreeMap::new())
    };
}

/// A query; `edns` is the size the client takes.
fn query(name: &str, rtype: Rtype, class: Class, edns: Option<u16>) -> Vec<u8> {
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_rd(true);
    message.header_mut().set_id(0x1234);
    let mut question = message.question();
    question.push((Name::<Vec<u8>>::from_str(name).unwrap(), rtype, class)).unwrap();
    let mut additional = question.additional();
    if let Some(size) = edns {
        additional
            .opt(|opt| {
                opt.set_udp_payload_size(size);
                Ok(())
            })
            .unwrap();
    }
    additional.finish()
}

async fn udp(server: SocketAddr, query: &[u8]) -> Message<Vec<u8>> {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(query).await.unwrap();
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).await.unwrap();
    buffer.truncate(length);
    Message::from_octets(buffer).unwrap()
}

/// Several queries on one connection.
async fn tcp(server: SocketAddr, queries: &[Vec<u8>]) -> Vec<Message<Vec<u8>>> {
    let address = TCP.with(|map| map.borrow()[&server]);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    for query in queries {
        stream.write_u16(query.len() as u16).await.unwrap();
        stream.write_all(query).await.unwrap();
    }
    let mut answers = Vec::new();
    for _ in queries {
        let mut buffer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut buffer).await.unwrap();
        answers.push(Message::from_octets(buffer).unwrap());
    }
    answers
}

/// The records of a message, section by section, as text.
fn show(message: &Message<Vec<u8>>) -> String {
    let header = message.header();
    let mut out = format!("{}", header.rcode());
    for (flag, name) in [(header.aa(), " aa"), (header.tc(), " tc")] {
        out.push_str(if flag { name } else { "" });
    }
    let sections = message.sections().unwrap();
    for (mark, section) in [(" | ", sections.1), (" / ", sections.2), (" + ", sections.3)] {
        for record in section {
            let record = record.unwrap();
            if record.rtype() == Rtype::OPT {
                continue;
            }
            let record = record.to_record::<AllRecordData<_, _>>().unwrap().unwrap();
            let (owner, ttl) = (record.owner(), record.ttl().as_secs());
            let data = record.data().to_string();
            let data: Vec<&str> = data.split(' ').map(|word| word.trim_end_matches('.')).collect();
            out.push_str(&format!("{mark}{owner} {ttl} {} {}", record.rtype(), data.join(" ")));
        }
    }
    out
}
