//! Endpoints objects in, slices out: grouping, limits, what keeps an object from being mirrored, and what changes later.

use super::*;
use crate::snapshot::{Labels, Meta};

const KEY: &str = "db";

fn service() -> Service {
    Service { meta: Meta { key: ObjectKey::new("ns", KEY), ..Meta::default() }, ..Service::default() }
}

fn endpoints(subsets: Value) -> Value {
    json!({
        "metadata": { "name": KEY, "namespace": "ns", "uid": "u1", "labels": { "team": "a" } },
        "subsets": subsets,
    })
}

fn one(ip: &str) -> Value {
    endpoints(json!([{ "addresses": [{ "ip": ip }], "ports": [{ "name": "sql", "port": 5432 }] }]))
}

/// Carries writes out as the API would; returns what the API then holds.
fn apply(writes: Vec<Write>, held: &[Mirrored]) -> (Vec<Mirrored>, Vec<Value>, Vec<String>) {
    let mut slices: BTreeMap<ObjectKey, Mirrored> =
        held.iter().map(|slice| (slice.target.0.clone(), slice.clone())).collect();
    let (mut objects, mut notes) = (Vec::new(), Vec::new());
    for (number, write) in writes.into_iter().enumerate() {
        match write {
            Write::Create { mut object, .. } | Write::Update { mut object, .. } => {
                let key = ObjectKey::new("ns", object["metadata"]["name"].as_str().unwrap());
                object["metadata"]["uid"] = json!(format!("uid-{}", key.name));
                let slice = Mirrored::of(&key, &object, Revision(number as u64 + 10)).expect("a mirrored slice");
                slices.insert(key, slice);
                objects.push(object);
            }
            Write::Delete { target, .. } => {
                slices.remove(&target.key);
            }
            Write::Note(note) => notes.push(format!("{}: {}", note.reason, note.message)),
            other => panic!("unexpected {other:?}"),
        }
    }
    (slices.into_values().collect(), objects, notes)
}

fn plan(service: Option<&Service>, endpoints: Option<&Value>, held: &[Mirrored]) -> Vec<Write> {
    let names: Vec<&Mirrored> = held.iter().collect();
    reconcile(service, endpoints, &names, |name| held.iter().all(|slice| *slice.target.0.name != *name))
}

fn fresh(endpoints: &Value) -> (Vec<Mirrored>, Vec<Value>, Vec<String>) {
    let after = apply(plan(Some(&service()), Some(endpoints), &[]), &[]);
    assert!(plan(Some(&service()), Some(endpoints), &after.0).is_empty(), "a second look writes nothing");
    after
}

#[test]
fn a_slice_says_what_the_object_says() {
    let mut object = one("10.0.0.1");
    object["metadata"]["annotations"] = json!({
        "note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z",
    });
    object["subsets"][0]["addresses"][0] = json!({
        "ip": "010.0.0.1", "hostname": "h", "nodeName": "n1", "targetRef": { "kind": "Pod", "name": "p", "uid": "up" },
    });
    object["subsets"][0]["notReadyAddresses"] = json!([{ "ip": "10.0.0.9" }]);
    object["subsets"][0]["ports"][0]["appProtocol"] = json!("example.com/sql");
    let (_, slices, notes) = fresh(&object);
    assert_eq!((slices.len(), notes.len()), (1, 0));
    let metadata = &slices[0]["metadata"];
    assert_eq!(metadata["labels"], json!({ "team": "a", SERVICE_NAME: KEY, MANAGED_BY: MIRROR }));
    assert_eq!(metadata["annotations"], json!({ "note": "x" }));
    assert_eq!(metadata["ownerReferences"][0]["kind"], "Endpoints");
    assert_eq!(
        slices[0]["endpoints"],
        json!([
            { "addresses": ["10.0.0.1"], "conditions": { "ready": true }, "hostname": "h", "nodeName": "n1",
              "targetRef": { "kind": "Pod", "name": "p", "uid": "up" } },
            { "addresses": ["10.0.0.9"], "conditions": { "ready": false } },
        ])
    );
    let port = json!({ "name": "sql", "port": 5432, "protocol": "TCP", "appProtocol": "example.com/sql" });
    assert_eq!(slices[0]["ports"], json!([port]));
}

#[test]
fn one_slice_per_family_and_ports() {
    let object = endpoints(json!([
        { "addresses": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }], "ports": [{ "name": "a", "port": 1 }] },
        { "addresses": [{ "ip": "10.0.0.2" }], "ports": [{ "name": "b", "port": 2 }] },
        { "addresses": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }], "ports": [{ "name": "c", "port": 3 }] },
        { "notReadyAddresses": [{ "ip": "10.0.0.2" }], "ports": [{ "name": "b", "port": 2 }] },
    ]));
    let (_, mut slices, _) = fresh(&object);
    slices.sort_by_key(|slice| slice["ports"].to_string() + slice["addressType"].as_str().unwrap());
    let told: Vec<String> = slices
        .iter()
        .map(|slice| {
            let ports: Vec<_> = list(slice, "ports").iter().map(|port| port["name"].as_str().unwrap()).collect();
            let addresses: Vec<_> = list(slice, "endpoints")
                .iter()
                .map(|one| format!("{} {}", one["addresses"][0].as_str().unwrap(), one["conditions"]["ready"]))
                .collect();
            format!("{} {} {}", slice["addressType"].as_str().unwrap(), ports.join("+"), addresses.join("+"))
        })
        .collect();
    // Unready anywhere is unready; equal addresses put ports together.
    assert_eq!(told, ["IPv4 a+c 10.0.0.1 true", "IPv6 a+c fd00::1 true", "IPv4 b 10.0.0.2 false"]);
}

#[test]
fn no_ports_is_a_slice_without_ports() {
    let (_, slices, _) = fresh(&endpoints(json!([{ "addresses": [{ "ip": "10.0.0.1" }] }])));
    assert_eq!((slices.len(), &slices[0]["ports"]), (1, &json!([])));
}

#[test]
fn too_many_and_unreadable_addresses_are_left_out_and_told() {
    let many = |count: usize| -> Vec<Value> {
        (0..count).map(|number| json!({ "ip": format!("10.0.{}.{}", number / 250, number % 250) })).collect()
    };
    let ports = json!([{ "port": 80 }]);
    let exact = endpoints(json!([{ "addresses": many(ADDRESSES_MAX), "ports": ports }]));
    let (_, slices, notes) = fresh(&exact);
    assert_eq!((list(&slices[0], "endpoints").len(), notes.len()), (ADDRESSES_MAX, 0));
    let mut unready = many(ADDRESSES_MAX + 3);
    let ready = unready.split_off(ADDRESSES_MAX - 1);
    unready.push(json!({ "ip": "not an address" }));
    let over = endpoints(json!([{ "addresses": ready, "notReadyAddresses": unready, "ports": ports }]));
    let (_, slices, notes) = fresh(&over);
    let endpoints = list(&slices[0], "endpoints");
    let is_ready = |one: &&Value| one["conditions"]["ready"] == json!(true);
    assert_eq!((endpoints.len(), endpoints.iter().filter(is_ready).count()), (ADDRESSES_MAX, 4), "ready ones first");
    assert_eq!(
        notes,
        [
            "InvalidIPAddress: Skipped 1 invalid IP addresses when mirroring to EndpointSlices",
            "TooManyAddressesToMirror: A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. \
             4 addresses were skipped",
        ]
    );
}

#[test]
fn changes_are_updates_and_a_new_port_is_a_new_slice() {
    let (held, _, _) = fresh(&one("10.0.0.1"));
    let (after, objects, _) = apply(plan(Some(&service()), Some(&one("10.0.0.2")), &held), &held);
    assert_eq!((after.len(), &after[0].target.0), (1, &held[0].target.0), "updated in place");
    assert_eq!(objects[0]["metadata"]["resourceVersion"], "10");
    let mut moved = one("10.0.0.2");
    moved["subsets"][0]["ports"][0]["port"] = json!(5433);
    let writes = plan(Some(&service()), Some(&moved), &after);
    let kinds: Vec<String> = writes.iter().map(|write| format!("{write:?}")[..6].to_owned()).collect();
    assert_eq!(kinds, ["create", "delete"], "additions first");
    let mut relabelled = one("10.0.0.2");
    relabelled["metadata"]["labels"] = json!({ "team": "b" });
    assert_eq!(plan(Some(&service()), Some(&relabelled), &after).len(), 1);
    // Somebody changed the slice by hand: it is put right.
    let mut by_hand = objects[0].clone();
    by_hand["endpoints"] = json!([]);
    let edited = Mirrored::of(&after[0].target.0, &by_hand, Revision(99)).unwrap();
    assert_eq!(plan(Some(&service()), Some(&one("10.0.0.2")), &[edited]).len(), 1);
}

#[test]
fn what_ends_mirroring() {
    let (held, _, _) = fresh(&one("10.0.0.1"));
    let selecting = Service { selector: Some(Labels::from([("a".into(), "b".into())])), ..service() };
    let empty = Service { selector: Some(Labels::default()), ..service() };
    let with = |change: fn(&mut Value)| {
        let mut object = one("10.0.0.1");
        change(&mut object);
        object
    };
    let source = one("10.0.0.1");
    assert!(plan(Some(&empty), Some(&source), &held).is_empty(), "an empty selector is none");
    let skipped = with(|object| object["metadata"]["labels"][SKIP] = json!("true"));
    let not_skipped = with(|object| object["metadata"]["labels"][SKIP] = json!("false"));
    let lock = with(|object| object["metadata"]["annotations"] = json!({ LEADER: "{}" }));
    let without = with(|object| object["subsets"] = json!([]));
    let service = service();
    for (service, object) in [
        (Some(&selecting), Some(&source)),
        (None, Some(&source)),
        (Some(&service), None),
        (Some(&service), Some(&skipped)),
        (Some(&service), Some(&lock)),
        (Some(&service), Some(&without)),
    ] {
        let writes = plan(service, object, &held);
        assert!(matches!(writes.as_slice(), [Write::Delete { .. }]), "{object:?}: {writes:?}");
        assert!(plan(service, object, &[]).is_empty());
    }
    assert_eq!(plan(Some(&service), Some(&not_skipped), &[]).len(), 1, "only \"true\" skips");
}

#[test]
fn slices_of_others_are_not_mirrored_ones() {
    let (_, slices, _) = fresh(&one("10.0.0.1"));
    for (manager, mine) in [(MIRROR, true), (super::super::CONTROLLER, false), ("me", false)] {
        let mut slice = slices[0].clone();
        slice["metadata"]["labels"][MANAGED_BY] = json!(manager);
        assert_eq!(Mirrored::of(&ObjectKey::new("ns", "x"), &slice, Revision(1)).is_some(), mine);
    }
}
