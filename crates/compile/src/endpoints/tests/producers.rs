//! Sections 2.2, 2.3 and 7 of the reference that the tables of the parent do not hold: packing by example, metadata,
//! hints, and what went wrong elsewhere.

use super::*;

fn key() -> ObjectKey {
    ObjectKey::new("ns", "web")
}

fn put_service(bench: &mut Bench, service: &Service) {
    bench.change(|snapshot| snapshot.services.insert_mut(service.meta.key.clone(), Arc::new(service.clone())));
}

fn put_pods(bench: &mut Bench, numbers: std::ops::Range<u8>) {
    bench.change(|snapshot| {
        for number in numbers {
            snapshot.pods.insert_mut(pod(number).meta.key.clone(), Arc::new(pod(number)));
        }
    });
}

fn drop_pods(bench: &mut Bench, numbers: &[u8]) {
    bench.change(|snapshot| {
        for number in numbers {
            snapshot.pods.remove_mut(&pod(*number).meta.key);
        }
    });
}

fn sizes(bench: &Bench) -> Vec<usize> {
    let mut sizes: Vec<usize> = bench.slices().iter().map(|slice| slice.endpoints.len()).collect();
    sizes.sort_unstable();
    sizes
}

fn told(writes: &[Write]) -> Vec<String> {
    writes.iter().map(|write| format!("{write:?}").split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn r2_2_packing_fills_what_is_written_then_the_best_fit_and_never_rebalances() {
    let mut bench = Bench::new(service(), (0..10).map(pod).collect());
    bench.settle(5);
    assert_eq!(sizes(&bench), [5, 5]);
    // Two go from different slices, nothing is moved together.
    let of = |bench: &Bench, slice: usize| -> Vec<u8> {
        let names = bench.slices()[slice].endpoints.iter().filter_map(|one| one.pod.clone());
        names.map(|name| name[1..].parse().unwrap()).collect()
    };
    let (first, second) = (of(&bench, 0), of(&bench, 1));
    drop_pods(&mut bench, &[first[0], first[1], second[0]]);
    bench.settle(5);
    assert_eq!(sizes(&bench), [3, 4], "partly full slices stay so");
    // Two new ones: the slice with room for both, not the fuller one; one write.
    put_pods(&mut bench, 20..22);
    let writes = bench.plan(5);
    assert_eq!(told(&writes), ["update"]);
    bench.apply(writes);
    assert_eq!(sizes(&bench), [4, 5]);
    // One goes and one comes: the slice that is written anyway takes it.
    drop_pods(&mut bench, &[20]);
    put_pods(&mut bench, 23..24);
    assert_eq!(told(&bench.plan(5)), ["update"]);
    bench.settle(5);
    assert_eq!(sizes(&bench), [4, 5]);
    // Everybody goes: one slice stays as placeholder, the other is deleted.
    let all: Vec<u8> = (0..40).collect();
    drop_pods(&mut bench, &all);
    bench.settle(5);
    assert_eq!(sizes(&bench), [0]);
}

#[test]
fn r2_2_a_create_and_a_delete_of_one_family_become_an_update() {
    let mut bench = Bench::new(service(), vec![pod(1)]);
    bench.settle(100);
    let name = bench.slices()[0].meta.key.clone();
    let mut service = service();
    service.ports[0].target = TargetPort::Number(9090);
    put_service(&mut bench, &service);
    assert_eq!(told(&bench.plan(100)), ["update"]);
    bench.settle(100);
    assert_eq!((&bench.slices()[0].meta.key, bench.slices()[0].ports[0].port), (&name, Some(9090)));
}

#[test]
fn r2_2_application_protocols_and_unresolved_names() {
    let mut service = service();
    service.ports[0].app_protocol = Some("kubernetes.io/h2c".into());
    service.ports.push(ServicePort {
        name: "metrics".into(),
        target: TargetPort::Name("metrics".into()),
        port: 90,
        app_protocol: None,
        ..service.ports[0].clone()
    });
    let bench = Bench::new(service, vec![pod(1)]);
    let writes = bench.plan(100);
    let [Write::Create { object, .. }] = writes.as_slice() else { panic!("{writes:?}") };
    // The name that no container declares leaves its port out, not the pod.
    let port = json!({ "name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "kubernetes.io/h2c" });
    assert_eq!(object["ports"], json!([port]));
    assert_eq!(object["endpoints"].as_array().map(Vec::len), Some(1));
}

#[test]
fn r2_2_headless_without_ports_and_long_names() {
    let mut service = Service { headless: true, cluster_ips: Vec::new(), ports: Vec::new(), ..service() };
    let name = "n".repeat(63);
    service.meta.key = ObjectKey::new("ns", name.as_str());
    let mut bench = Bench::new(service, vec![pod(1)]);
    let outcome = reconcile(&bench.snapshot, &bench.index, &ObjectKey::new("ns", name.as_str()), Config::default());
    let [Write::Create { object, .. }] = outcome.writes.as_slice() else { panic!("{:?}", outcome.writes) };
    assert_eq!(object["ports"], json!([]));
    assert_eq!(object["metadata"]["name"].as_str().map(str::len), Some(63));
    assert_eq!(object["metadata"]["labels"][SERVICE_NAME], name.as_str());
    bench.apply(outcome.writes);
    assert_eq!(bench.endpoints().len(), 1);
}

#[test]
fn r2_2_traffic_distribution() {
    let rows =
        [(None, 0, 0), (Some("PreferClose"), 1, 0), (Some("PreferSameZone"), 1, 0), (Some("PreferSameNode"), 1, 1)];
    let mut bench = Bench::new(service(), vec![pod(1), Pod { ready: false, ..pod(2) }]);
    for (distribution, zones, nodes) in rows.into_iter().chain(rows) {
        let distribution = distribution.map(Box::from);
        put_service(&mut bench, &Service { traffic_distribution: distribution.clone(), ..service() });
        bench.settle(100);
        for endpoint in bench.endpoints() {
            let expected = if endpoint.ready { (zones, nodes) } else { (0, 0) };
            let got = (endpoint.hint_zones.len(), endpoint.hint_nodes.len());
            assert_eq!(got, expected, "{distribution:?} ready {}", endpoint.ready);
        }
    }
    // A node without zone: only the hint by node is left.
    bench.change(|snapshot| {
        let node = Node { meta: Meta { key: ObjectKey::new("", "n1"), ..Meta::default() }, ..Node::default() };
        snapshot.nodes.insert_mut(node.meta.key.clone(), Arc::new(node));
    });
    bench.settle(100);
    let ready: Vec<_> = bench.endpoints().into_iter().filter(|endpoint| endpoint.ready).collect();
    assert_eq!((ready[0].hint_zones.len(), ready[0].hint_nodes.len()), (0, 1));
}

#[test]
fn r2_2_topology_mode_auto_wins_over_the_distribution_and_tells() {
    let node = |name: &str, zone: &str| Node {
        meta: Meta { key: ObjectKey::new("", name), ..Meta::default() },
        zone: Some(zone.into()),
        ready: true,
        cpu_milli: 4000,
        ..Node::default()
    };
    let auto = Service { topology_auto: true, traffic_distribution: Some("PreferSameNode".into()), ..service() };
    let pods: Vec<Pod> = (0..4).map(|number| Pod { node: Some("n1".into()), ..pod(number) }).collect();
    let mut bench = Bench::new(auto.clone(), pods);
    let notes = |writes: &[Write]| -> Vec<String> {
        let notes = writes.iter().filter_map(|write| match write {
            Write::Note(note) => Some(format!("{} {}", note.reason, note.message)),
            _ => None,
        });
        notes.collect()
    };
    let writes = bench.plan(100);
    let why = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
    assert_eq!(notes(&writes), [format!("TopologyAwareHintsDisabled {why}, addressType: IPv4")]);
    bench.apply(writes.into_iter().filter(|write| !matches!(write, Write::Note(_))).collect());
    assert!(bench.endpoints().iter().all(|one| one.hint_zones.is_empty() && one.hint_nodes.is_empty()));
    assert!(bench.plan(100).is_empty(), "told once");

    let touched = bench.change(|snapshot| {
        for node in [node("n1", "a"), node("n2", "b")] {
            snapshot.nodes.insert_mut(node.meta.key.clone(), Arc::new(node));
        }
    });
    assert!(touched.contains(&key()), "nodes that came wake the Service");
    let writes = bench.plan(100);
    let enabled = "TopologyAwareHintsEnabled Topology Aware Hints has been enabled, addressType: IPv4";
    assert_eq!(notes(&writes), [enabled]);
    bench.apply(writes.into_iter().filter(|write| !matches!(write, Write::Note(_))).collect());
    let mut hints: Vec<&str> = bench.endpoints().iter().map(|one| &*one.hint_zones[0]).collect();
    hints.sort_unstable();
    assert_eq!(hints, ["a", "a", "b", "b"], "all pods run in a, half of them are meant for b");
    assert!(bench.plan(100).is_empty(), "hints stay");
    let touched = bench.change(|snapshot| {
        let gone = Node { ready: false, ..node("n2", "b") };
        snapshot.nodes.insert_mut(gone.meta.key.clone(), Arc::new(gone));
    });
    assert!(touched.contains(&key()));
    assert_eq!(notes(&bench.plan(100)).len(), 1, "one zone left: hints go, and it is told");
}

#[test]
fn r7_11_a_service_that_is_no_longer_headless_gets_its_endpoints_back() {
    let mut service = Service { headless: true, cluster_ips: Vec::new(), ..service() };
    let mut bench = Bench::new(service.clone(), vec![pod(1)]);
    bench.settle(100);
    assert!(bench.slices()[0].meta.labels.contains_key(HEADLESS));
    // The only way out of headless is through ExternalName, where slices are left as they are.
    service.meta.revision = Revision(bench.revision + 1);
    service.headless = false;
    service.cluster_ips = vec!["10.96.0.1".parse().unwrap()];
    put_service(&mut bench, &service);
    bench.settle(100);
    assert!(!bench.slices()[0].meta.labels.contains_key(HEADLESS));
}

#[test]
fn r7_7_and_8_finished_pods_go_and_two_pods_may_share_an_address() {
    let mut going = Pod { ready: false, ..pod(1) };
    going.meta.deleting = true;
    let next = Pod { ips: going.ips.clone(), ..pod(2) };
    let mut bench = Bench::new(service(), vec![going.clone(), next]);
    bench.settle(100);
    assert_eq!(bench.endpoints().len(), 2, "who is meant is for readers to say");
    bench.change(|snapshot| {
        let done = Pod { finished: true, ..going.clone() };
        snapshot.pods.insert_mut(done.meta.key.clone(), Arc::new(done));
    });
    bench.settle(100);
    let names: Vec<Option<&str>> = bench.endpoints().iter().map(|one| one.pod.as_deref()).collect();
    assert_eq!(names, [Some("p002")]);
}

#[test]
fn r7_10_a_service_made_again_under_its_name_takes_over() {
    let mut bench = Bench::new(service(), vec![pod(1)]);
    bench.settle(100);
    let mut again = service();
    again.meta.uid = "uid-again".into();
    put_service(&mut bench, &again);
    let writes = bench.plan(100);
    assert_eq!(told(&writes), ["create", "delete"], "new ones first, then those of the earlier Service");
    bench.apply(writes);
    assert_eq!(bench.slices()[0].owner_uid.as_deref(), Some("uid-again"));
}

#[test]
fn r2_2_hints_are_what_nodes_then_use() {
    use crate::topology::{Candidate, Here, cluster_set, local_set};
    let node = |name: &str, zone: &str| Node {
        meta: Meta { key: ObjectKey::new("", name), ..Meta::default() },
        zone: Some(zone.into()),
        ready: true,
        cpu_milli: 1000,
        ..Node::default()
    };
    let pods = |count: u8| -> Vec<Pod> {
        let on = |number: u8| if number.is_multiple_of(2) { "n1" } else { "n2" };
        (0..count).map(|number| Pod { node: Some(on(number).into()), ..pod(number) }).collect()
    };
    let auto = Service { topology_auto: true, ..service() };
    let by = |distribution: &str| Service { traffic_distribution: Some(distribution.into()), ..service() };
    // Of four endpoints, two on each node: how many a node in zone a, in zone b, and in a zone of no endpoint uses.
    let rows = [
        (service(), [4, 4, 4]),
        (auto, [2, 2, 4]),
        (by("PreferClose"), [2, 2, 4]),
        (by("PreferSameZone"), [2, 2, 4]),
        (by("PreferSameNode"), [2, 2, 4]),
    ];
    for (service, expected) in rows {
        let mut bench = Bench::new(service.clone(), Vec::new());
        bench.change(|snapshot| {
            for node in [node("n1", "a"), node("n2", "b")] {
                snapshot.nodes.insert_mut(node.meta.key.clone(), Arc::new(node));
            }
            for pod in pods(4) {
                snapshot.pods.insert_mut(pod.meta.key.clone(), Arc::new(pod));
            }
        });
        let writes = bench.plan(100).into_iter().filter(|write| !matches!(write, Write::Note(_))).collect();
        bench.apply(writes);
        let endpoints = bench.endpoints();
        let candidates: Vec<Candidate<'_>> =
            endpoints.iter().map(|endpoint| Candidate { address: endpoint.address, port: 80, endpoint }).collect();
        let heres = [("n1", "a"), ("n2", "b"), ("n3", "c")];
        let used = heres.map(|(node, zone)| cluster_set(&candidates, Here { node, zone: Some(zone) }).len());
        assert_eq!(used, expected, "{:?} {}", service.traffic_distribution, service.topology_auto);
        let local = heres.map(|(node, zone)| local_set(&candidates, Here { node, zone: Some(zone) }).len());
        assert_eq!(local, [2, 2, 0], "policy Local looks at no hint");
    }
}

fn legacy_of(bench: &Bench) -> Value {
    match legacy::reconcile(&bench.snapshot, &bench.index, &key(), None) {
        Some(Write::Create { object, .. }) => object,
        other => panic!("an Endpoints object is created, not {other:?}"),
    }
}

#[test]
fn r2_3_only_the_primary_family_and_ready_apart() {
    let mut going = pod(3);
    going.meta.deleting = true;
    let pods = vec![pod(1), Pod { ready: false, ..pod(2) }, going];
    let dual = Service { families: vec![Family::V6, Family::V4], ..service() };
    let bench = Bench::new(dual.clone(), pods.clone());
    let ips = |object: &Value, field: &str| -> Vec<String> {
        let list = object["subsets"][0][field].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|one| one["ip"].as_str().map(str::to_owned)).collect()
    };
    let object = legacy_of(&bench);
    assert_eq!(
        (ips(&object, "addresses"), ips(&object, "notReadyAddresses")),
        (vec!["fd00::1".into()], vec!["fd00::2".into()])
    );
    assert_eq!(object["metadata"]["labels"], json!({ "endpoints.kubernetes.io/managed-by": "endpoint-controller" }));
    let published = Bench::new(Service { publish_not_ready: true, ..dual }, pods);
    let object = legacy_of(&published);
    assert_eq!(ips(&object, "addresses"), ["fd00::1", "fd00::2", "fd00::3"], "terminating ones too");
}

#[test]
fn r2_3_headless_without_ports_has_a_subset_without_ports() {
    let service = Service { headless: true, cluster_ips: Vec::new(), ports: Vec::new(), ..service() };
    let object = legacy_of(&Bench::new(service, vec![pod(1)]));
    assert!(object["subsets"][0].get("ports").is_none(), "{object}");
    assert_eq!(object["metadata"]["labels"][HEADLESS], "");
}

#[test]
fn r2_3_no_more_than_a_thousand_addresses_ready_ones_first() {
    let many = |from: u16, count: u16, ready: bool| {
        (from..from + count).map(move |number| {
            let mut one = pod(0);
            one.meta = meta(&format!("p{number:05}"));
            one.meta.labels.insert("app".into(), "web".into());
            one.ips = vec![IpAddr::V4(Ipv4Addr::new(10, 1, (number >> 8) as u8, number as u8))];
            Pod { ready, ..one }
        })
    };
    let count = |object: &Value, field: &str| object["subsets"][0][field].as_array().map_or(0, Vec::len);
    let annotation =
        |object: &Value| object["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"].clone();
    for (ready, unready, expected, over) in [
        (1000, 0, (1000, 0), Value::Null),
        (900, 200, (900, 100), json!("truncated")),
        (1200, 5, (1000, 0), json!("truncated")),
    ] {
        let pods = many(1, ready, true).chain(many(5000, unready, false)).collect();
        let object = legacy_of(&Bench::new(service(), pods));
        assert_eq!((count(&object, "addresses"), count(&object, "notReadyAddresses")), expected);
        assert_eq!(annotation(&object), over);
    }
}

#[test]
fn r2_3_ports_with_the_same_addresses_share_a_subset() {
    let port = |name: &str, target: &str| ServicePort {
        name: name.into(),
        target: TargetPort::Name(target.into()),
        ..service().ports[0].clone()
    };
    let named = |number: u8, names: &[(&str, u16)]| {
        let ports = names.iter().map(|(name, port)| ContainerPort {
            name: (*name).into(),
            protocol: Protocol::Tcp,
            port: *port,
        });
        Pod { ports: ports.collect(), ..pod(number) }
    };
    let service = Service { ports: vec![port("http", "http"), port("alt", "alt")], ..service() };
    let pods = vec![named(1, &[("http", 80), ("alt", 81)]), named(2, &[("http", 80)]), named(3, &[])];
    let object = legacy_of(&Bench::new(service, pods));
    let told = object["subsets"].as_array().unwrap().iter().map(|subset| {
        let of = |field: &str, member: &str| {
            let list = subset[field].as_array().unwrap().iter().map(|one| one[member].to_string());
            list.collect::<Vec<_>>().join("+")
        };
        format!("{} {}", of("ports", "port"), of("addresses", "ip"))
    });
    let told: Vec<String> = told.collect();
    assert_eq!(told, ["81 \"10.0.0.1\"", "80 \"10.0.0.1\"+\"10.0.0.2\""], "a pod without any port is in none");
}
