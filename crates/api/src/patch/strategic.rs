//! Strategic merge: like a merge patch, but lists merge item by item where the API says by which key.
//!
//! Directives: `$patch` (`replace`, `delete`, `merge`), `$deleteFromPrimitiveList/<field>`,
//! `$setElementOrder/<field>` and `$retainKeys`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::lists;
use crate::kind::Kind;
use crate::schema::{Definition, DefinitionId, Schema, Type, list_kind};
use crate::status::Status;

pub(super) const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

pub(super) type Members = Map<String, Value>;
pub(super) type Merged<T> = Result<T, String>;

/// Applies a strategic merge patch to an object of `kind`.
pub fn strategic(kind: &Kind, object: &Value, patch: &Value) -> Result<Value, Status> {
    let wrong = |why: String| Status::bad_request(format!("error applying strategic merge patch: {why}"));
    let schema = Schema::get();
    let (Some(members), Some(patch)) = (object.as_object(), patch.as_object()) else {
        return Err(wrong("a strategic merge patch is a JSON object".to_owned()));
    };
    let definition = schema.of_kind(kind);
    Ok(Value::Object(merge(schema, definition, members, patch).map_err(wrong)?.unwrap_or_default()))
}

/// Merges members; none means that the patch deletes the whole object.
pub(super) fn merge(
    schema: &Schema,
    id: Option<DefinitionId>,
    old: &Members,
    patch: &Members,
) -> Merged<Option<Members>> {
    match patch.get(PATCH).map(|directive| directive.as_str().unwrap_or("?")) {
        Some("delete") => return Ok(None),
        Some("replace") => return Ok(Some(without_directives(patch))),
        None | Some("merge") => {}
        Some(other) => return Err(format!("unknown directive $patch: {other}; it is replace, delete or merge")),
    }
    let mut new = old.clone();
    if let Some(retained) = patch.get(RETAIN) {
        let retained = retained.as_array().ok_or("$retainKeys must be a list of names")?;
        let retained: BTreeSet<&str> = retained.iter().filter_map(Value::as_str).collect();
        new.retain(|name, _| retained.contains(name.as_str()));
    }
    let definition = id.map(|id| schema.definition(id));
    for (name, value) in patch {
        if name.starts_with('$') {
            directive(definition, name, value, patch, &mut new)?;
            continue;
        }
        member(schema, definition, name, value, patch, &mut new)?;
    }
    Ok(Some(new))
}

/// `$deleteFromPrimitiveList/x`, and `$setElementOrder/x` when the patch does not change x itself.
fn directive(
    definition: Option<&Definition>,
    name: &str,
    value: &Value,
    patch: &Members,
    new: &mut Members,
) -> Merged<()> {
    if let Some(field) = name.strip_prefix(DELETE) {
        let gone = value.as_array().ok_or_else(|| format!("{name} must be a list"))?;
        let gone: BTreeSet<String> = gone.iter().map(Value::to_string).collect();
        if let Some(Value::Array(items)) = new.get_mut(field) {
            items.retain(|item| !gone.contains(&item.to_string()));
        }
        return Ok(());
    }
    if let Some(field) = name.strip_prefix(ORDER)
        && !patch.contains_key(field)
        && let Some(Value::Array(items)) = new.get_mut(field)
    {
        let key = definition.and_then(|definition| list_kind(definition.short_name(), field).merge_key);
        *items = lists::ordered(std::mem::take(items), value, key.unwrap_or_default())?;
    }
    Ok(())
}

fn member(
    schema: &Schema,
    definition: Option<&Definition>,
    name: &str,
    value: &Value,
    patch: &Members,
    new: &mut Members,
) -> Merged<()> {
    if value.is_null() {
        new.remove(name);
        return Ok(());
    }
    let field = definition.and_then(|definition| definition.fields.get(name));
    let inner = |r#type: &Type| if let Type::Object(id) = r#type { Some(*id) } else { None };
    match (value, new.get(name)) {
        (Value::Object(change), Some(Value::Object(old))) => {
            let id = field.and_then(|field| inner(&field.r#type));
            match merge(schema, id, old, change)? {
                Some(merged) => new.insert(name.to_owned(), Value::Object(merged)),
                None => new.remove(name),
            };
        }
        (Value::Object(change), _) => {
            let id = field.and_then(|field| inner(&field.r#type));
            if let Some(merged) = merge(schema, id, &Members::new(), change)? {
                new.insert(name.to_owned(), Value::Object(merged));
            }
        }
        (Value::Array(change), old) => {
            let key = definition.and_then(|definition| list_kind(definition.short_name(), name).merge_key);
            let old = old.and_then(Value::as_array).map(Vec::as_slice);
            let item = match field.map(|field| &field.r#type) {
                Some(Type::List(item)) => inner(item),
                _ => None,
            };
            let order = patch.get(&format!("{ORDER}{name}"));
            new.insert(name.to_owned(), Value::Array(lists::merge(schema, item, key, old, change, order)?));
        }
        (plain, _) => {
            new.insert(name.to_owned(), plain.clone());
        }
    }
    Ok(())
}

pub(super) fn without_directives(members: &Members) -> Members {
    let kept = members.iter().filter(|(name, value)| !name.starts_with('$') && !value.is_null());
    kept.map(|(name, value)| (name.clone(), clean(value))).collect()
}

pub(super) fn clean(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(without_directives(members)),
        Value::Array(items) => Value::Array(items.iter().map(clean).collect()),
        other => other.clone(),
    }
}
