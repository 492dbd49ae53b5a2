//! Patches: an object and a patch of one of three kinds in, the changed object out.

mod strategic;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::status::Status;

pub use strategic::strategic;

/// More operations than this in one JSON patch are refused, as in Kubernetes.
const OPERATIONS_MAX: usize = 10_000;

/// RFC 6902. A failing `test` or a path that does not exist is 422.
pub fn json_patch(object: &Value, operations: &Value) -> Result<Value, Status> {
    let count = operations.as_array().map_or(0, Vec::len);
    if count > OPERATIONS_MAX {
        let why = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}");
        return Err(Status::new(413, "RequestEntityTooLarge", why));
    }
    let patch: json_patch::Patch = serde_json::from_value(operations.clone())
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    let mut changed = object.clone();
    json_patch::patch(&mut changed, &patch).map_err(|error| {
        let why = format!("the server rejected our request due to an error in our request: {error}");
        Status::new(422, "Invalid", why)
    })?;
    Ok(changed)
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
