//! Turns the template of a StatefulSet or DaemonSet into its newest ControllerRevision, and old ones into deletions.

use std::collections::{BTreeMap, BTreeSet};

use api::kind::Kind;
use api::kinds::CONTROLLER_REVISION;
use serde::Deserialize;
use serde_json::{Value, json};

use super::claim::Owner;
use super::hash;
use super::objects::{Meta, RawMeta};
use super::revision::without_nulls;
use crate::write::{Edit, Target, Write};

/// A ControllerRevision: one state that a workload had.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControllerRevision {
    /// Metadata.
    pub meta: Meta,
    /// Its number; the highest is the newest.
    pub revision: i64,
    /// A strategic patch that brings the state back.
    pub data: Value,
}

impl ControllerRevision {
    /// From JSON as the API shows it.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_slice(json)?;
        Ok(Self { meta: raw.metadata.meta, revision: raw.revision, data: raw.data })
    }

    fn target(&self) -> Target {
        self.meta.target(&CONTROLLER_REVISION)
    }

    /// `spec.template` of this state.
    pub(super) fn template(&self) -> Value {
        let mut template = self.data["spec"]["template"].clone();
        if let Some(members) = template.as_object_mut() {
            members.remove("$patch");
        }
        template
    }
}

/// The revisions of one workload, oldest first.
pub(super) struct History<'a> {
    mine: Vec<&'a ControllerRevision>,
    taken: BTreeSet<&'a str>,
}

/// What is needed to know the newest revision.
pub(super) struct State<'a> {
    /// Metadata of the workload.
    pub meta: &'a Meta,
    /// Its kind.
    pub kind: &'static Kind,
    /// Its annotations, which go to the revision.
    pub annotations: &'a BTreeMap<String, String>,
    /// Its template.
    pub template: &'a Value,
    /// How often a name derived from the template was taken.
    pub collisions: i64,
    /// Label that carries the hash.
    pub hash_label: &'static str,
}

/// The newest revision.
pub(super) struct Newest {
    /// Name of the revision.
    pub name: String,
    /// Value of its hash label.
    pub hash: String,
    /// How often a name derived from the template was taken.
    pub collisions: i64,
}

impl<'a> History<'a> {
    /// The revisions in a namespace that are the owner's.
    pub(super) fn of(owner: &Owner<'_>, revisions: &[&'a ControllerRevision], writes: &mut Vec<Write>) -> Self {
        let taken = revisions.iter().map(|revision| &*revision.meta.name).collect();
        let mine = revisions.iter().copied();
        let mut mine: Vec<_> =
            mine.filter(|revision| owner.takes(&revision.meta, revision.target(), true, writes)).collect();
        mine.sort_by_key(|it| (it.revision, it.meta.creation_timestamp.clone(), it.meta.name.clone()));
        Self { mine, taken }
    }

    /// The revision called so.
    pub(super) fn called(&self, name: &str) -> Option<&'a ControllerRevision> {
        self.mine.iter().copied().find(|revision| *revision.meta.name == *name)
    }

    /// The revision of the present template: found, brought to the front or made.
    pub(super) fn newest(&self, state: &State<'_>, writes: &mut Vec<Write>) -> Newest {
        let data = data(state.template);
        let last = self.mine.last();
        let next = last.map_or(0, |revision| revision.revision) + 1;
        let equal = self.mine.iter().rev().find(|revision| same(&revision.data, &data));
        if let Some(equal) = equal {
            if last.is_some_and(|last| last.meta.name != equal.meta.name) {
                writes.push(Write::Edit { target: equal.target(), edit: Edit::Number(next), note: None });
            }
            let hash = equal.meta.labels.get(state.hash_label).map(ToString::to_string);
            let suffix = || equal.meta.name.rsplit('-').next().unwrap_or_default().to_owned();
            let name = equal.meta.name.to_string();
            return Newest { name, hash: hash.unwrap_or_else(suffix), collisions: state.collisions };
        }
        self.create(state, data, next, writes)
    }

    fn create(&self, state: &State<'_>, data: Value, number: i64, writes: &mut Vec<Write>) -> Newest {
        let mut collisions = state.collisions;
        let (name, hash) = loop {
            let hash = hash::value(&data, collisions);
            let name = format!("{}-{hash}", state.meta.name);
            if !self.taken.contains(name.as_str()) {
                break (name, hash);
            }
            collisions += 1;
        };
        let mut labels = state.template["metadata"]["labels"].clone();
        labels[state.hash_label] = json!(hash);
        let mut metadata = json!({
            "name": name, "namespace": state.meta.namespace, "labels": labels,
            "ownerReferences": [state.meta.owner_reference(state.kind)],
        });
        if !state.annotations.is_empty() {
            metadata["annotations"] = json!(state.annotations);
        }
        let object = json!({
            "apiVersion": "apps/v1", "kind": CONTROLLER_REVISION.kind, "metadata": metadata,
            "revision": number, "data": data,
        });
        writes.push(Write::Create { kind: &CONTROLLER_REVISION, object, note: None });
        Newest { name, hash, collisions }
    }

    /// Deletes the oldest of those that `live` does not name, beyond `limit`; a negative limit keeps all.
    pub(super) fn truncate(&self, limit: i64, live: impl Fn(&ControllerRevision) -> bool, writes: &mut Vec<Write>) {
        let Ok(limit) = usize::try_from(limit) else { return };
        let dead: Vec<_> = self.mine.iter().filter(|revision| !live(revision) && !revision.meta.deleting()).collect();
        let excess = dead.len().saturating_sub(limit);
        for revision in dead.into_iter().take(excess) {
            writes.push(Write::Delete { target: revision.target(), propagation: Some("Background"), note: None });
        }
    }
}

/// The patch that brings a template back.
fn data(template: &Value) -> Value {
    let mut template = template.clone();
    without_nulls(&mut template);
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}

fn same(stored: &Value, wanted: &Value) -> bool {
    let mut stored = stored.clone();
    without_nulls(&mut stored);
    stored == *wanted
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: RawMeta,
    revision: i64,
    data: Value,
}
