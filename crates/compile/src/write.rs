//! Turns a decision into the writes that carry it out: what every pure controller step returns, as data.
//!
//! Every write names the version it was decided on, so that a decision made on old state is refused, not applied.

use std::collections::BTreeMap;
use std::fmt;

use api::kind::Kind;
use api::object::{ObjectKey, Revision};
use serde_json::{Value, json};

/// One write to the API.
#[derive(Clone)]
pub enum Write {
    /// Creates an object.
    Create {
        /// Its kind.
        kind: &'static Kind,
        /// The whole object.
        object: Value,
        /// What to tell people once it is done; `{name}` in the message stands for the name given.
        note: Option<Note>,
    },
    /// Replaces an object; `metadata.resourceVersion` inside is the precondition.
    Update {
        /// Its kind.
        kind: &'static Kind,
        /// The whole object.
        object: Value,
    },
    /// Replaces the status of an object and nothing else.
    Status {
        /// Which object.
        target: Target,
        /// The new value of `status`.
        status: Value,
    },
    /// Changes a few fields of an object and leaves the others alone.
    Edit {
        /// Which object.
        target: Target,
        /// What to change.
        edit: Edit,
        /// What to tell people once it is done.
        note: Option<Note>,
    },
    /// Deletes an object.
    Delete {
        /// Which object.
        target: Target,
        /// `Background`, `Foreground` or `Orphan`; none means the default of the kind.
        propagation: Option<&'static str>,
        /// What to tell people once it is done.
        note: Option<Note>,
    },
    /// Only tells people something.
    Note(Note),
}

/// An object as it was when the decision was made.
#[derive(Clone)]
pub struct Target {
    /// Its kind.
    pub kind: &'static Kind,
    /// Namespace and name.
    pub key: ObjectKey,
    /// The write is refused if the object of this name now has another uid.
    pub uid: Box<str>,
    /// The write is refused if the object has changed since; none when any version will do.
    pub revision: Option<Revision>,
}

/// A change of a few fields.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Adds an owner reference.
    Own(Value),
    /// Removes the owner references with these uids.
    Disown(Vec<Box<str>>),
    /// Adds one of `metadata.finalizers`.
    AddFinalizer(&'static str),
    /// Removes one of `metadata.finalizers`.
    RemoveFinalizer(&'static str),
    /// Sets `status.loadBalancer.ingress`; nodes have yet to apply that.
    LoadBalancer(Vec<Value>),
    /// Sets `spec.replicas` (when given) and some annotations.
    Scale {
        /// New number of replicas.
        replicas: Option<i64>,
        /// Annotations to set.
        annotations: BTreeMap<String, String>,
    },
    /// Binds a Pod to a node.
    Bind(Box<str>),
    /// Empties `spec.finalizers` of a Namespace.
    Finalize,
}

/// Text for people: becomes an Event about an object.
#[derive(Clone)]
pub struct Note {
    /// What the Event is about.
    pub about: Target,
    /// Reason in CamelCase.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
    /// `Warning` instead of `Normal`.
    pub warning: bool,
}

impl Edit {
    /// Makes the change; false if `object` already was as wanted.
    pub fn apply(&self, object: &mut Value) -> bool {
        match self {
            Edit::Own(reference) => own(object, reference),
            Edit::Disown(uids) => retain(object, "ownerReferences", |reference| {
                !reference["uid"].as_str().is_some_and(|uid| uids.iter().any(|gone| **gone == *uid))
            }),
            Edit::AddFinalizer(name) => add(object, "finalizers", name),
            Edit::LoadBalancer(ingress) => balance(object, ingress),
            Edit::RemoveFinalizer(name) => retain(object, "finalizers", |value| value.as_str() != Some(name)),
            Edit::Scale { replicas, annotations } => scale(object, *replicas, annotations),
            Edit::Bind(node) => set(&mut object["spec"]["nodeName"], json!(node)),
            Edit::Finalize => set(&mut object["spec"]["finalizers"], json!([])),
        }
    }

    /// The subresource this change goes through, if it is not a plain update.
    pub fn subresource(&self) -> Option<&'static str> {
        match self {
            Edit::Bind(_) => Some("binding"),
            Edit::Finalize => Some("finalize"),
            Edit::LoadBalancer(_) => Some("status"),
            _ => None,
        }
    }
}

fn set(place: &mut Value, value: Value) -> bool {
    let changed = *place != value;
    *place = value;
    changed
}

fn own(object: &mut Value, reference: &Value) -> bool {
    let references = &mut object["metadata"]["ownerReferences"];
    if !references.is_array() {
        *references = json!([]);
    }
    let Some(list) = references.as_array_mut() else { return false };
    let present = list.iter().any(|existing| existing["uid"] == reference["uid"]);
    if !present {
        list.push(reference.clone());
    }
    !present
}

fn retain(object: &mut Value, field: &str, keep: impl Fn(&Value) -> bool) -> bool {
    let Some(list) = object["metadata"].get_mut(field).and_then(Value::as_array_mut) else { return false };
    let before = list.len();
    list.retain(keep);
    let changed = list.len() != before;
    if list.is_empty()
        && let Some(metadata) = object["metadata"].as_object_mut()
    {
        metadata.remove(field);
    }
    changed
}

fn add(object: &mut Value, field: &str, name: &str) -> bool {
    let list = &mut object["metadata"][field];
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return false };
    let present = list.iter().any(|value| value == name);
    if !present {
        list.push(json!(name));
    }
    !present
}

fn balance(object: &mut Value, ingress: &[Value]) -> bool {
    let wanted = if ingress.is_empty() { json!({}) } else { json!({ "ingress": ingress }) };
    let changed = set(&mut object["status"]["loadBalancer"], wanted);
    let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    let programmed = conditions.into_iter().flatten().find(|condition| condition["type"] == "Programmed");
    if let Some(condition) = programmed.filter(|_| changed) {
        // The API fills the time in.
        *condition = json!({
            "type": "Programmed", "status": "False", "reason": "Pending",
            "message": "waiting for every node to apply this change",
        });
    }
    changed
}

fn scale(object: &mut Value, replicas: Option<i64>, annotations: &BTreeMap<String, String>) -> bool {
    let mut changed = false;
    if let Some(replicas) = replicas {
        changed |= set(&mut object["spec"]["replicas"], json!(replicas));
    }
    for (name, value) in annotations {
        changed |= set(&mut object["metadata"]["annotations"][name], json!(value));
    }
    changed
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.kind.qualified(), self.key)
    }
}

impl fmt::Debug for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {}: {}", self.about, self.reason, self.message)
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Write::Create { kind, object, .. } => write!(out, "create {} {}", kind.qualified(), object["metadata"]),
            Write::Update { kind, object } => write!(out, "update {} {}", kind.qualified(), object["metadata"]["name"]),
            Write::Status { target, status } => write!(out, "status of {target:?}: {status}"),
            Write::Edit { target, edit, .. } => write!(out, "edit {target:?}: {edit:?}"),
            Write::Delete { target, .. } => write!(out, "delete {target:?}"),
            Write::Note(note) => write!(out, "note {note:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_say_whether_they_changed_anything() {
        let mut object = json!({"metadata": {"finalizers": ["a", "foregroundDeletion"]}, "spec": {"replicas": 1}});
        assert!(Edit::RemoveFinalizer("foregroundDeletion").apply(&mut object));
        assert!(!Edit::RemoveFinalizer("foregroundDeletion").apply(&mut object));
        assert!(Edit::Own(json!({"uid": "u", "name": "x"})).apply(&mut object));
        assert!(!Edit::Own(json!({"uid": "u", "name": "x"})).apply(&mut object));
        assert!(Edit::Disown(vec!["u".into()]).apply(&mut object));
        assert!(object["metadata"].get("ownerReferences").is_none(), "{object}");
        let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        assert!(Edit::Scale { replicas: Some(2), annotations: annotations.clone() }.apply(&mut object));
        assert!(!Edit::Scale { replicas: Some(2), annotations }.apply(&mut object));
        assert_eq!(object["metadata"]["finalizers"], json!(["a"]));
        assert!(Edit::AddFinalizer("b").apply(&mut object) && !Edit::AddFinalizer("b").apply(&mut object));
        assert_eq!(object["metadata"]["finalizers"], json!(["a", "b"]));
    }

    #[test]
    fn a_new_address_has_to_be_applied() {
        let mut object = json!({"status": {"conditions": [{"type": "Programmed", "status": "True"}]}});
        let edit = Edit::LoadBalancer(vec![json!({"ip": "10.99.0.1"})]);
        assert!(edit.apply(&mut object));
        assert_eq!(object["status"]["conditions"][0]["status"], "False");
        assert!(!edit.apply(&mut object));
        assert!(Edit::LoadBalancer(Vec::new()).apply(&mut object));
        assert_eq!(object["status"]["loadBalancer"], json!({}));
        let mut bare = json!({});
        assert!(edit.apply(&mut bare));
        assert_eq!(bare, json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.99.0.1"}]}}}));
    }
}
