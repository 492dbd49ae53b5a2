//! Two objects in, the fields that were added, changed and removed out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::set::FieldSet;
use super::shape::{Shape, items, members};
use super::step::Step;

/// What differs between two objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// Fields that only the old one has.
    pub removed: FieldSet,
    /// Fields that both have with different values.
    pub modified: FieldSet,
    /// Fields that only the new one has.
    pub added: FieldSet,
}

/// What happened to a field itself, apart from its parts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Same,
    Removed,
    Modified,
    Added,
}

impl Changes {
    /// Compares two objects of one shape. Ownership itself (`metadata.managedFields`) is not compared.
    pub(super) fn between(shape: Shape<'_>, old: &Value, new: &Value) -> Self {
        let mut changes = Self::default();
        changes.parts(shape, Some(old), Some(new));
        changes
    }

    /// Whether nothing differs.
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// Fields that the new object has and the old one had not, or not so.
    pub(super) fn written(&self) -> FieldSet {
        self.modified.union(&self.added)
    }

    /// Without fields that this kind of write does not touch.
    pub(super) fn without(self, ignored: &FieldSet) -> Self {
        Self {
            removed: self.removed.without(ignored),
            modified: self.modified.without(ignored),
            added: self.added.without(ignored),
        }
    }

    fn part(&mut self, step: impl FnOnce() -> Step, shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) {
        if old == new {
            return;
        }
        let mut below = Self::default();
        let mark = below.parts(shape, old, new);
        if mark == Mark::Same && below.is_empty() {
            return;
        }
        let step = step();
        self.removed.put(step.clone(), mark == Mark::Removed, below.removed);
        self.modified.put(step.clone(), mark == Mark::Modified, below.modified);
        self.added.put(step, mark == Mark::Added, below.added);
    }

    fn parts(&mut self, shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) -> Mark {
        let whole = match (old, new) {
            (None, _) => Mark::Added,
            (_, None) => Mark::Removed,
            _ => Mark::Same,
        };
        let leaf = if whole == Mark::Same && old != new { Mark::Modified } else { whole };
        match shape {
            Shape::Leaf => leaf,
            Shape::Struct(_) | Shape::Map(_) => {
                let (before, after) = (members(old), members(new));
                if before.is_none_or(|map| map.is_empty()) && after.is_none_or(|map| map.is_empty()) {
                    return leaf;
                }
                let meta = matches!(shape, Shape::Struct(owner) if owner.short_name() == "ObjectMeta");
                for (name, value) in before.into_iter().flatten().filter(|(name, _)| !meta || *name != "managedFields")
                {
                    let other = after.and_then(|after| after.get(name));
                    self.part(|| Step::Field(name.clone()), shape.field(name), Some(value), other);
                }
                let fresh =
                    after.into_iter().flatten().filter(|(name, _)| !before.is_some_and(|m| m.contains_key(*name)));
                for (name, value) in fresh.filter(|(name, _)| !meta || *name != "managedFields") {
                    self.part(|| Step::Field(name.clone()), shape.field(name), None, Some(value));
                }
                whole
            }
            Shape::Keyed(..) | Shape::Set => {
                let (before, after) = (items(old), items(new));
                if before.is_empty() && after.is_empty() {
                    return leaf;
                }
                self.list(shape, before, after);
                whole
            }
        }
    }

    fn list(&mut self, shape: Shape<'_>, before: &[Value], after: &[Value]) {
        let mut sides: BTreeMap<Step, [Vec<&Value>; 2]> = BTreeMap::new();
        for (side, list) in [before, after].into_iter().enumerate() {
            for item in list {
                if let Some(step) = shape.item(item) {
                    sides.entry(step).or_default()[side].push(item);
                }
            }
        }
        for (step, [before, after]) in sides {
            let part = shape.part(&step);
            match (before.as_slice(), after.as_slice()) {
                ([] | [_], [] | [_]) => {
                    self.part(|| step, part, before.first().copied(), after.first().copied());
                }
                // Items with the same keys count as one indivisible thing.
                ([_, _, ..], [_, _, ..]) if before == after => {}
                ([_, _, ..], [_, _, ..]) => self.modified.put(step, true, FieldSet::default()),
                ([_, _, ..], _) => {
                    self.part(|| step.clone(), part, None, after.first().copied());
                    self.removed.put(step, true, FieldSet::default());
                }
                (_, _) => {
                    self.part(|| step.clone(), part, before.first().copied(), None);
                    self.added.put(step, true, FieldSet::default());
                }
            }
        }
    }
}
