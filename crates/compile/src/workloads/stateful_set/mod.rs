//! Turns a StatefulSet and its pods into writes: pods with lasting names, made in order, replaced in reverse order.

mod object;
mod pods;

use api::kinds::{POD, STATEFUL_SET};
use serde_json::Value;

use super::claim::Owner;
use super::history::{ControllerRevision, History, Newest, State};
use super::objects::Pod;
use super::template::portion;
use super::{Decision, Now};
use crate::write::{Note, Write};

pub use object::{StatefulSet, Status};

/// Most pods created or deleted in one decision; the next one, made on what came of it, continues.
const BURST_MAX: usize = 500;

/// A decision being made.
struct Step<'a> {
    set: &'a StatefulSet,
    now: &'a Now,
    /// Pods of the wanted numbers, by number from the start; none where one is missing.
    replicas: Vec<Option<&'a Pod>>,
    /// Pods with other numbers, highest first.
    condemned: Vec<&'a Pod>,
    current: (String, Value),
    update: Newest,
    writes: Vec<Write>,
}

/// What to do about `set`. `revisions` and `pods` are those of its namespace that it controls or that nobody controls; the
/// former with all others too, because names must be free.
pub fn reconcile(set: &StatefulSet, revisions: &[&ControllerRevision], pods: &[&Pod], now: &Now) -> Decision {
    let mut decision = Decision::default();
    let owner = Owner { meta: &set.meta, kind: &STATEFUL_SET, selector: &set.spec.selector };
    let mut claims = Vec::new();
    let mut mine = owner.pods(pods, |pod| set.ordinal(&pod.meta.name).is_some(), &mut claims);
    mine.sort_by_key(|pod| set.ordinal(&pod.meta.name));
    let history = History::of(&owner, revisions, &mut claims);
    if set.meta.deleting() {
        return decision;
    }
    let state = State {
        meta: &set.meta,
        kind: &STATEFUL_SET,
        annotations: &set.annotations,
        template: &set.spec.template,
        collisions: set.status.collision_count.unwrap_or(0),
        hash_label: "controller.kubernetes.io/hash",
    };
    let update = history.newest(&state, &mut claims);
    let current = match history.called(&set.status.current_revision) {
        Some(revision) => (revision.meta.name.to_string(), revision.template()),
        None => (update.name.clone(), set.spec.template.clone()),
    };
    let mut step = place(set, now, &mine, current, update);
    let mut status = step.count(&mine);
    let replaced = step.walk();
    status.current_replicas -= replaced;
    complete(set, &mut status);
    decision.writes = claims;
    if status != set.status {
        // Before the pods: the target names the version that this decision read.
        decision.writes.push(Write::Status { target: set.target(), status: status.json() });
    }
    decision.writes.append(&mut step.writes);
    let live = |revision: &ControllerRevision| {
        let name = &*revision.meta.name;
        let used = |pod: &&Pod| pod.meta.labels.get(pods::REVISION).is_some_and(|label| **label == *name);
        name == step.current.0 || name == step.update.name || mine.iter().any(used)
    };
    history.truncate(set.spec.revision_history_limit.unwrap_or(10), live, &mut decision.writes);
    for pod in &mine {
        if let Some(seconds @ 1..) = pod.available_in(set.spec.min_ready_seconds, now) {
            decision.sooner(seconds);
        }
    }
    decision
}

/// Sorts the pods into wanted and condemned ones.
fn place<'a>(
    set: &'a StatefulSet,
    now: &'a Now,
    mine: &[&'a Pod],
    current: (String, Value),
    update: Newest,
) -> Step<'a> {
    let wanted = set.replicas();
    // `fill` stops after BURST_MAX missing pods: what lies beyond is not looked at in this step.
    let size = usize::try_from(wanted).unwrap_or(0).min(mine.len() + BURST_MAX);
    let mut replicas = vec![None; size];
    let mut condemned = Vec::new();
    for pod in mine {
        let Some(ordinal) = set.ordinal(&pod.meta.name) else { continue };
        let at = ordinal - set.spec.ordinals.start;
        match usize::try_from(at).ok().and_then(|slot| replicas.get_mut(slot)) {
            Some(slot) => *slot = Some(*pod),
            None if (0..wanted).contains(&at) => {}
            None => condemned.push(*pod),
        }
    }
    condemned.reverse();
    Step { set, now, replicas, condemned, current, update, writes: Vec::new() }
}

impl Step<'_> {
    fn available(&self, pod: &Pod) -> bool {
        pod.available_in(self.set.spec.min_ready_seconds, self.now) == Some(0)
    }

    fn running(&self, pod: &Pod) -> bool {
        pod.ready && &*pod.phase == "Running" && self.available(pod)
    }

    fn unavailable(&self, pod: &Pod) -> bool {
        !self.available(pod) || pod.meta.deleting()
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        pod.meta.labels.get(pods::REVISION).is_some_and(|label| **label == *self.update.name)
    }

    fn count(&self, mine: &[&Pod]) -> Status {
        let mut status = Status {
            observed_generation: self.set.meta.generation,
            current_revision: self.current.0.clone(),
            update_revision: self.update.name.clone(),
            collision_count: Some(self.update.collisions),
            conditions: self.set.status.conditions.clone(),
            ..Status::default()
        };
        for pod in mine {
            status.replicas += 1;
            status.ready_replicas += i64::from(pod.ready && &*pod.phase == "Running");
            status.available_replicas += i64::from(self.running(pod));
            let of = |name: &str| pod.meta.labels.get(pods::REVISION).is_some_and(|label| **label == *name);
            if !pod.meta.deleting() {
                status.current_replicas += i64::from(of(&self.current.0));
                status.updated_replicas += i64::from(of(&self.update.name));
            }
        }
        status
    }

    /// Creates, then condemns, then updates; whichever has to wait ends the step. Returns how many pods of the current
    /// revision were given up for an update.
    fn walk(&mut self) -> i64 {
        if self.fill() || self.shrink() || !self.set.rolling() {
            return 0;
        }
        self.update()
    }

    /// True if the rest has to wait.
    fn fill(&mut self) -> bool {
        let one_by_one = self.set.one_by_one();
        for index in 0..self.replicas.len() {
            let waits = match self.replicas[index] {
                Some(pod) if pod.finished() => {
                    if !pod.meta.deleting() {
                        self.delete(pod);
                    }
                    true
                }
                Some(pod) => pod.meta.deleting() || !self.running(pod),
                None => {
                    self.create(index);
                    true
                }
            };
            if (waits && one_by_one) || self.writes.len() >= BURST_MAX {
                return true;
            }
        }
        false
    }

    fn create(&mut self, index: usize) {
        let ordinal = self.set.spec.ordinals.start + i64::try_from(index).unwrap_or(i64::MAX);
        let place = ordinal - self.set.spec.ordinals.start;
        let old = match &self.set.spec.update_strategy.rolling_update {
            Some(rolling) => place < rolling.partition,
            None => self.set.rolling() && place < self.set.status.current_replicas,
        };
        let (template, revision) =
            if old { (&self.current.1, &self.current.0) } else { (&self.set.spec.template, &self.update.name) };
        let object = pods::pod(self.set, template, revision, ordinal);
        let message = format!("Create Pod {{name}} in StatefulSet {} successful", self.set.meta.name);
        let note = Some(self.set.meta.note(&STATEFUL_SET, "SuccessfulCreate", message));
        self.writes.push(Write::Create { kind: &POD, object, note });
    }

    fn delete(&mut self, pod: &Pod) {
        let (pod_name, name) = (&pod.meta.name, &self.set.meta.name);
        let message = format!("Delete Pod {pod_name} in StatefulSet {name} successful");
        let note: Note = self.set.meta.note(&STATEFUL_SET, "SuccessfulDelete", message);
        let mut target = pod.target();
        // Any version of this pod will do: only a newer decision could spare it, and none is made meanwhile.
        target.revision = None;
        self.writes.push(Write::Delete { target, propagation: Some("Background"), note: Some(note) });
    }

    /// True if the rest has to wait.
    fn shrink(&mut self) -> bool {
        let lowest = self.condemned.iter().rev().copied();
        let mut everyone = self.replicas.iter().copied().flatten().chain(lowest);
        let sick = everyone.find(|pod| self.unavailable(pod)).map(|pod| pod.meta.name.clone());
        let one_by_one = self.set.one_by_one();
        for index in 0..self.condemned.len() {
            let pod = self.condemned[index];
            let is_sick = sick.as_ref() == Some(&pod.meta.name);
            if !pod.meta.deleting() && (!one_by_one || is_sick || self.running(pod)) {
                self.delete(pod);
            }
            if one_by_one || self.writes.len() >= BURST_MAX {
                return true;
            }
        }
        false
    }

    /// From the highest number down to the partition: pods of another revision go while not too many are unavailable.
    fn update(&mut self) -> i64 {
        let rolling = self.set.spec.update_strategy.rolling_update.as_ref();
        let most = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let most = most.map_or(1, |most| portion(most, self.set.replicas(), true).max(1));
        let mut budget = most;
        let mut given_up = 0;
        let partition = usize::try_from(self.set.partition()).unwrap_or(usize::MAX);
        for index in (partition.min(self.replicas.len())..self.replicas.len()).rev() {
            if budget <= 0 {
                break;
            }
            let Some(pod) = self.replicas[index] else {
                budget -= 1;
                continue;
            };
            if !self.is_updated(pod) && !pod.meta.deleting() {
                let label = pod.meta.labels.get(pods::REVISION);
                given_up += i64::from(label.is_some_and(|label| **label == *self.current.0));
                self.delete(pod);
                budget -= 1;
            } else if self.unavailable(pod) {
                budget -= 1;
            }
        }
        given_up
    }
}

/// A finished rollout makes the new revision the current one.
fn complete(set: &StatefulSet, status: &mut Status) {
    let wanted = set.replicas();
    let done = [status.updated_replicas, status.ready_replicas, status.replicas].iter().all(|count| *count == wanted);
    if set.rolling() && done {
        status.current_replicas = status.updated_replicas;
        status.current_revision = status.update_revision.clone();
    }
}
