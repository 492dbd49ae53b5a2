//! The one mutator of the snapshot: watched objects as JSON in, immutable snapshots and the keys that changed out.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::object::{ObjectKey, Revision};

use super::{Changes, EndpointSlice, Meta, Service, Snapshot, Table, decode, lean};

/// Label that binds an EndpointSlice to its Service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An object that cannot be used, and why. It counts as absent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{plural} {key} cannot be used: {why}; look at it: kubectl get {plural} {} -o yaml", key.name)]
pub struct Problem {
    /// Resource name.
    pub plural: &'static str,
    /// Which object.
    pub key: ObjectKey,
    /// What is wrong with it, naming the field.
    pub why: String,
}

/// Builds snapshots. Publishing shares everything that did not change.
#[derive(Debug, Default)]
pub struct Builder {
    current: Snapshot,
    changes: Changes,
    problems: std::collections::BTreeMap<(&'static str, ObjectKey), Problem>,
    /// The one node for which snapshots are built, if it is one.
    node: Option<Box<str>>,
}

/// Resources that the snapshot holds.
const HELD: [&str; 6] = ["services", "endpointslices", "pods", "nodes", "namespaces", "servicecidrs"];

impl Builder {
    /// Goes on from a snapshot: what would be if some objects were different.
    pub fn over(snapshot: &Snapshot) -> Self {
        Self { current: snapshot.clone(), ..Self::default() }
    }

    /// Builds for one node that only programmes Services: there are no Pods, and of slices and Services only that is kept
    /// which a node's table is compiled from. An endpoint's memory is most of what such a node needs.
    pub fn for_node(node: &str) -> Self {
        let current = Snapshot { without_pods: true, ..Snapshot::default() };
        Self { current, node: Some(node.into()), ..Self::default() }
    }

    /// Takes an object as it now is. A change in nothing that the snapshot holds is not a change.
    pub fn put(&mut self, plural: &str, key: &ObjectKey, revision: Revision, json: &[u8]) -> Result<(), Problem> {
        let Some(plural) = HELD.into_iter().find(|held| *held == plural) else { return Ok(()) };
        let result = match plural {
            "services" => decode::service(key, revision, json).map(|service| self.put_service(service)),
            "endpointslices" => decode::slice(key, revision, json).map(|slice| self.put_slice(slice)),
            "pods" => decode::pod(key, revision, json)
                .map(|pod| put(&mut self.current.pods, &mut self.changes.pods, pod, |pod| &mut pod.meta)),
            "nodes" => decode::node(key, revision, json)
                .map(|node| put(&mut self.current.nodes, &mut self.changes.nodes, node, |node| &mut node.meta)),
            "servicecidrs" => decode::network(key, revision, json).map(|network| {
                put(&mut self.current.networks, &mut self.changes.networks, network, |network| &mut network.meta);
            }),
            _ => decode::namespace(key, revision, json).map(|namespace| {
                put(&mut self.current.namespaces, &mut self.changes.namespaces, namespace, |namespace| {
                    &mut namespace.meta
                });
            }),
        };
        if result.is_ok() {
            self.problems.remove(&(plural, key.clone()));
        }
        result.map_err(|why| {
            self.delete(plural, key);
            let problem = Problem { plural, key: key.clone(), why };
            self.problems.insert((plural, key.clone()), problem.clone());
            problem
        })
    }

    /// Takes the deletion of an object.
    pub fn delete(&mut self, plural: &str, key: &ObjectKey) {
        if let Some(plural) = HELD.into_iter().find(|held| *held == plural) {
            self.problems.remove(&(plural, key.clone()));
        }
        match plural {
            "services" => self.delete_service(key),
            "endpointslices" => self.delete_slice(key),
            "pods" => remove(&mut self.current.pods, &mut self.changes.pods, key),
            "nodes" => remove(&mut self.current.nodes, &mut self.changes.nodes, key),
            "namespaces" => remove(&mut self.current.namespaces, &mut self.changes.namespaces, key),
            "servicecidrs" => remove(&mut self.current.networks, &mut self.changes.networks, key),
            _ => {}
        }
    }

    /// Ends a relist of `plural`: everything that was not in it is gone.
    pub fn retain(&mut self, plural: &str, listed: &BTreeSet<ObjectKey>) {
        let gone = |keys: Vec<ObjectKey>| keys.into_iter().filter(|key| !listed.contains(key)).collect::<Vec<_>>();
        let keys = match plural {
            "services" => keys(&self.current.services),
            "endpointslices" => keys(&self.current.slices),
            "pods" => keys(&self.current.pods),
            "nodes" => keys(&self.current.nodes),
            "namespaces" => keys(&self.current.namespaces),
            "servicecidrs" => keys(&self.current.networks),
            _ => Vec::new(),
        };
        gone(keys).iter().for_each(|key| self.delete(plural, key));
        self.problems.retain(|(kind, key), _| *kind != plural || listed.contains(key));
    }

    /// The snapshot at `revision`, and what changed since the last one.
    pub fn publish(&mut self, revision: Revision) -> (Arc<Snapshot>, Changes) {
        self.current.revision = revision;
        self.current.number += 1;
        (Arc::new(self.current.clone()), std::mem::take(&mut self.changes))
    }

    /// Objects that cannot be used, in order.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values()
    }

    fn put_service(&mut self, mut service: Service) {
        if self.node.is_some() {
            lean::service(&mut service);
        }
        let key = service.meta.key.clone();
        let before = self.current.services.get(&key).cloned();
        put(&mut self.current.services, &mut self.changes.services, service, |service| &mut service.meta);
        self.hold(&key, before);
    }

    fn delete_service(&mut self, key: &ObjectKey) {
        let before = self.current.services.get(key).cloned();
        remove(&mut self.current.services, &mut self.changes.services, key);
        self.hold(key, before);
    }

    /// Settles who holds the load-balancer addresses that a Service had and has.
    fn hold(&mut self, key: &ObjectKey, before: Option<Arc<Service>>) {
        let before = before.iter().flat_map(|service| service.load_balancer.addresses());
        let others = self.current.holders.change(key, before, &self.current.services);
        self.changes.services.extend(others);
    }

    fn put_slice(&mut self, mut slice: EndpointSlice) {
        if let Some(node) = &self.node {
            lean::slice(&mut slice, node);
        }
        let key = slice.meta.key.clone();
        let before = self.current.slices.get(&key).and_then(|slice| service_of(slice));
        let after = service_of(&slice);
        let mut changed = BTreeSet::new();
        put(&mut self.current.slices, &mut changed, slice, |slice| &mut slice.meta);
        if changed.is_empty() {
            return;
        }
        if before != after {
            self.unbind(before.as_ref(), &key);
            self.bind(after.as_ref(), &key);
        }
        self.changes.services.extend(before);
        self.changes.services.extend(after);
    }

    fn delete_slice(&mut self, key: &ObjectKey) {
        let Some(slice) = self.current.slices.get(key) else { return };
        let service = service_of(slice);
        self.current.slices.remove_mut(key);
        self.unbind(service.as_ref(), key);
        self.changes.services.extend(service);
    }

    fn bind(&mut self, service: Option<&ObjectKey>, slice: &ObjectKey) {
        let Some(service) = service else { return };
        let slices = self.current.slices_of.get(service).map_or(&[][..], |slices| slices);
        let Err(at) = slices.binary_search(slice) else { return };
        let (before, after) = slices.split_at(at);
        let slices = before.iter().chain([slice]).chain(after).cloned().collect();
        self.current.slices_of.insert_mut(service.clone(), slices);
    }

    fn unbind(&mut self, service: Option<&ObjectKey>, slice: &ObjectKey) {
        let Some((service, slices)) = service.and_then(|service| Some((service, self.current.slices_of.get(service)?)))
        else {
            return;
        };
        let rest: Arc<[ObjectKey]> = slices.iter().filter(|other| *other != slice).cloned().collect();
        if rest.is_empty() {
            self.current.slices_of.remove_mut(service);
        } else {
            self.current.slices_of.insert_mut(service.clone(), rest);
        }
    }
}

/// The Service a slice belongs to.
fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.meta.labels.get(SERVICE_NAME)?;
    Some(ObjectKey::new(slice.meta.key.namespace.clone(), name.clone()))
}

/// Stores an object; its key goes into `changed` if more than its revision differs. The newest revision is always kept,
/// because conditional writes need it.
fn put<T: Clone + PartialEq>(
    table: &mut Table<T>,
    changed: &mut BTreeSet<ObjectKey>,
    mut object: T,
    meta: impl Fn(&mut T) -> &mut Meta,
) {
    let (key, revision) = (meta(&mut object).key.clone(), meta(&mut object).revision);
    if let Some(stored) = table.get(&key) {
        let mut stored = T::clone(stored);
        if meta(&mut stored).revision == revision {
            return;
        }
        meta(&mut stored).revision = revision;
        if stored != object {
            changed.insert(key.clone());
        }
    } else {
        changed.insert(key.clone());
    }
    table.insert_mut(key, Arc::new(object));
}

fn remove<T>(table: &mut Table<T>, changed: &mut BTreeSet<ObjectKey>, key: &ObjectKey) {
    if table.remove_mut(key) {
        changed.insert(key.clone());
    }
}

fn keys<T>(table: &Table<T>) -> Vec<ObjectKey> {
    table.keys().cloned().collect()
}
