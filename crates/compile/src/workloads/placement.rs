//! Turns where a pod may run, as Kubernetes writes it for the pods of a DaemonSet, into one node, and back.

use serde_json::{Value, json};

/// Taint of a node that takes no new pods.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Taints that the pods of a DaemonSet tolerate.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (UNSCHEDULABLE, "NoSchedule"),
];

/// The node that an affinity names, if all its terms name the same one.
pub(super) fn only_node(affinity: &Value) -> Option<Box<str>> {
    let terms = affinity.pointer("/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms")?;
    let mut names = terms.as_array()?.iter().map(|term| {
        let fields = term["matchFields"].as_array()?;
        let field = fields.iter().find(|field| field["key"] == "metadata.name" && field["operator"] == "In")?;
        field["values"].as_array().and_then(|values| values.first())?.as_str()
    });
    let first = names.next()??;
    names.all(|name| name == Some(first)).then(|| first.into())
}

/// Whether a pod with these tolerations may start on a node that takes no other new pods.
pub(super) fn tolerates_unschedulable(tolerations: &[Value]) -> bool {
    tolerations.iter().any(|toleration| {
        let text = |name: &str| toleration[name].as_str().unwrap_or("");
        let exists = text("operator") == "Exists";
        let key = text("key") == UNSCHEDULABLE || (text("key").is_empty() && exists);
        key && (exists || text("value").is_empty()) && matches!(text("effect"), "" | "NoSchedule")
    })
}

/// Gives a pod spec its node and the tolerations of a DaemonSet's pods.
pub(super) fn pin(spec: &mut Value, node: &str) {
    let fields = json!([{ "key": "metadata.name", "operator": "In", "values": [node] }]);
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = &mut spec["affinity"]["nodeAffinity"][required]["nodeSelectorTerms"];
    match terms.as_array_mut().filter(|terms| !terms.is_empty()) {
        Some(terms) => terms.iter_mut().for_each(|term| term["matchFields"] = fields.clone()),
        None => *terms = json!([{ "matchFields": fields }]),
    }
    if !spec["tolerations"].is_array() {
        spec["tolerations"] = json!([]);
    }
    let network = ("node.kubernetes.io/network-unavailable", "NoSchedule");
    let more = (spec["hostNetwork"] == true).then_some(network);
    let Some(list) = spec["tolerations"].as_array_mut() else { return };
    for (key, effect) in TOLERATED.into_iter().chain(more) {
        let toleration = json!({ "key": key, "operator": "Exists", "effect": effect });
        if !list.contains(&toleration) {
            list.push(toleration);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_is_read_back() {
        let mut spec =
            json!({ "affinity": { "podAffinity": {} }, "tolerations": [{ "key": "mine", "operator": "Exists" }] });
        assert_eq!(only_node(&spec["affinity"]), None);
        pin(&mut spec, "n1");
        assert_eq!(only_node(&spec["affinity"]).as_deref(), Some("n1"));
        let list = spec["tolerations"].as_array().cloned().unwrap();
        assert_eq!(list.len(), 7);
        assert!(tolerates_unschedulable(&list) && !tolerates_unschedulable(&list[..1]));
        assert!(tolerates_unschedulable(&[json!({ "operator": "Exists" })]));
        let before = spec.clone();
        pin(&mut spec, "n1");
        assert_eq!(spec, before, "pinning twice changes nothing");
    }
}
