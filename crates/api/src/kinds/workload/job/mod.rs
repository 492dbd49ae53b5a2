//! Turns a decoded Job into a defaulted, checked and printed one.

use serde_json::{Value, json};

use super::{label_selector, template};
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::kinds::print::{self, AGE, NAME, column, wide};
use crate::kinds::{pod, read};

mod policies;
mod status;
mod validate;

/// Labels that say which Job a pod belongs to; each in its older and its newer form.
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
/// Completions above which Kubernetes asks for lower limits.
const MANY_COMPLETIONS: i64 = 100_000;

/// Fields that are kept but change nothing here, and what to do instead.
const UNENFORCED: [(&str, &str); 3] = [
    ("podFailurePolicy", "every failed pod counts against spec.backoffLimit"),
    ("backoffLimitPerIndex", "set spec.backoffLimit, which all indexes share"),
    ("maxFailedIndexes", "set spec.backoffLimit, which all indexes share"),
];

/// Rules of Jobs.
pub(crate) struct Job;

impl Rules for Job {
    fn default(&self, object: &mut Value) {
        let counts = ["/spec/completions", "/spec/parallelism"];
        if counts.iter().all(|pointer| !read::present(object, pointer)) {
            read::put(object, "/spec/completions", 1);
        }
        read::put_missing(object, "/spec/parallelism", 1);
        let per_index = read::present(object, "/spec/backoffLimitPerIndex");
        read::put_missing(object, "/spec/backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
        if read::entry(object, "/spec/template/metadata/labels", UID_LABELS[1]).is_some() {
            inherit_labels(object);
        }
        read::put_missing(object, "/spec/completionMode", "NonIndexed");
        read::put_missing(object, "/spec/suspend", false);
        let policy = read::present(object, "/spec/podFailurePolicy");
        read::put_missing(object, "/spec/podReplacementPolicy", if policy { "Failed" } else { "TerminatingOrFailed" });
        read::put_missing(object, "/spec/manualSelector", false);
        for rule in read::list_mut(object, "/spec/podFailurePolicy/rules") {
            for pattern in read::list_mut(rule, "/onPodConditions") {
                read::put_zero(pattern, "/status", "True");
            }
        }
        pod::default_template(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        read::put(object, "/status", json!({}));
        if !read::flag(object, "/spec/manualSelector") {
            generate_selector(object);
        }
        inherit_labels(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target) {
        read::copy(new, old, if target == Target::Main { "/status" } else { "/spec" });
    }

    fn validate(&self, new: &Value, old: Option<&Value>, target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        match target {
            Target::Status => status::validate(&mut errors, new, old),
            Target::Main => validate::validate(&mut errors, new, old),
        }
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        let name = read::text(new, "/metadata/name");
        let problems = crate::names::dns1123_label(name);
        if old.is_none() && !problems.is_empty() {
            let problems = problems.join(" ");
            warnings.push(format!("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{problems}]"));
        }
        let count = |pointer| read::int(new, pointer).unwrap_or(0);
        let indexed = read::text(new, "/spec/completionMode") == "Indexed";
        if indexed && count("/spec/completions") > MANY_COMPLETIONS && count("/spec/parallelism") > 10_000 {
            warnings.push("spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail".to_owned());
        }
        for (field, instead) in UNENFORCED {
            if read::present(new, &format!("/spec/{field}")) && old.is_none() {
                warnings.push(format!("spec.{field}: stored but not enforced by this server; {instead}"));
            }
        }
        warnings
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Status", "How far the Job is."),
                column("Completions", "Pods that succeeded, of those that must."),
                column("Duration", "Time from the start to completion, or until now."),
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
            stage(object).into(),
            completions(object).into(),
            duration(object, now_seconds).into(),
            print::age(object, now_seconds),
            names,
            images,
            label_selector::text(&object["spec"]["selector"]).into(),
        ]
    }

    fn field(&self, object: &Value, field: &str) -> Option<String> {
        let succeeded = || read::int(object, "/status/succeeded").unwrap_or(0).to_string();
        (field == "status.successful").then(succeeded)
    }
}

/// A Job without labels of its own has those of its template.
fn inherit_labels(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").filter(|labels| labels.is_object()).cloned();
    if read::pairs(object, "/metadata/labels").is_empty()
        && let Some(labels) = labels
    {
        read::put(object, "/metadata/labels", labels);
    }
}

/// Labels the template with name and uid of the Job and selects by the uid.
fn generate_selector(object: &mut Value) {
    let own = read::pairs(object, "/metadata/labels") == read::pairs(object, "/spec/template/metadata/labels");
    let [name, uid] = ["/metadata/name", "/metadata/uid"].map(|pointer| read::text(object, pointer).to_owned());
    put_missing_member(object, "/spec/selector/matchLabels", UID_LABELS[1], &uid);
    let labels = NAME_LABELS.map(|label| (label, &name)).into_iter().chain(UID_LABELS.map(|label| (label, &uid)));
    for (label, value) in labels {
        put_missing_member(object, "/spec/template/metadata/labels", label, value);
    }
    if own {
        // The Job got its labels from the template, and goes on sharing them.
        read::remove(object, "/metadata/labels");
    }
}

fn put_missing_member(object: &mut Value, pointer: &str, key: &str, value: &str) {
    if !object.pointer(pointer).is_some_and(Value::is_object) {
        read::put(object, pointer, json!({}));
    }
    if let Some(members) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
        members.entry(key).or_insert_with(|| value.into());
    }
}

/// Whether a condition is True.
fn is_true(object: &Value, r#type: &str) -> bool {
    let conditions = read::list(object, "/status/conditions").iter();
    conditions.filter(|it| read::text(it, "/type") == r#type).any(|it| read::text(it, "/status") == "True")
}

fn is_finished(object: &Value) -> bool {
    is_true(object, "Complete") || is_true(object, "Failed")
}

fn stage(object: &Value) -> &'static str {
    let conditions = [("Complete", "Complete"), ("Failed", "Failed")];
    let later =
        [("Suspended", "Suspended"), ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet")];
    let first = |table: &[(&str, &'static str)]| {
        table.iter().find(|(condition, _)| is_true(object, condition)).map(|(_, text)| *text)
    };
    let terminating = read::present(object, "/metadata/deletionTimestamp").then_some("Terminating");
    first(&conditions).or(terminating).or_else(|| first(&later)).unwrap_or("Running")
}

fn completions(object: &Value) -> String {
    let succeeded = read::int(object, "/status/succeeded").unwrap_or(0);
    let parallelism = read::int(object, "/spec/parallelism").unwrap_or(0);
    match read::int(object, "/spec/completions") {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

fn duration(object: &Value, now_seconds: i64) -> String {
    let Some(start) = print::seconds(read::text(object, "/status/startTime")) else { return String::new() };
    let end = print::seconds(read::text(object, "/status/completionTime")).unwrap_or(now_seconds);
    print::duration(end.saturating_sub(start))
}
