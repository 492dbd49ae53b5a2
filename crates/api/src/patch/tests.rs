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
    let many = Value::Array(vec![json!({ "op": "remove", "path": "/a" }); JSON_PATCH_OPERATIONS_MAX + 1]);
    assert_eq!(json_patch(&json!({}), &many).unwrap_err().code, 413);
}

#[test]
fn a_list_that_is_new_is_taken_as_it_stands() {
    let ports = json!([{ "port": 53, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }]);
    let patch = json!({ "spec": { "ports": ports } });
    let new = strategic(&kinds::SERVICE, &json!({ "spec": {} }), &patch).unwrap();
    assert_eq!(new["spec"]["ports"], ports);
    // On a list that exists, the second of them meets the first: the fault of the key.
    let old = json!({ "spec": { "ports": [{ "port": 80 }] } });
    let new = strategic(&kinds::SERVICE, &old, &patch).unwrap();
    assert_eq!(new["spec"]["ports"], json!([{ "port": 80 }, { "port": 53, "protocol": "UDP" }]));
}

#[test]
fn deletions_come_first_wherever_they_stand() {
    let old =
        json!({ "spec": { "ports": [{ "port": 53, "name": "t" }, { "port": 53, "name": "u" }, { "port": 80 }] } });
    let patch = json!({ "spec": { "ports": [{ "port": 53, "name": "new" }, { "$patch": "delete", "port": 53 }] } });
    let new = strategic(&kinds::SERVICE, &old, &patch).unwrap();
    assert_eq!(new["spec"]["ports"], json!([{ "port": 80 }, { "port": 53, "name": "new" }]));
}

/// The patch that kubectl 1.32 sends when a manifest replaces port 80 by 8080, while someone else added port 9.
#[test]
fn items_of_others_stay_behind_the_one_they_followed() {
    let old = json!({ "spec": { "ports": [{ "port": 80, "nodePort": 3 }, { "port": 9 }, { "port": 81 }] } });
    let patch = json!({ "spec": { "$setElementOrder/ports": [{ "port": 8080 }, { "port": 81 }],
        "ports": [{ "name": "x", "port": 8080 }, { "$patch": "delete", "port": 80 }] } });
    let new = strategic(&kinds::SERVICE, &old, &patch).unwrap();
    assert_eq!(new["spec"]["ports"], json!([{ "port": 9 }, { "name": "x", "port": 8080 }, { "port": 81 }]));
}

/// The patch that kubectl 1.32 sends for a changed volume and container: `$retainKeys` in items, nested lists.
#[test]
fn a_changed_pod_template_merges_as_kubectl_means_it() {
    let template = |spec: Value| json!({ "spec": { "template": { "spec": spec } } });
    let old = template(json!({
        "containers": [
            { "name": "c", "image": "i", "env": [{ "name": "E", "value": "1" }], "imagePullPolicy": "Always" },
            { "name": "d", "image": "i" }],
        "volumes": [{ "name": "v", "emptyDir": {} }, { "name": "w", "emptyDir": {} }] }));
    let patch = template(json!({
        "$setElementOrder/containers": [{ "name": "c" }, { "name": "d" }],
        "$setElementOrder/volumes": [{ "name": "v" }],
        "containers": [{ "name": "c", "image": "j", "$setElementOrder/env": [{ "name": "F" }],
            "env": [{ "name": "F", "value": "1" }, { "$patch": "delete", "name": "E" }] }],
        "volumes": [{ "name": "v", "$retainKeys": ["configMap", "name"], "configMap": { "name": "q" }, "emptyDir": null }] }));
    let new = template(json!({
        "containers": [
            { "name": "c", "image": "j", "env": [{ "name": "F", "value": "1" }], "imagePullPolicy": "Always" },
            { "name": "d", "image": "i" }],
        "volumes": [{ "name": "v", "configMap": { "name": "q" } }, { "name": "w", "emptyDir": {} }] }));
    assert_eq!(patched(old, patch), new);
}

#[test]
fn what_is_absent_is_null_to_a_test() {
    let patch =
        |path: &str| json!([{ "op": "test", "path": path, "value": null }, { "op": "add", "path": "/a", "value": 1 }]);
    assert_eq!(json_patch(&json!({ "b": {} }), &patch("/b/c")).unwrap(), json!({ "a": 1, "b": {} }));
    assert_eq!(json_patch(&json!({}), &patch("/b/c")).unwrap_err().code, 422);
    assert_eq!(json_patch(&json!({ "b": 1 }), &patch("/b")).unwrap_err().code, 422);
}

#[test]
fn a_small_json_patch_makes_no_huge_and_no_deep_object() {
    let object = json!({ "a": { "b": vec!["x"; 100] } });
    let double: Vec<Value> =
        (0..40).map(|n| json!({ "op": "copy", "from": "/a", "path": format!("/a/c{n}") })).collect();
    let error = json_patch(&object, &Value::Array(double)).map(drop).unwrap_err();
    assert!(error.code == 413 || error.message.contains("deeper than"), "{error}");
    let wide: Vec<Value> = (0..9000).map(|n| json!({ "op": "copy", "from": "/a", "path": format!("/c{n}") })).collect();
    assert_eq!(json_patch(&object, &Value::Array(wide)).map(drop).unwrap_err().code, 413);
    let deep: Vec<Value> =
        (1..200).map(|n| json!({ "op": "add", "path": "/a".repeat(n), "value": { "a": {} } })).collect();
    assert!(json_patch(&json!({}), &Value::Array(deep)).unwrap_err().message.contains("deeper than"));
    let modest =
        json!([{ "op": "copy", "from": "/a/b/0", "path": "/c" }, { "op": "move", "from": "/a", "path": "/d" }]);
    assert_eq!(json_patch(&object, &modest).unwrap(), json!({ "c": "x", "d": { "b": vec!["x"; 100] } }));
}

#[test]
fn a_failing_operation_is_named() {
    let operations = json!([{ "op": "add", "path": "/b", "value": 1 }, { "op": "test", "path": "/a", "value": 1 }]);
    let error = json_patch(&json!({ "a": 2 }), &operations).unwrap_err();
    assert!(error.message.contains("operation 1 at \"/a\""), "{error}");
}

proptest! {
    /// Lists are merged through an index; what is said of a patch holds whatever it is: applying it again changes
    /// nothing more, and no directive is left behind in lists that merge by key.
    #[test]
    fn a_merge_of_keyed_lists_is_idempotent(
        old in prop::collection::btree_map(0..6_u8, 0..9_u8, 0..6),
        change in prop::collection::btree_map(0..8_u8, prop::option::of(0..9_u8), 0..6),
        order in prop::collection::vec(0..8_u8, 0..8),
    ) {
        let item = |name: u8, image: u8| json!({ "name": name.to_string(), "image": image.to_string() });
        let before: Vec<Value> = old.iter().map(|(name, image)| item(*name, *image)).collect();
        let changes: Vec<Value> = change.iter().map(|(name, image)| match image {
            Some(image) => item(*name, *image),
            None => json!({ "$patch": "delete", "name": name.to_string() }),
        }).collect();
        let order: Vec<Value> = order.iter().map(|name| json!({ "name": name.to_string() })).collect();
        let patch = json!({ "spec": { "template": { "spec": { "containers": changes, "$setElementOrder/containers": order } } } });
        let once = patched(containers(json!(before)), patch.clone());
        prop_assert_eq!(patched(once.clone(), patch), once.clone());
        // Model: the same change on maps.
        let mut expected: std::collections::BTreeMap<String, String> =
            old.iter().map(|(name, image)| (name.to_string(), image.to_string())).collect();
        for (name, image) in &change {
            match image {
                Some(image) => expected.insert(name.to_string(), image.to_string()),
                None => expected.remove(&name.to_string()),
            };
        }
        let seen = once["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let seen: std::collections::BTreeMap<String, String> =
            seen.iter().map(|item| (text(&item["name"]), text(&item["image"]))).collect();
        prop_assert_eq!(seen, expected);
    }
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
