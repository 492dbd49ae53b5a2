//! A body in Kubernetes' protobuf in, the JSON value it stands for out. Typed Go clients (`kubectl create` among them)
//! send it; answers are JSON, which all of them accept.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::clock::seconds;
use crate::limits;

#[cfg(test)]
mod tests;

/// What every body starts with, before the envelope.
const MAGIC: &[u8] = b"k8s\0";

static MESSAGES: LazyLock<BTreeMap<&'static str, Vec<Field>>> =
    LazyLock::new(|| include_str!("protobuf/messages.txt").lines().filter_map(message).collect());

/// A field of a message.
struct Field {
    number: u64,
    /// Empty for a message whose fields belong to the message around it.
    name: &'static str,
    repeat: Repeat,
    /// Absent and zero are different things: Go has a pointer here, or always writes the field.
    keep: bool,
    of: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    One,
    List,
    Map,
}

fn message(line: &'static str) -> Option<(&'static str, Vec<Field>)> {
    let (name, fields) = line.split_once(": ")?;
    (!name.starts_with('#')).then(|| (name, fields.split(", ").filter_map(field).collect()))
}

fn field(text: &'static str) -> Option<Field> {
    let words: Vec<&'static str> = text.split(' ').collect();
    let number = words.first()?.parse().ok()?;
    let (name, repeat, of) = match words[1..] {
        [inline] => ("", Repeat::One, inline.strip_prefix('=')?),
        [name, of] => (name, Repeat::One, of),
        [name, "list", of] => (name, Repeat::List, of),
        [name, "map", of] => (name, Repeat::Map, of),
        _ => return None,
    };
    let bare = of.strip_prefix('*');
    Some(Field { number, name, repeat, keep: bare.is_some(), of: bare.unwrap_or(of) })
}

/// Decodes a body; the error says what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, String> {
    let envelope = bytes.strip_prefix(MAGIC).ok_or("the body does not start with the magic of Kubernetes' protobuf")?;
    let (mut kind, mut version, mut raw) = (String::new(), String::new(), &[][..]);
    for part in Parts(envelope) {
        match part? {
            (1, Wire::Bytes(meta)) => {
                for part in Parts(meta) {
                    match part? {
                        (1, Wire::Bytes(text)) => version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(object)) => raw = object,
            (3, Wire::Bytes(encoding)) if !encoding.is_empty() => return Err("the object is compressed".into()),
            _ => {}
        }
    }
    if kind.is_empty() {
        return Err("the body does not say which kind it is".into());
    }
    // One name in two groups with other numbers is told apart by its version.
    let fields = MESSAGES
        .get(format!("{version} {kind}").as_str())
        .or_else(|| MESSAGES.get(kind.as_str()))
        .ok_or_else(|| format!("kind {kind:?} is not known in protobuf; send it as JSON"))?;
    let mut object = object(fields, raw, 0)?;
    object.insert("kind".into(), kind.into());
    object.insert("apiVersion".into(), version.into());
    Ok(Value::Object(object))
}

fn object(fields: &[Field], bytes: &[u8], depth: usize) -> Result<Map<String, Value>, String> {
    if depth > limits::PROTOBUF_DEPTH {
        return Err("messages are nested too deeply".into());
    }
    let mut members = Map::new();
    for part in Parts(bytes) {
        let (number, wire) = part?;
        // Fields this table does not know are newer than it, or not kept by this server.
        let Some(field) = fields.iter().find(|field| field.number == number) else { continue };
        match field.repeat {
            Repeat::One if field.name.is_empty() => {
                if let Value::Object(inner) = value(field.of, wire, depth)? {
                    members.extend(inner);
                }
            }
            Repeat::One => {
                let value = value(field.of, wire, depth)?;
                if field.keep || !is_zero(&value) {
                    members.insert(field.name.into(), value);
                }
            }
            Repeat::List => {
                let list = members.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
                let item = value(field.of, wire, depth)?;
                if let Value::Array(list) = list {
                    list.push(item);
                }
            }
            Repeat::Map => {
                let (key, item) = entry(field.of, wire, depth)?;
                let map = members.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = map {
                    map.insert(key, item);
                }
            }
        }
    }
    Ok(members)
}

/// An entry of a map: key is field 1, value is field 2; either may be left out when empty.
fn entry(of: &'static str, wire: Wire<'_>, depth: usize) -> Result<(String, Value), String> {
    let mut key = String::new();
    let mut item = None;
    for part in Parts(wire.bytes()?) {
        match part? {
            (1, Wire::Bytes(text)) => key = utf8(text)?,
            (2, wire) => item = Some(value(of, wire, depth)?),
            _ => {}
        }
    }
    let item = item.map_or_else(|| value(of, Wire::Bytes(&[]), depth), Ok)?;
    Ok((key, item))
}

fn value(of: &'static str, wire: Wire<'_>, depth: usize) -> Result<Value, String> {
    Ok(match of {
        "string" => utf8(wire.bytes()?)?.into(),
        "bytes" => STANDARD.encode(wire.bytes()?).into(),
        "int32" | "int64" => wire.number()?.into(),
        "bool" => (wire.number()? != 0).into(),
        "quantity" => first_text(wire.bytes()?)?.into(),
        "raw" => serde_json::from_slice(first_bytes(wire.bytes()?)?).map_err(|error| error.to_string())?,
        "time" => time(wire.bytes()?)?.map_or(Value::Null, |time| seconds(time).into()),
        "micro-time" => {
            time(wire.bytes()?)?.map_or(Value::Null, |time| time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into())
        }
        "int-or-string" => int_or_string(wire.bytes()?)?,
        "strings" => strings(wire.bytes()?)?,
        name => {
            let fields = MESSAGES.get(name).ok_or_else(|| format!("message {name:?} is not known"))?;
            Value::Object(object(fields, wire.bytes()?, depth + 1)?)
        }
    })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for part in Parts(bytes) {
        match part? {
            (1, wire) => is_text = wire.number()? != 0,
            (2, wire) => number = wire.number()?,
            (3, wire) => text = utf8(wire.bytes()?)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

/// A message that is nothing but a list.
fn strings(bytes: &[u8]) -> Result<Value, String> {
    let mut list = Vec::new();
    for part in Parts(bytes) {
        if let (1, wire) = part? {
            list.push(utf8(wire.bytes()?)?);
        }
    }
    Ok(list.into())
}

/// Seconds and nanoseconds; a time without either is none.
fn time(bytes: &[u8]) -> Result<Option<Timestamp>, String> {
    let (mut seconds, mut nanos) = (0, 0);
    for part in Parts(bytes) {
        match part? {
            (1, wire) => seconds = wire.number()?,
            (2, wire) => nanos = wire.number()?,
            _ => {}
        }
    }
    if (seconds, nanos) == (0, 0) {
        return Ok(None);
    }
    let nanos = i32::try_from(nanos).map_err(|error| error.to_string())?;
    Timestamp::new(seconds, nanos).map(Some).map_err(|error| error.to_string())
}

fn first_bytes(bytes: &[u8]) -> Result<&[u8], String> {
    for part in Parts(bytes) {
        if let (1, wire) = part? {
            return wire.bytes();
        }
    }
    Ok(&[])
}

fn first_text(bytes: &[u8]) -> Result<String, String> {
    utf8(first_bytes(bytes)?)
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".into())
}

/// What Go leaves out of JSON: the zero of a type without pointer.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// The value of a field as it is on the wire.
#[derive(Clone, Copy)]
enum Wire<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

impl<'b> Wire<'b> {
    fn bytes(self) -> Result<&'b [u8], String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err("a number stands where a text or message is expected".into()),
        }
    }

    /// Negative numbers travel as their two's complement in 64 bits.
    fn number(self) -> Result<i64, String> {
        match self {
            Self::Number(number) => Ok(number as i64),
            Self::Bytes([]) => Ok(0),
            Self::Bytes(_) => Err("a text or message stands where a number is expected".into()),
        }
    }
}

/// The fields of a message, one after the other.
struct Parts<'b>(&'b [u8]);

impl<'b> Iterator for Parts<'b> {
    type Item = Result<(u64, Wire<'b>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let part = self.part();
        if part.is_none() {
            self.0 = &[];
        }
        Some(part.ok_or_else(|| "a message is cut off or malformed".to_owned()))
    }
}

impl<'b> Parts<'b> {
    fn part(&mut self) -> Option<(u64, Wire<'b>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((tag >> 3, wire))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}
