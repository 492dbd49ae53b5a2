//! Turns the parts that Deployments and ReplicaSets share (selector, template, counts) into what is wrong with them.

use serde_json::Value;

use super::label_selector;
use crate::field::FieldErrors;
use crate::kinds::check::{immutable, nonnegative};
use crate::kinds::{pod, read};

pub(super) fn validate(errors: &mut FieldErrors, new: &Value, old: Option<&Value>) {
    for count in ["replicas", "minReadySeconds"] {
        nonnegative(errors, &format!("spec.{count}"), new, &format!("/spec/{count}"));
    }
    label_selector::validate(errors, new, "deployment");
    if is_selected(errors, new) {
        pod::validate_template(errors, new);
        always_restarted(errors, new, "ReplicaSet");
    }
    if let Some(old) = old {
        immutable(errors, "spec.selector", new, old, "/spec/selector");
    }
}

/// Checks that the selector selects the labels of the template; false if the selector cannot be used at all.
pub(super) fn is_selected(errors: &mut FieldErrors, new: &Value) -> bool {
    let selector = new.pointer("/spec/selector").cloned().unwrap_or_default();
    let labels = read::pairs(new, "/spec/template/metadata/labels");
    let given = new.pointer("/spec/template/metadata/labels").cloned();
    let Some(matching) = label_selector::matches(&selector, &labels) else {
        errors.invalid("spec.selector", selector, "invalid label selector");
        return false;
    };
    // A selector that is missing selects nothing.
    if !matching || selector.is_null() {
        let why = "`selector` does not match template `labels`";
        errors.invalid("spec.template.metadata.labels", given.unwrap_or_default(), why);
    }
    true
}

/// Checks that the pods of the template run for ever.
pub(super) fn always_restarted(errors: &mut FieldErrors, new: &Value, kind: &str) {
    let field = "spec.template.spec";
    let policy = read::text(new, "/spec/template/spec/restartPolicy");
    if policy != "Always" {
        errors.not_supported(format!("{field}.restartPolicy"), policy, &["Always"]);
    }
    if read::present(new, "/spec/template/spec/activeDeadlineSeconds") {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(format!("{field}.activeDeadlineSeconds"), &why);
    }
}

/// Checks counters of a reported status: none negative, parts not above the whole.
pub(super) fn validate_status(errors: &mut FieldErrors, new: &Value, counters: &[&str], parts: &[(&str, &str)]) {
    for counter in counters {
        nonnegative(errors, &format!("status.{counter}"), new, &format!("/status/{counter}"));
    }
    let count = |name: &str| read::int(new, &format!("/status/{name}")).unwrap_or(0);
    for (part, whole) in parts {
        if count(part) > count(whole) {
            errors.invalid(
                format!("status.{part}"),
                count(part),
                &format!("cannot be greater than {}", whole_name(whole)),
            );
        }
    }
}

fn whole_name(counter: &str) -> &str {
    if counter == "replicas" { "status.replicas" } else { counter }
}

/// Checks that a counter of the status only grows.
pub(super) fn validate_growing(errors: &mut FieldErrors, new: &Value, old: Option<&Value>, counter: &str) {
    let pointer = format!("/status/{counter}");
    let count = |object: &Value| read::int(object, &pointer).unwrap_or(0);
    if old.is_some_and(|old| count(new) < count(old)) {
        errors.invalid(format!("status.{counter}"), count(new), "cannot be decremented");
    }
}

/// Names and images of the template's containers, as cells.
pub(super) fn containers(workload: &Value) -> [Value; 2] {
    let containers = read::list(workload, "/spec/template/spec/containers");
    ["/name", "/image"].map(|member| {
        let texts: Vec<_> = containers.iter().map(|container| read::text(container, member)).collect();
        texts.join(",").into()
    })
}

/// A count cell, zero if absent.
pub(super) fn count(workload: &Value, pointer: &str) -> Value {
    read::int(workload, pointer).unwrap_or(0).into()
}
