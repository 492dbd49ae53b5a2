//! Objects and writes in, owners and merged objects out.

mod histories;
mod lists;
mod sets;

use serde_json::{Value, json};

use super::*;
use crate::kinds::{CONFIG_MAP, DEPLOYMENT, SERVICE};

fn writer<'w>(kind: &'w crate::kind::Kind, manager: &'w str, now: &'w str) -> Writer<'w> {
    Writer::new(kind, "", manager, now).unwrap()
}

fn map(data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "namespace": "default" }, "data": data })
}

/// The object with its owners, as it would be stored.
fn stored(applied: Applied) -> Value {
    let mut object = applied.object;
    object["metadata"]["managedFields"] = applied.owners.encode().unwrap_or(Value::Null);
    object
}

fn tracked(writer: &Writer<'_>, old: Option<&Value>, mut new: Value) -> Value {
    let entries = writer.track(old, &mut new);
    if let Some(entries) = entries {
        new["metadata"]["managedFields"] = entries;
    }
    new
}

#[test]
fn who_writes_a_field_owns_it_and_times_move_with_the_fields() {
    let first = tracked(&writer(&CONFIG_MAP, "one", "t1"), None, map(json!({ "x": "1", "y": "1" })));
    let mut next = first.clone();
    next["data"] = json!({ "x": "2", "z": "1" });
    let second = tracked(&writer(&CONFIG_MAP, "two", "t2"), Some(&first), next);
    let entry = |manager: &str, time: &str, data: Value| {
        json!({
            "manager": manager, "operation": "Update", "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1",
            "fieldsV1": { "f:data": data },
        })
    };
    assert_eq!(
        second["metadata"]["managedFields"],
        json!([entry("one", "t1", json!({})), entry("two", "t2", json!({ "f:x": {}, "f:z": {} }))])
    );
    // The same again takes nothing from anybody.
    assert_eq!(tracked(&writer(&CONFIG_MAP, "three", "t3"), Some(&second), second.clone()), second);
    // Nor does a client that does not know of owners and leaves them out.
    let mut bare = second.clone();
    bare["metadata"].as_object_mut().unwrap().remove("managedFields");
    assert_eq!(tracked(&writer(&CONFIG_MAP, "three", "t3"), Some(&second), bare), second);
}

#[test]
fn owners_are_forgotten_on_request_and_malformed_ones_ignored() {
    let first = tracked(&writer(&CONFIG_MAP, "one", "t1"), None, map(json!({ "x": "1" })));
    let mut reset = first.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    let reset = tracked(&writer(&CONFIG_MAP, "one", "t2"), Some(&first), reset);
    assert_eq!(reset["metadata"].get("managedFields"), None);
    let again = tracked(&writer(&CONFIG_MAP, "one", "t3"), Some(&reset), map(json!({ "x": "2" })));
    assert_eq!(again["metadata"].get("managedFields"), None, "not tracked before it is first applied");
    for malformed in [
        json!([{ "manager": "m", "operation": "Delete", "apiVersion": "v1", "fieldsType": "FieldsV1" }]),
        json!([{ "manager": "m", "operation": "Update", "fieldsType": "FieldsV1" }]),
        json!([{ "manager": "m", "operation": "Update", "apiVersion": "v1" }]),
        json!([{ "manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2" }]),
        json!([{ "manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": { "nonsense": {} } }]),
    ] {
        assert!(Owners::decode(&malformed).is_err(), "{malformed}");
        let mut sent = first.clone();
        sent["metadata"]["managedFields"] = malformed;
        assert_eq!(tracked(&writer(&CONFIG_MAP, "one", "t2"), Some(&first), sent), first);
    }
}

#[test]
fn the_oldest_writers_become_one() {
    let names: Vec<String> = (0..14).map(|index| format!("w{index:02}")).collect();
    let mut object = tracked(&writer(&CONFIG_MAP, "creator", "t00"), None, map(json!({ "x": "1" })));
    for (index, name) in names.iter().enumerate() {
        let mut next = object.clone();
        next["data"][name] = "1".into();
        object = tracked(&writer(&CONFIG_MAP, name, &format!("t{:02}", index + 1)), Some(&object), next);
    }
    let owners = Owners::decode(&object["metadata"]["managedFields"]).unwrap();
    assert_eq!(owners.0.len(), 10);
    let ancient = Owner::new("ancient-changes", Operation::Update, "v1", "");
    let fields = owners.0[&ancient].set.paths();
    assert_eq!(fields, [".data", ".data.w00", ".data.w01", ".data.w02", ".data.w03", ".data.w04", ".data.x"]);
}

#[test]
fn conflicts_name_owners_and_fields() {
    let create = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a" },
        "spec": { "selector": { "a": "b" }, "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] },
    });
    let live = tracked(&writer(&SERVICE, "kubectl-create", "t1"), None, create);
    let config = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a" },
        "spec": { "selector": { "a": "c" }, "ports": [{ "name": "web", "port": 80 }] },
    });
    let applier = writer(&SERVICE, "me", "t2");
    let Err(Fault::Conflicts(conflicts)) = applier.apply(Some(&live), &config, false) else { panic!("no conflict") };
    assert_eq!(
        Conflict::message(&conflicts),
        "Apply failed with 2 conflicts: conflicts with \"kubectl-create\" using v1:\n- .spec.selector\n- \
         .spec.ports[port=80,protocol=\"TCP\"].name"
    );
    // A port without a protocol is the TCP port that is there already.
    let forced = stored(applier.apply(Some(&live), &config, true).unwrap());
    assert_eq!(forced["spec"]["ports"], json!([{ "name": "web", "port": 80, "protocol": "TCP" }]));
    assert_eq!(forced["spec"]["selector"], json!({ "a": "c" }));
}

#[test]
fn configurations_that_cannot_be_applied_are_told_why() {
    let applier = writer(&DEPLOYMENT, "me", "t");
    let base = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" } });
    let with = |name: &str, value: Value| {
        let mut config = base.clone();
        config[name] = value;
        config
    };
    let request = |why: &str| Fault::Request(why.to_owned());
    let schema =
        |why: &str| Fault::Schema(format!("failed to create typed patch object (/d; apps/v1, Kind=Deployment): {why}"));
    let containers = |list: Value| with("spec", json!({ "template": { "spec": { "containers": list } } }));
    let place = ".spec.template.spec.containers";
    for (config, expected) in [
        (with("kind", json!("Pod")), request("invalid object type: apps/v1, Kind=Pod")),
        (with("apiVersion", json!("v1")), request("invalid object type: /v1, Kind=Deployment")),
        (json!([]), request("invalid object type: /, Kind=")),
        (with("metadata", json!({ "managedFields": [] })), request("metadata.managedFields must be nil")),
        (with("sped", json!({})), schema(".sped: field not declared in schema")),
        (
            with("spec", json!({ "replicas": "x" })),
            schema(".spec.replicas: expected numeric (int or float), got string"),
        ),
        (with("spec", json!([])), schema(".spec: expected map, got &{[]}")),
        (containers(json!({})), schema(&format!("{place}: expected list, got &{{map[]}}"))),
        (
            containers(json!([{ "name": "a" }, { "name": "a" }])),
            schema(&format!("{place}: duplicate entries for key [name=\"a\"]")),
        ),
        (
            containers(json!(["a"])),
            schema(&format!("{place}: element 0: associative list with keys may not have non-map elements")),
        ),
    ] {
        assert_eq!(applier.apply(None, &config, false).unwrap_err(), expected, "{config}");
    }
}

#[test]
fn fields_given_up_go_unless_somebody_else_has_them() {
    let apply = |live: Option<&Value>, manager: &str, data: Value| {
        stored(writer(&CONFIG_MAP, manager, "t").apply(live, &map(data), false).unwrap())
    };
    let one = apply(None, "one", json!({ "x": "1", "y": "1" }));
    let two = apply(Some(&one), "two", json!({ "y": "1", "z": "1" }));
    let left = apply(Some(&two), "one", json!({}));
    assert_eq!(left["data"], json!({ "y": "1", "z": "1" }));
    assert_eq!(apply(Some(&left), "two", json!({}))["data"], Value::Null);
}

#[test]
fn what_kubectl_applied_itself_is_its_own_on_the_server() {
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let mut live = map(json!({ "x": "1", "y": "1" }));
    live["metadata"]["annotations"] = json!({ annotation: format!("{}\n", map(json!({ "x": "1" }))) });
    let live = tracked(&writer(&CONFIG_MAP, "kubectl-client-side-apply", "t1"), None, live);
    let apply = |manager: &str, data: Value| writer(&CONFIG_MAP, manager, "t2").apply(Some(&live), &map(data), false);
    assert!(matches!(apply("other", json!({ "x": "2" })), Err(Fault::Conflicts(_))));
    let applied = apply("kubectl", json!({ "x": "2" })).unwrap();
    let kept = applied.object["metadata"]["annotations"][annotation].as_str().unwrap();
    assert_eq!(kept, format!("{}\n", map(json!({ "x": "2" }))));
    // What it did not apply stays somebody else's, also for kubectl.
    let Err(Fault::Conflicts(conflicts)) = apply("kubectl", json!({ "x": "2", "y": "2" })) else {
        panic!("no conflict")
    };
    assert_eq!(conflicts.iter().map(|conflict| &*conflict.field).collect::<Vec<_>>(), [".data.y"]);
}

#[test]
fn a_scale_owns_the_replicas_and_nothing_else() {
    let d = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
        "spec": { "replicas": 1, "paused": true } });
    let d = tracked(&writer(&DEPLOYMENT, "creator", "t1"), None, d);
    let parent = Owners::decode(&d["metadata"]["managedFields"]).unwrap();
    let old = json!({ "metadata": { "managedFields": scale_owners(&parent).encode() }, "spec": { "replicas": 1 } });
    let mut new = json!({ "metadata": {}, "spec": { "replicas": 2 } });
    let entries = Writer::of_scale("scaler", "t2").unwrap().track(Some(&old), &mut new).unwrap();
    let after = with_scale_owners(&parent, Owners::decode(&entries).unwrap(), "apps/v1").encode().unwrap();
    let after = Owners::decode(&after).unwrap();
    let fields: Vec<_> = after.0.iter().map(|(owner, held)| (&*owner.manager, held.set.paths())).collect();
    assert_eq!(fields, [("creator", vec![".spec.paused".to_owned()]), ("scaler", vec![".spec.replicas".to_owned()])]);
}
