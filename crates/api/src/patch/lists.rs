//! Lists of a strategic merge: the stored list, the list in the patch and the key that tells items apart in, the merged
//! list out.
//!
//! Items are found through an index: both lists may have hundreds of thousands of items, and comparing each with each
//! would let one request occupy a core for minutes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::strategic::{Merged, PATCH, clean, merge as merge_members};
use crate::schema::{DefinitionId, Schema};

/// Merges lists: by key, as a set (empty key), or replaced as a whole (no key).
///
/// A list that the object does not have yet is taken as it stands: two ports with one number stay two, although a
/// later patch of them would meet the first alone.
pub(super) fn merge(
    schema: &Schema,
    item: Option<DefinitionId>,
    key: Option<&str>,
    old: Option<&[Value]>,
    patch: &[Value],
    order: Option<&Value>,
) -> Merged<Vec<Value>> {
    let replace = patch.iter().any(|item| item[PATCH] == "replace");
    let merged = match (key, old) {
        (Some(""), Some(old)) if !replace => union(old, patch),
        (Some(key), Some(old)) if !replace => by_key(schema, item, key, old, patch)?,
        _ => {
            if let Some(key) = key.filter(|key| !key.is_empty()) {
                patch.iter().filter(|item| item[PATCH].is_null()).try_for_each(|item| name_of(item, key).map(drop))?;
            }
            patch.iter().filter(|item| item[PATCH].is_null()).map(clean).collect()
        }
    };
    match order {
        Some(order) => ordered(merged, order, key.unwrap_or_default()),
        None => Ok(merged),
    }
}

/// Plain values of both lists, each once.
fn union(old: &[Value], patch: &[Value]) -> Vec<Value> {
    let mut merged = old.to_vec();
    let mut seen: BTreeSet<String> = old.iter().map(Value::to_string).collect();
    merged.extend(patch.iter().filter(|value| seen.insert(value.to_string())).cloned());
    merged
}

fn by_key(
    schema: &Schema,
    item: Option<DefinitionId>,
    key: &str,
    old: &[Value],
    patch: &[Value],
) -> Merged<Vec<Value>> {
    let mut items: Vec<Option<Value>> = old.iter().cloned().map(Some).collect();
    // The first item of a name is meant: the API's key need not be unique (ports of a Service by number alone).
    let mut first = BTreeMap::new();
    for (at, item) in old.iter().enumerate() {
        first.entry(item[key].to_string()).or_insert(at);
    }
    let (deletions, changes): (Vec<&Value>, Vec<&Value>) = patch.iter().partition(|change| change[PATCH] == "delete");
    // Deletions come first, so that a patch may delete an item and put another one of that name in its place.
    let mut deleted = BTreeSet::new();
    for deletion in deletions {
        deleted.insert(name_of(deletion, key)?);
    }
    if !deleted.is_empty() {
        items
            .iter_mut()
            .filter(|item| item.as_ref().is_some_and(|item| deleted.contains(&item[key].to_string())))
            .for_each(|item| *item = None);
        first.retain(|name, _| !deleted.contains(name));
    }
    for change in changes {
        let name = name_of(change, key)?;
        let at = *first.entry(name).or_insert_with(|| {
            items.push(None);
            items.len() - 1
        });
        let empty = serde_json::Map::new();
        let members = items[at].as_ref().and_then(Value::as_object).unwrap_or(&empty);
        let change = change.as_object().unwrap_or(&empty);
        items[at] = merge_members(schema, item, members, change)?.map(Value::Object);
    }
    Ok(items.into_iter().flatten().collect())
}

/// The value of the key that an item of a patch must carry, as text.
fn name_of(item: &Value, key: &str) -> Merged<String> {
    let members = item.as_object().ok_or_else(|| format!("an item of a list merged by {key:?} is no object"))?;
    match members.get(key) {
        Some(name) if !name.is_null() => Ok(name.to_string()),
        _ => Err(format!("map: {item} does not contain declared merge key: {key}")),
    }
}

/// Puts a list into the order a client asked for. Items it did not name keep their place behind the one they followed.
pub(super) fn ordered(items: Vec<Value>, order: &Value, key: &str) -> Merged<Vec<Value>> {
    let order = order.as_array().ok_or("$setElementOrder must be a list")?;
    let name = |item: &Value| if key.is_empty() { item.to_string() } else { item[key].to_string() };
    let mut ranks = BTreeMap::new();
    for (rank, wanted) in order.iter().enumerate() {
        ranks.entry(name(wanted)).or_insert(rank);
    }
    let mut ranked: Vec<(usize, Value)> = Vec::with_capacity(items.len());
    let mut last = 0;
    for item in items {
        last = ranks.get(&name(&item)).copied().unwrap_or(last);
        ranked.push((last, item));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    Ok(ranked.into_iter().map(|(_, item)| item).collect())
}
