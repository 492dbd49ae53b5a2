//! Field errors: which field of an object is wrong, in which way, in the words Kubernetes uses.

use std::fmt;

use serde_json::{Value, json};

/// In which way a field is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Missing.
    Required,
    /// Wrong value.
    Invalid,
    /// Not one of the supported values.
    NotSupported,
    /// May not be set here.
    Forbidden,
    /// Given twice.
    Duplicate,
    /// Longer than allowed.
    TooLong,
    /// More items than allowed.
    TooMany,
    /// Names something that does not exist.
    NotFound,
    /// The server failed while checking.
    Internal,
}

impl Fault {
    /// The `reason` of a cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::Duplicate => "FieldValueDuplicate",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
            Self::Internal => "InternalError",
        }
    }
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Which way.
    pub fault: Fault,
    /// Path such as `spec.ports[0].port`.
    pub field: String,
    /// The whole text after the path, for example `Invalid value: 0: must be between 1 and 65535, inclusive`.
    pub message: String,
}

/// All wrong fields of one object, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The `causes` of a Status.
    pub fn causes(&self) -> Vec<Value> {
        let cause = |error: &FieldError| json!({ "reason": error.fault.reason(), "message": error.message, "field": error.field });
        self.0.iter().map(cause).collect()
    }

    /// Adds `Required value: why` (or `Required value` when `why` is empty).
    pub fn required(&mut self, field: impl Into<String>, why: &str) {
        self.push(Fault::Required, field, join("Required value", why));
    }

    /// Adds `Invalid value: <value>: why`; strings are quoted.
    pub fn invalid(&mut self, field: impl Into<String>, value: impl Into<Value>, why: &str) {
        self.push(Fault::Invalid, field, join(&format!("Invalid value: {}", value.into()), why));
    }

    /// Adds `Unsupported value: "x": supported values: "A", "B"`.
    pub fn not_supported(&mut self, field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) {
        let supported = supported.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ");
        self.push(
            Fault::NotSupported,
            field,
            format!("Unsupported value: {}: supported values: {supported}", value.into()),
        );
    }

    /// Adds `Forbidden: why`.
    pub fn forbidden(&mut self, field: impl Into<String>, why: &str) {
        self.push(Fault::Forbidden, field, join("Forbidden", why));
    }

    /// Adds `Duplicate value: <value>`.
    pub fn duplicate(&mut self, field: impl Into<String>, value: impl Into<Value>) {
        self.push(Fault::Duplicate, field, format!("Duplicate value: {}", value.into()));
    }

    /// Adds `Too long: may not be more than <most> bytes`.
    pub fn too_long(&mut self, field: impl Into<String>, most: usize) {
        self.push(Fault::TooLong, field, format!("Too long: may not be more than {most} bytes"));
    }

    /// Adds `Too many: n: must have at most m items`.
    pub fn too_many(&mut self, field: impl Into<String>, count: usize, most: usize) {
        self.push(Fault::TooMany, field, format!("Too many: {count}: must have at most {most} items"));
    }

    /// Adds an error with its whole text.
    pub fn push(&mut self, fault: Fault, field: impl Into<String>, message: String) {
        self.0.push(FieldError { fault, field: field.into(), message });
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.0.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        match texts.as_slice() {
            [one] => out.write_str(one),
            many => write!(out, "[{}]", many.join(", ")),
        }
    }
}

fn join(head: &str, why: &str) -> String {
    if why.is_empty() { head.to_owned() } else { format!("{head}: {why}") }
}
