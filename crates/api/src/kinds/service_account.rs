//! Turns a decoded ServiceAccount into a printed one; it has no rules beyond its metadata.

use serde_json::Value;

use super::print::{self, AGE, NAME};
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};

/// Rules of ServiceAccounts.
pub(super) struct ServiceAccount;

impl Rules for ServiceAccount {
    fn default(&self, _object: &mut Value) {}

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, _new: &Value, _old: Option<&Value>, _target: Target) -> FieldErrors {
        FieldErrors::default()
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, AGE] }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        vec![print::name(object), print::age(object, now_seconds)]
    }
}
