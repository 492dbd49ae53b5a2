//! Turns a decoded PriorityClass into a defaulted, checked and printed one, and lists the two that always exist.

use serde_json::{Value, json};

use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::kinds::check::immutable;
use crate::kinds::print::{self, AGE, NAME, column, count};
use crate::kinds::read;

/// What Pods without a class get, and classes that do not say.
pub const PREEMPT_LOWER: &str = "PreemptLowerPriority";
/// Highest value for classes of users.
const USER_MAX: i64 = 1_000_000_000;
const SYSTEM: &str = "system-";

/// Name, value and description of the built-in classes.
const BUILT_IN: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// Rules of PriorityClasses.
pub(crate) struct PriorityClass;

impl Rules for PriorityClass {
    fn default(&self, object: &mut Value) {
        read::put_missing(object, "/value", 0);
        read::put_missing(object, "/preemptionPolicy", PREEMPT_LOWER);
    }

    fn prepare_create(&self, object: &mut Value) {
        // Kubernetes sets it once and never counts: nothing of a class that matters can change.
        read::put(object, "/metadata/generation", 1);
    }

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, new: &Value, old: Option<&Value>, _target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        match old {
            None => create(&mut errors, new),
            Some(old) => {
                if !read::same(new, old, "/value") {
                    errors.forbidden("value", "may not be changed in an update.");
                }
                immutable(&mut errors, "preemptionPolicy", new, old, "/preemptionPolicy");
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                count("Value", "Priority of pods of this class."),
                Column { r#type: "boolean", ..column("Global-Default", "Whether pods without a class get it.") },
                AGE,
                column("PreemptionPolicy", "Whether pods of this class may displace others."),
            ]
        }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        vec![
            print::name(object),
            read::int(object, "/value").unwrap_or(0).into(),
            read::flag(object, "/globalDefault").into(),
            print::age(object, now_seconds),
            read::text(object, "/preemptionPolicy").into(),
        ]
    }
}

/// The classes that always exist, as they are created.
pub fn built_in() -> Vec<Value> {
    let class = |(name, value, description): &(&str, i64, &str)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": name },
            "value": value, "description": description,
        })
    };
    BUILT_IN.iter().map(class).collect()
}

/// Whether Kubernetes lets nobody delete the class.
pub fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(built_in, ..)| *built_in == name)
}

fn create(errors: &mut FieldErrors, new: &Value) {
    let name = read::text(new, "/metadata/name");
    let value = read::int(new, "/value").unwrap_or(0);
    if name.starts_with(SYSTEM) {
        if let Some(why) = not_built_in(name, value, read::flag(new, "/globalDefault")) {
            let why =
                format!("priority class names with '{SYSTEM}' prefix are reserved for system use only. error: {why}");
            errors.forbidden("metadata.name", &why);
        }
    } else if value > USER_MAX {
        let why = format!("maximum allowed value of a user defined priority is {USER_MAX}");
        errors.forbidden("value", &why);
    }
    match read::text(new, "/preemptionPolicy") {
        "" => errors.required("preemptionPolicy", ""),
        PREEMPT_LOWER | "Never" => {}
        other => errors.not_supported("preemptionPolicy", other, &[PREEMPT_LOWER, "Never"]),
    }
}

fn not_built_in(name: &str, value: i64, default: bool) -> Option<String> {
    let Some((_, right, _)) = BUILT_IN.iter().find(|(built_in, ..)| *built_in == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if value != *right {
        return Some(format!("value of {name} PriorityClass must be {right}"));
    }
    default.then(|| format!("globalDefault of {name} PriorityClass must be false"))
}
