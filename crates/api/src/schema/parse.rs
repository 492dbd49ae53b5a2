//! The document that the build script wrote, parsed into the table.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::omitted::zero_is_absent;
use super::{Definition, DefinitionId, Field, Schema, Type};

const REFERENCE: &str = "#/$defs/";

/// Parses the document. It is ours, so what is not understood counts as "anything" rather than as an error.
pub(super) fn parse(text: &str) -> Schema {
    let document: BTreeMap<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let objects = document.iter().filter(|(_, schema)| schema["properties"].is_object());
    let by_name: BTreeMap<String, DefinitionId> =
        objects.clone().enumerate().map(|(index, (name, _))| (name.clone(), DefinitionId(index))).collect();
    let definitions = objects.map(|(name, schema)| definition(name, schema, &by_name)).collect();
    Schema { definitions, by_name }
}

fn definition(name: &str, schema: &Value, by_name: &BTreeMap<String, DefinitionId>) -> Definition {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let name_of_type = name.rsplit('.').next().unwrap_or(name);
    let field = |(name, schema): (&String, &Value)| {
        let field = Field {
            r#type: type_of(schema, by_name),
            required: required.contains(&name.as_str()),
            zero_is_absent: zero_is_absent(name_of_type, name),
        };
        (name.clone(), field)
    };
    Definition { name: name.to_owned(), fields: properties.iter().map(field).collect() }
}

fn type_of(schema: &Value, by_name: &BTreeMap<String, DefinitionId>) -> Type {
    if let Some(reference) = schema["$ref"].as_str() {
        return referred(reference.strip_prefix(REFERENCE).unwrap_or(reference), by_name);
    }
    if let Some([only]) = schema["allOf"].as_array().map(Vec::as_slice) {
        return type_of(only, by_name);
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("byte")) => Type::Bytes,
        (Some("string"), _) => Type::String,
        (Some("integer"), Some("int64")) => Type::Integer { bits: 64 },
        (Some("integer"), _) => Type::Integer { bits: 32 },
        (Some("number"), _) => Type::Number,
        (Some("boolean"), _) => Type::Boolean,
        (Some("array"), _) => Type::List(Box::new(type_of(&schema["items"], by_name))),
        (Some("object"), _) if schema["additionalProperties"].is_object() => {
            Type::Map(Box::new(type_of(&schema["additionalProperties"], by_name)))
        }
        _ => Type::Any,
    }
}

fn referred(name: &str, by_name: &BTreeMap<String, DefinitionId>) -> Type {
    match name.rsplit('.').next().unwrap_or(name) {
        "IntOrString" => Type::IntOrString,
        "Quantity" => Type::Quantity,
        "Time" => Type::Time { micro: false },
        "MicroTime" => Type::Time { micro: true },
        _ => by_name.get(name).map_or(Type::Any, |id| Type::Object(*id)),
    }
}
