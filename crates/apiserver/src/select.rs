//! Selectors as text in, the question "is this record selected" out.

use api::kind::Kind;
use api::selector::{Fields, Labels};
use api::status::Status;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use store::Record;

/// Which objects of a kind a list or watch shows.
pub(crate) struct Selection {
    kind: &'static Kind,
    /// Only this namespace.
    pub namespace: Option<String>,
    labels: Option<Labels>,
    fields: Option<Fields>,
}

#[derive(Deserialize)]
struct Labelled {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Kinds that bring their own selectable fields say so in other words than those that have the common ones only.
fn unknown_field(kind: &Kind, field: &str) -> String {
    let own = ["Event", "Namespace", "Node", "Pod", "Secret", "Service"];
    match kind.kind {
        "Job" => format!("field label {field:?} not supported for Job"),
        name if kind.group.is_empty() && own.contains(&name) => format!("field label not supported: {field}"),
        _ => format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
    }
}

impl Selection {
    /// Parses selectors; 400 for malformed ones and for fields that this kind cannot be selected by.
    pub(crate) fn parse(
        kind: &'static Kind,
        namespace: Option<String>,
        labels: &str,
        fields: &str,
    ) -> Result<Self, Status> {
        let labels = match labels {
            "" => None,
            text => Some(Labels::parse(text).map_err(Status::bad_request)?),
        };
        let fields = match fields {
            "" => None,
            text => Some(Fields::parse(text).map_err(Status::bad_request)?),
        };
        let empty = Value::Object(serde_json::Map::new());
        for requirement in fields.iter().flat_map(|fields| &fields.0) {
            let known = match requirement.field.as_str() {
                "metadata.name" => true,
                "metadata.namespace" => kind.namespaced,
                other => kind.rules.field(&empty, other).is_some(),
            };
            if !known {
                return Err(Status::bad_request(unknown_field(kind, &requirement.field)));
            }
        }
        Ok(Self { kind, namespace: namespace.filter(|name| !name.is_empty()), labels, fields })
    }

    /// Whether every object of the namespace is shown.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// Whether this version of an object is shown.
    pub(crate) fn matches(&self, record: &Record) -> bool {
        if self.namespace.as_deref().is_some_and(|namespace| *record.key.namespace != *namespace) {
            return false;
        }
        self.matches_fields(record) && self.matches_labels(record)
    }

    fn matches_labels(&self, record: &Record) -> bool {
        let Some(labels) = &self.labels else { return true };
        // Only the labels are read; the rest of the object is skipped over without being built.
        serde_json::from_slice::<Labelled>(&record.body.bytes())
            .is_ok_and(|object| labels.matches(&object.metadata.labels))
    }

    fn matches_fields(&self, record: &Record) -> bool {
        let Some(fields) = &self.fields else { return true };
        let mut object = None;
        fields.0.iter().all(|requirement| {
            let equal = match requirement.field.as_str() {
                "metadata.name" => *record.key.name == *requirement.value,
                "metadata.namespace" => *record.key.namespace == *requirement.value,
                other => {
                    let object = object
                        .get_or_insert_with(|| serde_json::from_slice(&record.body.bytes()).unwrap_or(Value::Null));
                    self.kind.rules.field(object, other).unwrap_or_default() == requirement.value
                }
            };
            equal == requirement.equal
        })
    }
}
