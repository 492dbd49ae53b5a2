//! Deployments and ReplicaSets in; defaults, errors and cells out.

use serde_json::{Value, json};

use super::{Deployment, ReplicaSet, label_selector};
use crate::kind::{Rules, Target};

mod job;
mod sets;

fn workload(spec: Value) -> Value {
    let mut object = json!({ "metadata": { "name": "web" }, "spec": {
        "selector": { "matchLabels": { "app": "web" } },
        "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": "i:1" }] } },
    } });
    json_patch::merge(&mut object["spec"], &spec);
    object
}

fn errors(rules: &dyn Rules, spec: Value, old: Option<&Value>) -> Vec<String> {
    let mut new = workload(spec);
    rules.default(&mut new);
    let errors = rules.validate(&new, old, Target::Main);
    errors.0.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

#[test]
fn defaults() {
    let mut object = workload(json!({}));
    Deployment.default(&mut object);
    let spec = &object["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(
        spec["strategy"],
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "25%", "maxSurge": "25%" } })
    );
    assert_eq!((&spec["revisionHistoryLimit"], &spec["progressDeadlineSeconds"]), (&json!(10), &json!(600)));
    assert_eq!(
        spec["template"]["spec"],
        json!({ "containers": [{ "name": "c", "image": "i:1", "imagePullPolicy": "IfNotPresent", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File" }],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30 })
    );
    let mut object =
        workload(json!({ "replicas": 0, "strategy": { "type": "Recreate" }, "progressDeadlineSeconds": 5 }));
    Deployment.default(&mut object);
    assert_eq!((&object["spec"]["replicas"], &object["spec"]["strategy"]), (&json!(0), &json!({ "type": "Recreate" })));
    let mut object = workload(json!({}));
    ReplicaSet.default(&mut object);
    ReplicaSet.prepare_create(&mut object);
    assert_eq!((&object["spec"]["replicas"], &object["status"]), (&json!(1), &json!({ "replicas": 0 })));
}

#[test]
fn selectors_and_templates() {
    let field = "spec.template.metadata.labels";
    for rules in [&Deployment as &dyn Rules, &ReplicaSet] {
        assert_eq!(errors(rules, json!({}), None), Vec::<String>::new());
        assert_eq!(
            errors(rules, json!({ "selector": null }), None),
            [
                "spec.selector: Required value".to_owned(),
                format!("{field}: Invalid value: {{\"app\":\"web\"}}: `selector` does not match template `labels`")
            ],
            "a missing selector selects nothing"
        );
        assert_eq!(
            errors(rules, json!({ "selector": { "matchLabels": null } }), None),
            ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]
        );
        assert_eq!(
            errors(rules, json!({ "template": { "metadata": { "labels": { "app": "other" } } } }), None),
            [format!("{field}: Invalid value: {{\"app\":\"other\"}}: `selector` does not match template `labels`")]
        );
        assert_eq!(
            errors(rules, json!({ "template": { "metadata": null } }), None),
            [format!("{field}: Invalid value: null: `selector` does not match template `labels`")]
        );
        assert_eq!(
            errors(rules, json!({ "replicas": -1, "minReadySeconds": -1 }), None)[..2],
            [
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"
            ]
        );
        assert_eq!(
            errors(rules, json!({ "template": { "spec": { "restartPolicy": "Never" } } }), None),
            ["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""]
        );
        assert_eq!(
            errors(rules, json!({ "template": { "spec": { "containers": null } } }), None),
            ["spec.template.spec.containers: Required value"]
        );
        let old = workload(json!({ "selector": { "matchLabels": { "app": null, "x": "y" } } }));
        assert_eq!(
            errors(rules, json!({}), Some(&old)),
            ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\"}}: field is immutable"]
        );
    }
}

#[test]
fn strategies() {
    let rolling = |unavailable: Value, surge: Value| {
        let rolling = json!({ "maxUnavailable": unavailable, "maxSurge": surge });
        errors(&Deployment, json!({ "strategy": { "rollingUpdate": rolling } }), None)
    };
    let at = "spec.strategy.rollingUpdate.maxUnavailable";
    assert_eq!(rolling(json!(1), json!("50%")), Vec::<String>::new());
    assert_eq!(rolling(json!(0), json!("0%")), [format!("{at}: Invalid value: 0: may not be 0 when `maxSurge` is 0")]);
    assert_eq!(
        rolling(json!("101%"), json!(1)),
        [format!("{at}: Invalid value: \"101%\": must not be greater than 100%")]
    );
    assert_eq!(rolling(json!(-1), json!(1)), [format!("{at}: Invalid value: -1: must be greater than or equal to 0")]);
    assert!(
        rolling(json!("x"), json!(1))[0]
            .contains("a valid percent string must be a numeric string followed by an ending '%'")
    );
    assert_eq!(
        errors(&Deployment, json!({ "strategy": { "type": "Recreate", "rollingUpdate": { "maxSurge": 1 } } }), None),
        ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]
    );
    assert_eq!(
        errors(&Deployment, json!({ "strategy": { "type": "X" } }), None),
        ["spec.strategy: Unsupported value: {\"type\":\"X\"}: supported values: \"Recreate\", \"RollingUpdate\""]
    );
    assert_eq!(
        errors(&Deployment, json!({ "progressDeadlineSeconds": 5, "minReadySeconds": 5 }), None),
        ["spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"]
    );
}

#[test]
fn label_selectors() {
    let labels = [("a", "1"), ("b", "2")];
    let expression = |operator: &str, key: &str, values: Value| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
    let table = [
        (json!({}), Some(true), "<none>"),
        (json!({ "matchLabels": { "a": "1" } }), Some(true), "a=1"),
        (json!({ "matchLabels": { "a": "2" } }), Some(false), "a=2"),
        (expression("In", "a", json!(["2", "1"])), Some(true), "a in (1,2)"),
        (expression("In", "c", json!(["1"])), Some(false), "c in (1)"),
        (expression("NotIn", "a", json!(["1"])), Some(false), "a notin (1)"),
        (expression("NotIn", "c", json!(["1"])), Some(true), "c notin (1)"),
        (expression("Exists", "b", json!([])), Some(true), "b"),
        (expression("DoesNotExist", "b", json!([])), Some(false), "!b"),
        (expression("Near", "b", json!([])), None, "<error>"),
        (
            json!({ "matchLabels": { "b": "2" }, "matchExpressions": [{ "key": "a", "operator": "Exists" }] }),
            Some(true),
            "a,b=2",
        ),
    ];
    for (selector, matching, text) in table {
        assert_eq!(label_selector::matches(&selector, &labels), matching, "{selector}");
        assert_eq!(label_selector::text(&selector), text, "{selector}");
    }
    let fields = |selector: Value| -> Vec<String> {
        let mut found = crate::field::FieldErrors::default();
        label_selector::validate(&mut found, &json!({ "spec": { "selector": selector } }), "deployment");
        found.0.into_iter().map(|error| error.field).collect()
    };
    assert_eq!(
        fields(expression("In", "a b", json!([]))),
        ["spec.selector.matchExpressions[0].values", "spec.selector.matchExpressions[0].key"]
    );
    assert_eq!(
        fields(expression("Exists", "a", json!(["-"]))),
        ["spec.selector.matchExpressions[0].values", "spec.selector.matchExpressions[0].values[0]"]
    );
    assert_eq!(fields(expression("Near", "a", json!([]))), ["spec.selector.matchExpressions[0].operator"]);
}

#[test]
fn statuses_and_cells() {
    let mut object = workload(
        json!({ "replicas": 3, "template": { "spec": { "containers": [{ "name": "c", "image": "i" }, { "name": "d", "image": "j" }] } } }),
    );
    object["status"] = json!({ "replicas": 3, "readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2 });
    assert_eq!(
        Deployment.cells(&object, 0),
        [
            json!("web"),
            json!("2/3"),
            json!(1),
            json!(2),
            json!("<unknown>"),
            json!("c,d"),
            json!("i,j"),
            json!("app=web")
        ]
    );
    assert_eq!(
        ReplicaSet.cells(&object, 0),
        [json!("web"), json!(3), json!(3), json!(2), json!("<unknown>"), json!("c,d"), json!("i,j"), json!("app=web")]
    );
    assert!(Deployment.validate(&object, None, Target::Status).is_empty());
    object["status"] = json!({ "replicas": 1, "readyReplicas": 2, "updatedReplicas": -1 });
    let fields: Vec<_> =
        Deployment.validate(&object, None, Target::Status).0.into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["status.updatedReplicas", "status.readyReplicas"]);
    let old = workload(json!({ "replicas": 5 }));
    Deployment.prepare_update(&mut object, &old, Target::Status);
    assert_eq!(object["spec"], old["spec"]);
    Deployment.prepare_update(&mut object, &old, Target::Main);
    assert_eq!(object.get("status"), None);
}
