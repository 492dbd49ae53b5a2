//! Turns a LabelSelector into what is wrong with it, whether labels match it, and its text.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::field::FieldErrors;
use crate::kinds::check::invalid_each;
use crate::kinds::{metadata, read};
use crate::names;
use crate::selector::Labels;

const FIELD: &str = "spec.selector";

/// Checks `spec.selector`, which must be there and select something in particular.
pub(super) fn validate(errors: &mut FieldErrors, workload: &Value, owner: &str) {
    if !read::present(workload, "/spec/selector") {
        errors.required(FIELD, "");
        return;
    }
    requirements(errors, workload);
    let selector = &workload["spec"]["selector"];
    if read::pairs(selector, "/matchLabels").is_empty() && read::list(selector, "/matchExpressions").is_empty() {
        errors.invalid(FIELD, selector.clone(), &format!("empty selector is invalid for {owner}"));
    }
}

/// Checks the requirements of `spec.selector`.
pub(super) fn requirements(errors: &mut FieldErrors, workload: &Value) {
    let empty = Value::Null;
    check(errors, FIELD, workload.pointer("/spec/selector").unwrap_or(&empty));
}

/// Checks any label selector; `field` is its path in messages.
pub(crate) fn check(errors: &mut FieldErrors, field: &str, selector: &Value) {
    let labels = read::pairs(selector, "/matchLabels");
    metadata::labels(errors, &format!("{field}.matchLabels"), &labels);
    for (i, expression) in read::list(selector, "/matchExpressions").iter().enumerate() {
        let field = format!("{field}.matchExpressions[{i}]");
        let values = read::texts(expression, "/values");
        match read::text(expression, "/operator") {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(format!("{field}.values"), why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(format!("{field}.values"), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(format!("{field}.operator"), other, "not a valid selector operator"),
        }
        let key = read::text(expression, "/key");
        invalid_each(errors, &format!("{field}.key"), key, names::qualified_name(key));
        for (j, value) in values.into_iter().enumerate() {
            invalid_each(errors, &format!("{field}.values[{j}]"), value, names::label_value(value));
        }
    }
}

/// Whether `labels` match the selector; none if the selector cannot be used at all.
pub(super) fn matches(selector: &Value, labels: &[(&str, &str)]) -> Option<bool> {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    Labels::from_object(selector).ok().map(|selector| selector.matches(&labels))
}

/// The selector as kubectl's `-l` would take it, `<none>` without any requirement.
pub(crate) fn text(selector: &Value) -> String {
    let labels = read::pairs(selector, "/matchLabels").into_iter().map(|(key, value)| (key, format!("{key}={value}")));
    let expressions = read::list(selector, "/matchExpressions").iter().map(|expression| {
        let key = read::text(expression, "/key");
        let mut values = read::texts(expression, "/values");
        values.sort_unstable();
        let text = match read::text(expression, "/operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => "<error>".to_owned(),
        };
        (key, text)
    });
    let mut all: Vec<_> = labels.chain(expressions).collect();
    all.sort_by_key(|(key, _)| *key);
    let texts: Vec<_> = all.into_iter().map(|(_, text)| text).collect();
    if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
}
