//! Small questions to JSON objects and stored records: what is its name, its revision, which table does it live in.

use std::sync::{Arc, LazyLock};

use api::kind::Kind;
use api::kinds;
use api::object::{ObjectKey, Revision};
use api::status::Status;
use bytes::Bytes;
use contract::access::Object;
use serde_json::{Map, Value};
use store::Record;

/// The store's table of a kind: its resource name with the group.
pub(crate) fn table(kind: &Kind) -> &'static str {
    // Names with a group are made once for the whole process, because the store keeps them as they are.
    static TABLES: LazyLock<Vec<(&'static Kind, &'static str)>> = LazyLock::new(|| {
        let name = |kind: &'static Kind| -> &'static str {
            if kind.group.is_empty() { kind.plural } else { String::leak(kind.qualified()) }
        };
        kinds::ALL.iter().map(|kind| (*kind, name(kind))).collect()
    });
    let same = |known: &Kind| (known.group, known.plural) == (kind.group, kind.plural);
    TABLES.iter().find(|(known, _)| same(known)).map_or(kind.plural, |(_, table)| table)
}

/// The kind whose objects a table holds.
pub(crate) fn kind_of_table(name: &str) -> Option<&'static Kind> {
    kinds::ALL.iter().copied().find(|kind| table(kind) == name)
}

/// A string inside `metadata`, empty when absent.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get("metadata").and_then(|meta| meta.get(field)).and_then(Value::as_str).unwrap_or("")
}

/// `metadata`, made an empty object first if it is anything else.
pub(crate) fn meta_mut(object: &mut Value) -> &mut Map<String, Value> {
    member_mut(object, "metadata")
}

/// A member that is an object, made one first if it is anything else.
pub(crate) fn member_mut<'a>(object: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    let members = as_map(object);
    as_map(members.entry(name).or_insert_with(|| Value::Object(Map::new())))
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(members) => members,
        _ => unreachable!("made an object above"),
    }
}

/// Sets or removes a member of a map.
pub(crate) fn set(members: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
}

/// The finalizers of an object.
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    let list = object.get("metadata").and_then(|meta| meta.get("finalizers")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether deletion has begun.
pub(crate) fn deleting(object: &Value) -> bool {
    !meta(object, "deletionTimestamp").is_empty()
}

/// Namespace and name of an object.
pub(crate) fn key_of(object: &Value) -> ObjectKey {
    ObjectKey::new(meta(object, "namespace"), meta(object, "name"))
}

/// A stored object as the API hands it out.
pub(crate) fn shown(record: &Record) -> Arc<Object> {
    Arc::new(Object { key: record.key.clone(), revision: record.revision, json: record.body.bytes() })
}

/// The JSON of a stored object.
pub(crate) fn parsed(body: &Bytes) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|error| Status::internal(format!("cannot read a stored object: {error}")))
}

/// A resource version as clients write it.
pub(crate) fn revision(text: &str) -> Option<Revision> {
    text.parse().ok().map(Revision)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_carry_the_group() {
        assert_eq!(table(&kinds::SERVICE), "services");
        assert_eq!(table(&kinds::DEPLOYMENT), "deployments.apps");
        assert!(kinds::ALL.iter().all(|kind| kind_of_table(table(kind)).is_some_and(|found| found.kind == kind.kind)));
    }

    #[test]
    fn members_are_made_when_missing_or_odd() {
        let mut odd = json!({ "metadata": 3 });
        meta_mut(&mut odd).insert("name".into(), "x".into());
        assert_eq!(odd, json!({ "metadata": { "name": "x" } }));
        assert_eq!(key_of(&odd), ObjectKey::new("", "x"));
        assert_eq!(meta(&odd, "namespace"), "");
    }
}
