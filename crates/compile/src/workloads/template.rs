//! Turns a pod template and its owner into a pod to create.

use api::kind::Kind;
use serde_json::{Value, json};

use super::objects::Meta;

/// The pod of `owner` that has this template: called `name`, or after the owner with a suffix of the server's choice.
pub(super) fn pod(template: &Value, owner: &Meta, kind: &'static Kind, name: Option<&str>) -> Value {
    let mut metadata = json!({
        "namespace": owner.namespace,
        "ownerReferences": [owner.owner_reference(kind)],
    });
    match name {
        Some(name) => metadata["name"] = json!(name),
        None => metadata["generateName"] = json!(format!("{}-", owner.name)),
    }
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] })
}

/// A number, or a percentage of `total` rounded up or down.
pub(super) fn portion(value: &Value, total: i64, up: bool) -> i64 {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<i64>().ok());
    let amount = match percent {
        Some(percent) => {
            let exact = percent.saturating_mul(total);
            if up { exact.saturating_add(99) / 100 } else { exact / 100 }
        }
        None => value.as_i64().unwrap_or(0),
    };
    amount.max(0)
}
