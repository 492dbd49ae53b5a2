//! Turns changed pods, Services and nodes into the Services to look at again, at a cost that does not grow with the
//! number of Services: selectors are indexed by one of their pairs, pods by all of theirs.

use std::collections::{BTreeMap, BTreeSet};

use api::object::ObjectKey;

use crate::snapshot::{Changes, Labels, Pod, Service, Snapshot};

/// A label of a namespace: namespace, name, value.
type Pair = (Box<str>, Box<str>, Box<str>);

/// Who selects whom.
#[derive(Debug, Default)]
pub struct Index {
    services: BTreeMap<Pair, BTreeSet<Box<str>>>,
    pair_of: BTreeMap<ObjectKey, Pair>,
    pods: BTreeMap<Pair, BTreeSet<Box<str>>>,
}

/// Whether every pair of `selector` is among `labels`.
pub fn matches(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

impl Index {
    /// Takes in what changed from `before` to `after`; returns the Services to look at again.
    pub fn update(&mut self, before: &Snapshot, after: &Snapshot, changes: &Changes) -> BTreeSet<ObjectKey> {
        for key in &changes.services {
            self.index_service(key, after.services.get(key).map(|service| &**service));
        }
        let mut touched = changes.services.clone();
        for key in &changes.pods {
            let (old, new) = (before.pods.get(key), after.pods.get(key));
            if let Some(pod) = old {
                self.selecting(before, pod, &mut touched);
                self.index_pod(pod, false);
            }
            if let Some(pod) = new {
                self.selecting(after, pod, &mut touched);
                self.index_pod(pod, true);
            }
        }
        let moved = |key: &ObjectKey| {
            let of = |snapshot: &Snapshot| {
                let node = snapshot.nodes.get(key)?;
                Some((node.zone.clone(), node.ready, node.cpu_milli, node.control_plane))
            };
            of(before) != of(after)
        };
        if changes.nodes.iter().any(moved) {
            // A node that came, went, changed its zone or its readiness is rare enough to look at every Service that selects.
            touched.extend(self.pair_of.keys().cloned());
        }
        touched
    }

    /// Pods that may match the selector of `service`: those carrying its rarest pair. Check the other pairs yourself.
    pub fn pods_of(&self, service: &Service) -> Vec<ObjectKey> {
        let namespace = &service.meta.key.namespace;
        let Some(selector) = &service.selector else { return Vec::new() };
        let mut rarest: Option<&BTreeSet<Box<str>>> = None;
        for pair in pairs(namespace, selector) {
            let Some(names) = self.pods.get(&pair) else { return Vec::new() };
            if rarest.is_none_or(|best| names.len() < best.len()) {
                rarest = Some(names);
            }
        }
        let names = rarest.into_iter().flatten();
        names.map(|name| ObjectKey::new(namespace.clone(), name.clone())).collect()
    }

    fn selecting(&self, snapshot: &Snapshot, pod: &Pod, into: &mut BTreeSet<ObjectKey>) {
        let namespace = &pod.meta.key.namespace;
        for pair in pairs(namespace, &pod.meta.labels) {
            for name in self.services.get(&pair).into_iter().flatten() {
                let key = ObjectKey::new(namespace.clone(), name.clone());
                let selects = |service: &Service| {
                    service.selector.as_ref().is_some_and(|selector| matches(selector, &pod.meta.labels))
                };
                // A Service that is not in this snapshot changed itself, and is looked at anyway.
                if snapshot.services.get(&key).is_some_and(|service| selects(service)) {
                    into.insert(key);
                }
            }
        }
    }

    fn index_service(&mut self, key: &ObjectKey, service: Option<&Service>) {
        if let Some(pair) = self.pair_of.remove(key) {
            remove(&mut self.services, &pair, &key.name);
        }
        let Some(selector) = service.and_then(|service| service.selector.as_ref()) else { return };
        let crowd = |pair: &Pair| self.services.get(pair).map_or(0, BTreeSet::len);
        if let Some(pair) = pairs(&key.namespace, selector).min_by_key(crowd) {
            self.services.entry(pair.clone()).or_default().insert(key.name.clone());
            self.pair_of.insert(key.clone(), pair);
        }
    }

    fn index_pod(&mut self, pod: &Pod, present: bool) {
        for pair in pairs(&pod.meta.key.namespace, &pod.meta.labels) {
            if present {
                self.pods.entry(pair).or_default().insert(pod.meta.key.name.clone());
            } else {
                remove(&mut self.pods, &pair, &pod.meta.key.name);
            }
        }
    }
}

fn pairs<'a>(namespace: &'a str, labels: &'a Labels) -> impl Iterator<Item = Pair> + 'a {
    labels.iter().map(move |(name, value)| (namespace.into(), name.clone(), value.clone()))
}

fn remove(sets: &mut BTreeMap<Pair, BTreeSet<Box<str>>>, pair: &Pair, name: &str) {
    if let Some(names) = sets.get_mut(pair) {
        names.remove(name);
        if names.is_empty() {
            sets.remove(pair);
        }
    }
}
