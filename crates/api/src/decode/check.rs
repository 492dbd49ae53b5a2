//! One value against its type: the value without what is not known, or the words Go's decoder has for the mistake.

use serde_json::{Map, Value};

use super::shortened;
use crate::limits::FIELD_FAULTS_MAX;
use crate::schema::{DefinitionId, Field, Schema, Type};

/// Where in the object we are: `spec.ports` as Go prints it (no indexes), `spec.ports[0]` as Kubernetes does.
struct Place<'a> {
    owner: &'a str,
    go: String,
    exact: String,
}

/// Checks an object; unknown fields are dropped and their paths added to `unknown`.
pub(super) fn object(
    schema: &Schema,
    id: DefinitionId,
    members: &Map<String, Value>,
    unknown: &mut Vec<String>,
) -> Result<Map<String, Value>, String> {
    let place = Place { owner: schema.definition(id).short_name(), go: String::new(), exact: String::new() };
    fields(schema, id, members, &place, unknown)
}

fn fields(
    schema: &Schema,
    id: DefinitionId,
    members: &Map<String, Value>,
    place: &Place<'_>,
    unknown: &mut Vec<String>,
) -> Result<Map<String, Value>, String> {
    let definition = schema.definition(id);
    let mut kept = Map::new();
    for (name, value) in members {
        let exact = join(&place.exact, name);
        let Some(field) = definition.fields.get(name) else {
            if unknown.len() < FIELD_FAULTS_MAX {
                unknown.push(shortened(&exact).to_owned());
            }
            continue;
        };
        if value.is_null() {
            continue;
        }
        let place = Place { owner: definition.short_name(), go: join(&place.go, name), exact };
        let value = check(schema, &field.r#type, value, &place, unknown)?;
        // What Kubernetes' types mark as omitted when empty does not survive storage, so it is not kept here either.
        if field.required || !is_empty(field, &value) {
            kept.insert(name.clone(), value);
        }
    }
    Ok(kept)
}

fn is_empty(field: &Field, value: &Value) -> bool {
    match (&field.r#type, value) {
        (Type::List(_), Value::Array(items)) => items.is_empty(),
        (Type::Map(_), Value::Object(members)) => members.is_empty(),
        (_, Value::String(text)) => field.zero_is_absent && text.is_empty(),
        (_, Value::Number(number)) => field.zero_is_absent && number.as_i64() == Some(0),
        (_, Value::Bool(set)) => field.zero_is_absent && !set,
        _ => false,
    }
}

fn check(
    schema: &Schema,
    r#type: &Type,
    value: &Value,
    place: &Place<'_>,
    unknown: &mut Vec<String>,
) -> Result<Value, String> {
    match (r#type, value) {
        (Type::Object(id), Value::Object(members)) => Ok(Value::Object(fields(schema, *id, members, place, unknown)?)),
        (Type::List(item), Value::Array(items)) => {
            let mut kept = Vec::with_capacity(items.len());
            for (index, value) in items.iter().enumerate() {
                let exact = format!("{}[{index}]", place.exact);
                let place = Place { owner: place.owner, go: place.go.clone(), exact };
                kept.push(if value.is_null() { empty(item) } else { check(schema, item, value, &place, unknown)? });
            }
            Ok(Value::Array(kept))
        }
        (Type::Map(item), Value::Object(members)) => {
            let mut kept = Map::new();
            for (name, value) in members {
                let place = Place { owner: place.owner, go: place.go.clone(), exact: join(&place.exact, name) };
                let value = if value.is_null() { empty(item) } else { check(schema, item, value, &place, unknown)? };
                kept.insert(name.clone(), value);
            }
            Ok(Value::Object(kept))
        }
        _ => plain(schema, r#type, value, place),
    }
}

/// What Go leaves where a null stands in a list or map.
fn empty(r#type: &Type) -> Value {
    match r#type {
        Type::String | Type::Bytes => Value::String(String::new()),
        Type::Quantity => Value::String("0".to_owned()),
        Type::Any | Type::Time { .. } => Value::Null,
        Type::Integer { .. } | Type::Number | Type::IntOrString => 0.into(),
        Type::Boolean => false.into(),
        Type::Object(_) | Type::Map(_) => Value::Object(Map::new()),
        Type::List(_) => Value::Array(Vec::new()),
    }
}

fn plain(schema: &Schema, r#type: &Type, value: &Value, place: &Place<'_>) -> Result<Value, String> {
    let right = match r#type {
        Type::Any => true,
        Type::String => value.is_string(),
        Type::Boolean => value.is_boolean(),
        Type::Number => value.is_number(),
        Type::Quantity => return quantity(value, schema, r#type, place),
        Type::Integer { bits: 32 } => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        Type::Integer { .. } => value.as_i64().is_some(),
        Type::IntOrString => value.is_string() || value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        Type::Bytes => return bytes(value, schema, r#type, place),
        Type::Time { .. } => return time(value, schema, r#type, place),
        Type::Object(_) | Type::List(_) | Type::Map(_) => false,
    };
    if right { Ok(value.clone()) } else { Err(mismatch(schema, r#type, value, place)) }
}

/// A quantity given as a number is kept as text, which is how it is always shown.
fn quantity(value: &Value, schema: &Schema, r#type: &Type, place: &Place<'_>) -> Result<Value, String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return Err(mismatch(schema, r#type, value, place)),
    };
    if is_quantity(&text) {
        return Ok(text.into());
    }
    Err(format!(
        "{}: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        place.exact
    ))
}

/// Digits with at most one point, then a suffix of ten or two to some power, or a decimal exponent.
fn is_quantity(text: &str) -> bool {
    const SUFFIXES: [&str; 16] = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let exponent = suffix.strip_prefix(['e', 'E']).map(|power| power.strip_prefix(['+', '-']).unwrap_or(power));
    let exponent = exponent.is_some_and(|power| !power.is_empty() && power.bytes().all(|byte| byte.is_ascii_digit()));
    number.bytes().any(|byte| byte.is_ascii_digit())
        && number.matches('.').count() <= 1
        && (SUFFIXES.contains(&suffix) || exponent)
}

fn bytes(value: &Value, schema: &Schema, r#type: &Type, place: &Place<'_>) -> Result<Value, String> {
    let Some(text) = value.as_str() else { return Err(mismatch(schema, r#type, value, place)) };
    match illegal_base64(text) {
        None => Ok(value.clone()),
        Some(at) => Err(format!("illegal base64 data at input byte {at}")),
    }
}

/// The first byte at which a text stops being padded base64.
fn illegal_base64(text: &str) -> Option<usize> {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    let wrong = body.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'));
    if wrong.is_some() {
        return wrong;
    }
    let whole = text.len().is_multiple_of(4) && padding <= 2;
    (!whole).then_some(text.len())
}

fn time(value: &Value, schema: &Schema, r#type: &Type, place: &Place<'_>) -> Result<Value, String> {
    let Some(text) = value.as_str() else { return Err(mismatch(schema, r#type, value, place)) };
    // Any offset and fraction is read; UTC and the precision of the type are kept, as Kubernetes does.
    match (text.parse::<jiff::Timestamp>(), r#type) {
        (Ok(time), Type::Time { micro: true }) => Ok(time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into()),
        (Ok(time), _) => Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()),
        (Err(_), _) => {
            let text = shortened(text);
            Err(format!("{}: parsing time {text:?}: not in the form 2006-01-02T15:04:05Z", place.exact))
        }
    }
}

fn mismatch(schema: &Schema, r#type: &Type, value: &Value, place: &Place<'_>) -> String {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if matches!(r#type, Type::Integer { .. } | Type::IntOrString) => {
            format!("number {number}")
        }
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    format!(
        "json: cannot unmarshal {found} into Go struct field {}.{} of type {}",
        place.owner,
        place.go,
        go(schema, r#type)
    )
}

/// The name Go has for a type.
fn go(schema: &Schema, r#type: &Type) -> String {
    match r#type {
        Type::String | Type::Quantity => "string".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Time { micro: false } => "v1.Time".to_owned(),
        Type::Time { micro: true } => "v1.MicroTime".to_owned(),
        Type::Integer { bits } => format!("int{bits}"),
        Type::Number => "float64".to_owned(),
        Type::Boolean => "bool".to_owned(),
        Type::IntOrString => "intstr.IntOrString".to_owned(),
        Type::Object(id) => format!("v1.{}", schema.definition(*id).short_name()),
        Type::List(item) => format!("[]{}", go(schema, item)),
        Type::Map(item) => format!("map[string]{}", go(schema, item)),
        Type::Any => "interface {}".to_owned(),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
