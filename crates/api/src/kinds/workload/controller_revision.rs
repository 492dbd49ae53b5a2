//! Turns a decoded ControllerRevision (one state of a StatefulSet or DaemonSet) into a checked and printed one.

use serde_json::Value;

use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::kinds::check::{immutable, nonnegative};
use crate::kinds::print::{self, AGE, NAME, column};
use crate::kinds::read;

/// Rules of ControllerRevisions.
pub(crate) struct ControllerRevision;

impl Rules for ControllerRevision {
    fn default(&self, object: &mut Value) {
        // Kubernetes always shows it.
        read::put_missing(object, "/revision", 0);
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, new: &Value, old: Option<&Value>, _target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        nonnegative(&mut errors, "revision", new, "/revision");
        match (old, new.get("data")) {
            (Some(old), _) => immutable(&mut errors, "data", new, old, "/data"),
            (None, None | Some(Value::Null)) => errors.required("data", "data is mandatory"),
            (None, Some(Value::Object(_))) => {}
            (None, Some(_)) => errors.required("data", "data must be a valid JSON object"),
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Controller", "Object whose state this is."),
                column("Revision", "Number of this state; the highest is the newest."),
                AGE,
            ]
        }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let owners = read::list(object, "/metadata/ownerReferences").iter();
        let controller = owners.filter(|owner| read::flag(owner, "/controller")).map(controller_name).next();
        vec![
            print::name(object),
            controller.unwrap_or_else(|| "<none>".to_owned()).into(),
            object.get("revision").and_then(Value::as_i64).unwrap_or(0).into(),
            print::age(object, now_seconds),
        ]
    }
}

/// `statefulset.apps/web`.
fn controller_name(owner: &Value) -> String {
    let kind = read::text(owner, "/kind").to_lowercase();
    let group = read::text(owner, "/apiVersion").split_once('/').map_or("", |(group, _)| group);
    let dot = if group.is_empty() { "" } else { "." };
    format!("{kind}{dot}{group}/{}", read::text(owner, "/name"))
}
