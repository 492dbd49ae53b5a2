//! Types of the schema into what ownership sees of them: a leaf, an object with parts, a list with named items.

use serde_json::{Map, Value};

use super::step::{Scalar, Step};
use crate::schema::{self, Definition, DefinitionId, Schema, Type};

/// How a value splits into fields that can have owners of their own.
#[derive(Clone, Copy)]
pub(super) enum Shape<'s> {
    /// Owned as a whole: plain values, and lists and objects that are atomic.
    Leaf,
    /// An object with known members.
    Struct(&'s Definition),
    /// An object with free keys.
    Map(&'s Type),
    /// A list whose items are told apart by keys.
    Keyed(&'static [&'static str], &'s Type),
    /// A list of plain values without an order.
    Set,
}

impl<'s> Shape<'s> {
    /// The shape of a whole object.
    pub(super) fn root(id: DefinitionId) -> Self {
        Shape::Struct(Schema::get().definition(id))
    }

    /// The shape of a value that is not a member of a known object: lists inside lists are atomic.
    fn of(r#type: &'s Type) -> Self {
        match r#type {
            Type::Object(id) => {
                let definition = Schema::get().definition(*id);
                if schema::is_atomic(definition.short_name()) { Shape::Leaf } else { Shape::Struct(definition) }
            }
            Type::Map(item) => Shape::Map(item),
            _ => Shape::Leaf,
        }
    }

    fn member(owner: &'s Definition, name: &str) -> Self {
        let Some(field) = owner.fields.get(name) else { return Shape::Leaf };
        match &field.r#type {
            Type::List(item) => {
                let kind = schema::list_kind(owner.short_name(), name);
                match (kind.map_keys, kind.set) {
                    ([], true) => Shape::Set,
                    ([], false) => Shape::Leaf,
                    (keys, _) => Shape::Keyed(keys, item),
                }
            }
            Type::Map(_) if schema::is_atomic_map(owner.short_name(), name) => Shape::Leaf,
            other => Shape::of(other),
        }
    }

    /// The shape of the part behind a step.
    pub(super) fn part(self, step: &Step) -> Self {
        match (self, step) {
            (Shape::Struct(owner), Step::Field(name)) => Shape::member(owner, name),
            (Shape::Map(item), Step::Field(_)) | (Shape::Keyed(_, item), Step::Key(_)) => Shape::of(item),
            _ => Shape::Leaf,
        }
    }

    /// The shape of a member of an object.
    pub(super) fn field(self, name: &str) -> Self {
        match self {
            Shape::Struct(owner) => Shape::member(owner, name),
            Shape::Map(item) => Shape::of(item),
            _ => Shape::Leaf,
        }
    }

    /// Whether a member is named by the schema, unlike the keys of a map.
    pub(super) fn names(self, step: &Step) -> bool {
        matches!((self, step), (Shape::Struct(owner), Step::Field(name)) if owner.fields.contains_key(name))
    }

    /// The step to an item of a list. None for an item that has none of its keys, or is no plain value in a set.
    pub(super) fn item(self, item: &Value) -> Option<Step> {
        match self {
            Shape::Set if item.is_null() || item.is_array() || item.is_object() => None,
            Shape::Set => Some(Step::Item(Scalar::of(item))),
            Shape::Keyed(keys, r#type) => {
                let members = item.as_object()?;
                let scalar = |key: &&str| {
                    let value = members.get(*key).map(Scalar::of).or_else(|| default_of(r#type, key));
                    value.map(|value| ((*key).to_owned(), value))
                };
                let mut named: Vec<_> = keys.iter().filter_map(scalar).collect();
                named.sort();
                (!named.is_empty()).then_some(Step::Key(named))
            }
            _ => None,
        }
    }
}

/// What a key counts as when an item does not give it: its default, else the empty value where the key is required.
fn default_of(r#type: &Type, key: &str) -> Option<Scalar> {
    let Type::Object(id) = r#type else { return None };
    let definition = Schema::get().definition(*id);
    if key == "protocol" && ["ServicePort", "ContainerPort"].contains(&definition.short_name()) {
        return Some(Scalar::Text("TCP".to_owned()));
    }
    let field = definition.fields.get(key)?;
    match field.r#type {
        Type::String if field.required => Some(Scalar::Text(String::new())),
        Type::Integer { .. } if field.required => Some(Scalar::Integer(0)),
        _ => None,
    }
}

/// The members of a value; none unless it is an object.
pub(super) fn members(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

/// The items of a value; empty unless it is a list.
pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
