//! Turns a ReplicaSet and its pods into writes: pods created and deleted until their number is as wanted, then status.

use api::kinds::{POD, REPLICA_SET};
use serde_json::{Value, json};

use super::objects::{Pod, ReplicaSet, ReplicaSetStatus};
use super::{Decision, Now, template};
use crate::snapshot::Labels;
use crate::write::{Edit, Note, Write};

/// Most pods created or deleted in one decision; the next one, made on what came of it, continues.
pub const BURST_MAX: usize = 500;

/// What to do about `set`. `pods` are those of its namespace that it controls or that nobody controls.
pub fn reconcile(set: &ReplicaSet, pods: &[&Pod], now: &Now) -> Decision {
    let mut decision = Decision::default();
    let mut mine: Vec<&Pod> = Vec::new();
    for pod in pods {
        let owned = pod.meta.controller().is_some_and(|owner| owner.uid == set.meta.uid);
        let selected = set.selector.matches(&pod.meta.labels);
        if owned && selected {
            mine.push(pod);
        } else if owned && !set.meta.deleting() {
            let edit = Edit::Disown(vec![set.meta.uid.clone()]);
            decision.writes.push(Write::Edit { target: pod.target(), edit, note: None });
        } else if selected && pod.meta.controller().is_none() && pod.active() && !set.meta.deleting() {
            let edit = Edit::Own(set.meta.owner_reference(&REPLICA_SET));
            decision.writes.push(Write::Edit { target: pod.target(), edit, note: None });
            mine.push(pod);
        }
    }
    let active: Vec<&Pod> = mine.into_iter().filter(|pod| pod.active()).collect();
    if !set.meta.deleting() {
        resize(set, &active, now, &mut decision);
    }
    let status = status(set, &active, now, &mut decision);
    if status != set.status {
        let write = Write::Status { target: set.target(), status: status_json(&status) };
        // Status first: the target names the revision that this decision read.
        decision.writes.insert(0, write);
    }
    decision
}

fn resize(set: &ReplicaSet, active: &[&Pod], now: &Now, decision: &mut Decision) {
    let have = active.len();
    let want = usize::try_from(set.replicas).unwrap_or(0);
    for _ in have..want.min(have + BURST_MAX) {
        decision.writes.push(create(set));
    }
    if have > want {
        let mut ranked = active.to_vec();
        ranked.sort_by_key(|pod| rank(pod, now));
        for pod in ranked.into_iter().take((have - want).min(BURST_MAX)) {
            let message = format!("Deleted pod: {}", pod.meta.name);
            let mut target = pod.target();
            // Any version of this pod will do: only a newer decision could spare it, and none is made meanwhile.
            target.revision = None;
            let note = Some(set.meta.note(&REPLICA_SET, "SuccessfulDelete", message));
            decision.writes.push(Write::Delete { target, propagation: Some("Background"), note });
        }
    }
}

/// Who goes first: not bound, not running, not ready, cheap, ready or created late, restarted often.
pub(super) fn rank(pod: &Pod, now: &Now) -> impl Ord + use<> {
    let phase = match &*pod.phase {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    let ready_for = pod.ready_since.map_or(0, |since| now.seconds - since);
    let created = super::time::seconds(&pod.meta.creation_timestamp).unwrap_or(now.seconds);
    let age = now.seconds - created;
    (pod.node.is_some(), phase, pod.ready, pod.deletion_cost, ready_for, -pod.restarts, age, pod.meta.name.clone())
}

fn create(set: &ReplicaSet) -> Write {
    let object = template::pod(&set.template, &set.meta, &REPLICA_SET, None);
    let note: Note = set.meta.note(&REPLICA_SET, "SuccessfulCreate", "Created pod: {name}".to_owned());
    Write::Create { kind: &POD, object, note: Some(note) }
}

fn status(set: &ReplicaSet, active: &[&Pod], now: &Now, decision: &mut Decision) -> ReplicaSetStatus {
    let template_labels: Labels =
        serde_json::from_value(set.template["metadata"]["labels"].clone()).unwrap_or_default();
    let mut status = ReplicaSetStatus { observed_generation: set.meta.generation, ..ReplicaSetStatus::default() };
    for pod in active {
        status.replicas += 1;
        let labelled = template_labels.iter().all(|(name, value)| pod.meta.labels.get(name) == Some(value));
        status.fully_labeled_replicas += i64::from(labelled);
        status.ready_replicas += i64::from(pod.ready);
        match pod.available_in(set.min_ready_seconds, now) {
            Some(0) => status.available_replicas += 1,
            Some(seconds) => decision.sooner(seconds),
            None => {}
        }
    }
    status
}

/// As Kubernetes prints it: zero counts are left out, except `replicas`.
fn status_json(status: &ReplicaSetStatus) -> Value {
    let mut json = json!({ "replicas": status.replicas, "observedGeneration": status.observed_generation });
    let counts = [
        ("fullyLabeledReplicas", status.fully_labeled_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
        json[name] = json!(count);
    }
    json
}
