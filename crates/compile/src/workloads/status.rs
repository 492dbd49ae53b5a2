//! Turns a step of a rollout into the status of the Deployment, so that `kubectl rollout status` tells what is going on.

use serde_json::{Value, json};

use super::deployment::Step;
use super::objects::{Condition, DeploymentStatus};
use super::{Decision, Now, rolling, time};

/// Reason of a finished rollout.
const COMPLETE: &str = "NewReplicaSetAvailable";
/// Reason of a rollout that made no progress for too long.
const EXCEEDED: &str = "ProgressDeadlineExceeded";
/// Reason while changes of the template wait.
const PAUSED: &str = "DeploymentPaused";

/// Whether the rollout is over: everything is of the newest template and available.
pub(super) fn complete(step: &Step<'_>) -> bool {
    is_complete(step, &counts(step))
}

/// The status after this step. `rollout` is false while only the size changes, which is no progress.
pub(super) fn of(step: &Step<'_>, rollout: bool, now: &Now, decision: &mut Decision) -> DeploymentStatus {
    let mut status = counts(step);
    let deployment = step.deployment;
    let floor = deployment.replicas - rolling::max_unavailable(deployment);
    if status.available_replicas >= floor {
        let message = "Deployment has minimum availability.";
        put(&mut status, "Available", "True", "MinimumReplicasAvailable", message, now);
    } else {
        let message = "Deployment does not have minimum availability.";
        put(&mut status, "Available", "False", "MinimumReplicasUnavailable", message, now);
    }
    match deployment.progress_deadline {
        None => status.conditions.retain(|condition| condition.r#type != "Progressing"),
        Some(deadline) => {
            pausing(step, &mut status, now);
            if rollout {
                progress(step, &mut status, deadline, now, decision);
            }
        }
    }
    status
}

/// As Kubernetes prints it: zero counts are left out.
pub(super) fn json(status: &DeploymentStatus) -> Value {
    let mut json = json!({});
    let counts = [
        ("observedGeneration", status.observed_generation),
        ("replicas", status.replicas),
        ("updatedReplicas", status.updated_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
        ("unavailableReplicas", status.unavailable_replicas),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
        json[name] = json!(count);
    }
    if let Some(count) = status.collision_count {
        json["collisionCount"] = json!(count);
    }
    let conditions = status.conditions.iter().map(|condition| {
        json!({
            "type": condition.r#type, "status": condition.status, "reason": condition.reason,
            "message": condition.message, "lastUpdateTime": condition.last_update_time,
            "lastTransitionTime": condition.last_transition_time,
        })
    });
    json["conditions"] = conditions.collect();
    json
}

fn counts(step: &Step<'_>) -> DeploymentStatus {
    let sum =
        |count: &dyn Fn(&super::ReplicaSet) -> i64| step.members.iter().map(|member| count(member.set)).sum::<i64>();
    let available = sum(&|set| set.status.available_replicas);
    let planned: i64 = step.members.iter().map(|member| member.replicas).sum();
    let planned = planned + step.created.as_ref().map_or(0, |(_, replicas)| *replicas);
    let newest = step.members.iter().find(|member| member.newest);
    DeploymentStatus {
        observed_generation: step.deployment.meta.generation,
        replicas: sum(&|set| set.status.replicas),
        updated_replicas: newest.map_or(0, |member| member.set.status.replicas),
        ready_replicas: sum(&|set| set.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (planned - available).max(0),
        collision_count: step.collisions.or(step.deployment.status.collision_count),
        conditions: step.deployment.status.conditions.clone(),
    }
}

fn is_complete(step: &Step<'_>, status: &DeploymentStatus) -> bool {
    let wanted = step.deployment.replicas;
    step.created.is_none()
        && step.members.iter().any(|member| member.newest)
        && status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
}

fn pausing(step: &Step<'_>, status: &mut DeploymentStatus, now: &Now) {
    let reason = reason(status);
    if reason == EXCEEDED {
        return;
    }
    if step.deployment.paused && reason != PAUSED {
        put(status, "Progressing", "Unknown", PAUSED, "Deployment is paused", now);
    } else if !step.deployment.paused && reason == PAUSED {
        put(status, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now);
    }
}

fn progress(step: &Step<'_>, status: &mut DeploymentStatus, deadline: i64, now: &Now, decision: &mut Decision) {
    let newest = step.members.iter().find(|member| member.newest).map(|member| member.set.meta.name.to_string());
    let name = step.created.as_ref().map(|(name, _)| name.clone()).or(newest).unwrap_or_default();
    if step.created.is_some() {
        let message = format!("Created new replica set \"{name}\"");
        put(status, "Progressing", "True", "NewReplicaSetCreated", &message, now);
    } else if reason(status).is_empty() && !name.is_empty() {
        let message = format!("Found new replica set \"{name}\"");
        put(status, "Progressing", "True", "FoundNewReplicaSet", &message, now);
    }
    if reason(status) == COMPLETE && status.replicas == status.updated_replicas {
        return;
    }
    if is_complete(step, status) {
        let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
        put(status, "Progressing", "True", COMPLETE, &message, now);
    } else if progressed(&step.deployment.status, status) {
        let message = format!("ReplicaSet \"{name}\" is progressing.");
        // Progress restarts the deadline, so that the update time moves even if the words stay the same.
        forget_update(status);
        put(status, "Progressing", "True", "ReplicaSetUpdated", &message, now);
    } else if let Some(left) = time_left(status, deadline, now) {
        if left <= 0 {
            let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
            put(status, "Progressing", "False", EXCEEDED, &message, now);
        } else {
            decision.sooner(left);
            return;
        }
    }
    if !matches!(reason(status).as_str(), COMPLETE | EXCEEDED) {
        decision.sooner(deadline + 1);
    }
}

fn progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    new.updated_replicas > old.updated_replicas
        || new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

/// Seconds until the deadline; none when there is nothing that could still time out.
fn time_left(status: &DeploymentStatus, deadline: i64, now: &Now) -> Option<i64> {
    let condition = status.conditions.iter().find(|condition| condition.r#type == "Progressing")?;
    if matches!(condition.reason.as_str(), COMPLETE | EXCEEDED | PAUSED) {
        return None;
    }
    Some(time::seconds(&condition.last_update_time)? + deadline - now.seconds)
}

fn reason(status: &DeploymentStatus) -> String {
    let progressing = status.conditions.iter().find(|condition| condition.r#type == "Progressing");
    progressing.map(|condition| condition.reason.clone()).unwrap_or_default()
}

fn forget_update(status: &mut DeploymentStatus) {
    if let Some(condition) = status.conditions.iter_mut().find(|condition| condition.r#type == "Progressing") {
        condition.reason.clear();
    }
}

/// Sets a condition. Times move only when status or reason change, so that equal input gives an equal status.
fn put(status: &mut DeploymentStatus, r#type: &str, value: &str, reason: &str, message: &str, now: &Now) {
    let existing = status.conditions.iter_mut().find(|condition| condition.r#type == r#type);
    let fresh = |since: String| Condition {
        r#type: r#type.to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_update_time: now.text.clone(),
        last_transition_time: since,
    };
    match existing {
        Some(condition) if condition.status == value && condition.reason == reason => {}
        Some(condition) => {
            let same = condition.status == value;
            let since = if same { condition.last_transition_time.clone() } else { now.text.clone() };
            *condition = fresh(since);
        }
        None => status.conditions.push(fresh(now.text.clone())),
    }
}
