//! Turns a defaulted Job into what is wrong with its spec, and an update into what it may not change.

use serde_json::Value;

use super::super::{label_selector, template};
use super::{MANY_COMPLETIONS, NAME_LABELS, UID_LABELS, is_true, policies};
use crate::field::FieldErrors;
use crate::kinds::check::{immutable, nonnegative};
use crate::kinds::{pod, read};
use crate::names;

const MANY_PARALLEL: i64 = 10_000;
const COUNTS: [&str; 7] = [
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
];

pub(super) fn validate(errors: &mut FieldErrors, new: &Value, old: Option<&Value>) {
    generated(errors, new);
    spec(errors, new);
    if !read::present(new, "/spec/selector") {
        errors.required("spec.selector", "");
    } else {
        label_selector::requirements(errors, new);
    }
    if template::is_selected(errors, new) {
        pod::validate_template(errors, new);
    }
    restart_policy(errors, new);
    let indexed = read::text(new, "/spec/completionMode") == "Indexed";
    let completions = read::int(new, "/spec/completions").unwrap_or(0);
    if indexed && completions > 0 {
        let name = read::text(new, "/metadata/name");
        let longest = format!("{name}-{}", completions - 1);
        if !names::dns1123_label(&longest).is_empty() {
            let why = format!("will not able to create pod with invalid DNS label: {longest}");
            errors.invalid("metadata.name", name, &why);
        }
    }
    if let Some(old) = old {
        update(errors, new, old, indexed);
    }
}

/// Labels and selector that the server makes must be as it makes them.
fn generated(errors: &mut FieldErrors, new: &Value) {
    if read::flag(new, "/spec/manualSelector") || !read::present(new, "/spec/selector") {
        return;
    }
    let (name, uid) = (read::text(new, "/metadata/name"), read::text(new, "/metadata/uid"));
    if uid.is_empty() {
        errors.required("metadata.uid", "");
    }
    let expected = [(UID_LABELS[0], uid), (NAME_LABELS[0], name), (UID_LABELS[1], uid), (NAME_LABELS[1], name)];
    for (label, value) in expected {
        let field = format!("spec.template.metadata.labels[{label}]");
        let why = format!("must be '{value}'");
        match read::entry(new, "/spec/template/metadata/labels", label) {
            None => errors.required(field, &why),
            Some(found) if found != value => {
                let labels = new.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
                errors.invalid(field, labels, &why);
            }
            Some(_) => {}
        }
    }
    let selector = new.pointer("/spec/selector").cloned().unwrap_or_default();
    if label_selector::matches(&selector, &expected) == Some(false) {
        errors.invalid("spec.selector", selector, "`selector` not auto-generated");
    }
}

fn spec(errors: &mut FieldErrors, new: &Value) {
    for count in COUNTS {
        nonnegative(errors, &format!("spec.{count}"), new, &format!("/spec/{count}"));
    }
    let present = |member: &str| read::present(new, &format!("/spec/{member}"));
    if present("maxFailedIndexes") && !present("backoffLimitPerIndex") {
        errors.required("spec.backoffLimitPerIndex", "when maxFailedIndexes is specified");
    }
    managed_by(errors, new);
    match read::text(new, "/spec/completionMode") {
        "Indexed" => indexed(errors, new),
        mode => {
            if mode != "NonIndexed" {
                errors.not_supported("spec.completionMode", mode, &["NonIndexed", "Indexed"]);
            }
            for member in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(value) = read::int(new, &format!("/spec/{member}")) {
                    errors.invalid(format!("spec.{member}"), value, "requires indexed completion mode");
                }
            }
        }
    }
    policies::validate(errors, new);
}

fn managed_by(errors: &mut FieldErrors, new: &Value) {
    let field = "spec.managedBy";
    if !read::present(new, "/spec/managedBy") {
        return;
    }
    let manager = read::text(new, "/spec/managedBy");
    match manager.split_once('/') {
        _ if manager.is_empty() => errors.required(field, ""),
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            for problem in names::dns1123_subdomain(domain) {
                errors.invalid(field, domain, &problem);
            }
        }
        _ => errors.invalid(field, manager, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
    if manager.len() > 63 {
        errors.too_long(field, 63);
    }
}

fn indexed(errors: &mut FieldErrors, new: &Value) {
    let count = |member: &str| read::int(new, &format!("/spec/{member}"));
    let Some(completions) = count("completions") else {
        errors.required("spec.completions", "when completion mode is Indexed");
        return;
    };
    let at_most = |errors: &mut FieldErrors, member: &str, most: i64, rest: &str| {
        if let Some(value) = count(member).filter(|value| *value > most) {
            errors.invalid(format!("spec.{member}"), value, &format!("must be less than or equal to {most}{rest}"));
        }
    };
    at_most(errors, "parallelism", 100_000, " when completion mode is Indexed");
    if let Some(failed) = count("maxFailedIndexes").filter(|failed| *failed > completions) {
        errors.invalid("spec.maxFailedIndexes", failed, "must be less than or equal to completions");
    }
    at_most(errors, "maxFailedIndexes", 100_000, "");
    if completions > MANY_COMPLETIONS && count("backoffLimitPerIndex").is_some() {
        if count("maxFailedIndexes").is_none() {
            let why = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errors.required("spec.maxFailedIndexes", &why);
        }
        let rest = format!(" when completions are above {MANY_COMPLETIONS} and used with backoff limit per index");
        at_most(errors, "parallelism", MANY_PARALLEL, &rest);
        at_most(errors, "maxFailedIndexes", MANY_PARALLEL, &rest);
    }
}

fn restart_policy(errors: &mut FieldErrors, new: &Value) {
    let field = "spec.template.spec.restartPolicy";
    match read::text(new, "/spec/template/spec/restartPolicy") {
        "" | "Always" => errors.required(field, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        "OnFailure" if read::present(new, "/spec/podFailurePolicy") => {
            errors.invalid(field, "OnFailure", "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" => {}
        other => errors.not_supported(field, other, &["Never", "OnFailure"]),
    }
}

fn update(errors: &mut FieldErrors, new: &Value, old: &Value, indexed: bool) {
    if !indexed {
        immutable(errors, "spec.completions", new, old, "/spec/completions");
    } else if !read::same(new, old, "/spec/completions")
        && let Some(completions) = read::int(new, "/spec/completions")
        && read::int(new, "/spec/parallelism") != Some(completions)
    {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.invalid("spec.completions", completions, why);
    }
    immutable(errors, "spec.selector", new, old, "/spec/selector");
    template_update(errors, new, old);
    for member in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        immutable(errors, &format!("spec.{member}"), new, old, &format!("/spec/{member}"));
    }
}

/// A suspended Job without pods may still change where its pods run and how much they ask for.
fn template_update(errors: &mut FieldErrors, new: &Value, old: &Value) {
    let idle = read::int(old, "/status/active").unwrap_or(0) == 0
        && (!read::present(old, "/status/startTime") || is_true(old, "Suspended"));
    let mut free = old.clone();
    if read::flag(old, "/spec/suspend") && idle {
        let members = [
            "metadata/labels",
            "metadata/annotations",
            "spec/nodeSelector",
            "spec/tolerations",
            "spec/schedulingGates",
            "spec/affinity/nodeAffinity",
        ];
        for member in members {
            read::copy(&mut free, new, &format!("/spec/template/{member}"));
        }
        for list in ["containers", "initContainers"] {
            let pointer = format!("/spec/template/spec/{list}");
            let wanted = read::list(new, &pointer).to_vec();
            for (container, wanted) in read::list_mut(&mut free, &pointer).iter_mut().zip(&wanted) {
                if read::same(container, wanted, "/name") {
                    read::copy(container, wanted, "/resources");
                }
            }
        }
    }
    immutable(errors, "spec.template", new, &free, "/spec/template");
}
