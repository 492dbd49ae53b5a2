//! Turns a Deployment and its ReplicaSets into writes: one step of a rollout, then the status that tells about it.

use std::collections::BTreeMap;

use api::kinds::{DEPLOYMENT, REPLICA_SET};
use serde_json::json;

use super::objects::{Deployment, ReplicaSet};
use super::{Decision, Now, revision, rolling, scale, status};
use crate::write::{Edit, Write};

/// A ReplicaSet of the Deployment while a step is being worked out.
#[derive(Clone, Debug)]
pub(super) struct Member<'a> {
    /// As stored.
    pub set: &'a ReplicaSet,
    /// Wanted pods after this step.
    pub replicas: i64,
    /// Annotations to write.
    pub annotations: BTreeMap<String, String>,
    /// It has the newest template.
    pub newest: bool,
}

/// A step being worked out.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// Its ReplicaSets, oldest first.
    pub members: Vec<Member<'a>>,
    /// Name and size of a ReplicaSet that this step creates.
    pub created: Option<(String, i64)>,
    /// Writes so far.
    pub writes: Vec<Write>,
    /// Occurrences of a taken name, when it grew.
    pub collisions: Option<i64>,
}

/// What to do about `deployment`. `sets` are the ReplicaSets of its namespace; `live_pods` counts the pods of the
/// ReplicaSet with a uid that have not finished, those on their way out included.
pub fn reconcile(
    deployment: &Deployment,
    sets: &[&ReplicaSet],
    live_pods: &dyn Fn(&str) -> usize,
    now: &Now,
) -> Decision {
    let mut decision = Decision::default();
    let mut step = claim(deployment, sets);
    let rollout = if deployment.meta.deleting() {
        false
    } else if deployment.paused || scaling(&step) {
        revision::annotate(&mut step);
        scale::scale(&mut step);
        false
    } else {
        roll(&mut step, sets, live_pods);
        true
    };
    let stored = settle(&mut step);
    if !stored {
        // The Deployment itself was written: its status waits for the decision made on the version that comes of it.
        let wanted = status::of(&step, rollout, now, &mut decision);
        if wanted != deployment.status {
            let write = Write::Status { target: deployment.target(), status: status::json(&wanted) };
            step.writes.push(write);
        }
    }
    decision.writes = step.writes;
    decision
}

/// Takes the ReplicaSets that match and are nobody's, lets go of those that no longer match.
fn claim<'a>(deployment: &'a Deployment, sets: &[&'a ReplicaSet]) -> Step<'a> {
    let mut members = Vec::new();
    let mut writes = Vec::new();
    let alive = !deployment.meta.deleting();
    for set in sets.iter().copied() {
        let owner = set.meta.controller();
        let owned = owner.is_some_and(|owner| owner.uid == deployment.meta.uid);
        let selected = deployment.selector.matches(&set.meta.labels);
        if owned && !selected && alive {
            let edit = Edit::Disown(vec![deployment.meta.uid.clone()]);
            writes.push(Write::Edit { target: set.target(), edit, note: None });
        } else if owner.is_none() && selected && alive && !set.meta.deleting() {
            let edit = Edit::Own(deployment.meta.owner_reference(&DEPLOYMENT));
            writes.push(Write::Edit { target: set.target(), edit, note: None });
        } else if owned && selected {
            members.push(Member { set, replicas: set.replicas, annotations: BTreeMap::new(), newest: false });
        }
    }
    members.sort_by(|one, other| {
        let key = |member: &Member<'_>| (member.set.meta.creation_timestamp.clone(), member.set.meta.name.clone());
        key(one).cmp(&key(other))
    });
    if let Some(newest) = revision::newest(deployment, &members) {
        members[newest].newest = true;
    }
    Step { deployment, members, created: None, writes, collisions: None }
}

/// Whether only the number of replicas changed since the ReplicaSets were last sized.
fn scaling(step: &Step<'_>) -> bool {
    let wanted = step.deployment.replicas.to_string();
    step.members
        .iter()
        .filter(|member| member.replicas > 0)
        .filter_map(|member| member.set.annotations.get(scale::DESIRED))
        .any(|desired| *desired != wanted)
}

fn roll(step: &mut Step<'_>, sets: &[&ReplicaSet], live_pods: &dyn Fn(&str) -> usize) {
    let deployment = step.deployment;
    if deployment.recreate {
        let old = step.members.iter_mut().filter(|member| !member.newest && member.replicas > 0);
        let mut stopping = false;
        for member in old {
            scale::resize(member, 0, deployment);
            stopping = true;
        }
        let old_pods = |step: &Step<'_>| -> usize {
            step.members.iter().filter(|member| !member.newest).map(|member| live_pods(&member.set.meta.uid)).sum()
        };
        if stopping || old_pods(step) > 0 {
            return;
        }
    }
    revision::annotate(step);
    if !step.members.iter().any(|member| member.newest) {
        let replicas = rolling::newest_size(step);
        revision::create(step, sets, replicas);
        return;
    }
    if deployment.recreate {
        if let Some(newest) = step.members.iter_mut().find(|member| member.newest) {
            scale::resize(newest, deployment.replicas, deployment);
        }
    } else {
        rolling::step(step);
    }
    if status::complete(step) {
        clean_up(step);
    }
}

/// Deletes the oldest of the empty ReplicaSets beyond `revisionHistoryLimit`.
fn clean_up(step: &mut Step<'_>) {
    let mut empty: Vec<&Member<'_>> = step
        .members
        .iter()
        .filter(|member| !member.newest && member.replicas == 0 && member.set.status.replicas == 0)
        .filter(|member| member.set.meta.generation <= member.set.status.observed_generation)
        .filter(|member| !member.set.meta.deleting())
        .collect();
    empty.sort_by_key(|member| revision::of(&member.set.annotations));
    let keep = usize::try_from(step.deployment.revision_history_limit).unwrap_or(0);
    let excess = empty.len().saturating_sub(keep);
    let doomed: Vec<Write> = empty
        .into_iter()
        .take(excess)
        .map(|member| Write::Delete { target: member.set.target(), propagation: Some("Background"), note: None })
        .collect();
    step.writes.extend(doomed);
}

/// Writes what changed about the ReplicaSets and the annotations of the Deployment; true if the latter was written.
fn settle(step: &mut Step<'_>) -> bool {
    let deployment = step.deployment;
    for member in &step.members {
        let resized = member.replicas != member.set.replicas;
        let annotated = member.annotations.iter().any(|(name, value)| member.set.annotations.get(name) != Some(value));
        if !resized && !annotated {
            continue;
        }
        let (from, to) = (member.set.replicas, member.replicas);
        let note = resized.then(|| {
            let direction = if to > from { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {} from {from} to {to}", member.set.meta.name);
            deployment.meta.note(&DEPLOYMENT, "ScalingReplicaSet", message)
        });
        let edit = Edit::Scale { replicas: resized.then_some(to), annotations: member.annotations.clone() };
        step.writes.push(Write::Edit { target: member.set.target(), edit, note });
    }
    let newest = step.members.iter().find(|member| member.newest);
    let number = newest.and_then(|member| {
        member.annotations.get(revision::ANNOTATION).or_else(|| member.set.annotations.get(revision::ANNOTATION))
    });
    match number {
        Some(number)
            if deployment.annotations.get(revision::ANNOTATION) != Some(number) && !deployment.meta.deleting() =>
        {
            let annotations = BTreeMap::from([(revision::ANNOTATION.to_owned(), number.clone())]);
            let edit = Edit::Scale { replicas: None, annotations };
            step.writes.push(Write::Edit { target: deployment.target(), edit, note: None });
            true
        }
        _ => false,
    }
}

/// The ReplicaSet of the present template as JSON.
pub(super) fn replica_set(
    deployment: &Deployment,
    name: &str,
    hash: &str,
    replicas: i64,
    annotations: &BTreeMap<String, String>,
) -> serde_json::Value {
    let mut template = deployment.template.clone();
    template["metadata"]["labels"][revision::HASH] = json!(hash);
    let mut selector = deployment.selector_json.clone();
    selector["matchLabels"][revision::HASH] = json!(hash);
    json!({
        "apiVersion": "apps/v1",
        "kind": REPLICA_SET.kind,
        "metadata": {
            "name": name,
            "namespace": deployment.meta.namespace,
            "labels": template["metadata"]["labels"],
            "annotations": annotations,
            "ownerReferences": [deployment.meta.owner_reference(&DEPLOYMENT)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": deployment.min_ready_seconds,
            "selector": selector,
            "template": template,
        },
    })
}
