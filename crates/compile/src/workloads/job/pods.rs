//! Turns a Job and how far it is into the pods to create and to delete now.

use std::collections::BTreeSet;

use api::kinds::{JOB, POD};
use serde_json::{Value, json};

use super::tally::{TRACKING, Tally};
use super::{Job, time};
use crate::workloads::{Decision, Now, Pod, replica_set, template};
use crate::write::Write;

/// Label and annotation with the index of a pod.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Most pods created in one decision.
const BURST_MAX: i64 = 500;
/// Pause after the first failure, in seconds; each further one doubles it.
const BACKOFF_FIRST: i64 = 10;
/// Longest pause.
const BACKOFF_MOST: i64 = 600;

/// Deletes a pod of the Job.
pub(super) fn delete(job: &Job, pod: &Pod, writes: &mut Vec<Write>) {
    let message = format!("Deleted pod: {}", pod.meta.name);
    let mut target = pod.target();
    // Any version of this pod will do: only a newer decision could spare it, and none is made meanwhile.
    target.revision = None;
    let note = Some(job.meta.note(&JOB, "SuccessfulDelete", message));
    writes.push(Write::Delete { target, propagation: Some("Background"), note });
}

/// Takes back a pod that is no longer wanted: it did not fail, so it is not counted.
pub(super) fn dismiss(job: &Job, pod: &Pod, writes: &mut Vec<Write>) {
    writes.extend(super::tally::release_orphan(pod));
    delete(job, pod, writes);
}

/// Creates and deletes until as many pods are active as should be; returns how many are then.
pub(super) fn resize(job: &Job, tally: &Tally<'_>, mine: &[&Pod], now: &Now, decision: &mut Decision) -> i64 {
    let parallelism = job.spec.parallelism.unwrap_or(1).max(0);
    let active = i64::try_from(tally.active.len()).unwrap_or(i64::MAX);
    let wanted = match job.spec.completions {
        // The first success of a work queue says that the queue is empty: nothing new is started.
        None if tally.succeeded > 0 => active.min(parallelism),
        None => parallelism,
        Some(completions) => parallelism.min((completions - tally.succeeded).max(0)),
    };
    let doomed = superfluous(job, tally, wanted, now);
    for pod in tally.active.iter().filter(|pod| doomed.contains(&*pod.meta.uid)) {
        dismiss(job, pod, &mut decision.writes);
    }
    let left = active - i64::try_from(doomed.len()).unwrap_or(0);
    let waiting = if job.replaces_late() { tally.terminating } else { 0 };
    let lacking = (wanted - left - waiting).min(BURST_MAX);
    if lacking <= 0 {
        return left;
    }
    let pause = pause(mine, now);
    if pause > 0 {
        decision.sooner(pause);
        return left;
    }
    let indexes = free_indexes(job, tally, mine, &doomed, lacking);
    for index in &indexes {
        let note = job.meta.note(&JOB, "SuccessfulCreate", "Created pod: {name}".to_owned());
        decision.writes.push(Write::Create { kind: &POD, object: pod(job, *index), note: Some(note) });
    }
    left
}

/// Uids of active pods that are too many: those whose index is done, odd or taken first, then the least useful.
fn superfluous<'a>(job: &Job, tally: &Tally<'a>, wanted: i64, now: &Now) -> BTreeSet<&'a str> {
    let mut ranked = tally.active.clone();
    ranked.sort_by_key(|pod| std::cmp::Reverse(replica_set::rank(pod, now)));
    let mut taken = BTreeSet::new();
    let limit = job.spec.completions.unwrap_or(0);
    let fits = |pod: &&&Pod| {
        let index =
            pod.completion_index.filter(|index| (0..limit).contains(index) && !tally.completed.contains(*index));
        !job.indexed() || index.is_some_and(|index| taken.insert(index))
    };
    let kept: BTreeSet<&str> =
        ranked.iter().filter(fits).take(usize::try_from(wanted).unwrap_or(0)).map(|pod| &*pod.meta.uid).collect();
    tally.active.iter().map(|pod| &*pod.meta.uid).filter(|uid| !kept.contains(uid)).collect()
}

/// The lowest indexes that nobody works on; nothing but their number matters without indexes.
fn free_indexes(
    job: &Job,
    tally: &Tally<'_>,
    mine: &[&Pod],
    doomed: &BTreeSet<&str>,
    lacking: i64,
) -> Vec<Option<i64>> {
    let count = usize::try_from(lacking).unwrap_or(0);
    if !job.indexed() {
        return vec![None; count];
    }
    let busy = |pod: &&&Pod| {
        let leaving = job.replaces_late() && pod.meta.deleting() && !pod.finished();
        leaving || (pod.active() && !doomed.contains(&*pod.meta.uid))
    };
    let busy: BTreeSet<i64> = mine.iter().filter(busy).filter_map(|pod| pod.completion_index).collect();
    let missing = tally.completed.missing(job.spec.completions.unwrap_or(0));
    missing.filter(|index| !busy.contains(index)).take(count).map(Some).collect()
}

/// Seconds to wait before another pod is made: longer with each failure since the last success.
fn pause(mine: &[&Pod], now: &Now) -> i64 {
    let end =
        |pod: &Pod| pod.finished_at.or_else(|| time::seconds(&pod.meta.creation_timestamp)).unwrap_or(now.seconds);
    let ends = |phase: &'static str| mine.iter().filter(move |pod| &*pod.phase == phase).map(move |pod| end(pod));
    let success = ends("Succeeded").max().unwrap_or(i64::MIN);
    let failures: Vec<i64> = ends("Failed").filter(|end| *end > success).collect();
    let Some(last) = failures.iter().max() else { return 0 };
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(10);
    let pause = (BACKOFF_FIRST << doublings).min(BACKOFF_MOST);
    (last + pause - now.seconds).max(0)
}

fn pod(job: &Job, index: Option<i64>) -> Value {
    let mut pod = template::pod(&job.spec.template, &job.meta, &JOB, None);
    let metadata = &mut pod["metadata"];
    if !metadata["finalizers"].is_array() {
        metadata["finalizers"] = json!([]);
    }
    if let Some(list) = metadata["finalizers"].as_array_mut() {
        list.push(json!(TRACKING));
    }
    let Some(index) = index else { return pod };
    metadata["generateName"] = json!(format!("{}-{index}-", job.meta.name));
    metadata["labels"][INDEX] = json!(index.to_string());
    metadata["annotations"][INDEX] = json!(index.to_string());
    pod["spec"]["hostname"] = json!(format!("{}-{index}", job.meta.name));
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            number(container);
        }
    }
    pod
}

/// Tells a container its index.
fn number(container: &mut Value) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    if !container["env"].is_array() {
        container["env"] = json!([]);
    }
    let Some(list) = container["env"].as_array_mut() else { return };
    if !list.iter().any(|variable| variable["name"] == NAME) {
        let path = format!("metadata.labels['{INDEX}']");
        list.push(json!({ "name": NAME, "valueFrom": { "fieldRef": { "fieldPath": path } } }));
    }
}
