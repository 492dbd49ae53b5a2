//! The rules of Kubernetes' proxy, one table each: endpoints, frontends, policies.

use serde_json::{Value, json};

use super::*;
use crate::load_balancer::Pools;
use crate::snapshot::Builder;
use api::object::Revision;

fn config() -> Config {
    Config {
        node: "n1".into(),
        pod_cidrs: vec![],
        service_cidrs: vec![],
        egress: false,
        node_port_addresses: vec![],
        dns_addresses: vec!["10.96.0.10".parse().unwrap(), "fd00::10".parse().unwrap()],
        pools: Pools::parse(&["203.0.113.0/24", "fd02::/120"]).unwrap(),
        ..Config::default()
    }
}

fn compile(objects: &[(&str, &str, Value)]) -> (ServiceEntry, Vec<String>) {
    let mut builder = Builder::default();
    for (plural, name, object) in objects {
        let key = ObjectKey::new(if *plural == "nodes" { "" } else { "ns" }, *name);
        builder.put(plural, &key, Revision(1), object.to_string().as_bytes()).unwrap();
    }
    let snapshot = builder.publish(Revision(1)).0;
    let (entry, problems) = compile_service(&snapshot, &ObjectKey::new("ns", "web"), &config());
    (entry, problems.into_iter().map(|problem| problem.why).collect())
}

/// A Service with one cluster IP and port http, and more of its spec.
fn service(more: Value) -> (&'static str, &'static str, Value) {
    let mut spec = json!({ "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
        "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }] });
    merge(&mut spec, more);
    let status = spec.as_object_mut().unwrap().remove("status").unwrap_or_default();
    let metadata = spec.as_object_mut().unwrap().remove("metadata").unwrap_or(json!({}));
    let status = if status.is_null() { json!({}) } else { status };
    ("services", "web", json!({ "metadata": metadata, "spec": spec, "status": status }))
}

fn merge(into: &mut Value, more: Value) {
    let Value::Object(more) = more else { return };
    for (key, value) in more {
        into[key] = value;
    }
}

fn slice(name: &'static str, more: Value) -> (&'static str, &'static str, Value) {
    let mut slice = json!({ "metadata": { "labels": { "kubernetes.io/service-name": "web" } }, "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }], "endpoints": [] });
    merge(&mut slice, more);
    ("endpointslices", name, slice)
}

fn ready(address: &str) -> Value {
    json!({ "addresses": [address], "nodeName": "n1" })
}

fn ending(address: &str, serving: bool) -> Value {
    json!({ "addresses": [address], "conditions": { "ready": false, "serving": serving, "terminating": true } })
}

fn text(backends: &[Backend]) -> Vec<String> {
    backends.iter().map(|backend| format!("{}:{}", backend.address, backend.port)).collect()
}

fn only(entry: &ServiceEntry) -> &PortEntry {
    assert_eq!(entry.len(), 1);
    entry.values().next().unwrap()
}

#[test]
fn slices_are_joined_by_port_name_and_protocol() {
    let cases: [(Value, &[&str]); 10] = [
        (json!([{ "name": "http", "port": 8080 }]), &["10.0.0.1:8080"]),
        (json!([{ "name": "http", "port": 8080, "protocol": "UDP" }]), &[]),
        (json!([{ "name": "other", "port": 8080 }]), &[]),
        (json!([{ "port": 8080 }]), &[]),
        (json!([{ "name": "http" }]), &[]),
        // What broke other readers (7 number 12): no ports, none at all, a port of nothing.
        (json!([]), &[]),
        (Value::Null, &[]),
        (json!([{}]), &[]),
        (json!([{ "name": "http", "port": 0 }]), &[]),
        (json!([{ "name": "b", "port": 1 }, { "name": "http", "port": 2 }]), &["10.0.0.1:2"]),
    ];
    for (ports, expected) in cases {
        let ports = slice("s", json!({ "ports": ports, "endpoints": [ready("10.0.0.1")] }));
        let (entry, problems) = compile(&[service(json!({})), ports.clone()]);
        assert_eq!(text(&only(&entry).cluster), expected, "{ports:?}");
        assert_eq!(problems, [""; 0]);
    }
}

#[test]
fn the_same_endpoint_twice_is_one_and_the_better_one_counts() {
    let cases: [(Value, Value, &[&str]); 4] = [
        (ready("10.0.0.1"), ready("10.0.0.1"), &["10.0.0.1:8080"]),
        (ending("10.0.0.1", true), ready("10.0.0.1"), &["10.0.0.1:8080"]),
        (ready("10.0.0.1"), ending("10.0.0.1", false), &["10.0.0.1:8080"]),
        (ready("10.0.0.1"), json!({ "addresses": ["10.0.0.1"], "conditions": { "ready": false } }), &["10.0.0.1:8080"]),
    ];
    for (first, second, expected) in cases {
        let slices = [slice("s1", json!({ "endpoints": [first] })), slice("s2", json!({ "endpoints": [second] }))];
        let [first, second] = slices;
        let (entry, _) = compile(&[service(json!({})), second.clone(), first]);
        assert_eq!(text(&only(&entry).cluster), expected, "{second:?}");
    }
}

#[test]
fn endpoints_that_end_are_used_only_if_nothing_else_is_ready_but_keep_their_flows() {
    let endpoints = json!([ready("10.0.0.1"), ending("10.0.0.2", true), ending("10.0.0.3", false)]);
    let (entry, _) = compile(&[service(json!({})), slice("s", json!({ "endpoints": endpoints }))]);
    assert_eq!(text(&only(&entry).cluster), ["10.0.0.1:8080"]);
    assert_eq!(text(&only(&entry).serving), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    let endpoints = json!([ending("10.0.0.2", true), ending("10.0.0.3", false)]);
    let (entry, _) = compile(&[service(json!({})), slice("s", json!({ "endpoints": endpoints }))]);
    assert_eq!(text(&only(&entry).cluster), ["10.0.0.2:8080"]);
}

#[test]
fn addresses_that_are_not_of_another_host_are_never_used() {
    let cases = [
        ("IPv4", "0.0.0.0"),
        ("IPv4", "127.0.0.1"),
        ("IPv4", "169.254.1.1"),
        ("IPv4", "224.0.0.1"),
        ("IPv4", "255.255.255.255"),
        ("IPv4", "fd01::1"),
        ("IPv6", "::"),
        ("IPv6", "::1"),
        ("IPv6", "fe80::1"),
        ("IPv6", "ff02::1"),
        ("IPv6", "10.0.0.1"),
    ];
    for (family, address) in cases {
        let both = service(json!({ "clusterIPs": ["10.96.0.1", "fd00::1"] }));
        let good = if family == "IPv4" { "10.0.0.9" } else { "fd01::9" };
        let slice = slice("s", json!({ "addressType": family, "endpoints": [ready(address), ready(good)] }));
        let (entry, problems) = compile(&[both, slice]);
        let used: Vec<String> = entry.values().flat_map(|port| &port.cluster).map(|b| b.address.to_string()).collect();
        assert_eq!(used, [good], "{family} {address}");
        assert!(problems.len() == 1 && problems[0].contains(address), "{problems:?}");
    }
}

#[test]
fn some_services_give_nothing() {
    let label = |key: &str| json!({ "labels": { key: "" } });
    let cases = [
        json!({ "clusterIP": "None", "clusterIPs": ["None"] }),
        json!({ "type": "ExternalName", "externalName": "example.org" }),
        json!({ "metadata": label("service.kubernetes.io/service-proxy-name") }),
        json!({ "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00::10"] }),
        json!({ "clusterIP": "", "clusterIPs": [] }),
    ];
    for case in cases {
        let (entry, problems) =
            compile(&[service(case.clone()), slice("s", json!({ "endpoints": [ready("10.0.0.1")] }))]);
        assert!(entry.is_empty() && problems.is_empty(), "{case}");
    }
    assert!(compile(&[slice("s", json!({}))]).0.is_empty(), "a slice without its Service");
    let labels = json!({ "kubernetes.io/service-name": "web", "service.kubernetes.io/headless": "" });
    let headless = slice("s", json!({ "metadata": { "labels": labels }, "endpoints": [ready("10.0.0.1")] }));
    assert_eq!(only(&compile(&[service(json!({})), headless]).0).cluster, [], "a slice of a headless Service");
}

#[test]
fn frontends_follow_type_family_and_policy() {
    let cluster = |local| (Address::Cluster([10, 96, 0, 1].into()), 80, local);
    let node = |local| (Address::Node, 30080, local);
    let vip = |local| (Address::LoadBalancer([203, 0, 113, 1].into()), 80, local);
    let ingress = json!([{ "ip": "203.0.113.1" }, { "ip": "203.0.113.2", "ipMode": "Proxy" }, { "ip": "fd02::1" },
        { "hostname": "lb.example.org" }]);
    let status = json!({ "loadBalancer": { "ingress": ingress } });
    let cases = [
        (json!({}), vec![cluster(false)]),
        (json!({ "internalTrafficPolicy": "Local" }), vec![cluster(true)]),
        (json!({ "type": "NodePort" }), vec![cluster(false), node(false)]),
        (json!({ "type": "NodePort", "externalTrafficPolicy": "Local" }), vec![cluster(false), node(true)]),
        (json!({ "status": status }), vec![cluster(false)]),
        (json!({ "type": "LoadBalancer", "status": status }), vec![cluster(false), node(false), vip(false)]),
        (
            json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "status": status }),
            vec![cluster(false), node(true), vip(true)],
        ),
        (json!({ "externalIPs": ["203.0.113.1", "fd02::9"] }), vec![cluster(false), vip(false)]),
        (json!({ "externalIPs": ["203.0.113.1"], "externalTrafficPolicy": "Local" }), vec![cluster(false), vip(true)]),
        (
            json!({ "type": "LoadBalancer", "externalIPs": ["203.0.113.1"], "status": status }),
            vec![cluster(false), node(false), vip(false)],
        ),
    ];
    for (spec, expected) in cases {
        let (entry, _) = compile(&[service(spec.clone())]);
        let port = only(&entry);
        let frontends: Vec<_> = port.frontends.iter().map(|found| (found.address, found.port, found.local)).collect();
        assert_eq!(frontends, expected, "{spec}");
        assert_eq!(port.local.is_some(), expected.iter().any(|(_, _, local)| *local), "{spec}");
    }
}

#[test]
fn a_family_without_a_cluster_ip_has_no_other_way_in_either() {
    let spec = json!({ "type": "NodePort", "clusterIP": "fd00::1", "clusterIPs": ["fd00::1"] });
    let (entry, _) = compile(&[service(spec), slice("s", json!({ "endpoints": [ready("10.0.0.1")] }))]);
    let keys: Vec<Family> = entry.keys().map(|key| key.family).collect();
    assert_eq!(keys, [Family::V6]);
    assert_eq!(only(&entry).cluster, [], "and uses no endpoint of the other family");
}

#[test]
fn the_local_set_is_chosen_by_itself() {
    let elsewhere = json!({ "addresses": ["10.0.0.2"], "nodeName": "n2" });
    let ending_here = json!({ "addresses": ["10.0.0.3"], "nodeName": "n1",
        "conditions": { "ready": false, "serving": true, "terminating": true } });
    let cases = [
        (json!([ready("10.0.0.1"), elsewhere]), vec!["10.0.0.1:8080", "10.0.0.2:8080"], vec!["10.0.0.1:8080"]),
        (json!([elsewhere, ending_here]), vec!["10.0.0.2:8080"], vec!["10.0.0.3:8080"]),
        (json!([elsewhere]), vec!["10.0.0.2:8080"], vec![]),
    ];
    for (endpoints, cluster, local) in cases {
        let spec = service(json!({ "internalTrafficPolicy": "Local" }));
        let (entry, _) = compile(&[spec, slice("s", json!({ "endpoints": endpoints }))]);
        assert_eq!(text(&only(&entry).cluster), cluster);
        assert_eq!(text(only(&entry).local.as_ref().unwrap()), local);
    }
}

#[test]
fn hints_of_the_nodes_zone_are_followed() {
    let hinted =
        |address: &str, zone: &str| json!({ "addresses": [address], "hints": { "forZones": [{ "name": zone }] } });
    let endpoints = json!([hinted("10.0.0.1", "east"), hinted("10.0.0.2", "west")]);
    let labels = json!({ "labels": { "topology.kubernetes.io/zone": "west" } });
    let node = ("nodes", "n1", json!({ "metadata": labels }));
    let slice = slice("s", json!({ "endpoints": endpoints }));
    let (entry, _) = compile(&[service(json!({})), slice.clone(), node]);
    assert_eq!(text(&only(&entry).cluster), ["10.0.0.2:8080"]);
    let (entry, _) = compile(&[service(json!({})), slice]);
    assert_eq!(only(&entry).cluster.len(), 2, "a node without a zone follows none");
}

#[test]
fn source_ranges_restrict_load_balancer_addresses_of_their_family() {
    /// Ranges given, ranges kept, problems.
    type Case<'a> = (&'a [&'a str], Option<&'a [&'a str]>, usize);
    let cases: [Case<'_>; 7] = [
        (&[], None, 0),
        (&["198.51.100.0/24"], Some(&["198.51.100.0/24"]), 0),
        (&["fd00::/8"], None, 0),
        (&["198.51.100.0/24", "0.0.0.0/0"], None, 0),
        (&[" 10.1.2.3/8 "], Some(&["10.0.0.0/8"]), 0),
        (&["10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/8", "11.0.0.0/8"], Some(&["10.0.0.0/8", "11.0.0.0/8"]), 0),
        (&["10.0.0.0/8", "nonsense"], Some(&["10.0.0.0/8"]), 1),
    ];
    for (ranges, expected, problems) in cases {
        let status = json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.1" }] } });
        let spec = json!({ "type": "LoadBalancer", "loadBalancerSourceRanges": ranges, "status": status });
        let (entry, found) = compile(&[service(spec)]);
        for frontend in &only(&entry).frontends {
            let balanced = matches!(frontend.address, Address::LoadBalancer(_));
            let sources = frontend.sources.as_ref().map(|list| list.iter().map(Cidr::to_string).collect::<Vec<_>>());
            let expected = expected.filter(|_| balanced).map(|list| list.iter().map(ToString::to_string).collect());
            assert_eq!(sources, expected, "{ranges:?} {:?}", frontend.address);
        }
        assert_eq!(found.len(), problems, "{found:?}");
    }
}

#[test]
fn more_endpoints_than_numbers_is_a_problem_and_the_first_are_used() {
    let endpoints =
        |third: u8| -> Vec<Value> { (0..=255_u8).map(|last| ready(&format!("10.0.{third}.{last}"))).collect() };
    let mut objects = vec![service(json!({}))];
    for third in 0..17_u8 {
        let name: &'static str = Box::leak(format!("s{third:02}").into_boxed_str());
        objects.push(slice(name, json!({ "endpoints": endpoints(third) })));
    }
    let (entry, problems) = compile(&objects);
    assert_eq!(only(&entry).cluster.len(), ENDPOINTS_MAX);
    assert_eq!(problems, ["port 80 has 4352 endpoints: only the first 4094 are used"]);
}

#[test]
fn affinity_has_its_timeout() {
    let with = |config: Value| json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": config });
    let cases = [
        (json!({}), None),
        (json!({ "sessionAffinity": "None" }), None),
        (with(Value::Null), Some(10_800)),
        (with(json!({ "clientIP": { "timeoutSeconds": 5 } })), Some(5)),
    ];
    for (spec, expected) in cases {
        assert_eq!(only(&compile(&[service(spec)]).0).affinity_seconds, expected);
    }
}

#[test]
fn ranges_are_read_as_kubernetes_reads_them_and_what_cannot_be_read_admits_nobody() {
    let sources = |texts: &[&str], family| {
        let source_ranges = texts.iter().map(|text| (*text).into()).collect();
        let mut problems = Vec::new();
        let service = Service { source_ranges, ..Service::default() };
        let ranges = sources(&service, family, &mut problems);
        let ranges = ranges.map(|ranges| ranges.iter().map(ToString::to_string).collect::<Vec<_>>());
        (ranges, problems.len())
    };
    let some = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(sources(&[" 203.0.113.77/24 "], Family::V4), (some(&["203.0.113.0/24"]), 0));
    assert_eq!(sources(&["203.0.113.0/24"], Family::V6), (None, 0), "no range of the family");
    assert_eq!(sources(&["10.0.0.0/8", "0.0.0.0/0"], Family::V4), (None, 0));
    assert_eq!(sources(&["10.1.0.0/16", "10.0.0.0/8"], Family::V4), (some(&["10.0.0.0/8"]), 0), "no overlaps");
    for wrong in ["10.0.0.0", "10.0.0.0/33", "2001:db8::/129", "x/8", "10.0.0.0/-1"] {
        assert_eq!(sources(&[wrong], Family::V4), (some(&[]), 1), "{wrong}");
    }
}
