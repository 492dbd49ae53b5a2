//! Turns owner references into deletions: an object goes when all its owners are gone, by uid, not by name.
//!
//! A graph of uids is kept up to date per change; a decision looks at one object and its neighbours only. An owner that
//! the graph does not know may just not have been seen yet, so its absence must be confirmed by a read
//! ([`Graph::doubts`]) before it counts.

use std::collections::{BTreeMap, BTreeSet};

use api::kind::Kind;
use api::object::{ObjectKey, Revision};

use crate::workloads::objects::{Meta, Owner};
use crate::write::{Edit, Target, Write};

/// Finalizer of a deletion that waits for dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of a deletion that lets dependents live on.
pub const ORPHAN: &str = "orphan";

/// Unique id of an object.
pub type Uid = Box<str>;

/// Who owns whom.
#[derive(Default)]
pub struct Graph {
    nodes: BTreeMap<Uid, Node>,
    dependents: BTreeMap<Uid, BTreeSet<Uid>>,
}

struct Node {
    kind: &'static Kind,
    key: ObjectKey,
    revision: Revision,
    owners: Box<[Owner]>,
    deleting: bool,
    foreground: bool,
    orphan: bool,
}

impl Graph {
    /// Takes in an object; returns the objects to look at again.
    pub fn put(&mut self, kind: &'static Kind, meta: &Meta) -> BTreeSet<Uid> {
        let finalizer = |name: &str| meta.finalizers.iter().any(|finalizer| **finalizer == *name);
        let node = Node {
            kind,
            key: meta.key(),
            revision: meta.revision(),
            owners: meta.owner_references.clone().into_boxed_slice(),
            deleting: meta.deleting(),
            foreground: meta.deleting() && finalizer(FOREGROUND),
            orphan: meta.deleting() && finalizer(ORPHAN),
        };
        // An owner that waits for its dependents also looks again when one of them no longer names it.
        let former = self.nodes.get(&meta.uid).map(|old| old.owners.clone()).unwrap_or_default();
        self.unlink(&meta.uid);
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(meta.uid.clone());
        }
        let mut touched = BTreeSet::new();
        if !node.owners.is_empty() || node.foreground || node.orphan {
            touched.insert(meta.uid.clone());
        }
        if node.foreground {
            touched.extend(self.dependents_of(&meta.uid).cloned());
        }
        let owners = node.owners.iter().chain(&former).map(|owner| owner.uid.clone());
        touched.extend(owners.filter(|uid| self.nodes.get(uid).is_some_and(|owner| owner.deleting)));
        self.nodes.insert(meta.uid.clone(), node);
        touched
    }

    /// Takes in that an object is gone; returns the objects to look at again.
    pub fn delete(&mut self, uid: &str) -> BTreeSet<Uid> {
        let mut touched: BTreeSet<Uid> = self.dependents_of(uid).cloned().collect();
        if let Some(node) = self.nodes.get(uid) {
            touched.extend(node.owners.iter().map(|owner| owner.uid.clone()));
        }
        self.unlink(uid);
        self.nodes.remove(uid);
        touched
    }

    /// Owners of `uid` whose absence must be confirmed before a decision, with the namespace to look in.
    pub fn doubts(&self, uid: &str) -> Vec<(ObjectKey, Owner)> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        node.owners
            .iter()
            .filter(|owner| !self.nodes.contains_key(&owner.uid))
            .map(|owner| (ObjectKey::new(node.key.namespace.clone(), owner.name.clone()), owner.clone()))
            .collect()
    }

    /// What to do about `uid`, given which of its unknown owners are confirmed to be absent.
    pub fn decide(&self, uid: &str, absent: &BTreeSet<Uid>) -> Vec<Write> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        if node.orphan {
            return self.orphan(uid, node);
        }
        if node.deleting {
            return if node.foreground { self.finish_foreground(uid, node) } else { Vec::new() };
        }
        let is_waiting = |owner: &Owner| self.nodes.get(&owner.uid).is_some_and(|owner| owner.foreground);
        let gone: Vec<Uid> =
            node.owners.iter().filter(|owner| absent.contains(&owner.uid)).map(|owner| owner.uid.clone()).collect();
        let waiting = node.owners.iter().filter(|owner| is_waiting(owner)).count();
        let solid = node.owners.len() - gone.len() - waiting;
        if gone.is_empty() && waiting == 0 {
            return Vec::new();
        }
        if solid > 0 {
            let waiting = node.owners.iter().filter(|owner| is_waiting(owner)).map(|owner| owner.uid.clone());
            let uids = gone.into_iter().chain(waiting).collect();
            return vec![Write::Edit { target: node.target(uid), edit: Edit::Disown(uids), note: None }];
        }
        // In a circle somebody has to go first: one whose dependents are all on their way out does not wait for them.
        let holds = self.dependents_of(uid).any(|dependent| self.nodes.get(dependent).is_some_and(|one| !one.deleting));
        let propagation = if waiting > 0 && holds { "Foreground" } else { "Background" };
        vec![Write::Delete { target: node.target(uid), propagation: Some(propagation), note: None }]
    }

    fn orphan(&self, uid: &str, node: &Node) -> Vec<Write> {
        let mut writes: Vec<Write> = self
            .dependents_of(uid)
            .filter_map(|dependent| Some((dependent, self.nodes.get(dependent)?)))
            .map(|(dependent, one)| {
                let edit = Edit::Disown(vec![uid.into()]);
                Write::Edit { target: one.target(dependent), edit, note: None }
            })
            .collect();
        if writes.is_empty() {
            writes.push(Write::Edit { target: node.target(uid), edit: Edit::RemoveFinalizer(ORPHAN), note: None });
        }
        writes
    }

    fn finish_foreground(&self, uid: &str, node: &Node) -> Vec<Write> {
        // A dependent that waits for this very object would wait for ever: in a circle, somebody goes first.
        let blocks = |dependent: &Uid| self.holds_up(dependent, uid) && !self.waits_for(dependent, uid);
        if self.dependents_of(uid).any(blocks) {
            return Vec::new();
        }
        vec![Write::Edit { target: node.target(uid), edit: Edit::RemoveFinalizer(FOREGROUND), note: None }]
    }

    /// Whether the foreground deletion of `owner` must wait for `dependent`.
    fn holds_up(&self, dependent: &str, owner: &str) -> bool {
        self.nodes.get(dependent).is_some_and(|one| {
            one.owners.iter().any(|reference| *reference.uid == *owner && reference.block_owner_deletion)
        })
    }

    /// Whether `start` is being deleted in the foreground and, over others that are, waits for `end`.
    fn waits_for(&self, start: &str, end: &str) -> bool {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut next = vec![start];
        while let Some(uid) = next.pop() {
            let waiting = self.nodes.get(uid).is_some_and(|node| node.foreground);
            if !waiting || !seen.insert(uid) {
                continue;
            }
            for dependent in self.dependents_of(uid).filter(|dependent| self.holds_up(dependent, uid)) {
                if **dependent == *end {
                    return true;
                }
                next.push(dependent);
            }
        }
        false
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = &Uid> {
        self.dependents.get(uid).into_iter().flatten()
    }

    fn unlink(&mut self, uid: &str) {
        let Some(node) = self.nodes.get(uid) else { return };
        for owner in &node.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }
}

impl Node {
    fn target(&self, uid: &str) -> Target {
        Target { kind: self.kind, key: self.key.clone(), uid: uid.into(), revision: Some(self.revision) }
    }
}

#[cfg(test)]
mod tests;
