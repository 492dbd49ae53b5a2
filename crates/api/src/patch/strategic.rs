//! Strategic merge: like a merge patch, but lists merge item by item where the API says by which key.
//!
//! Directives: `$patch` (`replace`, `delete`, `merge`), `$deleteFromPrimitiveList/<field>`,
//! `$setElementOrder/<field>` and `$retainKeys`.

use serde_json::{Map, Value};

use crate::kind::Kind;
use crate::schema::{Definition, DefinitionId, Schema, Type, list_kind};
use crate::status::Status;

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

type Members = Map<String, Value>;
type Merged<T> = Result<T, String>;

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
fn merge(schema: &Schema, id: Option<DefinitionId>, old: &Members, patch: &Members) -> Merged<Option<Members>> {
    match patch.get(PATCH).map(|directive| directive.as_str().unwrap_or("?")) {
        Some("delete") => return Ok(None),
        Some("replace") => return Ok(Some(without_directives(patch))),
        None | Some("merge") => {}
        Some(other) => return Err(format!("unknown directive $patch: {other}; it is replace, delete or merge")),
    }
    let mut new = old.clone();
    if let Some(retained) = patch.get(RETAIN) {
        let retained = retained.as_array().ok_or("$retainKeys must be a list of names")?;
        new.retain(|name, _| retained.iter().any(|kept| kept == name));
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
        if let Some(Value::Array(items)) = new.get_mut(field) {
            items.retain(|item| !gone.contains(item));
        }
        return Ok(());
    }
    if let Some(field) = name.strip_prefix(ORDER)
        && !patch.contains_key(field)
        && let Some(Value::Array(items)) = new.get_mut(field)
    {
        let key = definition.and_then(|definition| list_kind(definition.short_name(), field).merge_key);
        *items = ordered(std::mem::take(items), value, key.unwrap_or_default())?;
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
            let old = old.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let item = match field.map(|field| &field.r#type) {
                Some(Type::List(item)) => inner(item),
                _ => None,
            };
            let order = patch.get(&format!("{ORDER}{name}"));
            new.insert(name.to_owned(), Value::Array(list(schema, item, key, old, change, order)?));
        }
        (plain, _) => {
            new.insert(name.to_owned(), plain.clone());
        }
    }
    Ok(())
}

/// Merges lists: by key, as a set (empty key), or, without a key, replaced as a whole.
fn list(
    schema: &Schema,
    item: Option<DefinitionId>,
    key: Option<&str>,
    old: &[Value],
    patch: &[Value],
    order: Option<&Value>,
) -> Merged<Vec<Value>> {
    let replace =
        patch.iter().any(|item| item[PATCH] == "replace" && item.as_object().is_some_and(|item| item.len() == 1));
    let Some(key) = key.filter(|_| !replace) else {
        let kept = patch.iter().filter(|item| item[PATCH].is_null());
        return Ok(kept
            .map(|item| item.as_object().map_or_else(|| item.clone(), |item| Value::Object(without_directives(item))))
            .collect());
    };
    let mut merged = old.to_vec();
    if key.is_empty() {
        for value in patch.iter().filter(|value| !old.contains(value)) {
            if !merged.contains(value) {
                merged.push(value.clone());
            }
        }
    } else {
        for change in patch {
            by_key(schema, item, key, change, &mut merged)?;
        }
    }
    match order {
        Some(order) => ordered(merged, order, key),
        None => Ok(merged),
    }
}

fn by_key(
    schema: &Schema,
    item: Option<DefinitionId>,
    key: &str,
    change: &Value,
    merged: &mut Vec<Value>,
) -> Merged<()> {
    let change = change.as_object().ok_or_else(|| format!("an item of a list merged by {key:?} is no object"))?;
    let name = change.get(key).filter(|name| !name.is_null());
    let name = name
        .ok_or_else(|| format!("map: {} does not contain declared merge key: {key}", Value::Object(change.clone())))?;
    // The first one is meant: the API's key need not be unique (ports of a Service by number alone).
    let at = merged.iter().position(|item| item.get(key) == Some(name));
    let old = at.and_then(|at| merged[at].as_object().cloned()).unwrap_or_default();
    match (merge(schema, item, &old, change)?, at) {
        (Some(new), Some(at)) => merged[at] = Value::Object(new),
        (Some(new), None) => merged.push(Value::Object(new)),
        (None, _) => merged.retain(|item| item.get(key) != Some(name)),
    }
    Ok(())
}

/// Puts a list into the order a client asked for. Items it did not name keep their place behind the one they followed.
fn ordered(items: Vec<Value>, order: &Value, key: &str) -> Merged<Vec<Value>> {
    let order = order.as_array().ok_or("$setElementOrder must be a list")?;
    let name = |item: &Value| if key.is_empty() { item.clone() } else { item[key].clone() };
    let rank = |item: &Value| order.iter().position(|wanted| name(wanted) == name(item));
    let mut ranked: Vec<(usize, Value)> = Vec::with_capacity(items.len());
    let mut last = 0;
    for item in items {
        if let Some(rank) = rank(&item) {
            last = rank;
        }
        ranked.push((last, item));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    Ok(ranked.into_iter().map(|(_, item)| item).collect())
}

fn without_directives(members: &Members) -> Members {
    let kept = members.iter().filter(|(name, value)| !name.starts_with('$') && !value.is_null());
    kept.map(|(name, value)| (name.clone(), clean(value))).collect()
}

fn clean(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(without_directives(members)),
        Value::Array(items) => Value::Array(items.iter().map(clean).collect()),
        other => other.clone(),
    }
}
