//! Turns all kinds, as they change, into the small facts that controllers decide on, and into the keys to look at again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use api::kind::Kind;
use api::kinds;
use api::object::{ObjectKey, Revision};
use bytes::Bytes;
use compile::endpoints::legacy::Stored;
use compile::garbage::{Graph, Uid};
use compile::namespaces::ROOT_CA;
use compile::schedule::{self, Node};
use compile::workloads::objects::Meta;
use compile::workloads::{Deployment, Pod, ReplicaSet};
use contract::access::{Access, Object};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::follow::{Follower, follow};
use crate::mirrored::Slices;
use crate::work::Queue;

/// Everything that may own, be owned, or fill a namespace. Events and Leases change often and own nothing.
static KINDS: [&Kind; 11] = [
    &kinds::NAMESPACE,
    &kinds::NODE,
    &kinds::SERVICE,
    &kinds::CONFIG_MAP,
    &kinds::SECRET,
    &kinds::SERVICE_ACCOUNT,
    &kinds::DEPLOYMENT,
    &kinds::REPLICA_SET,
    &kinds::POD,
    &kinds::ENDPOINTS,
    &kinds::ENDPOINT_SLICE,
];

/// Keys to look at, per controller.
#[derive(Clone, Default)]
pub(crate) struct Queues {
    pub(crate) deployments: Queue<ObjectKey>,
    pub(crate) sets: Queue<ObjectKey>,
    pub(crate) pods: Queue<ObjectKey>,
    pub(crate) namespaces: Queue<ObjectKey>,
    pub(crate) services: Queue<ObjectKey>,
    pub(crate) garbage: Queue<Uid>,
}

/// What controllers know. One task changes it, many read.
pub(crate) struct World {
    state: Mutex<State>,
    revision: watch::Sender<Revision>,
    /// Whether every kind was listed once.
    complete: watch::Sender<bool>,
}

/// The facts.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) pods: BTreeMap<ObjectKey, Arc<Pod>>,
    pub(crate) deployments: BTreeMap<ObjectKey, Arc<Deployment>>,
    pub(crate) sets: BTreeMap<ObjectKey, Arc<ReplicaSet>>,
    pub(crate) nodes: BTreeMap<ObjectKey, Node>,
    pub(crate) namespaces: BTreeMap<ObjectKey, Meta>,
    pub(crate) endpoints: BTreeMap<ObjectKey, Stored>,
    /// The same objects as JSON, shared with the store.
    pub(crate) endpoints_json: BTreeMap<ObjectKey, Bytes>,
    /// EndpointSlices that mirror Endpoints.
    pub(crate) mirrored: Slices,
    pub(crate) graph: Graph,
    /// Pods by namespace and uid of their controller; an empty uid for those of nobody.
    by_controller: BTreeMap<(Box<str>, Uid), BTreeSet<ObjectKey>>,
    uids: BTreeMap<&'static str, BTreeMap<ObjectKey, Uid>>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        let (revision, complete) = (watch::Sender::new(Revision(0)), watch::Sender::new(false));
        Arc::new(Self { state: Mutex::default(), revision, complete })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Waits until every kind was listed once. Kinds are listed one after the other: whoever decides before the last one
    /// finds ReplicaSets without their pods and owners without their dependents.
    pub(crate) async fn complete(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.complete.subscribe().wait_for(|complete| *complete).await;
    }

    /// Everything up to this revision has been taken in.
    pub(crate) fn seen(&self) -> Revision {
        *self.revision.borrow()
    }

    /// Waits until everything up to `revision` has been taken in: a decision made after that sees one's own writes.
    pub(crate) async fn reached(&self, revision: Revision) {
        let mut receiver = self.revision.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = receiver.wait_for(|seen| *seen >= revision).await;
    }
}

impl State {
    /// Pods of a namespace that the controller with `uid` controls; those that nobody controls when it is empty.
    pub(crate) fn controlled<'a>(&'a self, namespace: &str, uid: &str) -> impl Iterator<Item = &'a Arc<Pod>> {
        let keys = self.by_controller.get(&(namespace.into(), uid.into()));
        keys.into_iter().flatten().filter_map(|key| self.pods.get(key))
    }

    /// ReplicaSets of a namespace.
    pub(crate) fn sets_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<ReplicaSet>> {
        let range = self.sets.range(ObjectKey::new(namespace, "")..);
        range.take_while(move |(key, _)| *key.namespace == *namespace).map(|(_, set)| set)
    }

    fn index_pod(&mut self, pod: &Pod, present: bool) {
        let uid = pod.meta.controller().map(|owner| owner.uid.clone()).unwrap_or_default();
        let place = (pod.meta.namespace.clone(), uid);
        if present {
            self.by_controller.entry(place).or_default().insert(pod.meta.key());
        } else if let Some(keys) = self.by_controller.get_mut(&place) {
            keys.remove(&pod.meta.key());
            if keys.is_empty() {
                self.by_controller.remove(&place);
            }
        }
    }
}

/// The task that takes changes in.
struct Taker {
    world: Arc<World>,
    queues: Queues,
}

/// Takes changes in for ever.
pub(crate) async fn run(access: Arc<dyn Access>, world: Arc<World>, queues: Queues) {
    follow(access, &KINDS, Taker { world, queues }).await;
}

#[derive(Deserialize)]
struct OnlyMeta {
    metadata: Meta,
}

impl Follower for Taker {
    fn put(&mut self, plural: &'static str, object: &Object) {
        let Some(kind) = KINDS.iter().copied().find(|kind| kind.plural == plural) else { return };
        let taken =
            serde_json::from_slice::<OnlyMeta>(&object.json).and_then(|only| self.take(kind, only.metadata, object));
        if let Err(error) = taken {
            tracing::warn!(kind = plural, key = %object.key, %error, "ignored an object that cannot be read");
        }
    }

    fn delete(&mut self, plural: &'static str, key: &ObjectKey) {
        let world = self.world.clone();
        let mut state = world.state();
        let state = &mut *state;
        if let Some(uid) = state.uids.get_mut(plural).and_then(|uids| uids.remove(key)) {
            self.queues.garbage.extend(state.graph.delete(&uid));
        }
        match plural {
            "pods" => {
                if let Some(pod) = state.pods.remove(key) {
                    state.index_pod(&pod, false);
                    self.wake_for_pod(state, &pod);
                }
            }
            "replicasets" => {
                if let Some(set) = state.sets.remove(key) {
                    self.wake_for_set(state, &set);
                }
            }
            "deployments" => {
                state.deployments.remove(key);
            }
            "nodes" => {
                state.nodes.remove(key);
            }
            "namespaces" => {
                state.namespaces.remove(key);
                // One of the namespaces that always exist is made again.
                self.queues.namespaces.add(key.clone());
            }
            "endpoints" => {
                state.endpoints.remove(key);
                state.endpoints_json.remove(key);
                self.queues.services.add(key.clone());
            }
            "endpointslices" => self.queues.services.extend(state.mirrored.delete(key)),
            _ => {}
        }
        let furniture = matches!((plural, &*key.name), ("serviceaccounts", "default") | ("configmaps", ROOT_CA));
        self.wake_namespace(state, key, furniture);
    }

    fn retain(&mut self, plural: &'static str, listed: &BTreeSet<ObjectKey>) {
        let known = self.world.state().uids.get(plural).cloned().unwrap_or_default();
        for key in known.keys().filter(|key| !listed.contains(*key)) {
            self.delete(plural, key);
        }
    }

    fn seen(&mut self, revision: Revision) {
        self.world.revision.send_if_modified(|seen| {
            let grew = revision > *seen;
            *seen = revision.max(*seen);
            grew
        });
        self.world.complete.send_replace(true);
    }
}

impl Taker {
    fn take(&mut self, kind: &'static Kind, meta: Meta, object: &Object) -> Result<(), serde_json::Error> {
        let world = self.world.clone();
        let mut state = world.state();
        let state = &mut *state;
        let key = object.key.clone();
        let before = state.uids.entry(kind.plural).or_default().insert(key.clone(), meta.uid.clone());
        if let Some(uid) = before.filter(|uid| *uid != meta.uid) {
            // Deleted and made again under the same name, and the deletion was not seen.
            self.queues.garbage.extend(state.graph.delete(&uid));
        }
        self.queues.garbage.extend(state.graph.put(kind, &meta));
        match kind.plural {
            "pods" => self.take_pod(state, key, Pod::decode(&object.json)?),
            "replicasets" => {
                let set = Arc::new(ReplicaSet::decode(&object.json)?);
                if let Some(old) = state.sets.insert(key, set.clone()) {
                    self.wake_for_set(state, &old);
                }
                self.wake_for_set(state, &set);
            }
            "deployments" => {
                state.deployments.insert(key.clone(), Arc::new(Deployment::decode(&object.json)?));
                self.queues.deployments.add(key);
            }
            "nodes" => self.take_node(state, key, Node::decode(&object.json)?),
            "namespaces" => {
                state.namespaces.insert(key.clone(), meta);
                self.queues.namespaces.add(key);
            }
            "endpoints" => {
                let value: Value = serde_json::from_slice(&object.json)?;
                state.endpoints.insert(key.clone(), Stored::of(&value, object.revision));
                state.endpoints_json.insert(key.clone(), object.json.clone());
                self.queues.services.add(key);
            }
            "endpointslices" => self.queues.services.extend(state.mirrored.put(&meta, object)?),
            _ => {}
        }
        Ok(())
    }

    fn take_pod(&self, state: &mut State, key: ObjectKey, pod: Pod) {
        let pod = Arc::new(pod);
        if let Some(old) = state.pods.insert(key.clone(), pod.clone()) {
            state.index_pod(&old, false);
            state.index_pod(&pod, true);
            if old.meta.owner_references != pod.meta.owner_references || old.meta.labels != pod.meta.labels {
                self.wake_for_pod(state, &old);
            }
        } else {
            state.index_pod(&pod, true);
        }
        self.wake_for_pod(state, &pod);
        if schedule::waiting(&pod) {
            self.queues.pods.add(key);
        }
    }

    fn take_node(&self, state: &mut State, key: ObjectKey, node: Node) {
        let usable = |node: &Node| (node.ready, node.unschedulable, node.meta.labels.clone());
        let before = state.nodes.get(&key).map(usable);
        if before.as_ref() != Some(&usable(&node)) {
            let waiting = state.pods.iter().filter(|(_, pod)| schedule::waiting(pod));
            self.queues.pods.extend(waiting.map(|(key, _)| key.clone()));
        }
        state.nodes.insert(key, node);
    }

    fn wake_for_pod(&self, state: &State, pod: &Pod) {
        let namespace = &pod.meta.namespace;
        match pod.meta.controller() {
            Some(owner) => {
                let key = ObjectKey::new(namespace.clone(), owner.name.clone());
                if let Some(set) = state.sets.get(&key).filter(|set| set.meta.uid == owner.uid) {
                    // A Deployment of type Recreate waits for pods, not only for counts.
                    self.wake_for_set(state, set);
                }
            }
            None => {
                let matching = state.sets_in(namespace).filter(|set| set.selector.matches(&pod.meta.labels));
                self.queues.sets.extend(matching.map(|set| set.meta.key()));
            }
        }
    }

    fn wake_for_set(&self, state: &State, set: &ReplicaSet) {
        let namespace = &set.meta.namespace;
        self.queues.sets.add(set.meta.key());
        match set.meta.controller() {
            Some(owner) => self.queues.deployments.add(ObjectKey::new(namespace.clone(), owner.name.clone())),
            None => {
                let range = state.deployments.range(ObjectKey::new(namespace.clone(), "")..);
                let here = range.take_while(|(key, _)| key.namespace == *namespace);
                let matching = here.filter(|(_, deployment)| deployment.selector.matches(&set.meta.labels));
                self.queues.deployments.extend(matching.map(|(key, _)| key.clone()));
            }
        }
    }

    /// A namespace on its way out looks again when something in it is gone; a living one when its furniture is.
    fn wake_namespace(&self, state: &State, key: &ObjectKey, furniture: bool) {
        let namespace = ObjectKey::new("", key.namespace.clone());
        if state.namespaces.get(&namespace).is_some_and(|meta| furniture || meta.deleting()) {
            self.queues.namespaces.add(namespace);
        }
    }
}
