//! Turns a decoded Deployment into a defaulted, checked and printed one.

use serde_json::{Value, json};

use super::{amount, label_selector, template};
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::kinds::check::nonnegative;
use crate::kinds::print::{self, AGE, NAME, column, wide};
use crate::kinds::{pod, read};

const STRATEGY: &str = "spec.strategy";

/// Rules of Deployments.
pub(crate) struct Deployment;

impl Rules for Deployment {
    fn default(&self, object: &mut Value) {
        read::put_missing(object, "/spec/replicas", 1);
        read::put_zero(object, "/spec/strategy/type", "RollingUpdate");
        if read::text(object, "/spec/strategy/type") == "RollingUpdate" {
            read::put_missing(object, "/spec/strategy/rollingUpdate/maxUnavailable", "25%");
            read::put_missing(object, "/spec/strategy/rollingUpdate/maxSurge", "25%");
        }
        read::put_missing(object, "/spec/revisionHistoryLimit", 10);
        read::put_missing(object, "/spec/progressDeadlineSeconds", 600);
        pod::default_template(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        read::put(object, "/status", json!({}));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target) {
        read::copy(new, old, if target == Target::Main { "/status" } else { "/spec" });
    }

    fn validate(&self, new: &Value, old: Option<&Value>, target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if target == Target::Status {
            let counters = [
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
            ];
            let parts = [
                ("updatedReplicas", "replicas"),
                ("readyReplicas", "replicas"),
                ("availableReplicas", "replicas"),
                ("availableReplicas", "readyReplicas"),
            ];
            template::validate_status(&mut errors, new, &counters, &parts);
            return errors;
        }
        template::validate(&mut errors, new, old);
        strategy(&mut errors, new);
        for count in ["revisionHistoryLimit", "progressDeadlineSeconds"] {
            nonnegative(&mut errors, &format!("spec.{count}"), new, &format!("/spec/{count}"));
        }
        let deadline = read::int(new, "/spec/progressDeadlineSeconds");
        if let Some(deadline) = deadline.filter(|it| *it <= read::int(new, "/spec/minReadySeconds").unwrap_or(0)) {
            errors.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds");
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Ready", "Pods that accept traffic, of the pods that are wanted."),
                column("Up-to-date", "Pods that were made from the current template."),
                column("Available", "Pods that have accepted traffic for at least minReadySeconds."),
                AGE,
                wide("Containers", "Names of the template's containers."),
                wide("Images", "Images of the template's containers."),
                wide("Selector", "Labels of the pods that are counted."),
            ]
        }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let ready = template::count(object, "/status/readyReplicas");
        let [names, images] = template::containers(object);
        let selector = label_selector::text(&object["spec"]["selector"]);
        vec![
            print::name(object),
            format!("{ready}/{}", template::count(object, "/spec/replicas")).into(),
            template::count(object, "/status/updatedReplicas"),
            template::count(object, "/status/availableReplicas"),
            print::age(object, now_seconds),
            names,
            images,
            selector.into(),
        ]
    }
}

fn strategy(errors: &mut FieldErrors, new: &Value) {
    let rolling = read::present(new, "/spec/strategy/rollingUpdate");
    match read::text(new, "/spec/strategy/type") {
        "Recreate" if rolling => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.forbidden(format!("{STRATEGY}.rollingUpdate"), why);
        }
        "Recreate" => {}
        "RollingUpdate" if rolling => rolling_update(errors, &new["spec"]["strategy"]["rollingUpdate"]),
        "RollingUpdate" => {
            errors.required(format!("{STRATEGY}.rollingUpdate"), "this should be defaulted and never be nil");
        }
        _ => errors.not_supported(STRATEGY, new["spec"]["strategy"].clone(), &["Recreate", "RollingUpdate"]),
    }
}

fn rolling_update(errors: &mut FieldErrors, rolling: &Value) {
    for name in ["maxUnavailable", "maxSurge"] {
        amount::validate(errors, &format!("{STRATEGY}.rollingUpdate.{name}"), &rolling[name]);
    }
    let field = format!("{STRATEGY}.rollingUpdate.maxUnavailable");
    let value = &rolling["maxUnavailable"];
    if amount::number(value) == 0 && amount::number(&rolling["maxSurge"]) == 0 {
        errors.invalid(&field, value.clone(), "may not be 0 when `maxSurge` is 0");
    }
    amount::at_most_all(errors, &field, value);
}
