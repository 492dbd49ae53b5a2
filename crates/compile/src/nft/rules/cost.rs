//! What a packet pays: which sets it is looked up in, as the interpreter sees them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::object::{ObjectKey, Revision};
use serde_json::json;

use crate::load_balancer::Pools;
use crate::nft::Programmer;
use crate::nft::interpret::{Circumstances, Event, Interpreter, Memory, Packet, Run, Verdict};
use crate::nft::state::State;
use crate::service_table::Config;
use crate::snapshot::{Builder, Changes, Protocol};

/// Services `open` and `closed` on 203.0.113.1 and .2 and their IPv6 addresses; `closed` has this many ranges per family.
fn state(ranges: u32) -> State {
    let mut builder = Builder::default();
    let four = (0..ranges).map(|n| format!("{}/24", std::net::Ipv4Addr::from(0x1400_0000 + n * 512)));
    let ranges: Vec<String> = four.chain((0..ranges).map(|n| format!("2001:db8:{n:x}::/64"))).collect();
    for (last, name, ranges) in [(1, "open", &[][..]), (2, "closed", &ranges)] {
        let ingress = [format!("203.0.113.{last}"), format!("fd02::{last}")].map(|ip| json!({ "ip": ip }));
        let ips = [format!("10.96.0.{last}"), format!("fd00::{last}")];
        let service = json!({
            "metadata": {},
            "spec": { "type": "LoadBalancer", "clusterIP": ips[0], "clusterIPs": ips, "loadBalancerSourceRanges": ranges,
                "ports": [{ "name": "a", "port": 80, "nodePort": 30000 + last }] },
            "status": { "loadBalancer": { "ingress": ingress } },
        });
        let mut put = |plural: &str, name: &str, object: &serde_json::Value| {
            let key = ObjectKey::new("ns", name);
            builder.put(plural, &key, Revision(1), object.to_string().as_bytes()).unwrap();
        };
        put("services", name, &service);
        for (family, address) in [("IPv4", "10.244.0.7"), ("IPv6", "fd01::7")] {
            let slice = json!({
                "metadata": { "labels": { "kubernetes.io/service-name": name } }, "addressType": family,
                "ports": [{ "name": "a", "port": 8080 }], "endpoints": [{ "addresses": [address] }],
            });
            put("endpointslices", &format!("{name}-{family}"), &slice);
        }
    }
    let config = Config {
        node: "n1".into(),
        node_port_addresses: vec![[198, 51, 100, 1].into()],
        pools: Pools::parse(&["203.0.113.0/24", "fd02::/120"]).unwrap(),
        ..Config::default()
    };
    let mut programmer = Programmer::new(config);
    let plan = programmer.plan(&builder.publish(Revision(1)).0, &Changes::default(), usize::MAX, &|_| 1);
    assert_eq!(plan.keys_compiled, 2);
    programmer.state()
}

/// How often a packet enters each chain and is looked up in each set.
fn walked(state: &State, source: &str, destination: &str, port: u16) -> (Verdict, BTreeMap<String, u32>) {
    let [source, destination]: [IpAddr; 2] = [source, destination].map(|text| text.parse().unwrap());
    let packet = Packet { source, destination, protocol: Protocol::Tcp, port, source_is_host: false };
    let mut walked = BTreeMap::new();
    let mut observe = |event: Event<'_>| match event {
        Event::Chain(name) | Event::Lookup { set: name, .. } => *walked.entry(name.to_owned()).or_default() += 1,
        _ => (),
    };
    let interpreter = Interpreter::default();
    let outcome = interpreter.run(Run {
        state,
        commits: &[],
        packet: &packet,
        circumstances: Circumstances::default(),
        host: &[],
        choose: &mut |_| 0,
        memory: &mut Memory::default(),
        observer: Some(&mut observe),
    });
    (outcome.verdict, walked)
}

#[test]
fn ranges_cost_nothing_to_services_that_have_none() {
    let [none, many] = [0, 5_000].map(state);
    let lists = |walked: &BTreeMap<String, u32>| -> u32 {
        ["lb_allow4", "lb_allow6"].iter().filter_map(|set| walked.get(*set)).sum()
    };
    let ways = [("203.0.113.1", 80), ("fd02::1", 80), ("10.96.0.1", 80), ("fd00::1", 80), ("198.51.100.1", 30001)];
    for (destination, port) in ways {
        let source = if destination.contains(':') { "2001:db9::1" } else { "192.0.2.9" };
        let (verdict, before) = walked(&none, source, destination, port);
        assert!(matches!(verdict, Verdict::Translate { .. }), "{destination}: {verdict:?}");
        assert_eq!(lists(&before), 0, "{destination}");
        assert_eq!(
            walked(&many, source, destination, port),
            (verdict, before),
            "{destination}: the same way, the same price"
        );
    }
    // The Service that has them pays one look-up, on its load-balancer addresses alone.
    for (source, destination, port, look_ups, admitted) in [
        ("20.0.0.9", "203.0.113.2", 80, 1, true),
        ("20.0.1.9", "203.0.113.2", 80, 1, false),
        ("2001:db8:7::9", "fd02::2", 80, 1, true),
        ("2001:db8:7:1::9", "fd02::2", 80, 1, false),
        ("20.0.1.9", "10.96.0.2", 80, 0, true),
        ("20.0.1.9", "198.51.100.1", 30002, 0, true),
    ] {
        let (verdict, way) = walked(&many, source, destination, port);
        assert_eq!(lists(&way), look_ups, "{source} {destination}");
        assert_eq!(matches!(verdict, Verdict::Translate { .. }), admitted, "{source} {destination}: {verdict:?}");
    }
}
