//! Turns changed workloads and unbound pods into the writes that the pure steps decide on.

mod known;

use std::sync::Arc;
use std::time::Duration;

use api::kinds::POD;
use api::object::ObjectKey;
use compile::schedule;
use compile::workloads::{Decision, Now, Pod, ReplicaSet, daemon_set, deployment, job, replica_set, stateful_set};
use compile::write::{Edit, Note, Write};
use jiff::Timestamp;

use crate::events::stamp;
use crate::limits;
use crate::work::{Outcome, serve};
use crate::world::{Queues as All, State, World};
use crate::writer::Writer;

pub(crate) use known::{Known, Queues};

/// Runs for ever.
pub(crate) async fn run(world: Arc<World>, writer: Writer, queues: All) {
    world.complete().await;
    let deployments = serve(queues.deployments, limits::OBJECTS_AT_ONCE, |key| {
        let decision = decide_deployment(&world, &key);
        carry_out(&world, &writer, key, decision, true)
    });
    let sets = serve(queues.sets, limits::OBJECTS_AT_ONCE, |key| {
        let decision = decide_set(&world, &key);
        carry_out(&world, &writer, key, decision, false)
    });
    let pods = serve(queues.pods, limits::OBJECTS_AT_ONCE, |key| {
        let decision = decide_binding(&world, &key);
        carry_out(&world, &writer, key, decision, true)
    });
    tokio::join!(deployments, sets, pods, others(&world, &writer, queues.workloads));
}

/// StatefulSets, DaemonSets and Jobs.
async fn others(world: &World, writer: &Writer, queues: Queues) {
    let stateful_sets = serve(queues.stateful_sets, limits::OBJECTS_AT_ONCE, |key| {
        let decision = decide_stateful_set(world, &key);
        carry_out(world, writer, key, decision, true)
    });
    let daemon_sets = serve(queues.daemon_sets, limits::OBJECTS_AT_ONCE, |key| {
        let decision = decide_daemon_set(world, &key);
        carry_out(world, writer, key, decision, true)
    });
    let jobs = serve(queues.jobs, limits::OBJECTS_AT_ONCE, |key| {
        let decision = decide_job(world, &key);
        carry_out(world, writer, key, decision, true)
    });
    let job_pods = serve(queues.job_pods, limits::OBJECTS_AT_ONCE, |key| {
        let decision = decide_left_over(world, &key);
        carry_out(world, writer, key, decision, true)
    });
    tokio::join!(stateful_sets, daemon_sets, jobs, job_pods);
}

fn now() -> Now {
    let moment = Timestamp::now();
    Now { seconds: moment.as_second(), text: stamp(moment) }
}

fn decide_deployment(world: &World, key: &ObjectKey) -> Decision {
    let state = world.state();
    let Some(deployment) = state.deployments.get(key) else { return Decision::default() };
    let sets: Vec<&ReplicaSet> = state.sets_in(&key.namespace).map(|set| &**set).collect();
    let live = |uid: &str| state.controlled(&key.namespace, uid).filter(|pod| !pod.finished()).count();
    deployment::reconcile(deployment, &sets, &live, &now())
}

fn decide_set(world: &World, key: &ObjectKey) -> Decision {
    let state = world.state();
    let Some(set) = state.sets.get(key) else { return Decision::default() };
    let owned = state.controlled(&key.namespace, &set.meta.uid);
    let pods: Vec<&Pod> = owned.chain(state.controlled(&key.namespace, "")).map(|pod| &**pod).collect();
    replica_set::reconcile(set, &pods, &now())
}

fn decide_stateful_set(world: &World, key: &ObjectKey) -> Decision {
    let state = world.state();
    let Some(set) = state.known.stateful_sets.get(key) else { return Decision::default() };
    let revisions = state.known.revisions_in(&key.namespace);
    let revisions: Vec<_> = revisions.iter().map(|revision| &**revision).collect();
    stateful_set::reconcile(set, &revisions, &candidates(&state, key, &set.meta.uid), &now())
}

fn decide_daemon_set(world: &World, key: &ObjectKey) -> Decision {
    let state = world.state();
    let Some(set) = state.known.daemon_sets.get(key) else { return Decision::default() };
    let revisions = state.known.revisions_in(&key.namespace);
    let revisions: Vec<_> = revisions.iter().map(|revision| &**revision).collect();
    let pods = candidates(&state, key, &set.meta.uid);
    daemon_set::reconcile(set, &revisions, state.nodes.values(), &pods, &now())
}

fn decide_job(world: &World, key: &ObjectKey) -> Decision {
    let state = world.state();
    let Some(job) = state.known.jobs.get(key) else { return Decision::default() };
    job::reconcile(job, &candidates(&state, key, &job.meta.uid), &now())
}

fn decide_left_over(world: &World, key: &ObjectKey) -> Decision {
    let state = world.state();
    let pod = state.pods.get(key).filter(|pod| state.known.is_left_over(pod));
    let writes = pod.and_then(|pod| job::release_orphan(pod)).into_iter().collect();
    Decision { writes, again_after: None }
}

/// Pods that an owner controls or that nobody controls.
fn candidates<'a>(state: &'a State, key: &ObjectKey, uid: &str) -> Vec<&'a Pod> {
    state.controlled(&key.namespace, uid).chain(state.controlled(&key.namespace, "")).map(|pod| &**pod).collect()
}

fn decide_binding(world: &World, key: &ObjectKey) -> Decision {
    let state = world.state();
    let Some(pod) = state.pods.get(key).filter(|pod| schedule::waiting(pod)) else { return Decision::default() };
    let load = |node: &str| {
        // With one node, which is all there is to choose from today, nobody needs to count.
        if state.nodes.len() < 2 {
            0
        } else {
            state.pods.values().filter(|pod| pod.node.as_deref() == Some(node)).count()
        }
    };
    let write = match schedule::choose(pod, state.nodes.values(), &load) {
        Ok(node) => {
            let message = format!("Successfully assigned {key} to {node}");
            let note = Some(pod.meta.note(&POD, "Scheduled", message));
            Write::Edit { target: pod.target(), edit: Edit::Bind(node), note }
        }
        // Looked at again when a node changes.
        Err(why) => Write::Note(Note { warning: true, ..pod.meta.note(&POD, "FailedScheduling", why) }),
    };
    Decision { writes: vec![write], again_after: None }
}

/// The key stays in work until the world contains these writes: that is what keeps a slow watch from doing them twice.
async fn carry_out(world: &World, writer: &Writer, key: ObjectKey, decision: Decision, ordered: bool) -> Outcome {
    let written = if ordered { writer.in_order(decision.writes).await } else { writer.growing(decision.writes).await };
    world.reached(written.revision).await;
    match (written.outcome(&key), decision.again_after) {
        (Outcome::Done, Some(seconds)) => Outcome::After(Duration::from_secs(seconds.unsigned_abs())),
        (outcome, _) => outcome,
    }
}
