//! An object into the set of its fields, and an object and a set into the object without those fields.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::set::FieldSet;
use super::shape::{Shape, items};
use super::step::Step;

/// Every field of an object.
pub(super) fn fields_of(shape: Shape<'_>, object: &Value) -> FieldSet {
    parts(shape, object).1
}

/// Whether the value itself is a field, and its parts.
fn parts(shape: Shape<'_>, value: &Value) -> (bool, FieldSet) {
    let mut set = FieldSet::default();
    match shape {
        Shape::Leaf => return (true, set),
        Shape::Struct(_) | Shape::Map(_) => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let step = Step::Field(name.clone());
                let (own, below) = parts(shape.field(name), value);
                let bare = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                let own = own || bare || !shape.names(&step);
                set.put(step, own, below);
            }
        }
        Shape::Keyed(..) | Shape::Set => {
            let steps: Vec<_> = items(Some(value)).iter().map(|item| (shape.item(item), item)).collect();
            let mut once = BTreeSet::new();
            let twice: BTreeSet<_> =
                steps.iter().filter(|(step, _)| !once.insert(step)).map(|(step, _)| step).collect();
            for (step, item) in &steps {
                let Some(name) = step else { continue };
                let below = if twice.contains(step) { FieldSet::default() } else { parts(shape.part(name), item).1 };
                set.put(name.clone(), true, below);
            }
        }
    }
    (false, set)
}

/// The set with the members that the schema names added when only their parts are in it.
pub(super) fn with_named(shape: Shape<'_>, set: &FieldSet) -> FieldSet {
    let mut all = FieldSet::default();
    for (step, node) in set.nodes() {
        let own = node.own || (!node.below.is_empty() && shape.names(step));
        all.put(step.clone(), own, with_named(shape.part(step), &node.below));
    }
    all
}

/// The object without the fields of a set. What becomes empty is null.
pub(super) fn remove(shape: Shape<'_>, value: &Value, set: &FieldSet) -> Value {
    if set.is_empty() {
        return value.clone();
    }
    match shape {
        Shape::Leaf => value.clone(),
        Shape::Struct(_) | Shape::Map(_) => {
            let mut kept = Map::new();
            for (name, value) in value.as_object().into_iter().flatten() {
                let step = Step::Field(name.clone());
                match set.node(&step) {
                    Some(node) if node.own => {}
                    Some(node) => drop(kept.insert(name.clone(), remove(shape.field(name), value, &node.below))),
                    None => drop(kept.insert(name.clone(), value.clone())),
                }
            }
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        Shape::Keyed(..) | Shape::Set => {
            let mut kept = Vec::new();
            for item in items(Some(value)) {
                let step = shape.item(item);
                match step.as_ref().and_then(|step| Some((step, set.node(step)?))) {
                    Some((_, node)) if node.own => {}
                    Some((step, node)) => kept.push(remove(shape.part(step), item, &node.below)),
                    None => kept.push(item.clone()),
                }
            }
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
    }
}
