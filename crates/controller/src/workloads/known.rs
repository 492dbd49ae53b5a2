//! Turns StatefulSets, DaemonSets, Jobs and ControllerRevisions, as they change, into facts and into keys to look at again.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::object::ObjectKey;
use compile::garbage::Uid;
use compile::workloads::job::TRACKING;
use compile::workloads::objects::Meta;
use compile::workloads::{ControllerRevision, DaemonSet, Job, Pod, Selector, StatefulSet};

use crate::work::Queue;

/// Keys to look at, per controller.
#[derive(Clone, Default)]
pub(crate) struct Queues {
    pub(crate) stateful_sets: Queue<ObjectKey>,
    pub(crate) daemon_sets: Queue<ObjectKey>,
    pub(crate) jobs: Queue<ObjectKey>,
    /// Pods that carry the finalizer of a Job that may be gone.
    pub(crate) job_pods: Queue<ObjectKey>,
}

/// The facts.
#[derive(Default)]
pub(crate) struct Known {
    pub(super) stateful_sets: BTreeMap<ObjectKey, Arc<StatefulSet>>,
    pub(super) daemon_sets: BTreeMap<ObjectKey, Arc<DaemonSet>>,
    pub(super) jobs: BTreeMap<ObjectKey, Arc<Job>>,
    revisions: BTreeMap<ObjectKey, Arc<ControllerRevision>>,
}

/// Objects of a namespace.
fn inside<'a, T>(map: &'a BTreeMap<ObjectKey, Arc<T>>, namespace: &'a str) -> impl Iterator<Item = &'a Arc<T>> {
    let range = map.range(ObjectKey::new(namespace, "")..);
    range.take_while(move |(key, _)| *key.namespace == *namespace).map(|(_, object)| object)
}

impl Known {
    /// Takes an object in; kinds of no interest are passed over.
    pub(crate) fn take(
        &mut self,
        plural: &str,
        key: ObjectKey,
        json: &[u8],
        queues: &Queues,
    ) -> Result<(), serde_json::Error> {
        match plural {
            "statefulsets" => {
                self.stateful_sets.insert(key.clone(), Arc::new(StatefulSet::decode(json)?));
                queues.stateful_sets.add(key);
            }
            "daemonsets" => {
                self.daemon_sets.insert(key.clone(), Arc::new(DaemonSet::decode(json)?));
                queues.daemon_sets.add(key);
            }
            "jobs" => {
                self.jobs.insert(key.clone(), Arc::new(Job::decode(json)?));
                queues.jobs.add(key);
            }
            "controllerrevisions" => {
                let revision = Arc::new(ControllerRevision::decode(json)?);
                self.wake_for(&revision.meta, queues);
                self.revisions.insert(key, revision);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes in that an object is gone; returns the uid of a Job.
    pub(crate) fn remove(&mut self, plural: &str, key: &ObjectKey, queues: &Queues) -> Option<Uid> {
        match plural {
            "statefulsets" => drop(self.stateful_sets.remove(key)),
            "daemonsets" => drop(self.daemon_sets.remove(key)),
            "jobs" => return self.jobs.remove(key).map(|job| job.meta.uid.clone()),
            "controllerrevisions" => {
                if let Some(revision) = self.revisions.remove(key) {
                    self.wake_for(&revision.meta, queues);
                }
            }
            _ => {}
        }
        None
    }

    /// Whoever owns or could own this pod looks again.
    pub(crate) fn wake_for_pod(&self, pod: &Pod, queues: &Queues) {
        self.wake_for(&pod.meta, queues);
        if self.is_left_over(pod) {
            queues.job_pods.add(pod.meta.key());
        }
    }

    /// Every DaemonSet looks again.
    pub(crate) fn wake_for_nodes(&self, queues: &Queues) {
        queues.daemon_sets.extend(self.daemon_sets.keys().cloned());
    }

    /// Whether a pod waits for a Job that does not exist any more.
    pub(super) fn is_left_over(&self, pod: &Pod) -> bool {
        let tracked = pod.meta.finalizers.iter().any(|finalizer| **finalizer == *TRACKING);
        let owned = pod.meta.controller().is_some_and(|owner| {
            let key = ObjectKey::new(pod.meta.namespace.clone(), owner.name.clone());
            self.jobs.get(&key).is_some_and(|job| job.meta.uid == owner.uid)
        });
        tracked && !owned
    }

    /// Revisions of a namespace.
    pub(super) fn revisions_in(&self, namespace: &str) -> Vec<Arc<ControllerRevision>> {
        inside(&self.revisions, namespace).cloned().collect()
    }

    fn wake_for(&self, meta: &Meta, queues: &Queues) {
        let namespace = &*meta.namespace;
        let Some(owner) = meta.controller() else {
            let selects = |selector: &Selector| selector.matches(&meta.labels);
            let sets = inside(&self.stateful_sets, namespace).filter(|set| selects(&set.spec.selector));
            queues.stateful_sets.extend(sets.map(|set| set.meta.key()));
            let sets = inside(&self.daemon_sets, namespace).filter(|set| selects(&set.spec.selector));
            queues.daemon_sets.extend(sets.map(|set| set.meta.key()));
            let jobs = inside(&self.jobs, namespace).filter(|job| selects(&job.spec.selector));
            queues.jobs.extend(jobs.map(|job| job.meta.key()));
            return;
        };
        let key = ObjectKey::new(namespace, owner.name.clone());
        match &*owner.kind {
            "StatefulSet" => queues.stateful_sets.add(key),
            "DaemonSet" => queues.daemon_sets.add(key),
            "Job" => queues.jobs.add(key),
            _ => {}
        }
    }
}
