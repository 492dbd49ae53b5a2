//! Jobs in; defaults, the generated selector, errors and cells out.

use serde_json::{Value, json};

use super::super::Job;
use crate::kind::{Rules, Target};

fn job(spec: Value) -> Value {
    let mut object = json!({ "metadata": { "name": "pi", "uid": "u1" }, "spec": { "template": { "spec": {
        "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i:1" }],
    } } } });
    json_patch::merge(&mut object["spec"], &spec);
    Job.default(&mut object);
    object
}

fn created(spec: Value) -> Value {
    let mut object = job(spec);
    Job.prepare_create(&mut object);
    object
}

fn errors(new: &Value, old: Option<&Value>) -> Vec<String> {
    let errors = Job.validate(new, old, Target::Main);
    errors.0.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

#[test]
fn a_job_without_numbers_runs_one_pod_and_gets_a_selector() {
    let object = created(json!({}));
    let spec = &object["spec"];
    assert_eq!((&spec["completions"], &spec["parallelism"], &spec["backoffLimit"]), (&1.into(), &1.into(), &6.into()));
    assert_eq!((&spec["completionMode"], &spec["suspend"]), (&json!("NonIndexed"), &json!(false)));
    assert_eq!(
        (&spec["podReplacementPolicy"], &spec["manualSelector"]),
        (&json!("TerminatingOrFailed"), &json!(false))
    );
    let labels = json!({
        "job-name": "pi", "batch.kubernetes.io/job-name": "pi",
        "controller-uid": "u1", "batch.kubernetes.io/controller-uid": "u1",
    });
    assert_eq!(spec["template"]["metadata"]["labels"], labels);
    assert_eq!(object["metadata"]["labels"], labels);
    assert_eq!(spec["selector"], json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": "u1" } }));
    assert_eq!(errors(&object, None), Vec::<String>::new());
    let queue = created(json!({ "parallelism": 3 }));
    assert_eq!(queue["spec"].get("completions"), None);
    assert_eq!(
        created(json!({ "completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 1 }))["spec"]["backoffLimit"],
        2_147_483_647
    );
    let own = created(json!({ "template": { "metadata": { "labels": { "a": "b" } } } }));
    assert_eq!(own["metadata"]["labels"], own["spec"]["template"]["metadata"]["labels"]);
}

#[test]
fn what_a_job_may_not_say() {
    let table = [
        (
            json!({ "template": { "spec": { "restartPolicy": "Always" } } }),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (json!({ "parallelism": -1 }), "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
        (
            json!({ "completionMode": "Indexed", "parallelism": 2 }),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        (
            json!({ "completionMode": "Odd" }),
            "spec.completionMode: Unsupported value: \"Odd\": supported values: \"NonIndexed\", \"Indexed\"",
        ),
        (
            json!({ "backoffLimitPerIndex": 1 }),
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
        ),
        (
            json!({ "podReplacementPolicy": "Never" }),
            "spec.podReplacementPolicy: Unsupported value: \"Never\": supported values: \"Failed\", \"TerminatingOrFailed\"",
        ),
        (
            json!({ "managedBy": "me" }),
            "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
        (
            json!({ "template": { "metadata": { "labels": { "job-name": "x" } } } }),
            "spec.template.metadata.labels[job-name]: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u1\",\"batch.kubernetes.io/job-name\":\"pi\",\"controller-uid\":\"u1\",\"job-name\":\"x\"}: must be 'pi'",
        ),
        (
            json!({ "podFailurePolicy": { "rules": [{ "action": "FailJob", "onExitCodes": { "operator": "In", "values": [0] } }] } }),
            "spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
        ),
        (
            json!({ "podFailurePolicy": { "rules": [{ "action": "FailIndex", "onPodConditions": [{ "type": "X" }] }] } }),
            "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
        ),
        (
            json!({ "completionMode": "Indexed", "completions": 3, "successPolicy": { "rules": [{ "succeededIndexes": "0-7" }] } }),
            "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"0-7\": error parsing succeededIndexes: too large index: \"7\"",
        ),
    ];
    for (spec, text) in table {
        assert_eq!(errors(&created(spec), None), [text]);
    }
    let both = created(json!({ "successPolicy": { "rules": [] } }));
    assert!(errors(&both, None)[0].ends_with("requires indexed completion mode"));
}

#[test]
fn updates_keep_the_template_unless_the_job_waits() {
    let old = created(json!({ "completions": 3 }));
    let mut new = old.clone();
    new["spec"]["completions"] = 4.into();
    assert_eq!(errors(&new, Some(&old)), ["spec.completions: Invalid value: 4: field is immutable"]);
    let mut new = old.clone();
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "i:2".into();
    assert_eq!(errors(&new, Some(&old)).len(), 1);
    let mut new = old.clone();
    new["spec"]["parallelism"] = 9.into();
    new["spec"]["suspend"] = true.into();
    assert_eq!(errors(&new, Some(&old)), Vec::<String>::new());
    let waiting = created(json!({ "suspend": true }));
    let mut new = waiting.clone();
    new["spec"]["template"]["spec"]["nodeSelector"] = json!({ "a": "b" });
    new["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "1" } });
    assert_eq!(errors(&new, Some(&waiting)), Vec::<String>::new());
    let indexed = created(json!({ "completionMode": "Indexed", "completions": 2, "parallelism": 2 }));
    let mut new = indexed.clone();
    new["spec"]["completions"] = 5.into();
    assert_eq!(
        errors(&new, Some(&indexed)),
        ["spec.completions: Invalid value: 5: can only be modified in tandem with spec.parallelism"]
    );
    new["spec"]["parallelism"] = 5.into();
    assert_eq!(errors(&new, Some(&indexed)), Vec::<String>::new());
}

#[test]
fn a_finished_job_stays_finished() {
    let check = |new: &Value, old: &Value| Job.validate(new, Some(old), Target::Status).to_string();
    let running = created(json!({}));
    let mut over = running.clone();
    let condition = |r#type: &str| json!({ "type": r#type, "status": "True" });
    over["status"] = json!({ "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:09Z", "succeeded": 1,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")] });
    assert_eq!(check(&over, &running), "[]");
    assert_eq!(
        check(&running, &over),
        "[status.conditions: Invalid value: cannot disable the terminal Complete=True condition, \
         status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition, \
         status.succeeded: Invalid value: 0: cannot decrease the succeeded counter]"
    );
    let mut lone = running.clone();
    lone["status"] = json!({ "startTime": "2026-01-01T00:00:00Z", "conditions": [condition("Failed")] });
    assert_eq!(
        check(&lone, &running),
        "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"
    );
}

#[test]
fn people_are_told_of_what_is_not_enforced() {
    assert!(Job.warnings(&created(json!({})), None).is_empty());
    let object = created(json!({ "completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 1,
        "maxFailedIndexes": 1 }));
    let warnings = Job.warnings(&object, None);
    assert!(warnings.len() == 2 && warnings.iter().all(|text| text.contains("not enforced")), "{warnings:?}");
    assert!(Job.warnings(&object, Some(&object)).is_empty());
}

#[test]
fn rows_of_jobs() {
    let mut object = created(json!({ "completions": 3 }));
    let shown = |object: &Value| Job.cells(object, 100)[1..4].to_vec();
    assert_eq!(shown(&object), ["Running", "0/3", ""]);
    object["status"] = json!({ "startTime": "1970-01-01T00:00:10Z", "succeeded": 2 });
    assert_eq!(shown(&object), ["Running", "2/3", "90s"]);
    object["status"]["completionTime"] = "1970-01-01T00:00:15Z".into();
    object["status"]["conditions"] = json!([{ "type": "Complete", "status": "True" }]);
    assert_eq!(shown(&object), ["Complete", "2/3", "5s"]);
    object["status"]["conditions"] = json!([{ "type": "Suspended", "status": "True" }]);
    assert_eq!(shown(&object)[0], "Suspended");
    object["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:15Z".into();
    assert_eq!(shown(&object)[0], "Terminating");
    assert_eq!(Job.cells(&created(json!({ "parallelism": 2 })), 0)[2], "0/1 of 2");
    let names: Vec<&str> = Job.columns().iter().map(|column| column.name).collect();
    assert_eq!(names.join(","), "Name,Status,Completions,Duration,Age,Containers,Images,Selector");
    assert_eq!(Job.field(&object, "status.successful").as_deref(), Some("2"));
}
