//! A configuration against the schema, as server-side apply checks it: fields that exist, types, items that have keys.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape::{Shape, items};
use crate::limits::{FIELD_FAULTS_MAX, PATH_BYTES_MAX};
use crate::schema::{DefinitionId, Schema, Type};

/// What is wrong with a configuration; empty when nothing is.
pub(super) fn check(id: DefinitionId, config: &Value) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    faults.object(id, config, "");
    faults.0
}

/// All faults as one text.
pub(super) fn joined(faults: &[String]) -> String {
    match faults {
        [only] => only.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    }
}

/// A path one step longer; what no message would show is cut at once.
fn longer(path: &str, step: &str) -> String {
    let mut longer = format!("{path}{step}");
    longer.truncate(longer.floor_char_boundary(PATH_BYTES_MAX));
    longer
}

struct Faults(Vec<String>);

impl Faults {
    fn push(&mut self, path: &str, why: &str) {
        if self.0.len() < FIELD_FAULTS_MAX {
            let path = &path[..path.floor_char_boundary(PATH_BYTES_MAX)];
            self.0.push(if path.is_empty() { why.to_owned() } else { format!("{path}: {why}") });
        }
    }

    fn object(&mut self, id: DefinitionId, value: &Value, path: &str) {
        if value.is_null() {
            return;
        }
        let Some(members) = value.as_object() else {
            return self.push(path, &format!("expected map, got {}", go(value)));
        };
        let definition = Schema::get().definition(id);
        for (name, value) in members {
            let path = longer(path, &format!(".{name}"));
            match definition.fields.get(name) {
                None => return self.push(&path, "field not declared in schema"),
                Some(field) => match (&field.r#type, Shape::root(id).field(name)) {
                    (Type::List(item), shape) => self.list(item, shape, value, &path),
                    (r#type, _) => self.value(r#type, value, &path),
                },
            }
        }
    }

    fn list(&mut self, item: &Type, shape: Shape<'_>, value: &Value, path: &str) {
        if value.is_null() {
            return;
        }
        if !value.is_array() {
            return self.push(path, &format!("expected list, got {}", go(value)));
        }
        let named = matches!(shape, Shape::Keyed(..) | Shape::Set);
        let mut seen = BTreeSet::new();
        for (index, value) in items(Some(value)).iter().enumerate() {
            let mut name = format!("[{index}]");
            if named {
                let Some(step) = shape.item(value) else {
                    return self.push(path, &format!("element {index}: {}", nameless(shape, value)));
                };
                name = step.to_string();
                if !seen.insert(step) {
                    self.push(path, &format!("duplicate entries for key {name}"));
                }
            }
            self.value(item, value, &longer(path, &name));
        }
    }

    fn value(&mut self, r#type: &Type, value: &Value, path: &str) {
        if value.is_null() {
            return;
        }
        match r#type {
            Type::Object(id) => self.object(*id, value, path),
            Type::List(item) => self.list(item, Shape::Leaf, value, path),
            Type::Map(item) => match value.as_object() {
                None => self.push(path, &format!("expected map, got {}", go(value))),
                Some(members) => {
                    for (name, value) in members {
                        self.value(item, value, &longer(path, &format!(".{name}")));
                    }
                }
            },
            Type::Any => {}
            Type::String | Type::Bytes | Type::Time { .. } if !value.is_string() => {
                self.push(path, &format!("expected string, got &value.valueUnstructured{{Value:{}}}", text(value)));
            }
            Type::Integer { .. } | Type::Number if !value.is_number() => {
                self.push(path, &format!("expected numeric (int or float), got {}", type_of(value)));
            }
            Type::Boolean if !value.is_boolean() => {
                self.push(path, &format!("expected boolean, got {}", go(value)));
            }
            Type::IntOrString | Type::Quantity if value.is_array() || value.is_object() => {
                self.push(path, &format!("expected any scalar, got {}", go(value)));
            }
            _ => {}
        }
    }
}

/// Why an item of a list with named items has no name.
fn nameless(shape: Shape<'_>, item: &Value) -> String {
    match shape {
        Shape::Keyed(..) if item.is_null() => "associative list with keys may not have a null element".to_owned(),
        Shape::Keyed(..) if !item.is_object() => "associative list with keys may not have non-map elements".to_owned(),
        Shape::Keyed(keys, _) => {
            let keys: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
            format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default \
                 values for any key fields)",
                keys.join(" ")
            )
        }
        _ if item.is_object() => "associative list without keys has an element that's a map type".to_owned(),
        _ if item.is_array() => "not supported: associative list with lists as elements".to_owned(),
        _ => "associative list without keys has an element that's an explicit null".to_owned(),
    }
}

/// A value as Go prints it behind a pointer, which is what clients know.
fn go(value: &Value) -> String {
    format!("&{{{}}}", text(value))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("{name}:{}", text(value))).collect();
            format!("map[{}]", members.join(" "))
        }
        other => other.to_string(),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
