//! The builder: what counts as a change, whom a slice wakes, what bad objects do, and relists.

use serde_json::{Value, json};

use super::*;

const SERVICES: &str = "services";
const SLICES: &str = "endpointslices";

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn put(builder: &mut Builder, plural: &str, name: &str, revision: u64, object: &Value) -> bool {
    builder.put(plural, &key(name), Revision(revision), object.to_string().as_bytes()).is_ok()
}

fn service(port: u16) -> Value {
    json!({ "metadata": { "uid": "u", "annotations": { "note": "x" } },
        "spec": { "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{ "port": port }] } })
}

fn slice(service: &str, address: &str) -> Value {
    json!({ "metadata": { "labels": { "kubernetes.io/service-name": service } }, "addressType": "IPv4",
        "ports": [{ "port": 80 }], "endpoints": [{ "addresses": [address] }] })
}

fn services(changes: &Changes) -> Vec<&str> {
    changes.services.iter().map(|key| &*key.name).collect()
}

#[test]
fn a_change_in_what_nobody_reads_is_no_change_but_its_revision_is_kept() {
    let mut builder = Builder::default();
    assert!(put(&mut builder, SERVICES, "a", 1, &service(80)));
    assert_eq!(services(&builder.publish(Revision(1)).1), ["a"]);
    let mut noted = service(80);
    noted["metadata"]["annotations"]["note"] = json!("y");
    noted["status"] = json!({ "conditions": [{ "type": "Other", "status": "True" }] });
    assert!(put(&mut builder, SERVICES, "a", 2, &noted));
    let (snapshot, changes) = builder.publish(Revision(2));
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(snapshot.services.get(&key("a")).unwrap().meta.revision, Revision(2));
    assert!(put(&mut builder, SERVICES, "a", 3, &service(81)));
    assert_eq!(services(&builder.publish(Revision(3)).1), ["a"]);
}

#[test]
fn the_programmed_condition_is_read() {
    let mut builder = Builder::default();
    for (revision, status, expected) in [(1, "False", false), (2, "True", true), (3, "Unknown", false)] {
        let mut object = service(80);
        object["status"] = json!({ "conditions": [{ "type": "Programmed", "status": status }] });
        assert!(put(&mut builder, SERVICES, "a", revision, &object));
        let snapshot = builder.publish(Revision(revision)).0;
        assert_eq!(snapshot.services.get(&key("a")).unwrap().programmed, Some(expected));
    }
}

#[test]
fn a_slice_wakes_the_service_it_belongs_to_and_the_one_it_left() {
    let mut builder = Builder::default();
    assert!(put(&mut builder, SLICES, "s1", 1, &slice("a", "10.0.0.1")));
    assert!(put(&mut builder, SLICES, "s0", 2, &slice("a", "10.0.0.2")));
    let (snapshot, changes) = builder.publish(Revision(2));
    assert_eq!(services(&changes), ["a"]);
    let of = |snapshot: &Snapshot, name: &str| -> Vec<String> {
        let keys = snapshot.slices_of.get(&key(name)).into_iter().flat_map(|keys| keys.iter());
        keys.map(|key| key.name.to_string()).collect()
    };
    assert_eq!(of(&snapshot, "a"), ["s0", "s1"], "in name order");
    assert!(put(&mut builder, SLICES, "s1", 3, &slice("b", "10.0.0.1")));
    let (moved, changes) = builder.publish(Revision(3));
    assert_eq!(services(&changes), ["a", "b"]);
    assert_eq!((of(&moved, "a"), of(&moved, "b")), (vec!["s0".to_owned()], vec!["s1".to_owned()]));
    builder.delete(SLICES, &key("s1"));
    let (gone, changes) = builder.publish(Revision(4));
    assert_eq!(services(&changes), ["b"]);
    assert!(!gone.slices_of.contains_key(&key("b")), "no empty entry stays");
    assert_eq!(of(&snapshot, "a"), ["s0", "s1"], "an old snapshot never changes");
}

#[test]
fn an_object_that_cannot_be_read_counts_as_absent_until_it_can() {
    let bad: [(&str, Value, &str); 6] = [
        (SERVICES, json!({ "metadata": {}, "spec": { "clusterIPs": ["10.96.0"] } }), "spec.clusterIPs"),
        (SERVICES, json!({ "metadata": {}, "spec": { "type": "Magic" } }), "spec.type"),
        (SERVICES, json!({ "metadata": {}, "spec": { "ports": [{ "port": 80, "protocol": "X" }] } }), "protocol"),
        (SLICES, json!({ "metadata": {}, "addressType": "IPX" }), "addressType"),
        (
            SLICES,
            json!({ "metadata": {}, "addressType": "IPv4", "endpoints": [{ "addresses": ["x"] }] }),
            "endpoints[0]",
        ),
        ("pods", json!({ "metadata": {}, "status": { "podIP": "x" } }), "status.podIPs"),
    ];
    for (plural, object, field) in bad {
        let mut builder = Builder::default();
        let good = if plural == SLICES { slice("a", "10.0.0.1") } else { service(80) };
        assert!(put(&mut builder, plural, "a", 1, &good));
        builder.publish(Revision(1));
        assert!(!put(&mut builder, plural, "a", 2, &object));
        let why: Vec<String> = builder.problems().map(ToString::to_string).collect();
        assert!(why.len() == 1 && why[0].contains(field) && why[0].contains("kubectl get"), "{why:?}");
        let (snapshot, changes) = builder.publish(Revision(2));
        assert!(!changes.is_empty(), "{plural}: its disappearance is a change");
        assert!(snapshot.services.is_empty() && snapshot.slices.is_empty() && snapshot.pods.is_empty());
        assert!(put(&mut builder, plural, "a", 3, &good));
        assert_eq!(builder.problems().count(), 0);
        assert!(!builder.publish(Revision(3)).1.is_empty());
    }
    let mut builder = Builder::default();
    assert!(builder.put(SERVICES, &key("a"), Revision(1), b"{").is_err());
    assert!(builder.put("secrets", &key("a"), Revision(1), b"{").is_ok(), "kinds that nobody reads are not decoded");
}

#[test]
fn an_endpoint_says_what_it_leaves_out() {
    let cases = [
        (json!({}), (true, true, false)),
        (json!({ "ready": false }), (false, true, false)),
        (json!({ "ready": false, "serving": true, "terminating": true }), (false, true, true)),
        (json!({ "ready": true }), (true, true, false)),
        (json!({ "ready": null, "serving": null, "terminating": null }), (true, true, false)),
    ];
    for (conditions, expected) in cases {
        let mut builder = Builder::default();
        let mut object = slice("a", "10.0.0.1");
        object["endpoints"][0]["conditions"] = conditions.clone();
        assert!(put(&mut builder, SLICES, "s", 1, &object));
        let snapshot = builder.publish(Revision(1)).0;
        let endpoint = &snapshot.slices.get(&key("s")).unwrap().endpoints[0];
        assert_eq!((endpoint.ready, endpoint.serving, endpoint.terminating), expected, "{conditions}");
    }
}

#[test]
fn what_a_relist_does_not_name_is_gone() {
    let mut builder = Builder::default();
    for (revision, name) in (1..).zip(["a", "b", "c"]) {
        assert!(put(&mut builder, SERVICES, name, revision, &service(80)));
    }
    assert!(put(&mut builder, SLICES, "s", 4, &slice("b", "10.0.0.1")));
    builder.publish(Revision(4));
    assert!(put(&mut builder, SERVICES, "a", 1, &service(80)), "as it was");
    builder.retain(SERVICES, &BTreeSet::from([key("a"), key("c")]));
    let (snapshot, changes) = builder.publish(Revision(9));
    assert_eq!(services(&changes), ["b"]);
    assert_eq!(snapshot.services.size(), 2);
    assert_eq!(snapshot.slices.size(), 1, "other kinds have relists of their own");
    builder.retain(SLICES, &BTreeSet::new());
    assert_eq!(services(&builder.publish(Revision(10)).1), ["b"]);
}

#[test]
fn a_pod_has_its_addresses_and_the_named_ports_of_what_keeps_running() {
    let mut builder = Builder::default();
    let ports = |name: &str, port: u16| json!([{ "name": name, "containerPort": port }, { "containerPort": 1 }]);
    let object = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "nodeName": "n1", "containers": [{ "ports": ports("http", 8080) }],
            "initContainers": [{ "ports": ports("once", 1) }, { "restartPolicy": "Always", "ports": ports("side", 9) }] },
        "status": { "phase": "Running", "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] } });
    assert!(put(&mut builder, "pods", "p", 1, &object));
    let snapshot = builder.publish(Revision(1)).0;
    let pod = snapshot.pods.get(&key("p")).unwrap();
    assert!(pod.ready && !pod.finished && pod.meta.deleting);
    assert_eq!((pod.node.as_deref(), pod.ips.as_slice()), (Some("n1"), &[IpAddr::from([10, 0, 0, 1])][..]));
    let named: Vec<(&str, u16)> = pod.ports.iter().map(|port| (&*port.name, port.port)).collect();
    assert_eq!(named, [("http", 8080), ("side", 9)]);
}

#[test]
fn service_networks_count_while_they_are_being_deleted() {
    let mut builder = Builder::default();
    let network = |cidr: &str| json!({ "metadata": { "deletionTimestamp": "t" }, "spec": { "cidrs": [cidr] } });
    assert!(put(&mut builder, "servicecidrs", "a", 1, &network("10.97.0.0/24")));
    let (snapshot, changes) = builder.publish(Revision(1));
    let held = snapshot.networks.get(&key("a")).unwrap();
    assert!(held.meta.deleting && held.cidrs[0].to_string() == "10.97.0.0/24");
    assert!(!changes.is_empty() && changes.networks.contains(&key("a")));
    assert!(!put(&mut builder, "servicecidrs", "a", 2, &network("10.97.0.1/24")));
    assert_eq!(builder.publish(Revision(2)).0.networks.size(), 0, "one that cannot be read counts as absent");
    assert!(builder.problems().next().unwrap().why.contains("spec.cidrs"));
    assert!(put(&mut builder, "servicecidrs", "a", 3, &network("10.97.0.0/24")));
    builder.retain("servicecidrs", &BTreeSet::new());
    let (snapshot, changes) = builder.publish(Revision(3));
    assert_eq!((snapshot.networks.size(), changes.networks.len()), (0, 1));
    let mut sum = Changes::default();
    sum.merge(&changes);
    assert_eq!(sum, changes);
}
