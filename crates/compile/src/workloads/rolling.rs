//! Turns the limits of a rolling update into the next sizes: never more pods than the surge allows, never fewer
//! available ones than the floor allows.

use super::deployment::Step;
use super::objects::Deployment;
use super::scale::resize;
use super::template::portion;

/// How many pods more than wanted may exist.
pub(super) fn max_surge(deployment: &Deployment) -> i64 {
    if deployment.recreate { 0 } else { portion(&deployment.max_surge, deployment.replicas, true) }
}

/// How many pods fewer than wanted may be available. Never both this and the surge are zero, or nothing could move.
pub(super) fn max_unavailable(deployment: &Deployment) -> i64 {
    if deployment.recreate || deployment.replicas == 0 {
        return 0;
    }
    let unavailable = portion(&deployment.max_unavailable, deployment.replicas, false);
    let floor = i64::from(max_surge(deployment) == 0);
    unavailable.max(floor).min(deployment.replicas)
}

/// Size of the newest ReplicaSet: as large as the surge allows.
pub(super) fn newest_size(step: &Step<'_>) -> i64 {
    let deployment = step.deployment;
    if deployment.recreate {
        return deployment.replicas;
    }
    let present = step.members.iter().find(|member| member.newest).map_or(0, |member| member.replicas);
    let total: i64 = step.members.iter().map(|member| member.replicas).sum();
    let room = (deployment.replicas + max_surge(deployment) - total).max(0);
    present + room.min((deployment.replicas - present).max(0))
}

/// One step: grow the newest ReplicaSet, or else shrink the others as far as availability allows.
pub(super) fn step(step: &mut Step<'_>) {
    let deployment = step.deployment;
    let target = newest_size(step);
    if let Some(newest) = step.members.iter_mut().find(|member| member.newest) {
        let target = if newest.replicas > deployment.replicas { deployment.replicas } else { target };
        if target != newest.replicas {
            resize(newest, target, deployment);
            return;
        }
    }
    shrink(step);
}

fn shrink(step: &mut Step<'_>) {
    let deployment = step.deployment;
    let total: i64 = step.members.iter().map(|member| member.replicas).sum();
    let floor = deployment.replicas - max_unavailable(deployment);
    let unavailable: i64 = step
        .members
        .iter()
        .filter(|member| member.newest)
        .map(|member| member.replicas - member.set.status.available_replicas)
        .sum();
    let mut budget = total - floor - unavailable;
    // Pods that are not available anyway go first: they cost nothing.
    for member in step.members.iter_mut().filter(|member| !member.newest && member.replicas > 0) {
        let broken = (member.replicas - member.set.status.available_replicas).max(0);
        let gone = broken.min(budget).max(0);
        if gone > 0 {
            resize(member, member.replicas - gone, deployment);
            budget -= gone;
        }
    }
    let available: i64 = step.members.iter().map(|member| member.set.status.available_replicas).sum();
    let mut spare = (available - floor).min(budget);
    for member in step.members.iter_mut().filter(|member| !member.newest && member.replicas > 0) {
        let gone = member.replicas.min(spare).max(0);
        if gone > 0 {
            resize(member, member.replicas - gone, deployment);
            spare -= gone;
        }
    }
}
