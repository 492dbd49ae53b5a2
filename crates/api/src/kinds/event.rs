//! Turns a decoded Event into a checked and printed one.

use serde_json::Value;

use super::print::{self, column, wide};
use super::read;
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};

/// Rules of Events.
pub(super) struct Event;

impl Rules for Event {
    fn default(&self, object: &mut Value) {
        // Kubernetes shows both even when empty.
        read::put_missing(object, "/reportingComponent", "");
        read::put_missing(object, "/reportingInstance", "");
        read::put_missing(object, "/source", Value::Object(serde_json::Map::new()));
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, new: &Value, _old: Option<&Value>, _target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let namespace = read::text(new, "/metadata/namespace");
        let involved = read::text(new, "/involvedObject/namespace");
        // Events about cluster-scoped objects live in `default` (or `kube-system`).
        let agrees = if involved.is_empty() {
            matches!(namespace, "" | "default" | "kube-system")
        } else {
            involved == namespace
        };
        if !agrees {
            errors.invalid("involvedObject.namespace", involved, "does not match event.namespace");
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const NAME: Column = Column { priority: 1, ..print::NAME };
        const {
            &[
                column("Last Seen", "Time since it happened last."),
                column("Type", "Normal or Warning."),
                column("Reason", "What happened, in one word."),
                column("Object", "What it happened to."),
                wide("Subobject", "Part of the object that it happened to."),
                wide("Source", "Who reports it."),
                column("Message", "What happened, for people."),
                wide("First Seen", "Time since it happened first."),
                wide("Count", "How often it happened."),
                NAME,
            ]
        }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let text = |pointer| read::text(object, pointer);
        let since = |pointer| print::since(text(pointer), now_seconds);
        let first = if text("/firstTimestamp").is_empty() { since("/eventTime") } else { since("/firstTimestamp") };
        let mut last = if text("/lastTimestamp").is_empty() { first.clone() } else { since("/lastTimestamp") };
        let mut count = read::int(object, "/count").filter(|count| *count != 0).unwrap_or(1);
        if read::present(object, "/series") {
            last = since("/series/lastObservedTime");
            count = read::int(object, "/series/count").unwrap_or(0);
        }
        let kind = text("/involvedObject/kind").to_lowercase();
        let name = text("/involvedObject/name");
        let target = if name.is_empty() { kind } else { format!("{kind}/{name}") };
        vec![
            last.into(),
            text("/type").into(),
            text("/reason").into(),
            target.into(),
            text("/involvedObject/fieldPath").into(),
            source(object).into(),
            text("/message").trim().into(),
            first.into(),
            count.into(),
            text("/metadata/name").into(),
        ]
    }

    fn field(&self, object: &Value, field: &str) -> Option<String> {
        let pointer = match field {
            "involvedObject.kind" => "/involvedObject/kind",
            "involvedObject.namespace" => "/involvedObject/namespace",
            "involvedObject.name" => "/involvedObject/name",
            "involvedObject.uid" => "/involvedObject/uid",
            "involvedObject.apiVersion" => "/involvedObject/apiVersion",
            "involvedObject.resourceVersion" => "/involvedObject/resourceVersion",
            "involvedObject.fieldPath" => "/involvedObject/fieldPath",
            "reason" => "/reason",
            "reportingComponent" => "/reportingComponent",
            "source" if read::text(object, "/source/component").is_empty() => "/reportingComponent",
            "source" => "/source/component",
            "type" => "/type",
            _ => return None,
        };
        Some(read::text(object, pointer).to_owned())
    }
}

fn source(event: &Value) -> String {
    let first = |one, other| {
        let text = read::text(event, one);
        if text.is_empty() { read::text(event, other) } else { text }
    };
    let component = first("/source/component", "/reportingComponent");
    match first("/source/host", "/reportingInstance") {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    }
}
