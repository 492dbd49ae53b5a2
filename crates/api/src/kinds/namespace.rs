//! Turns a decoded Namespace into a defaulted and printed one.

use serde_json::{Value, json};

use super::print::{self, AGE, NAME, column};
use super::read;
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};

/// Rules of Namespaces.
pub(super) struct Namespace;

impl Rules for Namespace {
    fn default(&self, object: &mut Value) {
        let name = read::text(object, "/metadata/name").to_owned();
        if !name.is_empty() {
            read::put(object, "/metadata/labels/kubernetes.io~1metadata.name", name);
        }
        read::put_zero(object, "/status/phase", "Active");
    }

    fn prepare_create(&self, object: &mut Value) {
        read::put(object, "/status", json!({ "phase": "Active" }));
        let mut finalizers: Vec<_> = read::list(object, "/spec/finalizers").to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
            finalizers.push("kubernetes".into());
        }
        read::put(object, "/spec/finalizers", finalizers);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target) {
        // `spec.finalizers` changes by `/finalize` only.
        read::copy(new, old, "/spec");
        if target == Target::Main {
            read::copy(new, old, "/status");
        }
    }

    fn validate(&self, new: &Value, _old: Option<&Value>, target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let deleting = read::present(new, "/metadata/deletionTimestamp");
        let phase = read::text(new, "/status/phase");
        if target == Target::Status && deleting != (phase == "Terminating") {
            let why = if deleting {
                "may only be 'Terminating' if `deletionTimestamp` is not empty"
            } else {
                "may only be 'Active' if `deletionTimestamp` is empty"
            };
            errors.invalid("status.phase", phase, why);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Status", "Whether the namespace is in use or going away."), AGE] }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        vec![print::name(object), read::text(object, "/status/phase").into(), print::age(object, now_seconds)]
    }

    fn field(&self, object: &Value, field: &str) -> Option<String> {
        (field == "status.phase").then(|| read::text(object, "/status/phase").to_owned())
    }
}
