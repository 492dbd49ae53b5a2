//! Metadata in, wrong fields out.

use serde_json::json;

use super::*;
use crate::kinds::{NAMESPACE, POD, SERVICE};

fn texts(errors: &FieldErrors) -> Vec<String> {
    errors.0.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

#[test]
fn names_and_namespaces() {
    let check = |kind, metadata| texts(&validate_metadata(kind, &json!({ "metadata": metadata }), None));
    assert!(check(&SERVICE, json!({ "name": "0web", "namespace": "a" })).is_empty(), "KEP-5311 allows a leading digit");
    assert!(check(&POD, json!({ "name": "a.b", "namespace": "a" })).is_empty());
    assert_eq!(
        check(&SERVICE, json!({ "name": "a.b", "namespace": "a" })),
        ["metadata.name: Invalid value: \"a.b\": must not contain dots"]
    );
    assert_eq!(
        check(&POD, json!({})),
        ["metadata.name: Required value: name or generateName is required", "metadata.namespace: Required value"]
    );
    assert_eq!(
        check(&NAMESPACE, json!({ "name": "a", "namespace": "b" })),
        ["metadata.namespace: Forbidden: not allowed on this type"]
    );
    assert!(check(&POD, json!({ "name": "x-abcde", "generateName": "x-", "namespace": "a" })).is_empty());
    assert_eq!(check(&POD, json!({ "name": "x", "generateName": "-", "namespace": "a" })).len(), 0, "a suffix follows");
    assert_eq!(check(&POD, json!({ "name": "x", "generateName": "X", "namespace": "a" })).len(), 1);
}

#[test]
fn labels_annotations_finalizers_owners() {
    let object = json!({ "metadata": {
        "name": "a", "namespace": "b",
        "labels": { "-": "x", "ok": "-" },
        "annotations": { "a/b/c": "", "UPPER.example/Name": "any value\n at all" },
        "finalizers": ["orphan", "foregroundDeletion", "a b"],
        "ownerReferences": [
            { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1", "controller": true },
            { "apiVersion": "", "kind": "", "name": "", "uid": "", "controller": true },
            { "apiVersion": "v1", "kind": "Event", "name": "e", "uid": "2" },
        ],
    }});
    let errors = validate_metadata(&POD, &object, None);
    let fields: Vec<_> = errors.0.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "metadata.labels",
            "metadata.labels",
            "metadata.annotations",
            "metadata.ownerReferences.apiVersion",
            "metadata.ownerReferences.kind",
            "metadata.ownerReferences.name",
            "metadata.ownerReferences.uid",
            "metadata.ownerReferences",
            "metadata.ownerReferences",
            "metadata.finalizers",
            "metadata.finalizers",
        ]
    );
    let big = "x".repeat(ANNOTATION_BYTES);
    let object = json!({ "metadata": { "name": "a", "namespace": "b", "annotations": { "a": big } } });
    assert_eq!(
        texts(&validate_metadata(&POD, &object, None)),
        ["metadata.annotations: Too long: may not be more than 262144 bytes"]
    );
}

#[test]
fn what_an_update_may_not_change() {
    let old = json!({ "metadata": { "name": "a", "namespace": "b", "uid": "1", "deletionTimestamp": "t", "finalizers": ["x/y"] } });
    let mut new = old.clone();
    assert!(validate_metadata(&POD, &new, Some(&old)).is_empty());
    new["metadata"]["finalizers"] = json!([]);
    assert!(validate_metadata(&POD, &new, Some(&old)).is_empty(), "finalizers may go");
    new["metadata"]["finalizers"] = json!(["x/y", "z/z"]);
    new["metadata"]["uid"] = json!("2");
    assert_eq!(
        texts(&validate_metadata(&POD, &new, Some(&old))),
        [
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"z/z\"}",
            "metadata.uid: Invalid value: \"2\": field is immutable",
        ]
    );
}
