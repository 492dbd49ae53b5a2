//! Slices from pods: tables for each rule, and random histories that must stay packed, stable and minimal.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use api::object::Revision;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::snapshot::{
    Changes, ContainerPort, Endpoint, Meta, Node, Pod, Protocol, ServicePort, SlicePort, TargetPort,
};

mod producers;

fn meta(name: &str) -> Meta {
    Meta { key: ObjectKey::new("ns", name), uid: format!("uid-{name}").into(), ..Meta::default() }
}

fn pod(number: u8) -> Pod {
    let mut meta = meta(&format!("p{number:03}"));
    meta.labels.insert("app".into(), "web".into());
    Pod {
        meta,
        node: Some("n1".into()),
        ips: vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)), format!("fd00::{number}").parse().unwrap()],
        ready: true,
        ..Pod::default()
    }
}

fn service() -> Service {
    let port = |name: &str, target| ServicePort {
        name: name.into(),
        protocol: Protocol::Tcp,
        port: 80,
        target,
        node_port: 0,
        app_protocol: None,
    };
    Service {
        meta: meta("web"),
        cluster_ips: vec!["10.96.0.1".parse().unwrap()],
        families: vec![Family::V4],
        ports: vec![port("http", TargetPort::Number(8080))],
        selector: Some(Labels::from([("app".into(), "web".into())])),
        ..Service::default()
    }
}

/// A snapshot and its index, to which writes are applied as the API would.
struct Bench {
    snapshot: Snapshot,
    index: Index,
    revision: u64,
}

impl Bench {
    fn new(service: Service, pods: Vec<Pod>) -> Self {
        let mut bench = Bench { snapshot: Snapshot::default(), index: Index::default(), revision: 0 };
        let node = Node {
            meta: Meta { key: ObjectKey::new("", "n1"), ..Meta::default() },
            zone: Some("z1".into()),
            ..Node::default()
        };
        bench.change(|snapshot| {
            snapshot.nodes.insert_mut(node.meta.key.clone(), Arc::new(node.clone()));
            snapshot.services.insert_mut(service.meta.key.clone(), Arc::new(service.clone()));
            for pod in &pods {
                snapshot.pods.insert_mut(pod.meta.key.clone(), Arc::new(pod.clone()));
            }
        });
        bench
    }

    fn change(&mut self, change: impl FnOnce(&mut Snapshot)) -> BTreeSet<ObjectKey> {
        let before = self.snapshot.clone();
        change(&mut self.snapshot);
        let differ = |changed: bool, key: &ObjectKey| changed.then(|| key.clone());
        let after = &self.snapshot;
        let pods = before.pods.keys().chain(after.pods.keys());
        let services = before.services.keys().chain(after.services.keys());
        let changes = Changes {
            pods: pods.filter_map(|key| differ(before.pods.get(key) != after.pods.get(key), key)).collect(),
            services: services
                .filter_map(|key| differ(before.services.get(key) != after.services.get(key), key))
                .collect(),
            nodes: after.nodes.keys().chain(before.nodes.keys()).cloned().collect(),
            ..Changes::default()
        };
        self.index.update(&before, after, &changes)
    }

    fn plan(&self, max: usize) -> Vec<Write> {
        let outcome =
            reconcile(&self.snapshot, &self.index, &ObjectKey::new("ns", "web"), Config { max_per_slice: max });
        outcome.writes
    }

    fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            self.revision += 1;
            match write {
                Write::Create { object, .. } => {
                    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                    assert!(!self.snapshot.slices.contains_key(&ObjectKey::new("ns", name.as_str())), "{name} exists");
                    self.store(&name, &object);
                }
                Write::Update { object, .. } => {
                    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                    self.store(&name, &object);
                }
                Write::Delete { target, .. } => {
                    self.snapshot.slices.remove_mut(&target.key);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        let names = self.snapshot.slices.keys().cloned().collect();
        self.snapshot.slices_of.insert_mut(ObjectKey::new("ns", "web"), names);
    }

    fn store(&mut self, name: &str, object: &Value) {
        let text = |value: &Value| value.as_str().map(Box::<str>::from);
        let names = |value: &Value| -> Vec<Box<str>> {
            value.as_array().into_iter().flatten().filter_map(|one| text(&one["name"])).collect()
        };
        let endpoint = |one: &Value| Endpoint {
            address: one["addresses"][0].as_str().unwrap().parse().unwrap(),
            ready: one["conditions"]["ready"].as_bool().unwrap(),
            serving: one["conditions"]["serving"].as_bool().unwrap(),
            terminating: one["conditions"]["terminating"].as_bool().unwrap(),
            node: text(&one["nodeName"]),
            zone: text(&one["zone"]),
            hostname: text(&one["hostname"]),
            pod: text(&one["targetRef"]["name"]),
            pod_uid: text(&one["targetRef"]["uid"]),
            hint_zones: names(&one["hints"]["forZones"]),
            hint_nodes: names(&one["hints"]["forNodes"]),
            weight: None,
        };
        let port = |one: &Value| SlicePort {
            name: text(&one["name"]).unwrap(),
            protocol: Protocol::Tcp,
            port: one["port"].as_u64().map(|port| u16::try_from(port).unwrap()),
            app_protocol: None,
        };
        let slice = EndpointSlice {
            meta: Meta {
                key: ObjectKey::new("ns", name),
                uid: format!("uid-{name}").into(),
                revision: Revision(self.revision),
                labels: serde_json::from_value(object["metadata"]["labels"].clone()).unwrap(),
                deleting: false,
            },
            family: Some(if object["addressType"] == "IPv4" { Family::V4 } else { Family::V6 }),
            ports: object["ports"].as_array().unwrap().iter().map(port).collect(),
            endpoints: object["endpoints"].as_array().unwrap().iter().map(endpoint).collect(),
            owner_uid: text(&object["metadata"]["ownerReferences"][0]["uid"]),
            trigger_time: None,
            weights_unread: None,
        };
        self.snapshot.slices.insert_mut(slice.meta.key.clone(), Arc::new(slice));
    }

    fn settle(&mut self, max: usize) -> usize {
        let writes = self.plan(max);
        let count = writes.len();
        self.apply(writes);
        assert!(self.plan(max).is_empty(), "a second look writes nothing: {:?}", self.plan(max));
        count
    }

    fn slices(&self) -> Vec<&EndpointSlice> {
        self.snapshot.slices.values().map(|slice| &**slice).collect()
    }

    fn endpoints(&self) -> Vec<&Endpoint> {
        self.snapshot.slices.values().flat_map(|slice| &slice.endpoints).collect()
    }
}

#[test]
fn conditions_follow_readiness_deletion_and_publication() {
    let rows = [
        // ready, deleting, publish not ready -> ready, serving, terminating
        ((true, false, false), (true, true, false)),
        ((false, false, false), (false, false, false)),
        ((true, true, false), (false, true, true)),
        ((false, true, false), (false, false, true)),
        ((false, false, true), (true, false, false)),
        ((true, true, true), (true, true, true)),
    ];
    for ((ready, deleting, publish), expected) in rows {
        let mut one = pod(1);
        one.ready = ready;
        one.meta.deleting = deleting;
        let mut bench = Bench::new(Service { publish_not_ready: publish, ..service() }, vec![one]);
        bench.settle(100);
        let endpoint = bench.endpoints()[0];
        assert_eq!((endpoint.ready, endpoint.serving, endpoint.terminating), expected);
    }
}

#[test]
fn which_pods_belong() {
    let finished = Pod { finished: true, ..pod(1) };
    let no_ip = Pod { ips: Vec::new(), ..pod(2) };
    let lost = Pod { node: Some("gone".into()), ..pod(3) };
    let unbound = Pod { node: None, ..pod(4) };
    let mut other = pod(5);
    other.meta.labels.insert("app".into(), "other".into());
    let pods = vec![finished, no_ip, lost, unbound, other];
    let bench = Bench::new(service(), pods.clone());
    let outcome = reconcile(&bench.snapshot, &bench.index, &ObjectKey::new("ns", "web"), Config::default());
    assert!(outcome.node_missing, "a pod on an unknown node asks for another look");
    let mut bench = bench;
    bench.apply(outcome.writes);
    let names: Vec<&str> = bench.endpoints().iter().filter_map(|endpoint| endpoint.pod.as_deref()).collect();
    assert_eq!(names, ["p004"]);
    let mut bench = Bench::new(Service { publish_not_ready: true, ..service() }, pods);
    bench.settle(100);
    assert_eq!(bench.endpoints().len(), 2, "published although its node is unknown");
}

#[test]
fn named_ports_differ_per_pod_and_split_slices() {
    let mut service = service();
    service.ports[0].target = TargetPort::Name("web".into());
    let with = |number, port| {
        let ports = vec![
            ContainerPort { name: "web".into(), protocol: Protocol::Udp, port: 1 },
            ContainerPort { name: "web".into(), protocol: Protocol::Tcp, port },
        ];
        Pod { ports, ..pod(number) }
    };
    let mut bench = Bench::new(service, vec![with(1, 80), with(2, 80), with(3, 81), pod(4)]);
    bench.settle(100);
    let mut ports: Vec<(Option<u16>, usize)> = bench
        .slices()
        .iter()
        .map(|slice| (slice.ports.first().and_then(|port| port.port), slice.endpoints.len()))
        .collect();
    ports.sort();
    assert_eq!(ports, [(None, 1), (Some(80), 2), (Some(81), 1)]);
}

#[test]
fn families_placeholder_labels_and_owner() {
    let mut service = service();
    service.families = vec![Family::V6, Family::V4];
    service.headless = true;
    service.meta.labels.insert("team".into(), "a".into());
    service.meta.labels.insert(HEADLESS.into(), "by hand".into());
    let mut bench = Bench::new(service.clone(), Vec::new());
    assert_eq!(bench.settle(100), 2, "one empty slice per family");
    for slice in bench.slices() {
        assert!(slice.endpoints.is_empty() && slice.ports.is_empty());
        assert_eq!(slice.owner_uid, Some("uid-web".into()));
        let labels: Vec<(&str, &str)> = slice.meta.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(labels, [(MANAGED_BY, CONTROLLER), (SERVICE_NAME, "web"), (HEADLESS, ""), ("team", "a")]);
    }
    let touched = bench.change(|snapshot| snapshot.pods.insert_mut(pod(1).meta.key.clone(), Arc::new(pod(1))));
    assert!(touched.contains(&ObjectKey::new("ns", "web")));
    assert_eq!(bench.settle(100), 2, "the placeholders are used, not replaced");
    service.families = vec![Family::V4];
    bench.change(|snapshot| snapshot.services.insert_mut(service.meta.key.clone(), Arc::new(service.clone())));
    bench.settle(100);
    assert_eq!(bench.slices().iter().map(|slice| slice.family).collect::<Vec<_>>(), [Some(Family::V4)]);
}

#[test]
fn slices_of_others_are_left_alone_and_those_of_an_earlier_service_go() {
    let mut bench = Bench::new(service(), vec![pod(1)]);
    bench.settle(100);
    let mine = bench.slices()[0].clone();
    let mut foreign = mine.clone();
    foreign.meta.key = ObjectKey::new("ns", "foreign");
    foreign.meta.labels.insert(MANAGED_BY.into(), "me".into());
    let mut stale = mine.clone();
    stale.meta.key = ObjectKey::new("ns", "stale");
    stale.owner_uid = Some("uid-earlier".into());
    for slice in [foreign, stale] {
        bench.snapshot.slices.insert_mut(slice.meta.key.clone(), Arc::new(slice));
    }
    bench.apply(Vec::new());
    assert_eq!(format!("{:?}", bench.plan(100)), "[delete endpointslices.discovery.k8s.io ns/stale]");

    let mut by_hand = mine.clone();
    by_hand.meta.labels.insert(HEADLESS.into(), String::new().into());
    by_hand.meta.key = mine.meta.key.clone();
    bench.settle(100);
    bench.snapshot.slices.insert_mut(by_hand.meta.key.clone(), Arc::new(by_hand));
    assert!(bench.plan(100).is_empty(), "the label that hides a slice may be put on by hand");
    for broken in
        [Service { selector: None, ..service() }, Service { service_type: ServiceType::ExternalName, ..service() }]
    {
        bench.change(|snapshot| snapshot.services.insert_mut(broken.meta.key.clone(), Arc::new(broken.clone())));
        assert!(bench.plan(100).is_empty(), "left as it is");
    }
}

#[test]
fn hostnames_and_hints() {
    let named = Pod { hostname: Some("a".into()), subdomain: Some("web".into()), ..pod(1) };
    let elsewhere = Pod { hostname: Some("b".into()), subdomain: Some("db".into()), ready: false, ..pod(2) };
    let service = Service { traffic_distribution: Some("PreferSameNode".into()), ..service() };
    let mut bench = Bench::new(service, vec![named, elsewhere]);
    bench.settle(100);
    let mut endpoints = bench.endpoints();
    endpoints.sort_by(|one, other| one.pod.cmp(&other.pod));
    assert_eq!((endpoints[0].hostname.as_deref(), endpoints[1].hostname.as_deref()), (Some("a"), None));
    assert_eq!((endpoints[0].hint_zones.len(), endpoints[0].hint_nodes.len()), (1, 1));
    assert!(endpoints[1].hint_zones.is_empty(), "an unready endpoint has no hints");
    assert_eq!(endpoints[0].zone.as_deref(), Some("z1"));
}

#[test]
fn the_older_endpoints_object() {
    let mut leaving = pod(3);
    leaving.meta.deleting = true;
    let bench = Bench::new(service(), vec![pod(2), pod(1), Pod { ready: false, ..pod(4) }, leaving]);
    let key = ObjectKey::new("ns", "web");
    let Some(Write::Create { object, .. }) = legacy::reconcile(&bench.snapshot, &bench.index, &key, None) else {
        panic!("an Endpoints object is created");
    };
    let ips = |field: &str| -> Vec<&str> {
        object["subsets"][0][field].as_array().unwrap().iter().filter_map(|one| one["ip"].as_str()).collect()
    };
    assert_eq!(ips("addresses"), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(ips("notReadyAddresses"), ["10.0.0.4"]);
    assert_eq!(object["subsets"][0]["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    let stored = legacy::Stored::of(&object, Revision(7));
    assert!(legacy::reconcile(&bench.snapshot, &bench.index, &key, Some(&stored)).is_none());
    let bench = Bench::new(service(), vec![pod(1)]);
    let Some(Write::Update { object, .. }) = legacy::reconcile(&bench.snapshot, &bench.index, &key, Some(&stored))
    else {
        panic!("an update");
    };
    assert_eq!(object["metadata"]["resourceVersion"], "7");
}

#[test]
fn endpoints_without_their_service_are_left_over_if_they_were_made_here() {
    let bench = Bench::new(service(), vec![pod(1)]);
    let (web, other) = (ObjectKey::new("ns", "web"), ObjectKey::new("ns", "other"));
    let Some(Write::Create { mut object, .. }) = legacy::reconcile(&bench.snapshot, &bench.index, &web, None) else {
        panic!("an Endpoints object is created");
    };
    let snapshot = Snapshot { revision: Revision(9), ..bench.snapshot.clone() };
    let left = |key: &ObjectKey, object: &Value, revision: u64| {
        legacy::leftover(&snapshot, key, &legacy::Stored::of(object, Revision(revision))).is_some()
    };
    assert!(left(&other, &object, 9));
    assert!(!left(&web, &object, 9), "its Service is there");
    assert!(!left(&other, &object, 10), "its Service may be in the next snapshot");
    object["metadata"]["labels"] = json!({});
    assert!(!left(&other, &object, 9), "somebody else's");
}

#[test]
fn a_pod_touches_only_the_services_that_select_it() {
    let mut bench = Bench::new(service(), vec![pod(1)]);
    bench.change(|snapshot| {
        for number in 0..500 {
            let mut other = service();
            other.meta = meta(&format!("other{number}"));
            other.selector =
                Some(Labels::from([("app".into(), "web".into()), ("n".into(), format!("{number}").into())]));
            snapshot.services.insert_mut(other.meta.key.clone(), Arc::new(other));
        }
    });
    let mut moved = pod(1);
    moved.meta.labels.insert("n".into(), "7".into());
    let touched = bench.change(|snapshot| snapshot.pods.insert_mut(moved.meta.key.clone(), Arc::new(moved.clone())));
    assert_eq!(touched, [ObjectKey::new("ns", "other7"), ObjectKey::new("ns", "web")].into());
    let touched = bench.change(|snapshot| {
        snapshot.pods.remove_mut(&moved.meta.key);
    });
    assert_eq!(touched.len(), 2, "selected before, not after");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn packing_holds_its_limit_and_writes_little(
        max in 1_usize..6,
        history in proptest::collection::vec(proptest::collection::vec((0_u8..40, any::<bool>(), any::<bool>()), 1..12), 1..12),
    ) {
        let mut bench = Bench::new(service(), Vec::new());
        bench.settle(max);
        for changes in history {
            let distinct: BTreeSet<u8> = changes.iter().map(|(number, _, _)| *number).collect();
            bench.change(|snapshot| {
                for (number, present, ready) in &changes {
                    let one = Pod { ready: *ready, ..pod(*number) };
                    if *present {
                        snapshot.pods.insert_mut(one.meta.key.clone(), Arc::new(one));
                    } else {
                        snapshot.pods.remove_mut(&one.meta.key);
                    }
                }
            });
            let writes = bench.settle(max);
            // A change of n pods never needs more than n writes, but for the placeholder.
            prop_assert!(writes <= distinct.len().max(1), "{writes} writes for {} pods", distinct.len());
            let mut names: Vec<Box<str>> = bench.endpoints().iter().filter_map(|one| one.pod.clone()).collect();
            names.sort();
            let wanted: Vec<Box<str>> = bench.snapshot.pods.keys().map(|key| key.name.clone()).collect();
            prop_assert_eq!(names, wanted, "every pod once");
            prop_assert!(bench.slices().iter().all(|slice| slice.endpoints.len() <= max));
            prop_assert!(!bench.slices().is_empty());
        }
    }
}
