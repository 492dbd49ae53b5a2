//! Turns a decoded ReplicaSet into a defaulted, checked and printed one.

use serde_json::{Value, json};

use super::{label_selector, template};
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::kinds::print::{self, AGE, NAME, count, wide};
use crate::kinds::{pod, read};

/// Rules of ReplicaSets.
pub(crate) struct ReplicaSet;

impl Rules for ReplicaSet {
    fn default(&self, object: &mut Value) {
        read::put_missing(object, "/spec/replicas", 1);
        pod::default_template(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        // `replicas` is the one counter that Kubernetes never leaves out.
        read::put(object, "/status", json!({ "replicas": 0 }));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target) {
        read::copy(new, old, if target == Target::Main { "/status" } else { "/spec" });
    }

    fn validate(&self, new: &Value, old: Option<&Value>, target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if target == Target::Main {
            template::validate(&mut errors, new, old);
            return errors;
        }
        let counters = ["observedGeneration", "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        let parts = [
            ("fullyLabeledReplicas", "replicas"),
            ("readyReplicas", "replicas"),
            ("availableReplicas", "replicas"),
            ("availableReplicas", "readyReplicas"),
        ];
        template::validate_status(&mut errors, new, &counters, &parts);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                count("Desired", "Pods that are wanted."),
                count("Current", "Pods that exist."),
                count("Ready", "Pods that accept traffic."),
                AGE,
                wide("Containers", "Names of the template's containers."),
                wide("Images", "Images of the template's containers."),
                wide("Selector", "Labels of the pods that are counted."),
            ]
        }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let [names, images] = template::containers(object);
        vec![
            print::name(object),
            template::count(object, "/spec/replicas"),
            template::count(object, "/status/replicas"),
            template::count(object, "/status/readyReplicas"),
            print::age(object, now_seconds),
            names,
            images,
            label_selector::text(&object["spec"]["selector"]).into(),
        ]
    }

    fn field(&self, object: &Value, field: &str) -> Option<String> {
        (field == "status.replicas").then(|| read::int(object, "/status/replicas").unwrap_or(0).to_string())
    }
}
