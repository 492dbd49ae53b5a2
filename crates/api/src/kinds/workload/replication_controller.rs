//! Turns a decoded ReplicationController into a defaulted, checked and printed one. Its selector is a plain map of labels.

use serde_json::{Value, json};

use super::template;
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::kinds::check::nonnegative;
use crate::kinds::print::{self, AGE, NAME, count, wide};
use crate::kinds::{pod, read};

/// Rules of ReplicationControllers.
pub(crate) struct ReplicationController;

impl Rules for ReplicationController {
    fn default(&self, object: &mut Value) {
        read::put_missing(object, "/spec/replicas", 1);
        let labels = object.pointer("/spec/template/metadata/labels").filter(|labels| labels.is_object()).cloned();
        for pointer in ["/spec/selector", "/metadata/labels"] {
            let empty = read::pairs(object, pointer).is_empty();
            if let Some(labels) = labels.clone().filter(|_| empty) {
                read::put(object, pointer, labels);
            }
        }
        if read::present(object, "/spec/template") {
            pod::default_template(object);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        read::put(object, "/status", json!({ "replicas": 0 }));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target) {
        read::copy(new, old, if target == Target::Main { "/status" } else { "/spec" });
    }

    fn validate(&self, new: &Value, _old: Option<&Value>, target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if target == Target::Status {
            let counters = ["observedGeneration", "replicas", "fullyLabeledReplicas", "readyReplicas"];
            template::validate_status(&mut errors, new, &counters, &[("readyReplicas", "replicas")]);
            return errors;
        }
        nonnegative(&mut errors, "spec.minReadySeconds", new, "/spec/minReadySeconds");
        let selector = read::pairs(new, "/spec/selector");
        if selector.is_empty() {
            errors.required("spec.selector", "");
        }
        nonnegative(&mut errors, "spec.replicas", new, "/spec/replicas");
        if !read::present(new, "/spec/template") {
            errors.required("spec.template", "");
            return errors;
        }
        let labels = read::pairs(new, "/spec/template/metadata/labels");
        if !selector.iter().all(|pair| labels.contains(pair)) {
            let given = new.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
            let why = "`selector` does not match template `labels`";
            errors.invalid("spec.template.metadata.labels", given, why);
        }
        pod::validate_template(&mut errors, new);
        template::always_restarted(&mut errors, new, "ReplicationController");
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
        let selector: Vec<_> =
            read::pairs(object, "/spec/selector").iter().map(|(key, value)| format!("{key}={value}")).collect();
        vec![
            print::name(object),
            template::count(object, "/spec/replicas"),
            template::count(object, "/status/replicas"),
            template::count(object, "/status/readyReplicas"),
            print::age(object, now_seconds),
            names,
            images,
            selector.join(",").into(),
        ]
    }

    fn field(&self, object: &Value, field: &str) -> Option<String> {
        (field == "status.replicas").then(|| read::int(object, "/status/replicas").unwrap_or(0).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(spec: Value) -> Vec<String> {
        let mut object = json!({ "metadata": { "name": "rc" }, "spec": spec });
        ReplicationController.default(&mut object);
        let errors = ReplicationController.validate(&object, None, Target::Main);
        errors.0.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn labels_of_the_template_are_the_default_of_the_selector() {
        let container = json!({ "name": "c", "image": "x" });
        let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [container] } });
        let mut object = json!({ "spec": { "template": template } });
        ReplicationController.default(&mut object);
        assert_eq!((&object["spec"]["selector"], &object["spec"]["replicas"]), (&json!({ "a": "b" }), &json!(1)));
        assert_eq!(object["metadata"]["labels"], json!({ "a": "b" }));
        assert!(faults(json!({ "template": template })).is_empty());
        let wrong = json!({ "replicas": -1, "selector": { "x": "y" }, "template": template });
        let expected = [
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ];
        assert_eq!(faults(wrong), expected);
        assert_eq!(faults(json!({})), ["spec.selector: Required value", "spec.template: Required value"]);
    }
}
