//! Turns a StatefulSet, a revision and a number into the pod that has this number for good.

use api::kinds::STATEFUL_SET;
use serde_json::{Value, json};

use super::super::template;
use super::StatefulSet;

/// Label with the name of the pod, for Services that select one pod.
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// Label with the number of the pod.
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
/// Label with the name of the revision that the pod was made from.
pub(super) const REVISION: &str = "controller-revision-hash";

/// The pod to create.
pub(super) fn pod(set: &StatefulSet, template: &Value, revision: &str, ordinal: i64) -> Value {
    let name = set.pod_name(ordinal);
    let mut pod = template::pod(template, &set.meta, &STATEFUL_SET, Some(&name));
    // As Kubernetes leaves it, although the name is given.
    pod["metadata"]["generateName"] = json!(format!("{}-", set.meta.name));
    let labels = &mut pod["metadata"]["labels"];
    labels[POD_NAME] = json!(name);
    labels[POD_INDEX] = json!(ordinal.to_string());
    labels[REVISION] = json!(revision);
    let spec = &mut pod["spec"];
    spec["hostname"] = json!(name);
    if !set.spec.service_name.is_empty() {
        spec["subdomain"] = json!(set.spec.service_name);
    }
    if !set.spec.volume_claim_templates.is_empty() {
        spec["volumes"] = volumes(set, &spec["volumes"]);
    }
    pod
}

/// There are no persistent volumes here: in place of a claim the pod gets an empty directory, of which people were warned.
fn volumes(set: &StatefulSet, own: &Value) -> Value {
    let names: Vec<&str> = set.spec.volume_claim_templates.iter().map(|claim| &*claim.metadata.name).collect();
    let claimed = names.iter().map(|name| json!({ "name": name, "emptyDir": {} }));
    let own = own.as_array().into_iter().flatten();
    let own = own.filter(|volume| !volume["name"].as_str().is_some_and(|name| names.contains(&name))).cloned();
    claimed.chain(own).collect()
}
