//! JSON text to a value, with what a plain parser hides: keys that occur twice, and nesting that is too deep.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::shortened;
use crate::limits::{DEPTH_MAX, FIELD_FAULTS_MAX};
use crate::status::Status;

/// Parses JSON; also the paths of keys that occur twice (the later one wins), the first of them when there are many.
pub fn parse_json(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let mut walk = Walk::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = Seed(&mut walk).deserialize(&mut deserializer);
    match parsed.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok((value, walk.duplicates)),
        Err(error) => Err(Status::bad_request(format!("error decoding JSON: {error}"))),
    }
}

/// Where the parser is and what it found. The path is kept as steps and only written out for a duplicate: keys are the
/// client's, and writing every path out would cost the square of a body with long keys.
#[derive(Default)]
struct Walk {
    path: Vec<Step>,
    duplicates: Vec<String>,
}

enum Step {
    Name(String),
    Index(usize),
}

impl Walk {
    fn duplicate(&mut self) {
        if self.duplicates.len() < FIELD_FAULTS_MAX {
            self.duplicates.push(self.text());
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Name(name) if text.is_empty() => text.push_str(shortened(name)),
                Step::Name(name) => {
                    text.push('.');
                    text.push_str(shortened(name));
                }
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        shortened(&text).to_owned()
    }
}

struct Seed<'a>(&'a mut Walk);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0.path.len() > DEPTH_MAX {
            return Err(D::Error::custom(format!("nested deeper than {DEPTH_MAX} levels at {:?}", self.0.text())));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            self.0.path.push(Step::Index(list.len()));
            let item = items.next_element_seed(Seed(self.0))?;
            self.0.path.pop();
            let Some(item) = item else { return Ok(Value::Array(list)) };
            list.push(item);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let twice = map.contains_key(&name);
            self.0.path.push(Step::Name(name.clone()));
            let value = members.next_value_seed(Seed(self.0))?;
            if twice {
                self.0.duplicate();
            }
            self.0.path.pop();
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}
