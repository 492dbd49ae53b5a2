//! An object in, what it lacks to work out. No I/O.

use serde_json::Value;

use crate::cli::target::condition;

/// Whether objects of a kind can work or not; others merely exist.
pub(super) fn works(kind: &str) -> bool {
    matches!(
        kind,
        "Service" | "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" | "Pod"
    )
}

/// What an object lacks; nothing if it works.
pub(super) fn missing(kind: &str, object: &Value) -> Option<String> {
    let count = |value: &Value| value.as_i64().unwrap_or(0);
    let (spec, status) = (&object["spec"], &object["status"]);
    let seen = count(&status["observedGeneration"]) >= count(&object["metadata"]["generation"]);
    let replicas = spec["replicas"].as_i64().unwrap_or(1);
    let of = |have: i64, want: i64, what: &str| (have < want).then(|| format!("{have} of {want} replicas are {what}"));
    match kind {
        "Service" if spec["type"] == "ExternalName" => None,
        "Service" => not_true(object, "Programmed"),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" if !seen => {
            Some("its newest version was not looked at yet".to_owned())
        }
        "Deployment" => of(count(&status["updatedReplicas"]), replicas, "up to date")
            .or_else(|| of(count(&status["availableReplicas"]), replicas, "available"))
            .or_else(|| {
                (count(&status["replicas"]) > replicas).then(|| "replicas of an older version still run".to_owned())
            }),
        "StatefulSet" => of(count(&status["updatedReplicas"]).max(updated(status)), replicas, "up to date")
            .or_else(|| of(count(&status["readyReplicas"]), replicas, "ready")),
        "DaemonSet" => {
            of(count(&status["updatedNumberScheduled"]), count(&status["desiredNumberScheduled"]), "up to date")
                .or_else(|| of(count(&status["numberReady"]), count(&status["desiredNumberScheduled"]), "ready"))
        }
        "ReplicaSet" | "ReplicationController" => of(count(&status["readyReplicas"]), replicas, "ready"),
        "Job" => not_true(object, "Complete"),
        "Pod" if status["phase"] == "Succeeded" => None,
        "Pod" => not_true(object, "Ready"),
        _ => None,
    }
}

/// A StatefulSet that was never updated counts no updated replicas when its revisions are equal.
fn updated(status: &Value) -> i64 {
    let same = status["currentRevision"].is_string() && status["currentRevision"] == status["updateRevision"];
    if same { status["currentReplicas"].as_i64().unwrap_or(0) } else { 0 }
}

/// Why an object can never work.
pub(super) fn failed(kind: &str, object: &Value) -> Option<String> {
    let told = |condition: &Value| {
        condition["message"].as_str().or(condition["reason"].as_str()).unwrap_or("no reason is given").to_owned()
    };
    match kind {
        "Job" => condition(object, "Failed").filter(|found| found["status"] == "True").map(told),
        "Pod" if object["status"]["phase"] == "Failed" => {
            Some(object["status"]["message"].as_str().unwrap_or("a container ended with an error").to_owned())
        }
        _ => None,
    }
}

fn not_true(object: &Value, name: &str) -> Option<String> {
    match condition(object, name) {
        Some(found) if found["status"] == "True" => None,
        Some(found) => {
            let why = found["message"].as_str().or(found["reason"].as_str()).filter(|why| !why.is_empty());
            Some(why.map_or_else(|| format!("it is not {name}"), |why| format!("it is not {name}: {why}")))
        }
        None => Some(format!("it is not {name} yet")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_lacks_its_own() {
        let on = |name: &str| json!({ "status": { "conditions": [{ "type": name, "status": "True" }] } });
        for (kind, object, expected) in [
            ("Service", on("Programmed"), None),
            ("Service", json!({}), Some("it is not Programmed yet")),
            ("Service", json!({ "spec": { "type": "ExternalName" } }), None),
            ("Pod", on("Ready"), None),
            ("Pod", json!({ "status": { "phase": "Succeeded" } }), None),
            (
                "Pod",
                json!({ "status": { "conditions": [{ "type": "Ready", "status": "False", "message": "no" }] } }),
                Some("it is not Ready: no"),
            ),
            ("Job", on("Complete"), None),
            ("ConfigMap", json!({}), None),
            (
                "Deployment",
                json!({ "metadata": { "generation": 2 }, "status": { "observedGeneration": 1 } }),
                Some("its newest version was not looked at yet"),
            ),
            (
                "Deployment",
                json!({ "spec": { "replicas": 3 }, "status": { "updatedReplicas": 3, "availableReplicas": 1 } }),
                Some("1 of 3 replicas are available"),
            ),
            (
                "Deployment",
                json!({ "spec": { "replicas": 1 }, "status": { "updatedReplicas": 1, "availableReplicas": 2, "replicas": 2 } }),
                Some("replicas of an older version still run"),
            ),
            ("Deployment", json!({ "spec": { "replicas": 0 }, "status": {} }), None),
            (
                "StatefulSet",
                json!({ "spec": {}, "status": { "updatedReplicas": 1 } }),
                Some("0 of 1 replicas are ready"),
            ),
            (
                "DaemonSet",
                json!({ "status": { "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1 } }),
                None,
            ),
        ] {
            assert_eq!(missing(kind, &object).as_deref(), expected, "{kind} {object}");
        }
        let lost =
            json!({ "status": { "conditions": [{ "type": "Failed", "status": "True", "message": "too often" }] } });
        assert_eq!(failed("Job", &lost).as_deref(), Some("too often"));
        assert_eq!(failed("Deployment", &lost), None);
    }
}
