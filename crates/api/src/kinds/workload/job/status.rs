//! Turns the reported status of a Job into what is wrong with it: a finished Job stays finished.

use serde_json::Value;

use super::super::template;
use super::{is_finished, is_true};
use crate::field::{Fault, FieldErrors};
use crate::kinds::read;

const TERMINAL: [&str; 4] = ["Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"];

pub(super) fn validate(errors: &mut FieldErrors, new: &Value, old: Option<&Value>) {
    let counters = ["active", "succeeded", "failed", "ready", "terminating"];
    template::validate_status(errors, new, &counters, &[]);
    together(errors, new);
    let finished = is_finished(new);
    let count = |object: &Value, name: &str| read::int(object, &format!("/status/{name}")).unwrap_or(0);
    for name in ["active", "terminating"] {
        if finished && count(new, name) > 0 {
            errors.invalid(
                format!("status.{name}"),
                count(new, name),
                &format!("{name}>0 is invalid for finished job"),
            );
        }
    }
    if count(new, "ready") > count(new, "active") {
        errors.invalid("status.ready", count(new, "ready"), "cannot set more ready pods than active");
    }
    times(errors, new, finished);
    // After a scale down, what is stored may be too much: only what changes is checked.
    let changed = old.is_none_or(|old| !read::same(new, old, "/status/completedIndexes"));
    let completed = if changed { read::text(new, "/status/completedIndexes") } else { "" };
    if read::text(new, "/spec/completionMode") == "Indexed" {
        if let Err(why) = indexes(completed, count_of(new, "/spec/completions")) {
            errors.invalid("status.completedIndexes", completed, &format!("error parsing completedIndexes: {why}"));
        }
    } else if !completed.is_empty() {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid("status.completedIndexes", completed, why);
    }
    if let Some(old) = old {
        update(errors, new, old);
    }
}

fn count_of(object: &Value, pointer: &str) -> i64 {
    read::int(object, pointer).unwrap_or(0)
}

fn conditions(errors: &mut FieldErrors, why: &str) {
    errors.push(Fault::Invalid, "status.conditions", format!("Invalid value: {why}"));
}

/// Conditions that exclude or need each other.
fn together(errors: &mut FieldErrors, new: &Value) {
    let is = |condition| is_true(new, condition);
    let table = [
        (is("Complete") && is("Failed"), "cannot set Complete=True and Failed=true conditions"),
        (is("Complete") && is("FailureTarget"), "cannot set Complete=True and FailureTarget=true conditions"),
        (
            is("Failed") && !is("FailureTarget"),
            "cannot set Failed=True condition without the FailureTarget=true condition",
        ),
        (
            is("Complete") && !is("SuccessCriteriaMet"),
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (is("SuccessCriteriaMet") && is("Failed"), "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (
            is("SuccessCriteriaMet") && is("FailureTarget"),
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
    ];
    for (_, why) in table.iter().filter(|(wrong, _)| *wrong) {
        conditions(errors, why);
    }
}

fn times(errors: &mut FieldErrors, new: &Value, finished: bool) {
    let [start, end] = ["/status/startTime", "/status/completionTime"].map(|pointer| read::text(new, pointer));
    let complete = is_true(new, "Complete");
    if complete && end.is_empty() {
        errors.required("status.completionTime", "completionTime is required for Complete jobs");
    }
    if !complete && !end.is_empty() {
        let why = "cannot set completionTime when there is no Complete=True condition";
        errors.invalid("status.completionTime", end, why);
    }
    // Both are RFC 3339 in UTC, where the order of the texts is the order of the times.
    if !start.is_empty() && !end.is_empty() && end < start {
        errors.invalid("status.completionTime", end, "must be equal to or after `startTime`");
    }
    let suspended = read::flag(new, "/spec/suspend") && read::int(new, "/spec/completions") == Some(0);
    if finished && start.is_empty() && !suspended {
        errors.required("status.startTime", "startTime is required for finished job");
    }
}

fn update(errors: &mut FieldErrors, new: &Value, old: &Value) {
    for condition in TERMINAL {
        if is_true(old, condition) && !is_true(new, condition) {
            let terminal = if condition == "SuccessCriteriaMet" { "" } else { "terminal " };
            conditions(errors, &format!("cannot disable the {terminal}{condition}=True condition"));
        }
    }
    let counts = |name: &str| [new, old].map(|object| count_of(object, &format!("/status/{name}")));
    let scalable = read::text(new, "/spec/completionMode") == "Indexed" && {
        count_of(new, "/spec/completions") == count_of(new, "/spec/parallelism")
    };
    for (counter, fixed) in [("failed", true), ("succeeded", !scalable)] {
        let [new, old] = counts(counter);
        if fixed && new < old {
            errors.invalid(format!("status.{counter}"), new, &format!("cannot decrease the {counter} counter"));
        }
    }
}

/// How many indexes a text such as `0,3-5,7` names; the error says why it names none.
pub(super) fn indexes(text: &str, completions: i64) -> Result<i64, String> {
    let mut total = 0;
    let mut last: Option<i64> = None;
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let limits: Vec<&str> = interval.split('-').collect();
        let number = |text: &str| {
            let why = "cannot convert string to integer for index";
            text.parse::<i64>().ok().filter(|number| *number >= 0).ok_or_else(|| format!("{why}: {text:?}"))
        };
        let (first, end) = match limits.as_slice() {
            [one] => (number(one)?, number(one)?),
            [first, end] => (number(first)?, number(end)?),
            _ => {
                return Err(format!(
                    "the fragment {interval:?} violates the requirement that an index interval can have at most two parts separated by '-'"
                ));
            }
        };
        if limits.len() == 2 && first >= end {
            return Err(format!("non-increasing order, previous: {first}, current: {end}"));
        }
        if let Some(index) = [first, end].into_iter().find(|index| *index >= completions) {
            return Err(format!("too large index: \"{index}\""));
        }
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}
