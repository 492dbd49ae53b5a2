//! RuntimeClasses and PriorityClasses: what is accepted, what it becomes, what is refused and how it is shown.

use serde_json::json;

use super::*;
use crate::kinds::recorded::{replay, write};

#[test]
fn refusals_are_those_of_kubernetes() {
    assert_eq!(replay(include_str!("tests/refused.jsonl")), 13);
}

#[test]
fn built_in_priorities_are_accepted_as_they_are() {
    for class in priority_class::built_in() {
        let stored = write(&class, None).unwrap();
        assert_eq!(stored["preemptionPolicy"], "PreemptLowerPriority");
        assert_eq!(stored["metadata"]["generation"], 1);
        assert!(priority_class::is_built_in(stored["metadata"]["name"].as_str().unwrap()));
        for (member, value) in [("value", json!(5)), ("globalDefault", json!(true))] {
            let mut wrong = class.clone();
            wrong[member] = value;
            let refused = write(&wrong, None).unwrap_err();
            assert!(refused.message.contains("are reserved for system use only"), "{refused}");
        }
    }
    assert!(!priority_class::is_built_in("high"));
}

#[test]
fn rows() {
    let class = json!({ "kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1",
        "metadata": { "name": "high" }, "value": 1_000_000_000, "globalDefault": true, "preemptionPolicy": "Never" });
    let stored = write(&class, None).unwrap();
    assert_eq!(
        PRIORITY_CLASS.rules.cells(&stored, 0),
        [json!("high"), json!(1_000_000_000), json!(true), json!("<unknown>"), json!("Never")]
    );
    let negative = json!({ "kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": { "name": "low" },
        "value": -5, "globalDefault": false });
    let stored = write(&negative, None).unwrap();
    assert_eq!((&stored["value"], stored.get("globalDefault")), (&json!(-5), None));
    let class = json!({ "kind": "RuntimeClass", "apiVersion": "node.k8s.io/v1", "metadata": { "name": "gvisor" },
        "handler": "runsc", "overhead": { "podFixed": { "cpu": "10m" } },
        "scheduling": { "nodeSelector": { "a": "b" }, "tolerations": [{ "operator": "Exists" }] } });
    assert_eq!(RUNTIME_CLASS.rules.cells(&write(&class, None).unwrap(), 0), ["gvisor", "runsc", "<unknown>"]);
}

#[test]
fn what_is_not_enforced_is_one_short_line() {
    for kind in crate::kinds::ALL {
        if let Some(text) = kind.not_enforced {
            assert!(text.is_ascii() && text.len() <= 120 && !text.contains('\n'), "{}: {}", kind.kind, text.len());
        }
    }
}
