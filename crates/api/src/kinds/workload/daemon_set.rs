//! Turns a decoded DaemonSet into a defaulted, checked and printed one.

use serde_json::{Value, json};

use super::{amount, label_selector, template};
use crate::field::{Fault, FieldErrors};
use crate::kind::{Column, Rules, Target};
use crate::kinds::check::{immutable, nonnegative};
use crate::kinds::print::{self, AGE, NAME, column, count, wide};
use crate::kinds::{pod, read};

const STRATEGY: &str = "spec.updateStrategy";
/// Annotation that counts changes of the template; older clients read it.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const COUNTERS: [&str; 7] = [
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
];

/// Rules of DaemonSets.
pub(crate) struct DaemonSet;

impl Rules for DaemonSet {
    fn default(&self, object: &mut Value) {
        read::put_zero(object, "/spec/updateStrategy/type", "RollingUpdate");
        if read::text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
            read::put_missing(object, "/spec/updateStrategy/rollingUpdate/maxUnavailable", 1);
            read::put_missing(object, "/spec/updateStrategy/rollingUpdate/maxSurge", 0);
        }
        read::put_missing(object, "/spec/revisionHistoryLimit", 10);
        pod::default_template(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        let zero = json!({ "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0 });
        read::put(object, "/status", zero);
        put_template_generation(object, template_generation(object).max(1));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target) {
        read::copy(new, old, if target == Target::Main { "/status" } else { "/spec" });
        let changed = !read::same(new, old, "/spec/template");
        put_template_generation(new, template_generation(old).saturating_add(i64::from(changed)));
    }

    fn validate(&self, new: &Value, old: Option<&Value>, target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if target == Target::Status {
            template::validate_status(&mut errors, new, &COUNTERS, &[]);
            template::validate_status(&mut errors, new, &["numberUnavailable", "collisionCount"], &[]);
            template::validate_growing(&mut errors, new, old, "collisionCount");
            return errors;
        }
        if let Some(old) = old {
            immutable(&mut errors, "spec.selector", new, old, "/spec/selector");
        }
        if read::present(new, "/spec/selector") {
            label_selector::validate(&mut errors, new, "daemonset");
        }
        if template::is_selected(&mut errors, new) {
            pod::validate_template(&mut errors, new);
            template::always_restarted(&mut errors, new, "DaemonSet");
        }
        nonnegative(&mut errors, "spec.minReadySeconds", new, "/spec/minReadySeconds");
        strategy(&mut errors, new);
        nonnegative(&mut errors, "spec.revisionHistoryLimit", new, "/spec/revisionHistoryLimit");
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                count("Desired", "Nodes that should run a pod."),
                count("Current", "Nodes that should run a pod and have one."),
                count("Ready", "Nodes that should run a pod and have one that is ready."),
                count("Up-to-date", "Nodes whose pod was made from the current template."),
                count("Available", "Nodes whose pod has been ready for at least minReadySeconds."),
                column("Node Selector", "Labels of the nodes that run a pod."),
                AGE,
                wide("Containers", "Names of the template's containers."),
                wide("Images", "Images of the template's containers."),
                wide("Selector", "Labels of the pods that are counted."),
            ]
        }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let [names, images] = template::containers(object);
        let count = |name: &str| template::count(object, &format!("/status/{name}"));
        vec![
            print::name(object),
            count("desiredNumberScheduled"),
            count("currentNumberScheduled"),
            count("numberReady"),
            count("updatedNumberScheduled"),
            count("numberAvailable"),
            print::labels(&read::pairs(object, "/spec/template/spec/nodeSelector")).into(),
            print::age(object, now_seconds),
            names,
            images,
            label_selector::text(&object["spec"]["selector"]).into(),
        ]
    }
}

fn template_generation(object: &Value) -> i64 {
    let text = read::entry(object, "/metadata/annotations", TEMPLATE_GENERATION);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn put_template_generation(object: &mut Value, generation: i64) {
    if !read::present(object, "/metadata/annotations") {
        read::put(object, "/metadata/annotations", json!({}));
    }
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string().into());
    }
}

fn strategy(errors: &mut FieldErrors, new: &Value) {
    let field = format!("{STRATEGY}.rollingUpdate");
    match read::text(new, "/spec/updateStrategy/type") {
        "OnDelete" => {}
        "RollingUpdate" => match new.pointer("/spec/updateStrategy/rollingUpdate").filter(|it| !it.is_null()) {
            Some(rolling) => rolling_update(errors, &field, rolling),
            None => errors.required(field, ""),
        },
        _ => {
            let rolling = new.pointer("/spec/updateStrategy/rollingUpdate").filter(|it| !it.is_null());
            let rolling = amount::shown(rolling, &[("MaxUnavailable", "maxUnavailable"), ("MaxSurge", "maxSurge")]);
            let value =
                format!("{{\"Type\":{:?},\"RollingUpdate\":{rolling}}}", read::text(new, "/spec/updateStrategy/type"));
            let text = format!("Unsupported value: {value}: supported values: \"RollingUpdate\", \"OnDelete\"");
            errors.push(Fault::NotSupported, STRATEGY, text);
        }
    }
}

fn rolling_update(errors: &mut FieldErrors, field: &str, rolling: &Value) {
    let empty = Value::Null;
    let [unavailable, surge] = ["maxUnavailable", "maxSurge"].map(|name| rolling.get(name).unwrap_or(&empty));
    for (name, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        amount::validate(errors, &format!("{field}.{name}"), value);
    }
    for (name, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        amount::at_most_all(errors, &format!("{field}.{name}"), value);
    }
    match (amount::number(unavailable) != 0, amount::number(surge) != 0) {
        (true, true) => {
            errors.invalid(
                format!("{field}.maxSurge"),
                surge.clone(),
                "may not be set when maxUnavailable is non-zero",
            );
        }
        (false, false) => errors.required(format!("{field}.maxUnavailable"), "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}
