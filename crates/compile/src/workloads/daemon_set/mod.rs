//! Turns a DaemonSet, the nodes and its pods into writes: one pod on every node that is selected, replaced node by node.

mod object;
mod rollout;

use std::collections::BTreeMap;

use api::kinds::{DAEMON_SET, POD};
use serde_json::{Value, json};

use super::claim::Owner;
use super::history::{ControllerRevision, History, Newest, State};
use super::objects::Pod;
use super::{Decision, Now, placement, template};
use crate::schedule::Node;
use crate::write::Write;

pub use object::{DaemonSet, Status};

/// Label with the hash of the template that a pod was made from.
const REVISION: &str = "controller-revision-hash";
/// The same as a count, for older clients.
const GENERATION: &str = "pod-template-generation";
/// Annotation of the DaemonSet with that count.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
/// Most pods created or deleted in one decision.
const BURST_MAX: usize = 250;
/// Seconds that a failed pod is left for people to look at before it is replaced.
const FAILED_SECONDS: i64 = 10;

/// A decision being made.
struct Step<'a> {
    set: &'a DaemonSet,
    now: &'a Now,
    newest: Newest,
    /// Nodes that should run a pod.
    eligible: Vec<&'a str>,
    /// Pods by node, oldest first; those that are on their way out too.
    by_node: BTreeMap<&'a str, Vec<&'a Pod>>,
    doomed: BTreeMap<&'a str, &'a Pod>,
    wanted: Vec<&'a str>,
}

/// What to do about `set`, given the nodes of the cluster, and the revisions and pods of its namespace.
pub fn reconcile<'a>(
    set: &'a DaemonSet,
    revisions: &[&ControllerRevision],
    nodes: impl Iterator<Item = &'a Node>,
    pods: &[&'a Pod],
    now: &'a Now,
) -> Decision {
    let mut decision = Decision::default();
    let owner = Owner { meta: &set.meta, kind: &DAEMON_SET, selector: &set.spec.selector };
    let mut claims = Vec::new();
    let mine = owner.pods(pods, |_| true, &mut claims);
    let history = History::of(&owner, revisions, &mut claims);
    if set.meta.deleting() {
        return decision;
    }
    let state = State {
        meta: &set.meta,
        kind: &DAEMON_SET,
        annotations: &set.annotations,
        template: &set.spec.template,
        collisions: set.status.collision_count.unwrap_or(0),
        hash_label: REVISION,
    };
    let newest = history.newest(&state, &mut claims);
    decision.writes = claims;
    let mut step = place(set, nodes, &mine, newest, now);
    let status = step.status(&mut decision);
    if status != set.status {
        // Before the pods: the target names the version that this decision read.
        decision.writes.push(Write::Status { target: set.target(), status: status.json() });
    }
    step.manage(&mine, &mut decision);
    if set.rolling() {
        rollout::roll(&mut step);
    }
    step.write(&mut decision);
    let live = |revision: &ControllerRevision| {
        let hash = revision.meta.labels.get(REVISION);
        let used = |pod: &&Pod| hash.is_some() && pod.meta.labels.get(REVISION) == hash;
        *revision.meta.name == *step.newest.name || mine.iter().any(used)
    };
    history.truncate(set.spec.revision_history_limit.unwrap_or(10), live, &mut decision.writes);
    decision
}

fn place<'a>(
    set: &'a DaemonSet,
    nodes: impl Iterator<Item = &'a Node>,
    mine: &[&'a Pod],
    newest: Newest,
    now: &'a Now,
) -> Step<'a> {
    let fixed = set.spec.template["spec"]["nodeName"].as_str().filter(|name| !name.is_empty());
    let selected = |node: &&Node| {
        let labels = &node.meta.labels;
        fixed.is_none_or(|name| *node.meta.name == *name)
            && set.node_selector.iter().all(|(name, value)| labels.get(name) == Some(value))
    };
    let eligible = nodes.filter(|node| !node.meta.deleting()).filter(selected).map(|node| &*node.meta.name).collect();
    let mut by_node: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in mine {
        if let Some(node) = pod.node.as_deref().or(pod.only_node.as_deref()) {
            by_node.entry(node).or_default().push(pod);
        }
    }
    for pods in by_node.values_mut() {
        pods.sort_by_key(|pod| (pod.node.is_none(), pod.meta.creation_timestamp.clone(), pod.meta.name.clone()));
    }
    Step { set, now, newest, eligible, by_node, doomed: BTreeMap::new(), wanted: Vec::new() }
}

impl<'a> Step<'a> {
    fn available(&self, pod: &Pod) -> bool {
        pod.available_in(self.set.spec.min_ready_seconds, self.now) == Some(0)
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        let hash = pod.meta.labels.get(REVISION).is_some_and(|label| **label == *self.newest.hash);
        let generation = self.set.annotations.get(TEMPLATE_GENERATION);
        let same = || pod.meta.labels.get(GENERATION).map(|label| &**label) == generation.map(String::as_str);
        hash || (!pod.meta.labels.contains_key(REVISION) && generation.is_some() && same())
    }

    fn pods_on(&self, node: &str) -> &[&'a Pod] {
        self.by_node.get(node).map_or(&[], Vec::as_slice)
    }

    fn desired(&self) -> i64 {
        i64::try_from(self.eligible.len()).unwrap_or(i64::MAX)
    }

    fn status(&self, decision: &mut Decision) -> Status {
        let mut status = Status {
            desired_number_scheduled: self.desired(),
            observed_generation: self.set.meta.generation,
            collision_count: self.set.status.collision_count.or((self.newest.collisions > 0).then_some(0)),
            conditions: self.set.status.conditions.clone(),
            ..Status::default()
        };
        if self.newest.collisions > 0 {
            status.collision_count = Some(self.newest.collisions);
        }
        for node in &self.eligible {
            let Some(pod) = self.pods_on(node).first() else { continue };
            status.current_number_scheduled += 1;
            status.updated_number_scheduled += i64::from(self.is_updated(pod));
            status.number_ready += i64::from(pod.ready);
            match pod.available_in(self.set.spec.min_ready_seconds, self.now) {
                Some(0) => status.number_available += 1,
                Some(seconds) => decision.sooner(seconds),
                None => {}
            }
        }
        let astray = self.by_node.keys().filter(|node| !self.eligible.contains(node)).count();
        status.number_misscheduled = i64::try_from(astray).unwrap_or(i64::MAX);
        status.number_unavailable = status.desired_number_scheduled - status.number_available;
        status
    }

    /// A pod where there should be one, none where there should not, never two unless an update says so.
    fn manage(&mut self, mine: &[&'a Pod], decision: &mut Decision) {
        for node in self.eligible.clone() {
            let all = self.pods_on(node).to_vec();
            let mut running = Vec::new();
            for pod in all.iter().copied().filter(|pod| !pod.meta.deleting()) {
                if !pod.finished() {
                    running.push(pod);
                    continue;
                }
                let since = pod.finished_at.or_else(|| super::time::seconds(&pod.meta.creation_timestamp));
                let left = since.map_or(0, |since| since + FAILED_SECONDS - self.now.seconds);
                if &*pod.phase == "Failed" && left > 0 {
                    decision.sooner(left);
                } else {
                    self.doomed.insert(&pod.meta.name, pod);
                }
            }
            if self.set.max_surge(self.desired()) > 0 {
                if running.is_empty() && all.iter().all(|pod| pod.meta.deleting()) {
                    self.wanted.push(node);
                }
                rollout::replace(self, &running);
                continue;
            }
            if all.is_empty() {
                self.wanted.push(node);
            }
            self.doomed.extend(running.into_iter().skip(1).map(|pod| (&*pod.meta.name, pod)));
        }
        let astray = mine.iter().copied().filter(|pod| {
            let node = pod.node.as_deref().or(pod.only_node.as_deref());
            !pod.meta.deleting() && node.is_some_and(|node| !self.eligible.contains(&node))
        });
        self.doomed.extend(astray.map(|pod| (&*pod.meta.name, pod)));
    }

    fn write(&self, decision: &mut Decision) {
        for pod in self.doomed.values().take(BURST_MAX) {
            let message = format!("Deleted pod: {}", pod.meta.name);
            let mut target = pod.target();
            // Any version of this pod will do: only a newer decision could spare it, and none is made meanwhile.
            target.revision = None;
            let note = Some(self.set.meta.note(&DAEMON_SET, "SuccessfulDelete", message));
            decision.writes.push(Write::Delete { target, propagation: Some("Background"), note });
        }
        for node in self.wanted.iter().take(BURST_MAX) {
            let note = self.set.meta.note(&DAEMON_SET, "SuccessfulCreate", "Created pod: {name}".to_owned());
            decision.writes.push(Write::Create { kind: &POD, object: self.pod(node), note: Some(note) });
        }
    }

    fn pod(&self, node: &str) -> Value {
        let mut pod = template::pod(&self.set.spec.template, &self.set.meta, &DAEMON_SET, None);
        let labels = &mut pod["metadata"]["labels"];
        labels[REVISION] = json!(self.newest.hash);
        if let Some(generation) = self.set.annotations.get(TEMPLATE_GENERATION) {
            labels[GENERATION] = json!(generation);
        }
        placement::pin(&mut pod["spec"], node);
        pod
    }
}
