//! Turns decoded RuntimeClasses and PriorityClasses, which Pods name, into defaulted, checked and printed ones.

use crate::kind::Kind;

pub mod priority_class;
mod runtime_class;
#[cfg(test)]
mod tests;

const CLASS: Kind = Kind { namespaced: false, ..super::CORE };

/// RuntimeClass.
pub static RUNTIME_CLASS: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    create_on_update: true,
    not_enforced: Some("a RuntimeClass is stored but its handler is not used: every pod runs as it does without one"),
    rules: &runtime_class::RuntimeClass,
    ..CLASS
};
/// PriorityClass.
pub static PRIORITY_CLASS: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    rules: &priority_class::PriorityClass,
    ..CLASS
};
