//! A live object and a configuration in, the live object with the configuration laid over it out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::shape::{Shape, items, members};
use super::step::Step;

/// Lays `new` over `old`: members and named items are merged, everything else is replaced.
pub(super) fn merge(shape: Shape<'_>, old: &Value, new: &Value) -> Value {
    merged(shape, Some(old), Some(new)).unwrap_or(Value::Null)
}

fn merged(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) -> Option<Value> {
    let (Some(before), Some(after)) = (old, new) else { return new.or(old).cloned() };
    match shape {
        Shape::Leaf => Some(after.clone()),
        Shape::Struct(_) | Shape::Map(_) => {
            let (before, after) = (members(old), members(new));
            if before.is_none_or(Map::is_empty) && after.is_none_or(Map::is_empty) {
                return new.cloned();
            }
            let mut all = before.cloned().unwrap_or_default();
            for (name, value) in after.into_iter().flatten() {
                let value = merged(shape.field(name), before.and_then(|before| before.get(name)), Some(value));
                if let Some(value) = value {
                    all.insert(name.clone(), value);
                }
            }
            Some(Value::Object(all))
        }
        Shape::Keyed(..) | Shape::Set => {
            let (before, after) = (items(Some(before)), items(Some(after)));
            if before.is_empty() && after.is_empty() {
                return new.cloned();
            }
            Some(Value::Array(list(shape, before, after)))
        }
    }
}

/// Where the items of one side are, by their steps.
struct Side<'v> {
    steps: Vec<(Step, &'v Value)>,
    /// How often each step occurs, and the item if that is once.
    known: BTreeMap<Step, Option<&'v Value>>,
}

impl<'v> Side<'v> {
    fn of(shape: Shape<'_>, list: &'v [Value]) -> Self {
        let steps: Vec<_> = list.iter().filter_map(|item| Some((shape.item(item)?, item))).collect();
        let mut known = BTreeMap::new();
        for (step, item) in &steps {
            known.entry(step.clone()).and_modify(|once| *once = None).or_insert(Some(*item));
        }
        Self { steps, known }
    }
}

/// Merges lists with named items. Items of both keep the order of the new list; items of the old one alone stay in
/// front of the shared item that they preceded.
fn list(shape: Shape<'_>, before: &[Value], after: &[Value]) -> Vec<Value> {
    let (old, new) = (Side::of(shape, before), Side::of(shape, after));
    let mut shared = new.steps.iter().map(|(step, _)| step).filter(|step| old.known.contains_key(step));
    let mut awaited = shared.next();
    let mut taken = BTreeSet::new();
    let mut out = Vec::with_capacity(before.len().max(after.len()));
    let (mut left, mut right) = (0, 0);
    while left < old.steps.len() || right < new.steps.len() {
        let theirs = old.steps.get(left);
        let ours = new.steps.get(right);
        if let Some((step, item)) = theirs {
            if !new.known.contains_key(step) {
                out.push((*item).clone());
                left += 1;
                continue;
            }
            let here = ours.is_some_and(|(ours, _)| ours == step);
            if !here && ours.is_some() && awaited.is_some_and(|awaited| awaited != step) {
                // Shared, but the new list has another one first.
                left += 1;
                continue;
            }
            left += usize::from(here || taken.contains(step));
        }
        let Some((step, item)) = ours else { continue };
        // Old items with the same keys twice are not merged with, the new one replaces them.
        let base = old.known.get(step).copied().flatten();
        out.extend(merged(shape.part(step), base, Some(item)));
        taken.insert(step);
        right += 1;
        if awaited == Some(step) {
            awaited = shared.next();
        }
    }
    out
}
