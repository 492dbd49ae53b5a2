//! One step of a path into an object: `f:spec`, `k:{"name":"a"}`, `v:"x"` or `i:0` into a typed step, and back.

use std::fmt;

use serde_json::{Map, Value};

/// A step from a value to one of its parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Member of an object.
    Field(String),
    /// Item of a list whose items are told apart by these keys, sorted by name.
    Key(Vec<(String, Scalar)>),
    /// Item of a set.
    Item(Scalar),
    /// Item of a list by its place.
    Index(i64),
}

/// A plain value inside a step; the order of kinds is that of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scalar {
    /// Whole number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Truth.
    Boolean(bool),
    /// Anything else, as JSON.
    Other(String),
}

impl Scalar {
    /// The scalar of a JSON value.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.clone()),
            Value::Bool(truth) => Self::Boolean(*truth),
            other => other.as_i64().map_or_else(|| Self::Other(other.to_string()), Self::Integer),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Integer(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Boolean(truth) => (*truth).into(),
            Self::Other(json) => serde_json::from_str(json).unwrap_or(Value::Null),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(out, "{text:?}"),
            other => write!(out, "{}", other.json()),
        }
    }
}

impl Step {
    /// Reads the text form. None if the letter before the colon is not known (Kubernetes ignores those); an error if
    /// what follows is malformed.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let malformed = || format!("{text:?} is not a step of a path: write f:NAME, k:{{...}}, v:VALUE or i:NUMBER");
        let (letter, rest) = text.split_once(':').ok_or_else(malformed)?;
        let step = match letter {
            "f" => Self::Field(rest.to_owned()),
            "v" => Self::Item(Scalar::of(&serde_json::from_str(rest).map_err(|_| malformed())?)),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).map_err(|_| malformed())?;
                let mut keys: Vec<_> = keys.iter().map(|(name, value)| (name.clone(), Scalar::of(value))).collect();
                keys.sort();
                Self::Key(keys)
            }
            "i" => Self::Index(rest.parse().map_err(|_| malformed())?),
            letter if letter.chars().count() == 1 => return Ok(None),
            _ => return Err(malformed()),
        };
        Ok(Some(step))
    }

    /// The text form.
    pub fn text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let mut out = String::from("k:{");
                for (index, (name, value)) in keys.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    out.push_str(&format!("{comma}{}:{}", Value::from(name.as_str()), value.json()));
                }
                out.push('}');
                out
            }
            Self::Item(value) => format!("v:{}", value.json()),
            Self::Index(index) => format!("i:{index}"),
        }
    }
}

/// As conflicts name it: `.spec`, `[port=80,protocol="TCP"]`, `[="x"]`, `[0]`.
impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(out, ".{name}"),
            Self::Key(keys) => {
                let keys: Vec<_> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(out, "[{}]", keys.join(","))
            }
            Self::Item(value) => write!(out, "[={value}]"),
            Self::Index(index) => write!(out, "[{index}]"),
        }
    }
}
