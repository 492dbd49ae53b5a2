//! Turns an update of a Pod into what it may not change: everything but images, the deadline and added tolerations.

use serde_json::Value;

use crate::field::FieldErrors;
use crate::kinds::read;

const FIXED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate(errors: &mut FieldErrors, new: &Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        let pointer = format!("/spec/{list}");
        if read::list(new, &pointer).len() != read::list(old, &pointer).len() {
            errors.forbidden(format!("spec.{list}"), "pod updates may not add or remove containers");
            return;
        }
    }
    deadline(errors, new, old);
    tolerations(errors, new, old);
    let changed = changed_fields(new, old);
    if !changed.is_empty() {
        errors.forbidden("spec", &format!("{FIXED}\nchanged: {}", changed.join(", ")));
    }
}

fn deadline(errors: &mut FieldErrors, new: &Value, old: &Value) {
    let pointer = "/spec/activeDeadlineSeconds";
    let field = "spec.activeDeadlineSeconds";
    match (read::int(new, pointer), read::int(old, pointer)) {
        (Some(new), Some(old)) if old < new => {
            errors.invalid(field, new, "must be less than or equal to previous value");
        }
        (None, Some(_)) => errors.invalid(field, Value::Null, "must not update from a positive integer to nil value"),
        _ => {}
    }
}

fn tolerations(errors: &mut FieldErrors, new: &Value, old: &Value) {
    let untimed = |pod: &Value| -> Vec<Value> {
        let mut tolerations = read::list(pod, "/spec/tolerations").to_vec();
        for toleration in &mut tolerations {
            read::remove(toleration, "/tolerationSeconds");
        }
        tolerations
    };
    let kept = untimed(new);
    if !untimed(old).iter().all(|toleration| kept.contains(toleration)) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden("spec.tolerations", why);
    }
}

/// Members of the spec that changed although they may not. The node is set once, by binding.
fn changed_fields(new: &Value, old: &Value) -> Vec<String> {
    let mut wanted = new.pointer("/spec").cloned().unwrap_or_default();
    for list in ["containers", "initContainers"] {
        let pointer = format!("/{list}");
        let images = read::list(old, &format!("/spec/{list}")).iter();
        for (container, stored) in read::list_mut(&mut wanted, &pointer).iter_mut().zip(images) {
            read::copy(container, stored, "/image");
        }
    }
    let was_unbound = read::text(old, "/spec/nodeName").is_empty();
    let empty = Value::Null;
    let old = old.pointer("/spec").unwrap_or(&empty);
    let free = |key: &str| {
        matches!(key, "activeDeadlineSeconds" | "tolerations")
            || key == "nodeName" && was_unbound
            || lowered(key, &wanted, old)
    };
    let mut keys: Vec<_> =
        [&wanted, old].into_iter().filter_map(Value::as_object).flat_map(|spec| spec.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| !free(key) && wanted.get(*key) != old.get(*key));
    keys.into_iter().map(|key| format!("spec.{key}")).collect()
}

/// A negative grace period may become one second.
fn lowered(key: &str, wanted: &Value, old: &Value) -> bool {
    let seconds = |spec: &Value| spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64);
    key == "terminationGracePeriodSeconds" && seconds(old) < Some(0) && seconds(wanted) == Some(1)
}
