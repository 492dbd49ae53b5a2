//! Turns a decoded Pod, or the pod template of a workload, into a defaulted, checked and printed one.

use serde_json::{Value, json};

use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::kinds::read;

mod columns;
mod container;
mod defaults;
mod security;
mod status;
mod update;
mod validate;

pub(super) use container::validate_amounts;
pub(super) use defaults::default_template;
pub(super) use validate::validate_template;

/// Rules of Pods.
pub(super) struct Pod;

impl Rules for Pod {
    fn default(&self, object: &mut Value) {
        defaults::default_spec(object, "/spec", true);
        read::put_zero(object, "/status/phase", "Pending");
    }

    fn prepare_create(&self, object: &mut Value) {
        read::put(object, "/status", json!({ "phase": "Pending", "qosClass": status::qos_class(object) }));
        read::put_zero(object, "/spec/serviceAccountName", "default");
        // The older name of the same field; Kubernetes always shows both.
        let account = read::text(object, "/spec/serviceAccountName").to_owned();
        read::put(object, "/spec/serviceAccount", account);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target) {
        match target {
            Target::Main => read::copy(new, old, "/status"),
            Target::Status => {
                read::copy(new, old, "/spec");
                let class = old.pointer("/status/qosClass").cloned();
                read::put(new, "/status/qosClass", class.unwrap_or_else(|| status::qos_class(old).into()));
            }
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>, target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        match (target, old) {
            (Target::Status, _) => status::validate(&mut errors, new),
            (Target::Main, None) => validate::validate_spec(&mut errors, new, "/spec", "spec"),
            (Target::Main, Some(old)) => {
                validate::validate_spec(&mut errors, new, "/spec", "spec");
                update::validate(&mut errors, new, old);
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        columns::cells(object, now_seconds)
    }

    fn field(&self, object: &Value, field: &str) -> Option<String> {
        let text = |pointer| Some(read::text(object, pointer).to_owned());
        match field {
            "spec.nodeName" => text("/spec/nodeName"),
            "spec.restartPolicy" => text("/spec/restartPolicy"),
            "spec.schedulerName" => text("/spec/schedulerName"),
            "spec.serviceAccountName" => text("/spec/serviceAccountName"),
            "spec.hostNetwork" => Some(read::flag(object, "/spec/hostNetwork").to_string()),
            "status.phase" => text("/status/phase"),
            "status.podIP" => text("/status/podIP"),
            "status.nominatedNodeName" => text("/status/nominatedNodeName"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
