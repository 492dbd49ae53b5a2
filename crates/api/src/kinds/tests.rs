//! Every kind of the table, held to what generic code relies on.

use serde_json::{Value, json};

use super::*;
use crate::kind::Target;

/// The least a client may send for each kind.
fn least(kind: &Kind) -> Value {
    let template = json!({
        "metadata": { "labels": { "a": "b" } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    });
    let mut object = match kind.kind {
        "Pod" => json!({ "spec": { "containers": [{ "name": "c", "image": "i" }] } }),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
            json!({ "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": template } })
        }
        "Job" => {
            let mut job = json!({ "metadata": { "uid": "u" }, "spec": { "template": template } });
            job["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
            job
        }
        "ReplicationController" => json!({ "spec": { "template": template } }),
        "ControllerRevision" => json!({ "data": {}, "revision": 1 }),
        "Service" => json!({ "spec": { "type": "ExternalName", "externalName": "a.b" } }),
        "EndpointSlice" => json!({ "addressType": "IPv4" }),
        "Event" => json!({ "involvedObject": { "namespace": "default" } }),
        "Ingress" => json!({ "spec": { "defaultBackend": { "service": { "name": "s", "port": { "number": 80 } } } } }),
        "IngressClass" => json!({ "spec": { "controller": "example.com/x" } }),
        "ServiceCIDR" => json!({ "spec": { "cidrs": ["10.0.0.0/24"] } }),
        "IPAddress" => json!({ "spec": { "parentRef": { "resource": "services", "name": "s" } } }),
        "RuntimeClass" => json!({ "handler": "h" }),
        _ => json!({}),
    };
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    read::put(&mut object, "/metadata/name", if kind.kind == "IPAddress" { "10.0.0.1" } else { "x" });
    if kind.namespaced {
        read::put(&mut object, "/metadata/namespace", "default");
    }
    object
}

#[test]
fn the_least_object_of_every_kind_is_accepted_and_stable() {
    for kind in ALL {
        let mut object = least(kind);
        kind.rules.default(&mut object);
        kind.rules.prepare_create(&mut object);
        for errors in [validate_metadata(kind, &object, None), kind.rules.validate(&object, None, Target::Main)] {
            assert!(errors.is_empty(), "{}: {errors}", kind.kind);
        }
        let mut again = object.clone();
        kind.rules.default(&mut again);
        kind.rules.prepare_update(&mut again, &object, Target::Main);
        assert_eq!(again, object, "{}: writing back what was read changes nothing", kind.kind);
        let errors = kind.rules.validate(&again, Some(&object), Target::Main);
        assert!(errors.is_empty(), "{}: {errors}", kind.kind);
        let mut status = object.clone();
        kind.rules.default(&mut status);
        kind.rules.prepare_update(&mut status, &object, Target::Status);
        assert_eq!(status, object, "{}: the same through /status", kind.kind);
    }
}

#[test]
fn every_row_has_a_cell_per_column_and_survives_an_empty_object() {
    for kind in ALL {
        for object in [least(kind), json!({}), Value::Null] {
            assert_eq!(kind.rules.cells(&object, 0).len(), kind.rules.columns().len(), "{}", kind.kind);
        }
        let names = kind.rules.columns().iter().filter(|column| column.format == "name").count();
        assert_eq!(names, 1, "{}: one column is the name", kind.kind);
        assert!(kind.rules.columns().iter().all(|column| column.description.ends_with('.')), "{}", kind.kind);
    }
}

#[test]
fn no_rule_panics_on_shapes_that_passed_no_schema() {
    let odd = [
        json!(null),
        json!([]),
        json!("x"),
        json!({ "spec": [], "status": 1, "metadata": "m" }),
        json!({ "spec": { "ports": {}, "template": [] } }),
    ];
    for kind in ALL {
        for object in &odd {
            let mut new = object.clone();
            kind.rules.default(&mut new);
            kind.rules.prepare_create(&mut new);
            kind.rules.prepare_update(&mut new, object, Target::Main);
            kind.rules.validate(&new, Some(object), Target::Main);
            kind.rules.validate(object, None, Target::Status);
            kind.rules.warnings(object, None);
            kind.rules.cells(object, 0);
            validate_metadata(kind, object, Some(&new));
        }
    }
}

#[test]
fn kinds_are_found_by_resource_and_by_kind() {
    for kind in ALL {
        let found = by_resource(kind.group, kind.version, kind.plural).unwrap();
        assert_eq!((found.kind, found.plural), (kind.kind, kind.plural));
        assert_eq!(by_kind(&kind.api_version(), kind.kind).unwrap().plural, kind.plural);
    }
    assert_eq!(by_resource("", "v1", "deployments").map(|kind| kind.kind), None);
    assert_eq!(by_kind("apps/v1", "Service").map(|kind| kind.kind), None);
    assert_eq!(by_kind("v1", "Service").map(|kind| kind.plural), Some("services"));
}

#[test]
fn namespaces() {
    let mut object = json!({ "metadata": { "name": "qa", "labels": { "a": "b" } } });
    NAMESPACE.rules.default(&mut object);
    NAMESPACE.rules.prepare_create(&mut object);
    let expected = json!({
        "metadata": { "name": "qa", "labels": { "a": "b", "kubernetes.io/metadata.name": "qa" } },
        "spec": { "finalizers": ["kubernetes"] },
        "status": { "phase": "Active" },
    });
    assert_eq!(object, expected);
    let mut emptied = object.clone();
    emptied["spec"] = json!({});
    NAMESPACE.rules.prepare_update(&mut emptied, &object, Target::Main);
    assert_eq!(emptied, object, "spec.finalizers change by /finalize only");
    assert_eq!(NAMESPACE.rules.cells(&object, 0), ["qa", "Active", "<unknown>"]);
    let mut ending = object.clone();
    ending["status"]["phase"] = "Terminating".into();
    assert_eq!(NAMESPACE.rules.validate(&ending, None, Target::Status).0.len(), 1);
    ending["metadata"]["deletionTimestamp"] = "t".into();
    assert!(NAMESPACE.rules.validate(&ending, None, Target::Status).is_empty());
}

#[test]
fn nodes() {
    let node = json!({
        "metadata": { "name": "n", "labels": { "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "x" } },
        "spec": { "unschedulable": true },
        "status": {
            "conditions": [{ "type": "Ready", "status": "True" }],
            "addresses": [{ "type": "Hostname", "address": "n" }, { "type": "InternalIP", "address": "10.0.0.1" }],
            "nodeInfo": { "kubeletVersion": "v1.37.0", "kernelVersion": "6.18", "architecture": "amd64", "osImage": "Debian" },
        },
    });
    assert_eq!(
        NODE.rules.cells(&node, 0),
        [
            "n",
            "Ready,SchedulingDisabled",
            "control-plane,worker,x",
            "<unknown>",
            "v1.37.0",
            "10.0.0.1",
            "<none>",
            "Debian",
            "6.18 (amd64)",
            "<unknown>"
        ]
    );
    assert_eq!(NODE.rules.cells(&json!({}), 0)[1], "Unknown");
    assert_eq!(NODE.rules.field(&node, "spec.unschedulable").as_deref(), Some("true"));
    let with = |cidrs: Value| json!({ "metadata": { "name": "n" }, "spec": { "podCIDRs": cidrs } });
    let check = |new: Value, old: Value| NODE.rules.validate(&new, Some(&old), Target::Main).0.len();
    assert_eq!(check(with(json!(["10.0.0.0/24"])), with(json!([]))), 0);
    assert_eq!(check(with(json!(["10.0.1.0/24"])), with(json!(["10.0.0.0/24"]))), 1);
    assert_eq!(check(with(json!(["10.0.1.1/24"])), with(json!([]))), 1);
}

#[test]
fn events() {
    let mut event = json!({
        "metadata": { "name": "e", "namespace": "a" },
        "involvedObject": { "kind": "Pod", "name": "p", "namespace": "a", "fieldPath": "spec.containers{c}" },
        "type": "Normal", "reason": "Started", "message": " it started\n",
        "firstTimestamp": "1970-01-01T00:00:00Z", "lastTimestamp": "1970-01-01T00:00:50Z",
        "source": { "component": "mainstay", "host": "n" }, "count": 3,
    });
    EVENT.rules.default(&mut event);
    let cells = EVENT.rules.cells(&event, 60);
    assert_eq!(
        cells[..8],
        ["10s", "Normal", "Started", "pod/p", "spec.containers{c}", "mainstay, n", "it started", "60s"]
    );
    assert_eq!(cells[8..], [json!(3), json!("e")]);
    event["series"] = json!({ "count": 9, "lastObservedTime": "1970-01-01T00:00:59.000000Z" });
    let cells = EVENT.rules.cells(&event, 60);
    assert_eq!((&cells[0], &cells[8]), (&json!("1s"), &json!(9)));
    let only_event_time = json!({ "eventTime": "1970-01-01T00:00:10.000000Z", "involvedObject": { "kind": "Node" } });
    let cells = EVENT.rules.cells(&only_event_time, 60);
    assert_eq!((&cells[0], &cells[3], &cells[7], &cells[8]), (&json!("50s"), &json!("node"), &json!("50s"), &json!(1)));
    for (field, value) in [
        ("involvedObject.name", "p"),
        ("involvedObject.kind", "Pod"),
        ("involvedObject.namespace", "a"),
        ("involvedObject.uid", ""),
        ("reason", "Started"),
        ("type", "Normal"),
        ("source", "mainstay"),
    ] {
        assert_eq!(EVENT.rules.field(&event, field).as_deref(), Some(value), "{field}");
    }
    assert_eq!(EVENT.rules.field(&event, "message"), None);
    event["involvedObject"]["namespace"] = "b".into();
    assert_eq!(
        EVENT.rules.validate(&event, None, Target::Main).to_string(),
        "involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"
    );
}

#[test]
fn config_maps_and_leases() {
    let check =
        |new: Value, old: Option<Value>| CONFIG_MAP.rules.validate(&new, old.as_ref(), Target::Main).to_string();
    assert_eq!(check(json!({ "data": { "a.b": "" }, "binaryData": { "c": "eA==" } }), None), "[]");
    assert_eq!(
        check(json!({ "data": { "a": "" }, "binaryData": { "a": "eA==" } }), None),
        "data[a]: Invalid value: \"a\": duplicate of key present in binaryData"
    );
    assert!(
        check(json!({ "data": { "a/b": "" } }), None)
            .starts_with("data[a/b]: Invalid value: \"a/b\": a valid config key")
    );
    assert_eq!(
        check(json!({ "data": { "a": "2" } }), Some(json!({ "immutable": true, "data": { "a": "1" } }))),
        "[immutable: Forbidden: field is immutable when `immutable` is set, data: Forbidden: field is immutable when `immutable` is set]"
    );
    assert_eq!(
        check(json!({ "data": { "a": "x".repeat(1024 * 1024 + 1) } }), None),
        ": Too long: may not be more than 1048576 bytes"
    );
    assert_eq!(CONFIG_MAP.rules.cells(&json!({ "data": { "a": "" }, "binaryData": { "b": "" } }), 0)[1], 2);

    let lease = json!({ "metadata": { "name": "n" }, "spec": { "holderIdentity": "me", "leaseDurationSeconds": 0, "leaseTransitions": -1, "preferredHolder": "you" } });
    assert_eq!(LEASE.rules.cells(&lease, 0), ["n", "me", "<unknown>"]);
    let fields: Vec<_> =
        LEASE.rules.validate(&lease, None, Target::Main).0.into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["spec.leaseDurationSeconds", "spec.leaseTransitions", "spec.preferredHolder"]);
}
