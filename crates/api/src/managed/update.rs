//! A write other than apply in, the owners after it out: who writes a field owns it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::Writer;
use super::compare::Changes;
use super::owners::{Held, Operation, Owner, Owners, is_reset};
use super::set::FieldSet;
use super::shape::Shape;
use super::skeleton::skeleton;

/// So many owners by writes other than apply are kept apart; the oldest are then put together.
const UPDATERS_MAX: usize = 10;

/// Who the oldest writers become.
const ANCIENT: &str = "ancient-changes";

impl Writer<'_> {
    /// `metadata.managedFields` after an object was created (`old` is none) or updated. `new` is what the client sent,
    /// defaulted, before the server sets what is its own to set; the `managedFields` in it are taken out.
    pub fn track(&self, old: Option<&Value>, new: &mut Value) -> Option<Value> {
        let meta = new.get_mut("metadata").and_then(Value::as_object_mut);
        let sent = meta.and_then(|meta| meta.remove("managedFields"));
        let before = old.and_then(|old| old["metadata"].get("managedFields"));
        let changed = sent.as_ref().filter(|sent| self.subresource.is_empty() && Some(*sent) != before);
        let (entries, fresh) = match changed {
            Some(sent) if is_reset(sent) => (None, true),
            // What is missing or malformed does not erase what is known: clients may not know of owners.
            Some(sent) if Owners::decode(sent).is_ok_and(|owners| !owners.0.is_empty()) => (Some(sent), true),
            _ => (before, false),
        };
        if entries.is_none() && old.is_some() {
            // An object without owners stays so until it is first applied.
            return None;
        }
        let empty;
        let base = match old {
            Some(old) => old,
            None => {
                empty = skeleton(self.definition);
                &empty
            }
        };
        let changes = self.changes(base, new);
        if changes.is_empty() && !fresh {
            return entries.cloned();
        }
        let owners = entries.and_then(|entries| Owners::decode(entries).ok()).unwrap_or_default();
        if owners.0.is_empty() && old.is_some() {
            return None;
        }
        self.written(&changes, owners).encode()
    }

    fn changes(&self, old: &Value, new: &Value) -> Changes {
        Changes::between(Shape::root(self.definition), old, new).without(&self.ignored)
    }

    /// Owners after a change from `old` to `new`, whatever they were before.
    pub(super) fn owners_after(&self, old: &Value, new: &Value, owners: Owners) -> Owners {
        self.written(&self.changes(old, new), owners)
    }

    fn written(&self, changes: &Changes, mut owners: Owners) -> Owners {
        self.forget_versions(&mut owners);
        let written = changes.written();
        owners.take(None, &written.union(&changes.removed));
        let mine = written.difference(nobodys());
        if !mine.is_empty() {
            let owner = self.owner(Operation::Update);
            let kept = owners.0.remove(&owner).map(|held| held.set).unwrap_or_default();
            let held =
                Held { api_version: self.api_version.clone(), set: kept.union(&mine), time: self.now.to_owned() };
            owners.0.insert(owner, held);
        }
        cap(&mut owners);
        owners
    }

    /// Fields in versions that are not served mean nothing.
    pub(super) fn forget_versions(&self, owners: &mut Owners) {
        owners.0.retain(|_, held| held.api_version == self.api_version);
    }
}

/// Fields that have no owner, because the server sets them or they name the object.
pub(super) fn nobodys() -> &'static FieldSet {
    static NOBODYS: LazyLock<FieldSet> = LazyLock::new(|| {
        FieldSet::of(&[
            &["apiVersion"],
            &["kind"],
            &["metadata"],
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["metadata", "creationTimestamp"],
            &["metadata", "selfLink"],
            &["metadata", "uid"],
            &["metadata", "clusterName"],
            &["metadata", "generation"],
            &["metadata", "managedFields"],
            &["metadata", "resourceVersion"],
        ])
    });
    &NOBODYS
}

/// Puts the oldest writers of a version together while there are too many.
fn cap(owners: &mut Owners) {
    let mut updaters: Vec<(String, Owner)> = owners
        .0
        .iter()
        .filter(|(owner, _)| owner.operation == Operation::Update)
        .map(|(owner, held)| (held.time.clone(), owner.clone()))
        .collect();
    let mut over = updaters.len().saturating_sub(UPDATERS_MAX);
    if over == 0 {
        return;
    }
    updaters.sort();
    let mut first: BTreeMap<String, Owner> = BTreeMap::new();
    for (time, owner) in updaters {
        if over == 0 {
            return;
        }
        let Some(version) = owners.0.get(&owner).map(|held| held.api_version.clone()) else { continue };
        let Some(oldest) = first.get(&version) else {
            first.insert(version, owner);
            continue;
        };
        let bucket = Owner::new(ANCIENT, Operation::Update, &version, "");
        if owner == bucket {
            continue;
        }
        let base = if owners.0.contains_key(&bucket) { bucket.clone() } else { oldest.clone() };
        let (Some(base), Some(more)) = (owners.0.remove(&base), owners.0.remove(&owner)) else { continue };
        owners.0.insert(bucket, Held { set: base.set.union(&more.set), time, ..more });
        over -= 1;
    }
}
