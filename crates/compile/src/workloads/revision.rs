//! Turns the template of a Deployment into its newest ReplicaSet and keeps the revision numbers of all of them.

use std::collections::BTreeMap;

use api::kinds::{DEPLOYMENT, REPLICA_SET};
use serde_json::Value;

use super::deployment::{Member, Step, replica_set};
use super::hash;
use super::objects::{Deployment, ReplicaSet};
use super::scale;
use crate::write::Write;

/// Label that keeps the pods of different templates apart.
pub(super) const HASH: &str = "pod-template-hash";
/// Annotation with the number of a rollout, read by `kubectl rollout history`.
pub(super) const ANNOTATION: &str = "deployment.kubernetes.io/revision";
/// Annotation with the numbers that a ReplicaSet had before.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Annotations of a Deployment that are not handed on to its ReplicaSets.
const OWN: [&str; 5] =
    ["kubectl.kubernetes.io/last-applied-configuration", ANNOTATION, HISTORY, scale::DESIRED, scale::MAXIMUM];

/// The revision number in some annotations, 0 if there is none.
pub(super) fn of(annotations: &BTreeMap<String, String>) -> i64 {
    annotations.get(ANNOTATION).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Position of the ReplicaSet that has the template of the Deployment: the oldest one, so that the choice is stable.
pub(super) fn newest(deployment: &Deployment, members: &[Member<'_>]) -> Option<usize> {
    members.iter().position(|member| same_template(&member.set.template, &deployment.template))
}

/// Gives the newest ReplicaSet a number above all others, and the annotations of the Deployment.
pub(super) fn annotate(step: &mut Step<'_>) {
    let next = next_number(&step.members);
    let deployment = step.deployment;
    let Some(member) = step.members.iter_mut().find(|member| member.newest) else { return };
    let mut wanted = inherited(deployment);
    let number = of(&member.set.annotations);
    if number < next {
        wanted.insert(ANNOTATION.to_owned(), next.to_string());
        if number > 0 {
            let history = member.set.annotations.get(HISTORY).filter(|history| !history.is_empty());
            let history = history.map_or(number.to_string(), |history| format!("{history},{number}"));
            wanted.insert(HISTORY.to_owned(), history);
        }
    }
    for (name, value) in wanted {
        if member.set.annotations.get(&name) != Some(&value) {
            member.annotations.insert(name, value);
        }
    }
}

/// Creates the ReplicaSet of the present template.
pub(super) fn create(step: &mut Step<'_>, sets: &[&ReplicaSet], replicas: i64) {
    let deployment = step.deployment;
    let collisions = deployment.status.collision_count.unwrap_or(0);
    let hash = hash::value(&deployment.template, collisions);
    let name = format!("{}-{hash}", deployment.meta.name);
    if sets.iter().any(|set| *set.meta.name == *name) {
        // Another object has this name: count it, the next decision derives another one.
        step.collisions = Some(collisions + 1);
        return;
    }
    let mut annotations = inherited(deployment);
    annotations.insert(ANNOTATION.to_owned(), next_number(&step.members).to_string());
    annotations.extend(scale::annotations(deployment));
    let object = replica_set(deployment, &name, &hash, replicas, &annotations);
    let message = format!("Scaled up replica set {name} from 0 to {replicas}");
    let note = (replicas > 0).then(|| deployment.meta.note(&DEPLOYMENT, "ScalingReplicaSet", message));
    step.writes.push(Write::Create { kind: &REPLICA_SET, object, note });
    step.created = Some((name, replicas));
}

fn next_number(members: &[Member<'_>]) -> i64 {
    members.iter().filter(|member| !member.newest).map(|member| of(&member.set.annotations)).max().unwrap_or(0) + 1
}

fn inherited(deployment: &Deployment) -> BTreeMap<String, String> {
    deployment
        .annotations
        .iter()
        .filter(|(name, _)| !OWN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn same_template(stored: &Value, wanted: &Value) -> bool {
    let mut stored = stored.clone();
    if let Some(labels) = stored["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    without_nulls(&mut stored);
    let mut wanted = wanted.clone();
    if let Some(labels) = wanted["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    without_nulls(&mut wanted);
    stored == wanted
}

/// `creationTimestamp: null` and the like, which some clients send, mean the same as nothing.
pub(super) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
