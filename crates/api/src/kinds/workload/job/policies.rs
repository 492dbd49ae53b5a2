//! Turns the policies of a Job (when pods are replaced, which failures count, what is enough) into what is wrong with them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::amount;
use super::status::indexes;
use crate::field::{Fault, FieldErrors};
use crate::kinds::check::{invalid_each, nonnegative};
use crate::kinds::read;
use crate::names;

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];
const RULES_MAX: usize = 20;

pub(super) fn validate(errors: &mut FieldErrors, new: &Value) {
    let failure = read::present(new, "/spec/podFailurePolicy");
    if failure {
        let rules = read::list(new, "/spec/podFailurePolicy/rules");
        if rules.len() > RULES_MAX {
            errors.too_many("spec.podFailurePolicy.rules", rules.len(), RULES_MAX);
        }
        for (i, rule) in rules.iter().enumerate() {
            failure_rule(errors, new, rule, &format!("spec.podFailurePolicy.rules[{i}]"));
        }
    }
    if read::present(new, "/spec/successPolicy") {
        if read::text(new, "/spec/completionMode") == "Indexed" {
            success(errors, new);
        } else {
            let members = [("SucceededIndexes", "succeededIndexes"), ("SucceededCount", "succeededCount")];
            let rules = read::list(new, "/spec/successPolicy/rules").iter();
            let rules: Vec<_> = rules.map(|rule| amount::shown(Some(rule), &members)).collect();
            let value = format!("{{\"Rules\":[{}]}}", rules.join(","));
            let text = format!("Invalid value: {value}: requires indexed completion mode");
            errors.push(Fault::Invalid, "spec.successPolicy", text);
        }
    }
    let supported: &[&str] = if failure { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    let replacement = read::text(new, "/spec/podReplacementPolicy");
    if read::present(new, "/spec/podReplacementPolicy") && !supported.contains(&replacement) {
        errors.not_supported("spec.podReplacementPolicy", replacement, supported);
    }
}

fn quoted(values: &[&str]) -> String {
    let values: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", values.join(" "))
}

fn failure_rule(errors: &mut FieldErrors, new: &Value, rule: &Value, field: &str) {
    match read::text(rule, "/action") {
        "" => errors.required(format!("{field}.action"), &quoted(ACTIONS)),
        "FailIndex" if !read::present(new, "/spec/backoffLimitPerIndex") => {
            let why = "requires the backoffLimitPerIndex to be set";
            errors.invalid(format!("{field}.action"), "FailIndex", why);
        }
        action if !ACTIONS.contains(&action) => errors.not_supported(format!("{field}.action"), action, ACTIONS),
        _ => {}
    }
    let codes = rule.get("onExitCodes").filter(|codes| !codes.is_null());
    let patterns = read::list(rule, "/onPodConditions");
    if let Some(codes) = codes {
        exit_codes(errors, new, codes, &format!("{field}.onExitCodes"));
    }
    for (i, pattern) in patterns.iter().enumerate() {
        let field = format!("{field}.onPodConditions[{i}]");
        let r#type = read::text(pattern, "/type");
        invalid_each(errors, &format!("{field}.type"), r#type, names::qualified_name(r#type));
        match read::text(pattern, "/status") {
            "" => errors.required(format!("{field}.status"), &quoted(STATUSES)),
            status if !STATUSES.contains(&status) => {
                errors.not_supported(format!("{field}.status"), status, STATUSES);
            }
            _ => {}
        }
    }
    let how_many = match (codes.is_some(), patterns.is_empty()) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errors.push(Fault::Invalid, field, format!("Invalid value: {how_many}"));
}

fn exit_codes(errors: &mut FieldErrors, new: &Value, codes: &Value, field: &str) {
    let operator = read::text(codes, "/operator");
    match operator {
        "" => errors.required(format!("{field}.operator"), &quoted(&["In", "NotIn"])),
        "In" | "NotIn" => {}
        other => errors.not_supported(format!("{field}.operator"), other, &["In", "NotIn"]),
    }
    if read::present(codes, "/containerName") {
        let name = read::text(codes, "/containerName");
        let lists = ["/spec/template/spec/containers", "/spec/template/spec/initContainers"];
        let mut names = lists.iter().flat_map(|list| read::list(new, list)).map(|it| read::text(it, "/name"));
        if !names.any(|known| known == name) {
            let why = "must be one of the container or initContainer names in the pod template";
            errors.invalid(format!("{field}.containerName"), name, why);
        }
    }
    let values: Vec<i64> = read::list(codes, "/values").iter().filter_map(Value::as_i64).collect();
    let field = format!("{field}.values");
    match values.len() {
        0 => errors.invalid(&field, values.clone(), "at least one value is required"),
        many @ 256.. => errors.too_many(&field, many, 255),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (i, value) in values.iter().enumerate() {
        if operator == "In" && *value == 0 {
            errors.invalid(format!("{field}[{i}]"), 0, "must not be 0 for the In operator");
        }
        if !seen.insert(value) {
            errors.duplicate(format!("{field}[{i}]"), *value);
        }
    }
    if !values.is_sorted() {
        errors.invalid(field, values, "must be ordered");
    }
}

fn success(errors: &mut FieldErrors, new: &Value) {
    let rules = read::list(new, "/spec/successPolicy/rules");
    let field = "spec.successPolicy.rules";
    if rules.is_empty() {
        errors.required(field, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_MAX {
        errors.too_many(field, rules.len(), RULES_MAX);
    }
    let completions = read::int(new, "/spec/completions").unwrap_or(0);
    for (i, rule) in rules.iter().enumerate() {
        success_rule(errors, rule, &format!("{field}[{i}]"), completions);
    }
}

fn success_rule(errors: &mut FieldErrors, rule: &Value, field: &str, completions: i64) {
    let chosen = rule.get("succeededIndexes").and_then(Value::as_str);
    let count = read::int(rule, "/succeededCount");
    if chosen.is_none() && count.is_none() {
        errors.required(field, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if let Some(text) = chosen {
        match indexes(text, completions) {
            Ok(found) => total = found,
            Err(why) => {
                let why = format!("error parsing succeededIndexes: {why}");
                errors.invalid(format!("{field}.succeededIndexes"), text, &why);
            }
        }
    }
    let Some(count) = count else { return };
    let path = format!("{field}.succeededCount");
    nonnegative(errors, &path, rule, "/succeededCount");
    let limits = [
        (completions, true, "(the number of specified completions)"),
        (total, chosen.is_some(), "(the number of indexes in the specified succeededIndexes field)"),
    ];
    for (most, applies, what) in limits {
        if applies && count > most {
            errors.invalid(&path, count, &format!("must be less than or equal to {most} {what}"));
        }
    }
}
