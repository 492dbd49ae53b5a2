//! Turns values that several kinds share (ports, counts, immutable fields) into what is wrong with them.

use serde_json::Value;

use super::read;
use crate::field::FieldErrors;
use crate::names;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// Checks a port given as a number or as the name of a container port.
pub(super) fn number_or_name(errors: &mut FieldErrors, field: &str, port: &Value) {
    match port {
        Value::String(name) => invalid_each(errors, field, name.as_str(), names::port_name(name)),
        other => {
            let number = other.as_i64().unwrap_or(0);
            invalid_each(errors, field, number, names::port_number(number));
        }
    }
}

/// Checks `protocol` of any kind of port.
pub(super) fn protocol(errors: &mut FieldErrors, field: &str, port: &Value) {
    match read::text(port, "/protocol") {
        "" => errors.required(format!("{field}.protocol"), ""),
        protocol if !PROTOCOLS.contains(&protocol) => {
            errors.not_supported(format!("{field}.protocol"), protocol, PROTOCOLS);
        }
        _ => {}
    }
}

/// Adds an `Invalid value` per problem.
pub(super) fn invalid_each(
    errors: &mut FieldErrors,
    field: &str,
    value: impl Into<Value> + Clone,
    problems: Vec<String>,
) {
    for problem in problems {
        errors.invalid(field, value.clone(), &problem);
    }
}

/// Checks a count that may not be negative.
pub(super) fn nonnegative(errors: &mut FieldErrors, field: &str, object: &Value, pointer: &str) {
    if let Some(number) = read::int(object, pointer)
        && number < 0
    {
        errors.invalid(field, number, "must be greater than or equal to 0");
    }
}

/// Checks that a field is as stored.
pub(super) fn immutable(errors: &mut FieldErrors, field: &str, new: &Value, old: &Value, pointer: &str) {
    if !read::same(new, old, pointer) {
        errors.invalid(field, new.pointer(pointer).cloned().unwrap_or_default(), "field is immutable");
    }
}

/// Checks a required field with a fixed set of values.
pub(super) fn one_of(errors: &mut FieldErrors, object: &Value, field: &str, member: &str, supported: &[&str]) {
    let field = format!("{field}.{member}");
    match read::text(object, &format!("/{member}")) {
        "" => errors.required(field, ""),
        value if !supported.contains(&value) => errors.not_supported(field, value, supported),
        _ => {}
    }
}
