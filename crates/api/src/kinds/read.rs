//! Turns a decoded object and a JSON pointer into the member there, and writes members back the way Kubernetes omits empty ones.

use serde_json::{Map, Value};

/// The string at `pointer`, empty if there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The number at `pointer`.
pub fn int(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// Whether `true` is at `pointer`.
pub fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// The items of the list at `pointer`, none if there is no list.
pub fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The items of the list at `pointer`, to be changed.
pub fn list_mut<'a>(object: &'a mut Value, pointer: &str) -> &'a mut [Value] {
    object.pointer_mut(pointer).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// The strings of the list at `pointer`.
pub fn texts<'a>(object: &'a Value, pointer: &str) -> Vec<&'a str> {
    list(object, pointer).iter().filter_map(Value::as_str).collect()
}

/// The members of the object at `pointer` with their string values, sorted by key.
pub fn pairs<'a>(object: &'a Value, pointer: &str) -> Vec<(&'a str, &'a str)> {
    let members = object.pointer(pointer).and_then(Value::as_object);
    let mut pairs: Vec<_> = members
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| value.as_str().map(|value| (key.as_str(), value)))
        .collect();
    pairs.sort_unstable();
    pairs
}

/// Whether something other than null is at `pointer`.
pub fn present(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).is_some_and(|value| !value.is_null())
}

/// The member `key` of a map whose keys may hold slashes, such as labels.
pub fn entry<'a>(object: &'a Value, pointer: &str, key: &str) -> Option<&'a str> {
    object.pointer(pointer)?.get(key)?.as_str()
}

/// Puts `value` at `pointer`, making the objects on the way; steps into list items that exist.
pub fn put(object: &mut Value, pointer: &str, value: impl Into<Value>) {
    let mut at = object;
    for key in pointer.split('/').skip(1) {
        let index = key.parse().ok().filter(|index: &usize| at.as_array().is_some_and(|items| *index < items.len()));
        if let Some(index) = index {
            at = &mut at[index];
            continue;
        }
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[key.replace("~1", "/").replace("~0", "~")];
    }
    *at = value.into();
}

/// Puts `value` at `pointer` if nothing or null is there.
pub fn put_missing(object: &mut Value, pointer: &str, value: impl Into<Value>) {
    if !present(object, pointer) {
        put(object, pointer, value);
    }
}

/// Puts `value` at `pointer` if nothing, null, an empty string or zero is there.
pub fn put_zero(object: &mut Value, pointer: &str, value: impl Into<Value>) {
    if object.pointer(pointer).is_none_or(is_zero) {
        put(object, pointer, value);
    }
}

/// Removes the member at `pointer`.
pub fn remove(object: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, key) = pointer.rsplit_once('/')?;
    object.pointer_mut(parent)?.as_object_mut()?.remove(key)
}

/// Removes the members at `pointers` that hold what Kubernetes leaves out: null, an empty string, zero, false, an empty list or object.
pub fn omit_empty(object: &mut Value, pointers: &[&str]) {
    for pointer in pointers {
        let empty = |value: &Value| match value {
            Value::Bool(flag) => !flag,
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            other => is_zero(other),
        };
        if object.pointer(pointer).is_some_and(empty) {
            remove(object, pointer);
        }
    }
}

/// Copies the member at `pointer` of `from`, or removes it if `from` has none.
pub fn copy(object: &mut Value, from: &Value, pointer: &str) {
    match from.pointer(pointer) {
        Some(value) => put(object, pointer, value.clone()),
        None => {
            remove(object, pointer);
        }
    }
}

/// Whether both have the same at `pointer`, null being the same as nothing.
pub fn same(one: &Value, other: &Value, pointer: &str) -> bool {
    one.pointer(pointer).unwrap_or(&Value::Null) == other.pointer(pointer).unwrap_or(&Value::Null)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn put_makes_objects_and_steps_into_lists() {
        let mut object = json!({ "list": [{ "a": 1 }] });
        put(&mut object, "/list/0/b", 2);
        put(&mut object, "/x/y~1z", 3);
        assert_eq!(object, json!({ "list": [{ "a": 1, "b": 2 }], "x": { "y/z": 3 } }));
    }

    #[test]
    fn empty_members_are_left_out_and_false_ones_are_empty() {
        let mut object = json!({ "a": "", "b": 0, "c": [], "d": {}, "e": false, "f": null, "g": "x", "h": 1 });
        omit_empty(&mut object, &["/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h", "/i/j"]);
        assert_eq!(object, json!({ "g": "x", "h": 1 }));
        put_zero(&mut object, "/h", 2);
        put_zero(&mut object, "/z", 2);
        put_missing(&mut object, "/z", 3);
        assert_eq!(object, json!({ "g": "x", "h": 1, "z": 2 }));
        let from = json!({ "g": "y" });
        copy(&mut object, &from, "/g");
        copy(&mut object, &from, "/z");
        assert_eq!(object, json!({ "g": "y", "h": 1 }));
        assert!(same(&json!({ "n": null }), &json!({}), "/n") && !same(&object, &from, "/h"));
    }
}
