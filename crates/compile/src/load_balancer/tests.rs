//! A desk in a small world: addresses given, kept, shared, refused and taken back, and what is said about it.

use std::sync::Arc;

use api::object::{ObjectKey, Revision};
use serde_json::{Value, json};

use super::*;
use crate::snapshot::Builder;
use crate::write::{Edit, Write};

mod holders;
mod pools;

/// An API, a desk on it, and nodes that apply when told.
struct Rig {
    builder: Builder,
    objects: std::collections::BTreeMap<ObjectKey, Value>,
    revision: u64,
    applied: u64,
    desk: Desk,
    /// Reasons of Events, in order.
    events: Vec<String>,
    /// Writes other than Events.
    writes: usize,
}

impl Rig {
    fn new(pools: &[&str]) -> Self {
        let (builder, desk) = (Builder::default(), Desk::new(Pools::parse(pools).unwrap()));
        let (events, objects) = (Vec::new(), Default::default());
        Self { builder, objects, revision: 0, applied: u64::MAX, desk, events, writes: 0 }
    }

    /// The process dies and starts again.
    fn restart(&mut self) {
        self.desk = Desk::new(self.desk.pools().clone());
        self.builder = Builder::default();
        for (key, object) in &self.objects {
            let revision = Revision(object["metadata"]["resourceVersion"].as_u64().unwrap());
            self.builder.put("services", key, revision, object.to_string().as_bytes()).unwrap();
        }
    }

    fn store(&mut self, key: &ObjectKey, mut object: Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision);
        let gone =
            object["metadata"]["deletionTimestamp"].is_string() && object["metadata"].get("finalizers").is_none();
        if gone {
            self.objects.remove(key);
            self.builder.delete("services", key);
        } else {
            self.builder.put("services", key, Revision(self.revision), object.to_string().as_bytes()).unwrap();
            self.objects.insert(key.clone(), object);
        }
    }

    /// A Service of type LoadBalancer with one port 80, unless `spec` says otherwise.
    fn put(&mut self, name: &str, spec: Value, annotations: Value) {
        let key = key(name);
        let mut object = self.objects.get(&key).cloned().unwrap_or_else(|| {
            json!({ "metadata": { "uid": format!("uid of {name}") }, "spec": { "type": "LoadBalancer",
                "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPv4"], "ports": [{ "port": 80 }],
                "selector": { "app": name } } })
        });
        let Value::Object(spec) = spec else { panic!("a spec is an object") };
        for (field, value) in spec {
            object["spec"][field] = value;
        }
        if object["spec"]["type"] != "LoadBalancer" {
            object["status"]["loadBalancer"] = json!({});
        }
        object["metadata"]["annotations"] = annotations;
        self.store(&key, object);
        self.settle();
    }

    fn status(&mut self, name: &str, addresses: &[&str]) {
        let key = key(name);
        let mut object = self.objects[&key].clone();
        let ingress: Vec<Value> = addresses.iter().map(|address| json!({ "ip": address, "ipMode": "VIP" })).collect();
        object["status"]["loadBalancer"] = json!({ "ingress": ingress });
        self.store(&key, object);
    }

    fn delete(&mut self, name: &str) {
        let key = key(name);
        let mut object = self.objects[&key].clone();
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        self.store(&key, object);
        self.settle();
    }

    /// Lets the desk work until nothing changes.
    fn settle(&mut self) {
        for _ in 0..20 {
            let (snapshot, changes) = self.builder.publish(Revision(self.revision));
            self.desk.observe(&snapshot, &changes);
            let applied = Revision(self.applied.min(self.revision));
            let decisions = self.desk.decide(applied);
            if decisions.is_empty() {
                return;
            }
            for (key, writes) in decisions {
                writes.into_iter().for_each(|write| self.write(&key, write));
            }
        }
        panic!("the desk never comes to rest");
    }

    fn write(&mut self, key: &ObjectKey, write: Write) {
        match write {
            Write::Note(note) => self.events.push(format!("{} {}", note.reason, note.message)),
            Write::Edit { target, edit, note } => {
                let mut object = self.objects[key].clone();
                assert_eq!(target.revision.map(|revision| revision.0), object["metadata"]["resourceVersion"].as_u64());
                let held = object["metadata"]["finalizers"].is_array();
                assert!(held || !matches!(edit, Edit::LoadBalancer(_)), "the finalizer comes first");
                assert!(edit.apply(&mut object), "a write changes something");
                self.writes += 1;
                self.store(key, object);
                self.events.extend(note.map(|note| note.reason.to_owned()));
            }
            other => panic!("{other:?}"),
        }
    }

    fn addresses(&self, name: &str) -> Vec<String> {
        let ingress = self.objects.get(&key(name)).map(|object| object["status"]["loadBalancer"]["ingress"].clone());
        let ingress = ingress.unwrap_or_default().as_array().cloned().unwrap_or_default();
        ingress.iter().map(|entry| entry["ip"].as_str().unwrap().to_owned()).collect()
    }

    /// The last Event, which must be a warning about an address.
    fn complaint(&self) -> &str {
        self.events.last().map_or("", String::as_str)
    }
}

pub(super) fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn none() -> Value {
    json!({})
}

fn dual(policy: &str) -> Value {
    json!({ "ipFamilyPolicy": policy, "ipFamilies": ["IPv4", "IPv6"], "clusterIPs": ["10.96.0.1", "fd00::1"] })
}

#[test]
fn an_address_per_family_after_the_finalizer_with_ports_and_events() {
    let mut rig = Rig::new(&["10.99.0.0/24", "fd00:99::/120"]);
    rig.put("a", none(), none());
    assert_eq!(rig.addresses("a"), ["10.99.0.1"]);
    assert_eq!(rig.events, ["EnsuringLoadBalancer", "EnsuredLoadBalancer"]);
    let object = &rig.objects[&key("a")];
    assert_eq!(object["metadata"]["finalizers"], json!([FINALIZER]));
    let entry = json!({ "ip": "10.99.0.1", "ipMode": "VIP", "ports": [{ "port": 80, "protocol": "TCP" }] });
    assert_eq!(object["status"]["loadBalancer"]["ingress"], json!([entry]));
    rig.put("b", dual("PreferDualStack"), none());
    assert_eq!(rig.addresses("b"), ["10.99.0.2", "fd00:99::1"]);
    rig.put("c", json!({ "ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack" }), none());
    assert_eq!(rig.addresses("c"), ["fd00:99::2", "10.99.0.3"], "in the order of ipFamilies");
}

#[test]
fn ports_that_change_are_told_and_nothing_else_is_written() {
    let mut rig = Rig::new(&["10.99.0.0/24"]);
    rig.put("a", none(), none());
    let writes = rig.writes;
    rig.put("a", json!({ "selector": { "app": "b" } }), none());
    assert_eq!(rig.writes, writes);
    rig.put("a", json!({ "ports": [{ "port": 53, "protocol": "UDP" }, { "port": 53 }] }), none());
    assert_eq!(rig.writes, writes + 1);
    let ports = json!([{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }]);
    assert_eq!(rig.objects[&key("a")]["status"]["loadBalancer"]["ingress"][0]["ports"], ports);
    assert_eq!(rig.addresses("a"), ["10.99.0.1"]);
    assert_eq!(rig.events.len(), 2, "{:?}", rig.events);
}

#[test]
fn a_restart_writes_nothing_and_gives_nobody_elses_address() {
    let mut rig = Rig::new(&["10.99.0.0/24"]);
    for name in ["b", "a", "c"] {
        rig.put(name, none(), none());
    }
    let writes = rig.writes;
    rig.restart();
    rig.settle();
    assert_eq!(rig.writes, writes);
    rig.put("d", none(), none());
    let all = ["a", "b", "c", "d"].map(|name| rig.addresses(name).concat());
    assert_eq!(all, ["10.99.0.2", "10.99.0.1", "10.99.0.3", "10.99.0.4"]);
}

#[test]
fn deletion_and_type_change_take_everything_back() {
    let mut rig = Rig::new(&["10.99.0.1"]);
    rig.put("a", none(), none());
    rig.events.clear();
    rig.delete("a");
    assert!(!rig.objects.contains_key(&key("a")));
    assert_eq!(rig.events, ["DeletingLoadBalancer", "DeletedLoadBalancer"]);
    rig.put("b", none(), none());
    assert_eq!(rig.addresses("b"), ["10.99.0.1"]);
    rig.put("b", json!({ "type": "ClusterIP" }), none());
    assert_eq!(rig.objects[&key("b")]["metadata"].get("finalizers"), None);
    rig.put("c", none(), none());
    assert_eq!(rig.addresses("c"), ["10.99.0.1"]);
    rig.put("b", json!({ "type": "LoadBalancer" }), none());
    assert_eq!(rig.addresses("b"), [""; 0], "and back again: now it is the other one's");
}

#[test]
fn an_address_is_given_again_only_when_no_node_programmes_it() {
    for restart in [false, true] {
        let mut rig = Rig::new(&["10.99.0.1"]);
        rig.put("a", none(), none());
        rig.put("b", none(), none());
        assert_eq!(rig.addresses("b"), [""; 0]);
        rig.applied = rig.revision;
        rig.delete("a");
        assert!(rig.objects.contains_key(&key("a")), "the finalizer stays");
        assert_eq!((rig.addresses("a"), rig.addresses("b")), (vec![], vec![]));
        if restart {
            rig.restart();
        }
        rig.settle();
        assert!(rig.objects.contains_key(&key("a")));
        assert_eq!(rig.addresses("b"), [""; 0]);
        if !restart {
            assert!(rig.complaint().contains("10.99.0.1 was given back"), "{:?}", rig.events);
        }
        rig.applied = u64::MAX;
        rig.settle();
        assert!(!rig.objects.contains_key(&key("a")));
        assert_eq!(rig.addresses("b"), ["10.99.0.1"]);
    }
}

#[test]
fn who_waits_is_told_why_and_what_to_type_once() {
    let cases: [(&[&str], Value, Value, &str, &str); 10] = [
        (&[], none(), none(), "there is no pool", "mainstay up --lb-pool 10.99.0.0/24"),
        (&["fd00:9::/120"], none(), none(), "no IPv4 address", "--lb-pool 10.99.0.0/24"),
        (&["10.99.0.9,namespaces=x"], none(), none(), "other namespaces or classes", "--lb-pool"),
        (
            &["10.99.0.9"],
            json!({ "loadBalancerIP": "1.2.3.4" }),
            none(),
            "spec.loadBalancerIP 1.2.3.4 is in no pool",
            "--lb-pool 1.2.3.4",
        ),
        (&["10.99.0.9"], json!({ "loadBalancerIP": "fd00::7" }), none(), "not in spec.ipFamilies", "PreferDualStack"),
        (&["10.99.0.9"], json!({ "loadBalancerIP": "x" }), none(), "is no IP address", "such as"),
        (
            &["10.99.0.9"],
            none(),
            json!({ ASKED: "10.99.0.9,10.99.0.8" }),
            "second address of its family",
            "one address",
        ),
        (
            &["10.99.0.1"],
            json!({ "loadBalancerIP": "10.99.0.1" }),
            none(),
            "belongs to Service ns/first",
            "allow-shared-ip",
        ),
        (&["10.99.0.1"], none(), none(), "all 1 of pool default are taken", "--lb-pool"),
        (&["10.99.0.9"], json!({ "loadBalancerClass": "example.com/lb" }), none(), "example.com/lb", "without"),
    ];
    for (pools, spec, annotations, why, next) in cases {
        let mut rig = Rig::new(pools);
        rig.put("first", none(), none());
        rig.events.clear();
        rig.put("web", spec.clone(), annotations);
        let complaint = rig.complaint().to_owned();
        assert!(complaint.contains(why) && complaint.contains(next), "{spec}: {complaint}");
        assert_eq!(rig.addresses("web"), [""; 0]);
        assert_eq!(rig.objects[&key("web")]["metadata"].get("finalizers"), None, "nothing to clean up");
        rig.put("web", json!({ "selector": { "app": "x" } }), none());
        rig.settle();
        let same = rig.events.iter().filter(|event| **event == complaint).count();
        assert_eq!(same, 1, "{:?}", rig.events);
    }
}

#[test]
fn a_freed_address_goes_to_who_waited_longest() {
    let mut rig = Rig::new(&["10.99.0.1"]);
    for name in ["a", "z", "b"] {
        rig.put(name, none(), none());
    }
    rig.delete("a");
    assert_eq!((rig.addresses("z"), rig.addresses("b")), (vec!["10.99.0.1".to_owned()], vec![]));
}

#[test]
fn what_is_asked_for_is_given_and_a_change_of_mind_never_leaves_nothing() {
    let mut rig = Rig::new(&["10.99.0.0/24", "fd00:99::/120"]);
    rig.put("a", json!({ "loadBalancerIP": "10.99.0.77" }), none());
    assert_eq!(rig.addresses("a"), ["10.99.0.77"]);
    rig.put("a", json!({ "loadBalancerIP": "10.99.0.78" }), none());
    assert_eq!(rig.addresses("a"), ["10.99.0.78"]);
    rig.put("a", json!({ "loadBalancerIP": "1.2.3.4" }), none());
    assert_eq!(rig.addresses("a"), ["10.99.0.78"], "the old one is better than none");
    assert!(rig.complaint().contains("1.2.3.4"), "{:?}", rig.events);
    rig.put("b", dual("RequireDualStack"), json!({ ASKED: "fd00:99::7, 10.99.0.7" }));
    assert_eq!(rig.addresses("b"), ["10.99.0.7", "fd00:99::7"]);
    rig.put("c", dual("PreferDualStack"), json!({ ASKED: "10.99.0.8" }));
    assert_eq!(rig.addresses("c"), ["10.99.0.8", "fd00:99::1"], "the other family is free choice");
}

#[test]
fn two_families_are_needed_or_preferred() {
    for (policy, expected) in [("PreferDualStack", &["10.99.0.1"][..]), ("RequireDualStack", &[])] {
        let mut rig = Rig::new(&["10.99.0.0/24"]);
        rig.put("a", dual(policy), none());
        assert_eq!(rig.addresses("a"), expected, "{policy}");
        assert_eq!(rig.complaint().contains("no IPv6 address"), expected.is_empty(), "{:?}", rig.events);
    }
}

#[test]
fn addresses_are_shared_by_key_and_port() {
    let shared = |key: &str| json!({ SHARED: key });
    let mut rig = Rig::new(&["10.99.0.0/24"]);
    rig.put("a", none(), shared("k"));
    rig.put("b", json!({ "ports": [{ "port": 443 }] }), shared("k"));
    rig.put("c", json!({ "ports": [{ "port": 80, "protocol": "UDP" }] }), shared("k"));
    rig.put("d", json!({ "ports": [{ "port": 443 }] }), shared("k"));
    rig.put("e", json!({ "ports": [{ "port": 8443 }] }), shared("other"));
    let all = ["a", "b", "c", "d", "e"].map(|name| rig.addresses(name).concat());
    assert_eq!(all, ["10.99.0.1", "10.99.0.1", "10.99.0.1", "10.99.0.2", "10.99.0.3"]);
    let local = json!({ "ports": [{ "port": 9 }], "externalTrafficPolicy": "Local", "loadBalancerIP": "10.99.0.1" });
    rig.put("f", local.clone(), shared("k"));
    assert!(rig.complaint().contains("their selectors differ"), "{:?}", rig.events);
    rig.delete("a");
    assert_eq!(rig.addresses("b"), ["10.99.0.1"], "who shares it keeps it");
}

#[test]
fn a_status_written_by_hand_takes_nobodys_address() {
    let mut rig = Rig::new(&["10.99.0.0/24"]);
    rig.put("victim", none(), none());
    rig.put("a", none(), none());
    rig.status("a", &["10.99.0.1"]);
    rig.settle();
    assert_eq!((rig.addresses("victim"), rig.addresses("a")), (vec!["10.99.0.1".into()], vec!["10.99.0.2".to_owned()]));
    rig.applied = rig.revision;
    rig.status("a", &["8.8.8.8"]);
    rig.settle();
    assert_eq!(rig.addresses("a"), ["10.99.0.2"]);
    rig.status("a", &[]);
    rig.settle();
    assert_eq!(rig.addresses("a"), ["10.99.0.2"], "and an empty one loses nothing, also before it is applied");
}

#[test]
fn other_classes_are_left_alone_and_our_own_is_served() {
    let mut rig = Rig::new(&["10.99.0.0/24", "gold=10.99.1.1,class=example.com/gold"]);
    rig.put("other", json!({ "loadBalancerClass": "example.com/lb" }), none());
    rig.status("other", &["203.0.113.5"]);
    rig.settle();
    assert_eq!((rig.addresses("other"), rig.writes), (vec!["203.0.113.5".to_owned()], 0));
    rig.delete("other");
    rig.put("own", json!({ "loadBalancerClass": CLASS }), none());
    rig.put("gold", json!({ "loadBalancerClass": "example.com/gold" }), none());
    assert_eq!(
        (rig.addresses("own").concat(), rig.addresses("gold").concat()),
        ("10.99.0.1".into(), "10.99.1.1".into())
    );
}

#[test]
fn a_mode_that_somebody_chose_stays() {
    let mut rig = Rig::new(&["10.99.0.0/24"]);
    rig.put("a", none(), none());
    let mut object = rig.objects[&key("a")].clone();
    object["status"]["loadBalancer"]["ingress"][0]["ipMode"] = json!("Proxy");
    rig.store(&key("a"), object);
    rig.put("a", json!({ "ports": [{ "port": 81 }] }), none());
    assert_eq!(rig.objects[&key("a")]["status"]["loadBalancer"]["ingress"][0]["ipMode"], "Proxy");
}
