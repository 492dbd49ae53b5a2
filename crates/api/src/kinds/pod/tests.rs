//! Pods in; defaults, errors, classes and cells out.

use serde_json::{Value, json};

use super::Pod;
use crate::kind::{Rules, Target};

mod columns;

fn pod(spec: Value) -> Value {
    let mut object =
        json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i:1" }] } });
    json_patch::merge(&mut object["spec"], &spec);
    Pod.default(&mut object);
    object
}

fn with(container: Value) -> Value {
    let mut base = json!({ "name": "c", "image": "i:1" });
    json_patch::merge(&mut base, &container);
    pod(json!({ "containers": [base] }))
}

fn errors(new: &Value, old: Option<&Value>) -> Vec<String> {
    let errors = Pod.validate(new, old, Target::Main);
    errors.0.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

#[test]
fn a_bare_pod_gets_its_defaults() {
    let mut pod = pod(json!({}));
    Pod.prepare_create(&mut pod);
    assert_eq!(
        pod,
        json!({
            "metadata": { "name": "p" },
            "spec": {
                "containers": [{ "name": "c", "image": "i:1", "imagePullPolicy": "IfNotPresent", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File" }],
                "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "restartPolicy": "Always",
                "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30,
                "serviceAccountName": "default", "serviceAccount": "default",
            },
            "status": { "phase": "Pending", "qosClass": "BestEffort" },
        })
    );
}

#[test]
fn defaults_inside_containers_and_volumes() {
    let policies = [
        ("i", "Always"),
        ("i:latest", "Always"),
        ("host:5000/i", "Always"),
        ("host:5000/i:1", "IfNotPresent"),
        ("i@sha256:abc", "IfNotPresent"),
        ("i:latest@sha256:abc", "IfNotPresent"),
    ];
    for (image, policy) in policies {
        assert_eq!(
            with(json!({ "image": image })).pointer("/spec/containers/0/imagePullPolicy"),
            Some(&json!(policy)),
            "{image}"
        );
    }
    let full = with(json!({
        "ports": [{ "containerPort": 80 }],
        "readinessProbe": { "httpGet": { "port": 80 } },
        "lifecycle": { "preStop": { "httpGet": { "port": 80 } } },
        "env": [{ "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
        "resources": { "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "500m" } },
    }));
    let container = &full["spec"]["containers"][0];
    assert_eq!(container["ports"], json!([{ "containerPort": 80, "protocol": "TCP" }]));
    assert_eq!(
        container["readinessProbe"],
        json!({ "httpGet": { "port": 80, "path": "/", "scheme": "HTTP" }, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3 })
    );
    assert_eq!(container["lifecycle"]["preStop"]["httpGet"]["path"], "/");
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(container["resources"]["requests"], json!({ "cpu": "500m", "memory": "1Gi" }));
    let volumes = pod(json!({ "volumes": [{ "name": "a" }, { "name": "b", "configMap": { "name": "x" } }] }));
    assert_eq!(
        volumes["spec"]["volumes"],
        json!([{ "name": "a", "emptyDir": {} }, { "name": "b", "configMap": { "name": "x", "defaultMode": 420 } }])
    );
    let host = pod(
        json!({ "hostNetwork": true, "containers": [{ "name": "c", "image": "i", "ports": [{ "containerPort": 80 }] }] }),
    );
    assert_eq!(host["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
}

#[test]
fn containers() {
    let at = "spec.containers[0]";
    let table = [
        (pod(json!({})), vec![]),
        (pod(json!({ "containers": [] })), vec!["spec.containers: Required value".to_owned()]),
        (with(json!({ "name": "A" })), vec![format!("{at}.name: Invalid value: \"A\": {}", crate::names::dns1123_label("A")[0])]),
        (with(json!({ "image": null })), vec![format!("{at}.image: Required value")]),
        (
            pod(json!({ "containers": [{ "name": "c", "image": "i" }, { "name": "c", "image": "i" }] })),
            vec!["spec.containers[1].name: Duplicate value: \"c\"".to_owned()],
        ),
        (
            pod(json!({ "initContainers": [{ "name": "c", "image": "i", "livenessProbe": { "exec": { "command": ["x"] } } }] })),
            vec![
                "spec.initContainers[0].name: Duplicate value: \"c\"".to_owned(),
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always".to_owned(),
            ],
        ),
        (with(json!({ "imagePullPolicy": "X" })), vec![format!("{at}.imagePullPolicy: Unsupported value: \"X\": supported values: \"Always\", \"IfNotPresent\", \"Never\"")]),
        (with(json!({ "ports": [{ "containerPort": 0 }] })), vec![format!("{at}.ports[0].containerPort: Required value")]),
        (with(json!({ "ports": [{ "containerPort": 70000 }] })), vec![format!("{at}.ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive")]),
        (
            with(json!({ "ports": [{ "name": "a", "containerPort": 1 }, { "name": "a", "containerPort": 2 }] })),
            vec![format!("{at}.ports[1].name: Duplicate value: \"a\"")],
        ),
        (with(json!({ "env": [{ "name": "a=b" }] })), vec![format!("{at}.env[0].name: Invalid value: \"a=b\": {}", crate::names::env_name("a=b")[0])]),
        (with(json!({ "env": [{ "value": "x" }] })), vec![format!("{at}.env[0].name: Required value")]),
        (
            with(json!({ "volumeMounts": [{ "name": "v", "mountPath": "/a" }] })),
            vec![format!("{at}.volumeMounts[0].name: Not found: \"v\"")],
        ),
        (
            with(json!({ "resources": { "limits": { "cpu": "1" }, "requests": { "cpu": "2" } } })),
            vec![format!("{at}.resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1")],
        ),
        (
            with(json!({ "resources": { "limits": { "memory": "1 Gi" } } })),
            vec![
                format!("{at}.resources.limits[memory]: Invalid value: \"1 Gi\": {}", crate::quantity::MALFORMED),
                format!("{at}.resources.requests[memory]: Invalid value: \"1 Gi\": {}", crate::quantity::MALFORMED),
            ],
        ),
        (with(json!({ "livenessProbe": { "periodSeconds": 1 } })), vec![format!("{at}.livenessProbe: Required value: must specify a handler type")]),
        (
            with(json!({ "livenessProbe": { "exec": { "command": ["x"] }, "tcpSocket": { "port": 1 } } })),
            vec![format!("{at}.livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type")],
        ),
        (
            with(json!({ "livenessProbe": { "tcpSocket": { "port": 0 }, "successThreshold": 2, "periodSeconds": -1 } })),
            vec![
                format!("{at}.livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive"),
                format!("{at}.livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"),
                format!("{at}.livenessProbe.successThreshold: Invalid value: 2: must be 1"),
            ],
        ),
        (with(json!({ "readinessProbe": { "exec": {} } })), vec![format!("{at}.readinessProbe.exec.command: Required value")]),
    ];
    for (pod, expected) in table {
        assert_eq!(errors(&pod, None), expected, "{pod}");
    }
}

#[test]
fn the_rest_of_the_spec() {
    let table = [
        (
            json!({ "restartPolicy": "X" }),
            vec![
                "spec.restartPolicy: Unsupported value: \"X\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ],
        ),
        (
            json!({ "dnsPolicy": "X" }),
            vec![
                "spec.dnsPolicy: Unsupported value: \"X\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
            ],
        ),
        (
            json!({ "dnsPolicy": "None" }),
            vec!["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            json!({ "dnsPolicy": "None", "dnsConfig": {} }),
            vec![
                "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
            ],
        ),
        (
            json!({ "dnsConfig": { "nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"] } }),
            vec![
                "spec.dnsConfig.nameservers: Invalid value: [\"1.1.1.1\",\"1.1.1.2\",\"1.1.1.3\",\"1.1.1.4\"]: must not have more than 3 nameservers",
            ],
        ),
        (json!({ "hostname": "a.b" }), vec!["spec.hostname: Invalid value: \"a.b\": must not contain dots"]),
        (
            json!({ "activeDeadlineSeconds": 0 }),
            vec!["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            json!({ "volumes": [{ "name": "a" }, { "name": "a" }] }),
            vec!["spec.volumes[1].name: Duplicate value: \"a\""],
        ),
        (
            json!({ "volumes": [{ "name": "a", "emptyDir": {}, "hostPath": { "path": "/" } }] }),
            vec!["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            json!({ "volumes": [{ "name": "a" }], "containers": [{ "name": "c", "image": "i", "volumeMounts": [{ "name": "a", "mountPath": "/x" }, { "name": "a", "mountPath": "/x" }] }] }),
            vec!["spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/x\": must be unique"],
        ),
    ];
    for (spec, expected) in table {
        assert_eq!(errors(&pod(spec.clone()), None), expected, "{spec}");
    }
    for member in ["nodeName", "serviceAccountName", "subdomain"] {
        let mut spec = json!({});
        spec[member] = "_".into();
        assert_eq!(errors(&pod(spec), None).len(), 1, "{member}");
    }
}

#[test]
fn a_part_of_a_volume_lies_in_it() {
    let list = "spec.containers[0].volumeMounts";
    let table = [
        (json!({ "subPath": "a/b..c/.", "mountPath": "/m" }), vec![]),
        (json!({ "subPathExpr": "$(POD)/x", "mountPath": "/m/../x" }), vec![]),
        (
            json!({ "subPath": "/etc" }),
            vec![format!("{list}.subPath: Invalid value: \"/etc\": must be a relative path")],
        ),
        (
            json!({ "subPath": "../../x/.." }),
            vec![format!("{list}.subPath: Invalid value: \"../../x/..\": must not contain '..'")],
        ),
        (
            json!({ "subPath": "a", "subPathExpr": "/.." }),
            vec![
                format!(
                    "{list}[0].subPathExpr: Invalid value: \"/..\": subPathExpr and subPath are mutually exclusive"
                ),
                format!("{list}.subPathExpr: Invalid value: \"/..\": must be a relative path"),
                format!("{list}.subPathExpr: Invalid value: \"/..\": must not contain '..'"),
            ],
        ),
    ];
    for (mount, expected) in table {
        let mut whole = json!({ "name": "a", "mountPath": "/m" });
        json_patch::merge(&mut whole, &mount);
        let container = json!({ "name": "c", "image": "i", "volumeMounts": [whole] });
        let spec = json!({ "volumes": [{ "name": "a" }], "containers": [container] });
        assert_eq!(errors(&pod(spec), None), expected, "{mount}");
    }
}

#[test]
fn what_an_update_may_change() {
    let old = pod(
        json!({ "tolerations": [{ "key": "a", "operator": "Exists", "tolerationSeconds": 1 }], "activeDeadlineSeconds": 10 }),
    );
    let changed = |spec: Value| {
        let mut new = old.clone();
        json_patch::merge(&mut new["spec"], &spec);
        Pod.default(&mut new);
        errors(&new, Some(&old))
    };
    assert_eq!(changed(json!({})), Vec::<String>::new());
    let image = json!([{ "name": "c", "image": "i:2", "imagePullPolicy": "IfNotPresent" }]);
    assert_eq!(changed(json!({ "containers": image })), Vec::<String>::new());
    assert_eq!(changed(json!({ "activeDeadlineSeconds": 5 })), Vec::<String>::new());
    let more =
        json!([{ "key": "a", "operator": "Exists", "tolerationSeconds": 9 }, { "key": "b", "operator": "Exists" }]);
    assert_eq!(changed(json!({ "tolerations": more })), Vec::<String>::new());
    assert_eq!(changed(json!({ "nodeName": "n" })), Vec::<String>::new(), "binding");
    assert_eq!(
        changed(json!({ "tolerations": [] })),
        ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
    );
    assert_eq!(
        changed(json!({ "activeDeadlineSeconds": 20 })),
        ["spec.activeDeadlineSeconds: Invalid value: 20: must be less than or equal to previous value"]
    );
    assert_eq!(
        changed(json!({ "activeDeadlineSeconds": null })),
        ["spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"]
    );
    assert_eq!(
        changed(json!({ "containers": [] })).last().unwrap(),
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    );
    let fixed = changed(json!({ "hostname": "h", "restartPolicy": "Never" }));
    assert!(
        fixed[0]
            .starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"),
        "{fixed:?}"
    );
    assert!(fixed[0].ends_with("changed: spec.hostname, spec.restartPolicy"), "{fixed:?}");
    let bound = pod(json!({ "nodeName": "n" }));
    let moved = pod(json!({ "nodeName": "m" }));
    assert_eq!(errors(&moved, Some(&bound)).len(), 1, "a pod is bound once");
}

#[test]
fn quality_of_service() {
    let class = |resources: &[Value]| {
        let containers: Vec<_> = resources
            .iter()
            .enumerate()
            .map(|(i, it)| json!({ "name": format!("c{i}"), "image": "i", "resources": it }))
            .collect();
        let mut pod = pod(json!({ "containers": containers }));
        Pod.prepare_create(&mut pod);
        pod["status"]["qosClass"].as_str().unwrap().to_owned()
    };
    let both = json!({ "limits": { "cpu": "1", "memory": "1Gi" } });
    assert_eq!(class(&[json!({})]), "BestEffort");
    assert_eq!(class(std::slice::from_ref(&both)), "Guaranteed");
    assert_eq!(
        class(&[
            json!({ "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "1000m", "memory": "1024Mi" } })
        ]),
        "Guaranteed"
    );
    assert_eq!(class(&[both.clone(), json!({})]), "Burstable");
    assert_eq!(class(&[json!({ "requests": { "cpu": "1" } })]), "Burstable");
    assert_eq!(class(&[json!({ "requests": { "cpu": "0" } })]), "BestEffort");
}

#[test]
fn status_writes() {
    let old = {
        let mut pod = pod(json!({}));
        Pod.prepare_create(&mut pod);
        pod
    };
    let mut new = old.clone();
    new["status"] =
        json!({ "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }] });
    new["spec"]["hostname"] = "changed".into();
    Pod.prepare_update(&mut new, &old, Target::Status);
    assert_eq!((&new["spec"], &new["status"]["qosClass"]), (&old["spec"], &json!("BestEffort")));
    assert!(Pod.validate(&new, Some(&old), Target::Status).is_empty());
    new["status"]["podIPs"] = json!([{ "ip": "10.0.0.2" }, { "ip": "10.0.0.3" }, { "ip": "x" }]);
    let fields: Vec<_> =
        Pod.validate(&new, Some(&old), Target::Status).0.into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["status.podIPs[2]", "status.podIPs", "status.podIPs[0].ip"]);
    for (field, value) in [
        ("spec.nodeName", ""),
        ("status.phase", "Running"),
        ("spec.restartPolicy", "Always"),
        ("status.podIP", "10.0.0.1"),
        ("spec.serviceAccountName", "default"),
        ("spec.hostNetwork", "false"),
    ] {
        assert_eq!(Pod.field(&new, field).as_deref(), Some(value), "{field}");
    }
    assert_eq!(Pod.field(&new, "spec.containers"), None);
}
