//! StatefulSets, DaemonSets and ControllerRevisions in; defaults, errors, warnings and cells out.

use serde_json::{Value, json};

use super::super::{ControllerRevision, DaemonSet, StatefulSet};
use super::{errors, workload};
use crate::kind::{Rules, Target};

#[test]
fn defaults_of_stateful_and_daemon_sets() {
    let mut object = workload(json!({}));
    StatefulSet.default(&mut object);
    let spec = &object["spec"];
    let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } });
    assert_eq!((&spec["podManagementPolicy"], &spec["updateStrategy"]), (&json!("OrderedReady"), &strategy));
    assert_eq!(
        (&spec["replicas"], &spec["revisionHistoryLimit"], &spec["serviceName"]),
        (&1.into(), &10.into(), &"".into())
    );
    let retention = json!({ "whenDeleted": "Retain", "whenScaled": "Retain" });
    assert_eq!(spec["persistentVolumeClaimRetentionPolicy"], retention);
    let mut object = workload(json!({ "updateStrategy": { "type": "OnDelete" }, "ordinals": {} }));
    StatefulSet.default(&mut object);
    assert_eq!(object["spec"]["updateStrategy"], json!({ "type": "OnDelete" }));
    assert_eq!(object["spec"]["ordinals"], json!({ "start": 0 }));

    let mut object = workload(json!({}));
    DaemonSet.default(&mut object);
    let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1, "maxSurge": 0 } });
    assert_eq!(object["spec"]["updateStrategy"], strategy);
    assert_eq!(object["spec"]["revisionHistoryLimit"], 10);
}

#[test]
fn a_stateful_set_keeps_what_its_pods_are_known_by() {
    let mut old = workload(json!({ "serviceName": "nginx" }));
    StatefulSet.default(&mut old);
    let fixed = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    for change in [
        json!({ "serviceName": "other" }),
        json!({ "serviceName": "nginx", "podManagementPolicy": "Parallel" }),
        json!({ "serviceName": "nginx", "selector": { "matchExpressions": [{ "key": "app", "operator": "Exists" }] } }),
    ] {
        assert_eq!(errors(&StatefulSet, change, Some(&old)), [fixed]);
    }
    let free = json!({
        "serviceName": "nginx", "replicas": 5, "minReadySeconds": 1, "revisionHistoryLimit": 1, "ordinals": { "start": 1 },
        "updateStrategy": { "type": "OnDelete", "rollingUpdate": null },
        "persistentVolumeClaimRetentionPolicy": { "whenScaled": "Delete" },
        "template": { "spec": { "containers": [{ "name": "c", "image": "i:2" }] } },
    });
    assert_eq!(errors(&StatefulSet, free, Some(&old)), Vec::<String>::new());
}

#[test]
fn what_a_stateful_set_may_not_say() {
    let table = [
        (
            json!({ "podManagementPolicy": "Random" }),
            "spec.podManagementPolicy: Invalid value: \"Random\": must be 'OrderedReady' or 'Parallel'",
        ),
        (
            json!({ "updateStrategy": { "type": "OnDelete", "rollingUpdate": { "partition": 1 } } }),
            "spec.updateStrategy.rollingUpdate: Invalid value: {\"Partition\":1,\"MaxUnavailable\":null}: only allowed for updateStrategy 'RollingUpdate'",
        ),
        (
            json!({ "updateStrategy": { "type": "Recreate" } }),
            "spec.updateStrategy: Invalid value: {\"Type\":\"Recreate\",\"RollingUpdate\":null}: must be 'RollingUpdate' or 'OnDelete'",
        ),
        (
            json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": -1 } } }),
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0 } } }),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
        ),
        (
            json!({ "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "x" } }),
            "spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: \"x\": supported values: \"Retain\", \"Delete\"",
        ),
        (json!({ "replicas": -1 }), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        (
            json!({ "ordinals": { "start": -1 } }),
            "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
        ),
        (json!({ "serviceName": "a.b" }), "spec.serviceName: Invalid value: \"a.b\": must not contain dots"),
        (
            json!({ "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"] } }] }),
            "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value",
        ),
        (
            json!({ "template": { "spec": { "restartPolicy": "Never" } } }),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            json!({ "template": { "spec": { "activeDeadlineSeconds": 5 } } }),
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported",
        ),
    ];
    for (spec, text) in table {
        assert_eq!(errors(&StatefulSet, spec, None), [text]);
    }
    let empty = json!({ "selector": { "matchLabels": null } });
    assert!(errors(&StatefulSet, empty, None)[0].ends_with("empty selector is invalid for statefulset"));
}

#[test]
fn claims_are_volumes_that_people_are_warned_of() {
    let claim = json!({
        "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    let mounted = json!({ "containers": [{ "name": "c", "image": "i:1", "volumeMounts": [{ "name": "data", "mountPath": "/d" }] }] });
    let spec = json!({ "volumeClaimTemplates": [claim], "template": { "spec": mounted } });
    assert_eq!(errors(&StatefulSet, spec.clone(), None), Vec::<String>::new());
    let mut object = workload(spec);
    StatefulSet.default(&mut object);
    let shown = &object["spec"]["volumeClaimTemplates"][0];
    assert_eq!((&shown["kind"], &shown["spec"]["volumeMode"]), (&json!("PersistentVolumeClaim"), &json!("Filesystem")));
    let warnings = StatefulSet.warnings(&object, None);
    assert!(warnings.len() == 1 && warnings[0].contains("empty directory in place of data"), "{warnings:?}");
    assert!(StatefulSet.warnings(&object, Some(&object)).is_empty());
}

#[test]
fn a_daemon_set_counts_changes_of_its_template() {
    let generation =
        |object: &Value| object["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone();
    let mut object = workload(json!({}));
    DaemonSet.default(&mut object);
    DaemonSet.prepare_create(&mut object);
    assert_eq!(generation(&object), "1");
    let mut new = workload(json!({ "minReadySeconds": 3 }));
    DaemonSet.default(&mut new);
    DaemonSet.prepare_update(&mut new, &object, Target::Main);
    assert_eq!(generation(&new), "1");
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "i:2".into();
    DaemonSet.prepare_update(&mut new, &object, Target::Main);
    assert_eq!(generation(&new), "2");
    let status =
        json!({ "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0 });
    assert_eq!(new["status"], status);
}

#[test]
fn what_a_daemon_set_may_not_say() {
    let rolling = |unavailable: Value, surge: Value| json!({ "updateStrategy": { "rollingUpdate": { "maxUnavailable": unavailable, "maxSurge": surge } } });
    let field = "spec.updateStrategy.rollingUpdate";
    let table = [
        (rolling(json!(1), json!(1)), format!("{field}.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero")),
        (rolling(json!(0), json!("0%")), format!("{field}.maxUnavailable: Required value: cannot be 0 when maxSurge is 0")),
        (rolling(json!("101%"), json!(0)), format!("{field}.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%")),
        (json!({ "updateStrategy": { "type": "x" } }), "spec.updateStrategy: Unsupported value: {\"Type\":\"x\",\"RollingUpdate\":null}: supported values: \"RollingUpdate\", \"OnDelete\"".to_owned()),
        (json!({ "minReadySeconds": -1 }), "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0".to_owned()),
        (json!({ "template": { "spec": { "restartPolicy": "OnFailure" } } }), "spec.template.spec.restartPolicy: Unsupported value: \"OnFailure\": supported values: \"Always\"".to_owned()),
    ];
    for (spec, text) in table {
        assert_eq!(errors(&DaemonSet, spec, None), [text]);
    }
    let mut old = workload(json!({}));
    DaemonSet.default(&mut old);
    let other = json!({ "selector": { "matchExpressions": [{ "key": "app", "operator": "Exists" }] } });
    assert!(errors(&DaemonSet, other, Some(&old))[0].ends_with("field is immutable"));
    let shrunk = json!({ "status": { "collisionCount": 1 } });
    let before = json!({ "status": { "collisionCount": 2 } });
    let text = "status.collisionCount: Invalid value: 1: cannot be decremented";
    assert_eq!(DaemonSet.validate(&shrunk, Some(&before), Target::Status).to_string(), text);
}

#[test]
fn rows_of_the_three_kinds() {
    let mut object = workload(json!({ "replicas": 3, "template": { "spec": { "nodeSelector": { "disk": "ssd" } } } }));
    object["metadata"]["creationTimestamp"] = "1970-01-01T00:00:00Z".into();
    object["status"] = json!({ "readyReplicas": 2, "desiredNumberScheduled": 3, "currentNumberScheduled": 3,
        "numberReady": 2, "updatedNumberScheduled": 1, "numberAvailable": 2 });
    assert_eq!(StatefulSet.cells(&object, 60), ["web", "2/3", "60s", "c", "i:1"]);
    let cells = DaemonSet.cells(&object, 60);
    assert_eq!(cells[..6], [json!("web"), json!(3), json!(3), json!(2), json!(1), json!(2)]);
    assert_eq!(cells[6..], ["disk=ssd", "60s", "c", "i:1", "app=web"]);
    let names: Vec<&str> = DaemonSet.columns().iter().map(|column| column.name).collect();
    let expected = "Name,Desired,Current,Ready,Up-to-date,Available,Node Selector,Age,Containers,Images,Selector";
    assert_eq!(names.join(","), expected);
    let owner = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "controller": true });
    let revision = json!({ "metadata": { "name": "web-1", "ownerReferences": [owner] }, "revision": 4, "data": {} });
    let cells = ControllerRevision.cells(&revision, 0);
    assert_eq!(cells, [json!("web-1"), json!("statefulset.apps/web"), json!(4), json!("<unknown>")]);
}

#[test]
fn the_data_of_a_revision_is_an_object_and_stays() {
    let check =
        |new: Value, old: Option<Value>| ControllerRevision.validate(&new, old.as_ref(), Target::Main).to_string();
    assert_eq!(check(json!({ "revision": 1, "data": { "a": 1 } }), None), "[]");
    assert_eq!(check(json!({ "revision": 1 }), None), "data: Required value: data is mandatory");
    assert_eq!(check(json!({ "data": "x" }), None), "data: Required value: data must be a valid JSON object");
    let negative = "revision: Invalid value: -1: must be greater than or equal to 0";
    assert_eq!(check(json!({ "revision": -1, "data": {} }), None), negative);
    let changed =
        check(json!({ "revision": 2, "data": { "a": 2 } }), Some(json!({ "revision": 1, "data": { "a": 1 } })));
    assert_eq!(changed, "data: Invalid value: {\"a\":2}: field is immutable");
}
