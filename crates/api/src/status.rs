//! The Status object: how every failure of the API reaches a client.

use serde_json::{Value, json};

use crate::field::FieldErrors;
use crate::kind::Kind;

/// A failure as a client sees it: HTTP code, machine-readable reason, message, details.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Reason such as `NotFound` or `Invalid`.
    pub reason: &'static str,
    /// One sentence for people.
    pub message: String,
    /// The `details` member, or null.
    pub details: Value,
}

impl Status {
    /// A failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    /// 400 `BadRequest`.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 404 `NotFound`: `services "x" not found`.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Self::of_resource(404, "NotFound", format!("{} \"{name}\" not found", kind.qualified()), kind, name)
    }

    /// 409 `AlreadyExists`.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::of_resource(409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.qualified()), kind, name)
    }

    /// 409 `Conflict`, `why` being for example that the object has been modified.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified());
        Self::of_resource(409, "Conflict", message, kind, name)
    }

    /// 422 `Invalid` with a cause per field error.
    pub fn invalid(kind: &Kind, name: &str, errors: &FieldErrors) -> Self {
        let message = format!("{} \"{name}\" is invalid: {errors}", kind.qualified_kind());
        let details = json!({
            "name": name, "group": kind.group, "kind": kind.kind, "causes": errors.causes(),
        });
        Self { code: 422, reason: "Invalid", message, details }
    }

    /// 422 `Invalid` for a patch that cannot be applied, or whose result is no object of its kind.
    pub fn invalid_patch(patch: &Value, why: &str) -> Self {
        let shown = Value::from(patch.to_string());
        let cause = format!("Invalid value: {shown}: {why}");
        let message = format!(" \"\" is invalid: patch: {cause}");
        let causes = json!([{ "reason": "FieldValueInvalid", "message": cause, "field": "patch" }]);
        Self { code: 422, reason: "Invalid", message, details: json!({ "causes": causes }) }
    }

    /// 500 `InternalError`.
    pub fn internal(why: impl Into<String>) -> Self {
        let why = why.into();
        let details = json!({ "causes": [{ "message": why }] });
        Self { code: 500, reason: "InternalError", message: format!("Internal error occurred: {why}"), details }
    }

    /// The JSON a client receives.
    pub fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }

    fn of_resource(code: u16, reason: &'static str, message: String, kind: &Kind, name: &str) -> Self {
        let mut details = json!({ "name": name, "kind": kind.plural });
        if !kind.group.is_empty() {
            details["group"] = kind.group.into();
        }
        Self { code, reason, message, details }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Status {}
