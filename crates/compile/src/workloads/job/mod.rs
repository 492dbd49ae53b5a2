//! Turns a Job and its pods into writes: pods until enough have succeeded, or too many failed, or time is up.

mod indexes;
mod object;
mod pods;
mod tally;

use api::kinds::JOB;

use super::claim::Owner;
use super::objects::Pod;
use super::{Decision, Now, time};
use crate::write::{Note, Write};

use indexes::Indexes;
pub use object::{Condition, Job, Status, Uncounted};
pub use tally::{TRACKING, release_orphan};
use tally::{Tally, release, tally};

/// Why a Job is over.
struct End {
    reason: String,
    message: String,
    failed: bool,
}

/// What to do about `job`. `pods` are those of its namespace that it controls or that nobody controls.
pub fn reconcile(job: &Job, pods: &[&Pod], now: &Now) -> Decision {
    let mut decision = Decision::default();
    if job.foreign() {
        return decision;
    }
    let owner = Owner { meta: &job.meta, kind: &JOB, selector: &job.spec.selector };
    let mut claims = Vec::new();
    let mine = owner.pods(pods, |_| true, &mut claims);
    if job.meta.deleting() {
        release(&mine, &Uncounted::default(), true, &mut decision.writes);
        return decision;
    }
    if let Some(end) = job.status.finished_at() {
        release(&mine, &Uncounted::default(), true, &mut decision.writes);
        expire(job, end, now, &mut decision);
        return decision;
    }
    decision.writes = claims;
    let tally = tally(job, &mine);
    let mut status = job.status.clone();
    start(job, &mut status, now, &mut decision);
    let end = end(job, &tally, &status, now, &mut decision);
    let mut changes = Decision::default();
    let active = if end.is_some() {
        tally.active.iter().for_each(|pod| pods::delete(job, pod, &mut changes.writes));
        0
    } else if job.spec.suspend {
        tally.active.iter().for_each(|pod| pods::dismiss(job, pod, &mut changes.writes));
        0
    } else {
        pods::resize(job, &tally, &mine, now, &mut changes)
    };
    fill(job, &mut status, &tally, active);
    let note = end.and_then(|end| close(job, &mut status, &tally, &end, now));
    if status != job.status {
        decision.writes.push(Write::Status { target: job.target(), status: status.json() });
    }
    decision.writes.extend(note.map(Write::Note));
    // Only what the status above has written down is let go.
    release(&mine, &tally.uncounted, false, &mut decision.writes);
    decision.writes.append(&mut changes.writes);
    if let Some(seconds) = changes.again_after {
        decision.sooner(seconds);
    }
    decision
}

/// Starts, suspends and resumes.
fn start(job: &Job, status: &mut Status, now: &Now, decision: &mut Decision) {
    let suspended = status.condition("Suspended").is_some();
    if job.spec.suspend {
        if !suspended {
            status.put("Suspended", "True", "JobSuspended", "Job suspended", now);
            let note = job.meta.note(&JOB, "Suspended", "Job suspended".to_owned());
            decision.writes.push(Write::Note(note));
        }
        return;
    }
    if suspended {
        status.put("Suspended", "False", "JobResumed", "Job resumed", now);
        let note = job.meta.note(&JOB, "Resumed", "Job resumed".to_owned());
        decision.writes.push(Write::Note(note));
    }
    if suspended || status.start_time.is_none() {
        status.start_time = Some(now.text.clone());
    }
}

/// Whether the Job is over, and why. What was said once holds.
fn end(job: &Job, tally: &Tally<'_>, status: &Status, now: &Now, decision: &mut Decision) -> Option<End> {
    for (r#type, failed) in [("FailureTarget", true), ("SuccessCriteriaMet", false)] {
        if let Some(condition) = status.condition(r#type) {
            let (reason, message) = (condition.reason.clone(), condition.message.clone());
            return Some(End { reason, message, failed });
        }
    }
    let over = |reason: &str, message: &str, failed| {
        Some(End { reason: reason.to_owned(), message: message.to_owned(), failed })
    };
    let limit = job.spec.backoff_limit.unwrap_or(6);
    if tally.failed > limit || restarted_too_often(job, tally, limit) {
        return over("BackoffLimitExceeded", "Job has reached the specified backoff limit", true);
    }
    let since = status.start_time.as_deref().and_then(time::seconds);
    if let (Some(deadline), Some(since), false) = (job.spec.active_deadline_seconds, since, job.spec.suspend) {
        let left = since.saturating_add(deadline).saturating_sub(now.seconds);
        if left <= 0 {
            return over("DeadlineExceeded", "Job was active longer than specified deadline", true);
        }
        decision.sooner(left);
    }
    if let Some(index) = satisfied(job, tally) {
        return over("SuccessPolicy", &format!("Matched rules at index {index}"), false);
    }
    let enough = match job.spec.completions {
        Some(completions) => tally.succeeded >= completions,
        None => tally.succeeded > 0,
    };
    if enough && tally.active.is_empty() {
        return over("CompletionsReached", "Reached expected number of succeeded pods", false);
    }
    None
}

/// The first rule of `spec.successPolicy` that holds.
fn satisfied(job: &Job, tally: &Tally<'_>) -> Option<usize> {
    let policy = job.spec.success_policy.as_ref().filter(|_| job.indexed())?;
    let limit = job.spec.completions.unwrap_or(0);
    policy.rules.iter().position(|rule| {
        let chosen = rule.succeeded_indexes.as_deref().map(|text| Indexes::parse(text, limit));
        let done = chosen.as_ref().map_or_else(|| tally.completed.count(), |chosen| chosen.common(&tally.completed));
        let needed = rule.succeeded_count.or_else(|| chosen.map(|chosen| chosen.count()));
        needed.is_some_and(|needed| done >= needed)
    })
}

/// Pods that restart in place count by their restarts.
fn restarted_too_often(job: &Job, tally: &Tally<'_>, limit: i64) -> bool {
    if job.spec.template["spec"]["restartPolicy"] != "OnFailure" {
        return false;
    }
    let restarts: i64 = tally.active.iter().map(|pod| pod.restarts).sum();
    restarts > 0 && restarts >= limit
}

fn fill(job: &Job, status: &mut Status, tally: &Tally<'_>, active: i64) {
    let ready = tally.active.iter().filter(|pod| pod.ready).count();
    status.active = active;
    status.ready = Some(i64::try_from(ready).unwrap_or(i64::MAX).min(active));
    status.terminating = Some(tally.terminating);
    (status.succeeded, status.failed) = tally.counters;
    status.uncounted_terminated_pods = Some(tally.uncounted.clone());
    if job.indexed() {
        status.completed_indexes = tally.completed.text();
    }
}

/// First what the end will be, then, when every pod is counted and gone, the end.
fn close(job: &Job, status: &mut Status, tally: &Tally<'_>, end: &End, now: &Now) -> Option<Note> {
    let (first, last) = if end.failed { ("FailureTarget", "Failed") } else { ("SuccessCriteriaMet", "Complete") };
    status.put(first, "True", &end.reason, &end.message, now);
    let idle = tally.active.is_empty() && tally.terminating == 0;
    if !idle || !tally.settled() {
        return None;
    }
    status.put(last, "True", &end.reason, &end.message, now);
    if end.failed {
        let reason = if end.reason == "DeadlineExceeded" { "DeadlineExceeded" } else { "BackoffLimitExceeded" };
        let note = job.meta.note(&JOB, reason, end.message.clone());
        return Some(Note { warning: true, ..note });
    }
    status.completion_time = Some(now.text.clone());
    Some(job.meta.note(&JOB, "Completed", "Job completed".to_owned()))
}

/// Deletes a Job that ended long enough ago.
fn expire(job: &Job, end: i64, now: &Now, decision: &mut Decision) {
    let Some(ttl) = job.spec.ttl_seconds_after_finished else { return };
    let left = end.saturating_add(ttl).saturating_sub(now.seconds);
    if left > 0 {
        decision.sooner(left);
    } else {
        decision.writes.push(Write::Delete { target: job.target(), propagation: Some("Foreground"), note: None });
    }
}
