//! Turns a new number of replicas into new sizes of the ReplicaSets, in proportion while a rollout is under way.

use std::collections::BTreeMap;

use super::deployment::{Member, Step};
use super::objects::Deployment;
use super::rolling;

/// Annotation: the replicas of the Deployment when this ReplicaSet was last sized.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// Annotation: the same plus the surge.
pub(super) const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

/// Both annotations as they should be now.
pub(super) fn annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let maximum = deployment.replicas + rolling::max_surge(deployment);
    BTreeMap::from([(DESIRED.to_owned(), deployment.replicas.to_string()), (MAXIMUM.to_owned(), maximum.to_string())])
}

/// Gives a ReplicaSet a new size and notes what it was derived from.
pub(super) fn resize(member: &mut Member<'_>, replicas: i64, deployment: &Deployment) {
    member.replicas = replicas.max(0);
    member.annotations.extend(annotations(deployment));
}

/// Follows a change of `spec.replicas`.
pub(super) fn scale(step: &mut Step<'_>) {
    let deployment = step.deployment;
    let active = step.members.iter().filter(|member| member.replicas > 0).count();
    if active <= 1 {
        let newest = step.members.iter().position(|member| member.newest);
        let only = step.members.iter().position(|member| member.replicas > 0);
        let last = step.members.len().checked_sub(1);
        if let Some(member) = only.or(newest).or(last).and_then(|index| step.members.get_mut(index)) {
            resize(member, deployment.replicas, deployment);
        }
        return;
    }
    if saturated(step) {
        for member in step.members.iter_mut().filter(|member| !member.newest && member.replicas > 0) {
            resize(member, 0, deployment);
        }
    } else if !deployment.recreate {
        proportionally(step);
    }
}

/// The newest ReplicaSet carries everything already.
fn saturated(step: &Step<'_>) -> bool {
    let wanted = step.deployment.replicas;
    step.members.iter().filter(|member| member.newest).any(|member| {
        member.replicas == wanted
            && member.set.annotations.get(DESIRED).is_some_and(|desired| *desired == wanted.to_string())
            && member.set.status.available_replicas == wanted
    })
}

fn proportionally(step: &mut Step<'_>) {
    let deployment = step.deployment;
    let total: i64 = step.members.iter().map(|member| member.replicas).sum();
    let surge = rolling::max_surge(deployment);
    let allowed = if deployment.replicas > 0 { deployment.replicas + surge } else { 0 };
    let change = allowed - total;
    let mut order: Vec<usize> = (0..step.members.len()).filter(|index| step.members[*index].replicas > 0).collect();
    // Larger first; among equals the newer grows first and the older shrinks first.
    order.sort_by_key(|index| {
        let age = i64::try_from(*index).unwrap_or(i64::MAX);
        (-step.members[*index].replicas, if change > 0 { -age } else { age })
    });
    let mut left = change;
    for index in &order {
        let member = &mut step.members[*index];
        let share = if change == 0 { 0 } else { share(member, deployment.replicas + surge) };
        let part = if change > 0 { share.clamp(0, left.max(0)) } else { share.clamp(left.min(0), 0) };
        left -= part;
        resize(member, member.replicas + part, deployment);
    }
    if let Some(first) = order.first().map(|index| &mut step.members[*index]) {
        resize(first, first.replicas + left, deployment);
    }
}

/// By how much a ReplicaSet should change to keep its part of the whole, rounded to the nearest.
fn share(member: &Member<'_>, allowed: i64) -> i64 {
    let before = member.set.annotations.get(MAXIMUM).and_then(|text| text.parse::<i64>().ok());
    let before = before.filter(|before| *before > 0).unwrap_or(member.set.status.replicas.max(1));
    let scaled = member.replicas.saturating_mul(allowed).saturating_mul(2).saturating_add(before) / (2 * before);
    scaled - member.replicas
}
