//! `metadata.managedFields` into who owns which fields, and back.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::set::FieldSet;

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    /// As written in an entry.
    pub fn text(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who owns fields: what tells one entry from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Name of the manager.
    pub manager: String,
    /// How it wrote.
    pub operation: Operation,
    /// Version it wrote in; empty for appliers, who are the same in all versions.
    pub api_version: String,
    /// Subresource it wrote to, empty for the object itself.
    pub subresource: String,
}

impl Owner {
    /// The owner that a write makes.
    pub fn new(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let manager = if manager.is_empty() { "unknown" } else { manager };
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        Self {
            manager: manager.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    /// As conflicts name it: `"kubectl" with subresource "scale" using apps/v1`.
    pub fn told(&self, held: Option<&Held>) -> String {
        let mut told = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            told.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            told.push_str(&format!(" using {}", held.map_or(&*self.api_version, |held| &*held.api_version)));
        }
        told
    }
}

/// What an owner holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The version that the fields are written in.
    pub api_version: String,
    /// The fields.
    pub set: FieldSet,
    /// When the entry last changed, empty when not known.
    pub time: String,
}

/// All owners of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners(pub BTreeMap<Owner, Held>);

impl Owners {
    /// Reads `metadata.managedFields`; an error says what is malformed.
    pub fn decode(entries: &Value) -> Result<Self, String> {
        let mut owners = BTreeMap::new();
        for (index, entry) in entries.as_array().into_iter().flatten().enumerate() {
            let text = |name: &str| entry[name].as_str().unwrap_or("");
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".to_owned()),
            };
            if text("apiVersion").is_empty() {
                return Err("apiVersion must not be empty".to_owned());
            }
            match text("fieldsType") {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
                other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {index}")),
            }
            let held = Held {
                api_version: text("apiVersion").to_owned(),
                set: FieldSet::decode(&entry["fieldsV1"])?,
                time: text("time").to_owned(),
            };
            // An entry without a manager is kept as it is.
            let owner = Owner {
                manager: text("manager").to_owned(),
                ..Owner::new("-", operation, text("apiVersion"), text("subresource"))
            };
            owners.insert(owner, held);
        }
        Ok(Self(owners))
    }

    /// `metadata.managedFields`; none when nobody owns anything.
    pub fn encode(&self) -> Option<Value> {
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_by(|a, b| order(*a, *b));
        let entries: Vec<_> = entries.into_iter().map(entry).collect();
        (!entries.is_empty()).then_some(Value::Array(entries))
    }

    /// Takes fields from everybody but one.
    pub(super) fn take(&mut self, but: Option<&Owner>, fields: &FieldSet) {
        for (_, held) in self.0.iter_mut().filter(|(owner, _)| Some(*owner) != but) {
            held.set = held.set.difference(fields);
        }
        self.0.retain(|owner, held| Some(owner) == but || !held.set.is_empty());
    }
}

/// Appliers first, then by time and name.
fn order(a: (&Owner, &Held), b: (&Owner, &Held)) -> Ordering {
    let key = |(owner, held): (&Owner, &Held)| (owner.operation, held.time.clone(), owner.manager.clone());
    let rest = |(owner, held): (&Owner, &Held)| (held.api_version.clone(), owner.subresource.clone());
    key(a).cmp(&key(b)).then_with(|| rest(a).cmp(&rest(b)))
}

fn entry((owner, held): (&Owner, &Held)) -> Value {
    let mut entry = Map::new();
    entry.insert("operation".into(), owner.operation.text().into());
    entry.insert("apiVersion".into(), held.api_version.as_str().into());
    entry.insert("fieldsType".into(), "FieldsV1".into());
    entry.insert("fieldsV1".into(), held.set.encode());
    for (name, text) in [("manager", &owner.manager), ("time", &held.time), ("subresource", &owner.subresource)] {
        if !text.is_empty() {
            entry.insert(name.into(), text.as_str().into());
        }
    }
    Value::Object(entry)
}

/// Whether what a client sent asks to forget all owners: an empty list, or one empty entry.
pub fn is_reset(entries: &Value) -> bool {
    match entries.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => *only == json!({}),
        _ => false,
    }
}
