//! Turns a decoded RuntimeClass into a checked and printed one.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::{Fault, FieldErrors};
use crate::kind::{Column, Rules, Target};
use crate::kinds::check::{immutable, invalid_each};
use crate::kinds::print::{self, AGE, NAME, column};
use crate::kinds::{metadata, pod, read};
use crate::names;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Rules of RuntimeClasses.
pub(crate) struct RuntimeClass;

impl Rules for RuntimeClass {
    fn default(&self, _object: &mut Value) {}

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, new: &Value, old: Option<&Value>, _target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        match read::text(new, "/handler") {
            "" => errors.required("handler", ""),
            handler => invalid_each(&mut errors, "handler", handler, names::dns1123_label(handler)),
        }
        pod::validate_amounts(&mut errors, new, "/overhead/podFixed", "overhead.limits");
        let selector = read::pairs(new, "/scheduling/nodeSelector");
        metadata::labels(&mut errors, "scheduling.nodeSelector", &selector);
        tolerations(&mut errors, read::list(new, "/scheduling/tolerations"));
        if let Some(old) = old {
            immutable(&mut errors, "handler", new, old, "/handler");
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Handler", "Configuration of the container runtime."), AGE] }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let handler = read::text(object, "/handler");
        vec![print::name(object), handler.into(), print::age(object, now_seconds)]
    }
}

fn tolerations(errors: &mut FieldErrors, tolerations: &[Value]) {
    let field = |i: usize| format!("scheduling.tolerations[{i}]");
    for (i, toleration) in tolerations.iter().enumerate() {
        self::toleration(errors, toleration, &field(i));
    }
    let mut seen = BTreeSet::new();
    for (i, toleration) in tolerations.iter().enumerate() {
        let [key, operator, value, effect] =
            ["/key", "/operator", "/value", "/effect"].map(|member| read::text(toleration, member));
        if !seen.insert([key, operator, value, effect]) {
            // Kubernetes shows the whole toleration, by the names and in the order of its own type.
            let seconds = toleration.get("tolerationSeconds").unwrap_or(&Value::Null);
            let [key, operator, value, effect] = [key, operator, value, effect].map(Value::from);
            let shown = format!(
                "{{\"Key\":{key},\"Operator\":{operator},\"Value\":{value},\"Effect\":{effect},\"TolerationSeconds\":{seconds}}}"
            );
            errors.push(Fault::Duplicate, field(i), format!("Duplicate value: {shown}"));
        }
    }
}

fn toleration(errors: &mut FieldErrors, toleration: &Value, field: &str) {
    let [key, operator, value, effect] =
        ["/key", "/operator", "/value", "/effect"].map(|member| read::text(toleration, member));
    if !key.is_empty() {
        invalid_each(errors, &format!("{field}.key"), key, names::qualified_name(key));
    }
    let at = format!("{field}.operator");
    if key.is_empty() && operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(&at, operator, why);
    }
    let effect_at = format!("{field}.effect");
    if read::present(toleration, "/tolerationSeconds") && effect != "NoExecute" {
        errors.invalid(&effect_at, effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    match operator {
        "" | "Equal" => {
            let problems = names::label_value(value);
            if !problems.is_empty() {
                errors.invalid(&at, value, &problems.join(";"));
            }
        }
        "Exists" if value.is_empty() => {}
        "Exists" => errors.invalid(&at, value, "value must be empty when `operator` is 'Exists'"),
        "Lt" | "Gt" => errors.not_supported(&at, operator, &["Equal", "Exists", "Lt", "Gt"]),
        other => errors.not_supported(&at, other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.not_supported(effect_at, effect, EFFECTS);
    }
}
