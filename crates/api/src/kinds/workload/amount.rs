//! Turns an amount of pods, a number or a percentage, into what is wrong with it.

use serde_json::Value;

use crate::field::FieldErrors;
use crate::kinds::check::nonnegative;
use crate::names;

/// The number in front of a percent sign, or the number itself.
pub(super) fn number(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.trim_end_matches('%').parse().unwrap_or(0),
        other => other.as_i64().unwrap_or(0),
    }
}

/// Checks that `value` is a number of at least 0 or a percentage.
pub(super) fn validate(errors: &mut FieldErrors, field: &str, value: &Value) {
    match value {
        Value::String(text) => {
            for problem in names::percent(text) {
                errors.invalid(field, text.as_str(), &problem);
            }
        }
        _ => nonnegative(errors, field, value, ""),
    }
}

/// Checks that a percentage is at most 100.
pub(super) fn at_most_all(errors: &mut FieldErrors, field: &str, value: &Value) {
    if value.is_string() && number(value) > 100 {
        errors.invalid(field, value.clone(), "must not be greater than 100%");
    }
}

/// A structure as Kubernetes shows it in messages: Go's names of the members, in their order.
pub(super) fn shown(object: Option<&Value>, members: &[(&str, &str)]) -> String {
    let Some(object) = object else { return "null".to_owned() };
    let member = |(name, member): &(&str, &str)| format!("{name:?}:{}", object.get(member).unwrap_or(&Value::Null));
    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
}
