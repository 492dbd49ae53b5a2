//! Patches: an object and a patch of one of three kinds in, the changed object out.

mod lists;
mod strategic;
#[cfg(test)]
mod tests;

use json_patch::PatchOperation;
use serde_json::Value;

use crate::limits::{DEPTH_MAX, JSON_PATCH_COPIED_BYTES_MAX, JSON_PATCH_OPERATIONS_MAX};
use crate::status::Status;

pub use strategic::strategic;

/// RFC 6902. A failing `test` or a path that does not exist is 422.
pub fn json_patch(object: &Value, operations: &Value) -> Result<Value, Status> {
    let count = operations.as_array().map_or(0, Vec::len);
    if count > JSON_PATCH_OPERATIONS_MAX {
        let why = format!("The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {count}");
        return Err(Status::new(413, "RequestEntityTooLarge", why));
    }
    let json_patch::Patch(patch) = serde_json::from_value(operations.clone())
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    let mut changed = object.clone();
    let mut spread = 0;
    for (index, operation) in patch.iter().enumerate() {
        bounded(&changed, operation, &mut spread)?;
        if absent_as_expected(&changed, operation) {
            continue;
        }
        // One by one, so that each can be measured first; the object is our own copy, dropped when one fails.
        json_patch::patch_unsafe(&mut changed, std::slice::from_ref(operation)).map_err(|error| {
            let (path, kind) = (error.path, error.kind);
            let why = format!(
                "the server rejected our request due to an error in our request: operation {index} at \"{path}\": {kind}"
            );
            // Without details kubectl prints nothing of a 422.
            Status { details: serde_json::json!({}), ..Status::new(422, "Invalid", why) }
        })?;
    }
    Ok(changed)
}

/// Whether this is a `test` for null of a member that is not there: Kubernetes lets it pass, and kube-rs makes sure by it
/// that an object has no finalizers yet.
fn absent_as_expected(object: &Value, operation: &PatchOperation) -> bool {
    let PatchOperation::Test(test) = operation else { return false };
    let path = test.path.as_str();
    let parent = path.rsplit_once('/').and_then(|(parent, _)| object.pointer(parent));
    test.value.is_null() && object.pointer(path).is_none() && parent.is_some_and(Value::is_object)
}

/// Refuses an operation by which a small patch would make a huge or very deep object. `spread` counts what was copied
/// and moved so far.
fn bounded(object: &Value, operation: &PatchOperation, spread: &mut usize) -> Result<(), Status> {
    let (path, value, spreads) = match operation {
        PatchOperation::Add(add) => (&add.path, Some(&add.value), false),
        PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value), false),
        PatchOperation::Copy(copy) => (&copy.path, object.pointer(copy.from.as_str()), true),
        PatchOperation::Move(r#move) => (&r#move.path, object.pointer(r#move.from.as_str()), true),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    let Some(value) = value else { return Ok(()) };
    if spreads {
        *spread += size(value);
        if *spread > JSON_PATCH_COPIED_BYTES_MAX {
            let why = format!(
                "Unable to complete the copy and move operations, what they copy and move together is {spread} bytes, \
                 exceeding the limit {JSON_PATCH_COPIED_BYTES_MAX}"
            );
            return Err(Status::new(413, "RequestEntityTooLarge", why));
        }
    }
    if path.count() + depth(value) > DEPTH_MAX {
        return Err(Status::bad_request(format!("the patch nests the object deeper than {DEPTH_MAX} levels")));
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

/// About how many bytes of JSON a value is.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| 1 + size(item)).sum::<usize>(),
        Value::Object(members) => 2 + members.iter().map(|(name, value)| name.len() + 4 + size(value)).sum::<usize>(),
    }
}

/// RFC 7396.
pub fn merge_patch(object: &Value, patch: &Value) -> Result<Value, Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("error decoding patch: a merge patch is a JSON object"));
    }
    let mut changed = object.clone();
    json_patch::merge(&mut changed, patch);
    Ok(changed)
}
