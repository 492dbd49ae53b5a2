//! Turns a decoded Lease into a checked and printed one.

use serde_json::Value;

use super::print::{self, AGE, NAME, column};
use super::{check, read};
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};

/// Rules of Leases.
pub(super) struct Lease;

impl Rules for Lease {
    fn default(&self, _object: &mut Value) {}

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, new: &Value, _old: Option<&Value>, _target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if let Some(seconds) = read::int(new, "/spec/leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
            errors.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0");
        }
        check::nonnegative(&mut errors, "spec.leaseTransitions", new, "/spec/leaseTransitions");
        let preferred = read::text(new, "/spec/preferredHolder");
        if !preferred.is_empty() && read::text(new, "/spec/strategy").is_empty() {
            errors.forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined");
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Holder", "Who holds the lease."), AGE] }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let holder = read::text(object, "/spec/holderIdentity");
        vec![print::name(object), holder.into(), print::age(object, now_seconds)]
    }
}
