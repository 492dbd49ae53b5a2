//! Patches by example, and any patch at all.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::decode::any_json;
use crate::kinds;

fn patched(old: Value, patch: Value) -> Value {
    strategic(&kinds::DEPLOYMENT, &old, &patch).unwrap()
}

fn containers(list: Value) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": list } } } })
}

#[test]
fn containers_merge_by_name() {
    let old =
        containers(json!([{ "name": "a", "image": "x", "env": [{ "name": "E", "value": "1" }] }, { "name": "b" }]));
    let patch = containers(json!([{ "name": "a", "image": "y", "env": [{ "name": "F", "value": "2" }] }]));
    let env = json!([{ "name": "E", "value": "1" }, { "name": "F", "value": "2" }]);
    assert_eq!(
        patched(old.clone(), patch),
        containers(json!([{ "name": "a", "image": "y", "env": env }, { "name": "b" }]))
    );
    let deleted = patched(old.clone(), containers(json!([{ "$patch": "delete", "name": "a" }])));
    assert_eq!(deleted, containers(json!([{ "name": "b" }])));
    let replaced = patched(old, containers(json!([{ "$patch": "replace" }, { "name": "c" }])));
    assert_eq!(replaced, containers(json!([{ "name": "c" }])));
}

#[test]
fn order_is_what_the_client_asks_for() {
    let old = containers(json!([{ "name": "a" }, { "name": "b" }]));
    let patch = json!({ "spec": { "template": { "spec": {
        "$setElementOrder/containers": [{ "name": "c" }, { "name": "b" }, { "name": "a" }],
        "containers": [{ "name": "c" }],
    } } } });
    assert_eq!(patched(old.clone(), patch), containers(json!([{ "name": "c" }, { "name": "b" }, { "name": "a" }])));
    let only = json!({ "spec": { "template": { "spec": { "$setElementOrder/containers": [{ "name": "b" }, { "name": "a" }] } } } });
    assert_eq!(patched(old, only), containers(json!([{ "name": "b" }, { "name": "a" }])));
}

#[test]
fn ports_of_a_service_merge_by_number_alone() {
    let old = json!({ "spec": { "ports": [{ "name": "t", "port": 53, "protocol": "TCP" }, { "name": "u", "port": 53, "protocol": "UDP" }] } });
    let patch = json!({ "spec": { "ports": [{ "port": 53, "targetPort": 5353 }] } });
    let new = strategic(&kinds::SERVICE, &old, &patch).unwrap();
    let first = json!({ "name": "t", "port": 53, "protocol": "TCP", "targetPort": 5353 });
    assert_eq!(new["spec"]["ports"], json!([first, { "name": "u", "port": 53, "protocol": "UDP" }]));
}

#[test]
fn plain_lists_nulls_and_maps() {
    let old = json!({ "metadata": { "finalizers": ["a", "b"], "labels": { "x": "1", "y": "2" } } });
    let patch = json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"], "labels": { "x": null } } });
    assert_eq!(patched(old, patch), json!({ "metadata": { "finalizers": ["b", "c"], "labels": { "y": "2" } } }));
    let atomic = strategic(
        &kinds::SERVICE,
        &json!({ "spec": { "externalIPs": ["1"] } }),
        &json!({ "spec": { "externalIPs": ["2"] } }),
    );
    assert_eq!(atomic.unwrap(), json!({ "spec": { "externalIPs": ["2"] } }));
}

#[test]
fn kept_keys_and_replaced_maps() {
    let old = json!({ "spec": { "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } } } });
    let patch = json!({ "spec": { "strategy": { "$retainKeys": ["type"], "type": "Recreate" } } });
    assert_eq!(patched(old.clone(), patch), json!({ "spec": { "strategy": { "type": "Recreate" } } }));
    let replaced = patched(old.clone(), json!({ "spec": { "$patch": "replace", "replicas": 1 } }));
    assert_eq!(replaced, json!({ "spec": { "replicas": 1 } }));
    assert_eq!(patched(old, json!({ "spec": { "strategy": { "$patch": "delete" } } })), json!({ "spec": {} }));
}

#[test]
fn mistakes_are_refused() {
    for patch in [
        json!([]),
        json!({ "spec": { "$patch": "burn" } }),
        containers(json!([{ "image": "x" }])),
        containers(json!(["x"])),
        json!({ "spec": { "$retainKeys": 1 } }),
    ] {
        assert_eq!(strategic(&kinds::DEPLOYMENT, &json!({ "spec": {} }), &patch).unwrap_err().code, 400, "{patch}");
    }
    assert_eq!(merge_patch(&json!({}), &json!([])).unwrap_err().code, 400);
    assert_eq!(json_patch(&json!({}), &json!({})).unwrap_err().code, 400);
    let failing = json!([{ "op": "test", "path": "/a", "value": 1 }]);
    assert_eq!(json_patch(&json!({ "a": 2 }), &failing).unwrap_err().code, 422);
    let many = Value::Array(vec![json!({ "op": "remove", "path": "/a" }); OPERATIONS_MAX + 1]);
    assert_eq!(json_patch(&json!({}), &many).unwrap_err().code, 413);
}

proptest! {
    #[test]
    fn any_patch_is_applied_or_refused(old in any_json(), patch in any_json()) {
        for kind in [&kinds::SERVICE, &kinds::DEPLOYMENT, &kinds::POD] {
            if let Ok(new) = strategic(kind, &old, &patch) {
                prop_assert!(new.is_object());
            }
            let _ = merge_patch(&old, &patch);
            let _ = json_patch(&old, &patch);
        }
    }
}
