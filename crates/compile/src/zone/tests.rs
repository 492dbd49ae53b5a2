//! The zone row by row, and incremental against fresh.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use api::object::{ObjectKey, Revision};
use proptest::prelude::*;

use super::*;
use crate::snapshot::{
    Changes, Endpoint, EndpointSlice, Family, Meta, Namespace, Network, Pod, Protocol, Service, ServicePort,
    ServiceType, SlicePort, TargetPort,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn config() -> ZoneConfig {
    let reverse = ["10.96.0.0/16", "10.244.0.0/16", "fd00:96::/112"].map(|range| range.parse().unwrap()).to_vec();
    ZoneConfig { domain: "cluster.local".into(), reverse, servers: vec![ip("10.96.0.10"), ip("fd00:96::a")] }
}

fn meta(namespace: &str, name: &str) -> Meta {
    Meta { key: ObjectKey::new(namespace, name), ..Meta::default() }
}

fn service(name: &str, cluster_ips: &[&str]) -> Service {
    let port = |name: &str, protocol, port| ServicePort {
        name: name.into(),
        protocol,
        port,
        target: TargetPort::Number(port),
        node_port: 0,
        app_protocol: None,
    };
    Service {
        meta: meta("ns", name),
        cluster_ips: cluster_ips.iter().map(|text| ip(text)).collect(),
        headless: cluster_ips.is_empty(),
        ports: vec![port("http", Protocol::Tcp, 80), port("", Protocol::Tcp, 81), port("dns", Protocol::Udp, 53)],
        ..Service::default()
    }
}

fn endpoint(address: &str, ready: bool, hostname: Option<&str>) -> Endpoint {
    Endpoint {
        address: ip(address),
        ready,
        serving: ready,
        terminating: false,
        node: None,
        zone: None,
        hostname: hostname.map(Into::into),
        pod: None,
        pod_uid: None,
        hint_zones: Vec::new(),
        hint_nodes: Vec::new(),
        weight: None,
    }
}

fn put_service(snapshot: &mut Snapshot, service: Service) {
    snapshot.services.insert_mut(service.meta.key.clone(), Arc::new(service));
}

fn put_slice(snapshot: &mut Snapshot, service: &str, name: &str, endpoints: Vec<Endpoint>) {
    let key = ObjectKey::new("ns", name);
    let port = SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: Some(8080), app_protocol: None };
    let slice = EndpointSlice {
        meta: meta("ns", name),
        family: Some(Family::V4),
        ports: vec![port],
        endpoints,
        owner_uid: None,
        trigger_time: None,
        weights_unread: None,
    };
    snapshot.slices.insert_mut(key.clone(), Arc::new(slice));
    let service = ObjectKey::new("ns", service);
    let before = snapshot.slices_of.get(&service).into_iter().flat_map(|keys| keys.iter().cloned());
    let slices: BTreeSet<ObjectKey> = before.chain([key]).collect();
    snapshot.slices_of.insert_mut(service, slices.into_iter().collect());
}

fn world() -> Snapshot {
    let mut world = Snapshot { revision: Revision(7), ..Snapshot::default() };
    for name in ["ns", "empty"] {
        world.namespaces.insert_mut(ObjectKey::new("", name), Arc::new(Namespace { meta: meta("", name) }));
    }
    put_service(&mut world, service("web", &["10.96.0.20"]));
    put_slice(&mut world, "web", "web-1", vec![endpoint("10.244.0.9", true, None)]);
    put_service(&mut world, service("dual", &["10.96.0.21", "fd00:96::21"]));
    put_service(&mut world, service("set", &[]));
    put_service(&mut world, service("none", &[]));
    put_service(&mut world, Service { ports: Vec::new(), ..service("plain", &[]) });
    let set = [endpoint("10.244.0.1", true, Some("Db-0")), endpoint("10.244.0.2", true, None)];
    put_slice(&mut world, "set", "set-1", set.to_vec());
    put_slice(&mut world, "set", "set-2", vec![endpoint("10.244.0.3", false, Some("db-2"))]);
    put_slice(&mut world, "none", "none-1", vec![endpoint("10.244.0.3", false, None)]);
    let alias = Service {
        service_type: ServiceType::ExternalName,
        external_name: "Example.com.".into(),
        headless: false,
        ..service("alias", &[])
    };
    put_service(&mut world, alias);
    put_service(&mut world, Service { headless: false, ..service("pending", &[]) });
    let pod = |name: &str, address: &str, finished| {
        Arc::new(Pod { meta: meta("ns", name), ips: vec![ip(address)], finished, ..Pod::default() })
    };
    world.pods.insert_mut(ObjectKey::new("ns", "p"), pod("p", "10.244.0.9", false));
    world.pods.insert_mut(ObjectKey::new("ns", "done"), pod("done", "10.244.0.8", true));
    world
}

/// Every key of a snapshot.
fn everything(snapshot: &Snapshot) -> Changes {
    let mut changes = Changes::default();
    changes.services.extend(snapshot.services.keys().chain(snapshot.slices_of.keys()).cloned());
    changes.pods.extend(snapshot.pods.keys().cloned());
    changes.namespaces.extend(snapshot.namespaces.keys().cloned());
    changes
}

fn fresh(snapshot: &Snapshot) -> Arc<Zone> {
    ZoneBuilder::new(config()).update(&Arc::new(snapshot.clone()), &everything(snapshot))
}

/// An answer as text, for golden rows.
fn show(zone: &Zone, name: &str, query: QueryType) -> String {
    match zone.lookup(name, query) {
        Answer::V4(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Answer::V6(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Answer::Address(address) => address.to_string(),
        Answer::Alias(target) => format!("alias {target}"),
        Answer::Locations(list) => {
            let row = |it: &Location| format!("{} {} {} {:?}", it.weight, it.port, it.target, it.addresses);
            list.iter().map(row).collect::<Vec<_>>().join("; ")
        }
        Answer::Names(names) => names.join(" "),
        Answer::Text(text) => format!("{text:?}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn names_of_the_domain() {
    use QueryType::{A, Aaaa, Cname, Ns, Other, Soa, Srv, Txt};
    let zone = fresh(&world());
    let rows = [
        ("dns-version", Txt, "\"1.1.0\""),
        ("dns-version", A, "NoData"),
        ("web.ns.svc", A, "10.96.0.20"),
        ("web.ns.svc", Aaaa, "NoData"),
        ("web.ns.svc", Other, "NoData"),
        ("dual.ns.svc", Aaaa, "fd00:96::21"),
        ("_http._tcp.web.ns.svc", Srv, "100 80 web.ns.svc.cluster.local [10.96.0.20]"),
        ("_http._tcp.dual.ns.svc", Srv, "100 80 dual.ns.svc.cluster.local [10.96.0.21, fd00:96::21]"),
        ("_dns._udp.web.ns.svc", Srv, "100 53 web.ns.svc.cluster.local [10.96.0.20]"),
        ("_http._udp.web.ns.svc", Srv, "NoName"),
        ("_http._tcp.web.ns.svc", A, "NoData"),
        ("_tcp.web.ns.svc", A, "NoData"),
        ("_sctp.web.ns.svc", A, "NoName"),
        ("10-244-0-9.web.ns.svc", A, "10.244.0.9"),
        ("set.ns.svc", A, "10.244.0.1 10.244.0.2"),
        ("set.ns.svc", Aaaa, "NoData"),
        ("db-0.set.ns.svc", A, "10.244.0.1"),
        ("db-0.set.ns.svc", Aaaa, "NoData"),
        ("10-244-0-1.set.ns.svc", A, "NoName"),
        ("10-244-0-2.set.ns.svc", A, "10.244.0.2"),
        ("db-2.set.ns.svc", A, "NoName"),
        (
            "_http._tcp.set.ns.svc",
            Srv,
            "50 8080 10-244-0-2.set.ns.svc.cluster.local [10.244.0.2]; 50 8080 db-0.set.ns.svc.cluster.local [10.244.0.1]",
        ),
        ("none.ns.svc", A, "NoName"),
        ("plain.ns.svc", A, "NoName"),
        ("pending.ns.svc", A, "NoName"),
        ("alias.ns.svc", A, "alias example.com"),
        ("alias.ns.svc", Aaaa, "alias example.com"),
        ("alias.ns.svc", Cname, "alias example.com"),
        ("alias.ns.svc", Srv, "NoData"),
        ("10-244-0-9.ns.pod", A, "10.244.0.9"),
        ("10-244-0-9.ns.pod", Aaaa, "NoData"),
        ("10-244-0-9.empty.pod", A, "NoName"),
        ("10-244-0-8.ns.pod", A, "NoName"),
        ("ns.pod", A, "NoData"),
        ("svc", A, "NoData"),
        ("pod", A, "NoData"),
        ("ns.svc", A, "NoData"),
        ("empty.svc", A, "NoData"),
        ("nowhere.svc", A, "NoName"),
        ("nothing.ns.svc", A, "NoName"),
        ("*.ns.svc", A, "NoName"),
        ("any.ns.svc", A, "NoName"),
        ("ns.dns", A, "10.96.0.10"),
        ("ns.dns", Aaaa, "fd00:96::a"),
        ("www.example.com", A, "NoName"),
    ];
    for (name, query, want) in rows {
        assert_eq!(show(&zone, &format!("{name}.cluster.local"), query), want, "{name} {query:?}");
    }
    let rows =
        [("cluster.local", Soa, "Authority"), ("cluster.local", Ns, "NameServer"), ("cluster.local", A, "NoData")];
    for (name, query, want) in rows.into_iter().chain([("example.com", A, "Elsewhere"), ("", Ns, "Elsewhere")]) {
        assert_eq!(show(&zone, name, query), want, "{name}");
    }
    assert_eq!(show(&zone, "xcluster.local", A), "Elsewhere");
    assert_eq!(zone.apex_labels("web.ns.svc.cluster.local"), 2);
}

#[test]
fn addresses() {
    use QueryType::{A, Ns, Ptr, Soa};
    let zone = fresh(&world());
    let six = "1.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa";
    let rows = [
        ("20.0.96.10.in-addr.arpa", Ptr, "web.ns.svc.cluster.local"),
        ("20.0.96.10.in-addr.arpa", A, "NoData"),
        (six, Ptr, "dual.ns.svc.cluster.local"),
        ("1.0.244.10.in-addr.arpa", Ptr, "db-0.set.ns.svc.cluster.local"),
        ("3.0.244.10.in-addr.arpa", Ptr, "NoName"),
        ("9.0.244.10.in-addr.arpa", Ptr, "NoName"),
        ("0.244.10.in-addr.arpa", Ptr, "NoData"),
        ("96.10.in-addr.arpa", Soa, "Authority"),
        ("96.10.in-addr.arpa", Ns, "NameServer"),
        ("10.in-addr.arpa", Soa, "Elsewhere"),
        ("1.0.0.127.in-addr.arpa", Ptr, "Elsewhere"),
        ("020.0.96.10.in-addr.arpa", Ptr, "Elsewhere"),
        ("1.2.3.4.5.in-addr.arpa", Ptr, "Elsewhere"),
        ("arpa", Ptr, "Elsewhere"),
    ];
    for (name, query, want) in rows {
        assert_eq!(show(&zone, name, query), want, "{name}");
    }
    assert_eq!(zone.apex_labels("3.0.244.10.in-addr.arpa"), 4);
    assert_eq!(zone.apex_labels(six), 28 + 2);
}

#[test]
fn addresses_of_added_networks_have_names() {
    let mut world = world();
    put_service(&mut world, service("far", &["10.97.3.9"]));
    let name = "9.3.97.10.in-addr.arpa";
    assert_eq!(show(&fresh(&world), name, QueryType::Ptr), "Elsewhere");
    let network = Network { meta: meta("", "more"), cidrs: vec!["10.97.0.0/16".parse().unwrap()] };
    world.networks.insert_mut(ObjectKey::new("", "more"), Arc::new(network));
    let zone = fresh(&world);
    assert_eq!(show(&zone, name, QueryType::Ptr), "far.ns.svc.cluster.local");
    assert_eq!(show(&zone, "8.3.97.10.in-addr.arpa", QueryType::Ptr), "NoName");
    assert_eq!(zone.apex_labels(name), 4);
}

#[test]
fn one_change_compiles_one_service() {
    let mut world = world();
    for number in 0..500 {
        put_service(&mut world, service(&format!("s{number}"), &["10.96.1.1"]));
    }
    let mut builder = ZoneBuilder::new(config());
    builder.update(&Arc::new(world.clone()), &everything(&world));
    let before = builder.compiled();
    put_service(&mut world, service("s7", &["10.96.2.7"]));
    let mut changes = Changes::default();
    changes.services.insert(ObjectKey::new("ns", "s7"));
    let zone = builder.update(&Arc::new(world.clone()), &changes);
    assert_eq!(builder.compiled() - before, 1);
    assert_eq!(*zone, *fresh(&world));
    assert_eq!(show(&zone, "7.2.96.10.in-addr.arpa", QueryType::Ptr), "s7.ns.svc.cluster.local");
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Service(u8, Option<u8>),
    Slice(u8, Option<Vec<(u8, bool)>>),
    Pod(u8, Option<u8>),
    Namespace(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8, proptest::option::of(0..6_u8)).prop_map(|(name, what)| Step::Service(name, what)),
        (0..4_u8, proptest::option::of(proptest::collection::vec((0..5_u8, any::<bool>()), 0..4)))
            .prop_map(|(name, what)| Step::Slice(name, what)),
        (0..4_u8, proptest::option::of(0..5_u8)).prop_map(|(name, what)| Step::Pod(name, what)),
        any::<bool>().prop_map(Step::Namespace),
    ]
}

fn apply(world: &mut Snapshot, step: &Step, changes: &mut Changes) {
    let key = |name: &u8| ObjectKey::new("ns", format!("s{name}"));
    match step {
        Step::Service(name, None) => {
            world.services.remove_mut(&key(name));
            changes.services.insert(key(name));
        }
        Step::Service(name, Some(what)) => {
            let made = match what {
                0 => service(&format!("s{name}"), &[]),
                1 => Service {
                    service_type: ServiceType::ExternalName,
                    external_name: "x.org".into(),
                    ..service(&format!("s{name}"), &[])
                },
                // Two Services may hold one address for a moment: slices of the truth arrive in any order.
                other => service(&format!("s{name}"), &[&format!("10.96.0.{other}")]),
            };
            put_service(world, made);
            changes.services.insert(key(name));
        }
        Step::Slice(name, None) => {
            world.slices.remove_mut(&key(name));
            world.slices_of.remove_mut(&key(name));
            changes.services.insert(key(name));
        }
        Step::Slice(name, Some(list)) => {
            let list = list.iter().map(|(last, ready)| endpoint(&format!("10.244.0.{last}"), *ready, None)).collect();
            put_slice(world, &format!("s{name}"), &format!("s{name}"), list);
            changes.services.insert(key(name));
        }
        Step::Pod(name, None) => {
            world.pods.remove_mut(&key(name));
            changes.pods.insert(key(name));
        }
        Step::Pod(name, Some(last)) => {
            let pod = Pod {
                meta: meta("ns", &format!("s{name}")),
                ips: vec![ip(&format!("10.244.0.{last}"))],
                ..Pod::default()
            };
            world.pods.insert_mut(key(name), Arc::new(pod));
            changes.pods.insert(key(name));
        }
        Step::Namespace(exists) => {
            let key = ObjectKey::new("", "ns");
            world.namespaces.remove_mut(&key);
            if *exists {
                world.namespaces.insert_mut(key.clone(), Arc::new(Namespace { meta: meta("", "ns") }));
            }
            changes.namespaces.insert(key);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn incremental_is_fresh(batches in proptest::collection::vec(proptest::collection::vec(step(), 1..4), 1..12)) {
        let mut world = Snapshot::default();
        let mut builder = ZoneBuilder::new(config());
        let mut asked = 0;
        for batch in batches {
            let mut changes = Changes::default();
            for step in &batch {
                apply(&mut world, step, &mut changes);
            }
            asked += changes.services.len() as u64;
            let zone = builder.update(&Arc::new(world.clone()), &changes);
            prop_assert_eq!(&*zone, &*fresh(&world));
            prop_assert_eq!(zone.text(), fresh(&world).text());
        }
        prop_assert_eq!(builder.compiled(), asked);
    }
}
