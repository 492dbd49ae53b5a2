//! Affinity by the very rules that are installed: remembered, moved when its endpoint is gone, forgotten in time.

use std::net::IpAddr;

use api::object::{ObjectKey, Revision};
use serde_json::{Value, json};

use super::*;
use crate::nft::Programmer;
use crate::service_table::Config;
use crate::snapshot::Builder;

struct World {
    builder: Builder,
    revision: u64,
    programmer: Programmer,
    rules: Interpreter,
    memory: Memory,
    draws: u32,
}

impl World {
    fn new(seconds: u32) -> Self {
        let config = Config {
            node: "n1".into(),
            pod_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
            egress: false,
            node_port_addresses: vec![[198, 51, 100, 1].into()],
            dns_addresses: vec![],
            pools: crate::load_balancer::Pools::default(),
            ..Config::default()
        };
        let (programmer, rules) = (Programmer::new(config), Interpreter::default());
        let mut world =
            Self { builder: Builder::default(), revision: 0, programmer, rules, memory: Memory::default(), draws: 0 };
        world.affinity(Some(seconds));
        world
    }

    fn put(&mut self, plural: &str, name: &str, object: &Value) {
        self.revision += 1;
        let key = ObjectKey::new("ns", name);
        self.builder.put(plural, &key, Revision(self.revision), object.to_string().as_bytes()).unwrap();
    }

    fn affinity(&mut self, seconds: Option<u32>) {
        let mut spec = json!({ "type": "NodePort", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
            "ports": [{ "name": "a", "port": 80, "nodePort": 30000 }, { "name": "b", "port": 81, "nodePort": 30001 }] });
        if let Some(seconds) = seconds {
            spec["sessionAffinity"] = json!("ClientIP");
            spec["sessionAffinityConfig"] = json!({ "clientIP": { "timeoutSeconds": seconds } });
        }
        self.put("services", "web", &json!({ "metadata": {}, "spec": spec }));
    }

    fn endpoints(&mut self, addresses: &[&str]) {
        let endpoints: Vec<Value> = addresses.iter().map(|address| json!({ "addresses": [address] })).collect();
        let labels = json!({ "kubernetes.io/service-name": "web" });
        let ports = json!([{ "name": "a", "port": 8080 }, { "name": "b", "port": 8081 }]);
        let slice = json!({ "metadata": { "labels": labels }, "addressType": "IPv4", "ports": ports,
            "endpoints": endpoints });
        self.put("endpointslices", "web", &slice);
    }

    /// A new connection; every draw is another one.
    fn connect(&mut self, client: &str, destination: &str, port: u16) -> Option<IpAddr> {
        let (snapshot, changes) = self.builder.publish(Revision(self.revision));
        self.programmer.plan(&snapshot, &changes, usize::MAX, &|_| 1);
        let packet = Packet {
            source: client.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: Protocol::Tcp,
            port,
            source_is_host: false,
        };
        let draws = &mut self.draws;
        let mut choose = |bound: u32| {
            *draws += 1;
            *draws % bound
        };
        match self.rules.remembering(&self.programmer.state(), &packet, &mut choose, &mut self.memory) {
            Verdict::Translate { backend, .. } => Some(backend.address),
            _ => None,
        }
    }
}

const ENDPOINTS: [&str; 3] = ["10.244.0.1", "10.244.0.2", "10.244.0.3"];

#[test]
fn a_client_stays_with_its_endpoint_on_every_way_in_and_each_port_has_its_own_memory() {
    let mut world = World::new(10_800);
    world.endpoints(&ENDPOINTS);
    let first = world.connect("203.0.113.7", "10.96.0.1", 80);
    assert!(first.is_some());
    for _ in 0..100 {
        assert_eq!(world.connect("203.0.113.7", "10.96.0.1", 80), first);
        assert_eq!(world.connect("203.0.113.7", "198.51.100.1", 30_000), first, "the node port is the same port");
    }
    assert_eq!(world.memory.len(), 1);
    let others: BTreeMap<_, usize> = (1..=30).fold(BTreeMap::new(), |mut seen, client| {
        *seen.entry(world.connect(&format!("203.0.113.{}", 100 + client), "10.96.0.1", 80)).or_default() += 1;
        seen
    });
    assert_eq!(others.len(), 3, "other clients spread: {others:?}");
    assert!(world.connect("203.0.113.7", "10.96.0.1", 81).is_some());
    assert_eq!(world.memory.len(), 32, "another port is another memory");
}

#[test]
fn an_endpoint_that_is_gone_is_replaced_once_and_never_comes_back_by_itself() {
    let mut world = World::new(10_800);
    world.endpoints(&ENDPOINTS);
    let first = world.connect("203.0.113.7", "10.96.0.1", 80).unwrap().to_string();
    let rest: Vec<&str> = ENDPOINTS.into_iter().filter(|address| *address != first).collect();
    world.endpoints(&rest);
    let second = world.connect("203.0.113.7", "10.96.0.1", 80);
    assert!(second.is_some_and(|address| rest.contains(&&*address.to_string())));
    for _ in 0..20 {
        assert_eq!(world.connect("203.0.113.7", "10.96.0.1", 80), second);
    }
    world.endpoints(&ENDPOINTS);
    for _ in 0..20 {
        assert_eq!(world.connect("203.0.113.7", "10.96.0.1", 80), second, "the first one is back: no reason to move");
    }
    world.endpoints(&[]);
    assert_eq!(world.connect("203.0.113.7", "10.96.0.1", 80), None);
}

#[test]
fn silence_is_forgotten_in_time_and_every_connection_starts_it_again() {
    let mut world = World::new(10);
    world.endpoints(&ENDPOINTS);
    let first = world.connect("203.0.113.7", "10.96.0.1", 80);
    for _ in 0..5 {
        world.memory.pass(9);
        assert_eq!(world.connect("203.0.113.7", "10.96.0.1", 80), first, "nine seconds after the last one");
    }
    world.memory.pass(10);
    assert!(world.memory.is_empty());
    let later: std::collections::BTreeSet<_> = (0..6)
        .map(|_| {
            world.memory.pass(10);
            world.connect("203.0.113.7", "10.96.0.1", 80)
        })
        .collect();
    assert_eq!(later.len(), 3, "every time a new draw");
}

#[test]
fn affinity_is_switched_on_and_off_on_a_living_service() {
    let mut world = World::new(10);
    world.endpoints(&ENDPOINTS);
    let first = world.connect("203.0.113.7", "10.96.0.1", 80);
    world.affinity(None);
    let seen: std::collections::BTreeSet<_> = (0..6).map(|_| world.connect("203.0.113.7", "10.96.0.1", 80)).collect();
    assert_eq!(seen.len(), 3, "None spreads at once");
    world.affinity(Some(10));
    assert_eq!(world.connect("203.0.113.7", "10.96.0.1", 80), first, "what is remembered still holds");
}
