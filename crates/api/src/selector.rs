//! Label and field selectors: their text form (or a LabelSelector object) in, the question "does this match" out.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The label has one of these values.
    In(String, Vec<String>),
    /// The label is absent or has none of these values.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is not there.
    Absent(String),
    /// The label is a whole number above this one.
    Above(String, i64),
    /// The label is a whole number below this one.
    Below(String, i64),
}

/// A label selector: all requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(pub Vec<Requirement>);

/// One requirement on a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// For example `metadata.name`.
    pub field: String,
    /// The value compared with.
    pub value: String,
    /// `=` rather than `!=`.
    pub equal: bool,
}

/// A field selector: all requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<FieldRequirement>);

impl Labels {
    /// Parses `a=b,c!=d,e in (x,y),f notin (z),g,!h,i>1,j<2`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("unable to parse requirement: {why}");
        let mut parser = Parser { rest: text.trim() };
        let mut requirements = Vec::new();
        while !parser.rest.is_empty() {
            requirements.push(parser.requirement().map_err(wrong)?);
            if parser.rest.is_empty() {
                break;
            }
            parser.expect(',').map_err(wrong)?;
            if parser.rest.is_empty() {
                return Err(wrong("found '', expected: identifier after ','".to_owned()));
            }
        }
        Ok(Self(requirements))
    }

    /// The selector that a LabelSelector object (matchLabels, matchExpressions) means.
    pub fn from_object(selector: &Value) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for (name, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::In(name.clone(), vec![value]));
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default().to_owned();
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            requirements.push(match expression["operator"].as_str() {
                Some("In") => Requirement::In(key, values),
                Some("NotIn") => Requirement::NotIn(key, values),
                Some("Exists") => Requirement::Exists(key),
                Some("DoesNotExist") => Requirement::Absent(key),
                other => return Err(format!("{:?} is not a valid label selector operator", other.unwrap_or(""))),
            });
        }
        Ok(Self(requirements))
    }

    /// Whether an object with these labels is selected.
    pub fn matches<K, V>(&self, labels: &BTreeMap<K, V>) -> bool
    where
        K: Borrow<str> + Ord,
        V: AsRef<str>,
    {
        let value = |key: &String| labels.get(key.as_str()).map(AsRef::as_ref);
        let number = |key: &String| value(key).and_then(|value| value.parse::<i64>().ok());
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => value(key).is_some_and(|value| values.iter().any(|one| one == value)),
            Requirement::NotIn(key, values) => value(key).is_none_or(|value| values.iter().all(|one| one != value)),
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::Absent(key) => value(key).is_none(),
            Requirement::Above(key, bound) => number(key).is_some_and(|number| number > *bound),
            Requirement::Below(key, bound) => number(key).is_some_and(|number| number < *bound),
        })
    }
}

/// The text form, which parses to the same selector.
impl fmt::Display for Labels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str(",")?;
            }
            match requirement {
                Requirement::In(key, values) if values.len() == 1 => write!(out, "{key}={}", values[0])?,
                Requirement::NotIn(key, values) if values.len() == 1 => write!(out, "{key}!={}", values[0])?,
                Requirement::In(key, values) => write!(out, "{key} in ({})", values.join(","))?,
                Requirement::NotIn(key, values) => write!(out, "{key} notin ({})", values.join(","))?,
                Requirement::Exists(key) => out.write_str(key)?,
                Requirement::Absent(key) => write!(out, "!{key}")?,
                Requirement::Above(key, bound) => write!(out, "{key}>{bound}")?,
                Requirement::Below(key, bound) => write!(out, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

impl Fields {
    /// Parses `metadata.name=x,spec.nodeName!=y`; a backslash takes the next character literally.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for part in split_unescaped(text).iter().filter(|part| !part.is_empty()) {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) = part.split_once("==") {
                (field, value, true)
            } else if let Some((field, value)) = part.split_once('=') {
                (field, value, true)
            } else {
                return Err(format!("invalid selector: '{text}'; can't understand '{part}'"));
            };
            let value = unescape(value).ok_or_else(|| format!("invalid selector: '{text}'; bad escape in '{part}'"))?;
            requirements.push(FieldRequirement { field: field.to_owned(), value, equal });
        }
        Ok(Self(requirements))
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, character) in text.char_indices() {
        match character {
            ',' if !escaped => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        escaped = character == '\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                _ => return None,
            },
            ',' | '=' => return None,
            other => out.push(other),
        }
    }
    Some(out)
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.accept("!") {
            return Ok(Requirement::Absent(self.key()?));
        }
        let key = self.key()?;
        if self.accept("!=") {
            return Ok(Requirement::NotIn(key, vec![self.value()?]));
        }
        if self.accept("==") || self.accept("=") {
            return Ok(Requirement::In(key, vec![self.value()?]));
        }
        if self.accept(">") {
            return Ok(Requirement::Above(key, self.number()?));
        }
        if self.accept("<") {
            return Ok(Requirement::Below(key, self.number()?));
        }
        match self.word() {
            "" => Ok(Requirement::Exists(key)),
            "in" => Ok(Requirement::In(key, self.values()?)),
            "notin" => Ok(Requirement::NotIn(key, self.values()?)),
            other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn key(&mut self) -> Result<String, String> {
        let key = self.word();
        match crate::selector::qualified(key) {
            true => Ok(key.to_owned()),
            false => Err(format!(
                "found '{}', expected: !, identifier, or ','",
                if key.is_empty() { self.rest } else { key }
            )),
        }
    }

    fn value(&mut self) -> Result<String, String> {
        let value = self.word();
        match value.is_empty() || label_value(value) {
            true => Ok(value.to_owned()),
            false => Err(format!(
                "values[0][]: Invalid value: {value:?}: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
            )),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.word();
        value.parse().map_err(|_| {
            format!("values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer")
        })
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        self.expect('(')?;
        let mut values = vec![self.value()?];
        while self.accept(",") {
            values.push(self.value()?);
        }
        self.expect(')')?;
        Ok(values)
    }

    /// The longest run of characters that names and values are made of.
    fn word(&mut self) -> &str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| c.is_whitespace() || ",()!=<>".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn accept(&mut self, text: &str) -> bool {
        match self.rest.trim_start().strip_prefix(text) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, character: char) -> Result<(), String> {
        let mut buffer = [0; 4];
        if self.accept(character.encode_utf8(&mut buffer)) {
            return Ok(());
        }
        Err(format!("found '{}', expected: '{character}'", self.rest))
    }
}

/// `[prefix/]name` with the characters that label keys may have.
fn qualified(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let domain = |prefix: &str| {
        let character = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        !prefix.is_empty() && prefix.len() <= 253 && prefix.chars().all(character)
    };
    !name.is_empty() && label_value(name) && prefix.is_none_or(domain)
}

fn label_value(value: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let character = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    value.len() <= 63 && value.chars().all(character) && ends(value.chars().next()) && ends(value.chars().last())
}

#[cfg(test)]
mod tests;
