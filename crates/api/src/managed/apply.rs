//! Server-side apply: a live object and a configuration in, the object and its owners after it out, or the conflicts.

use serde_json::{Map, Value};

use super::Writer;
use super::check::{check, joined};
use super::compare::Changes;
use super::fields::fields_of;
use super::merge::merge;
use super::owners::{Held, Operation, Owner, Owners};
use super::prune::prune;
use super::set::FieldSet;
use super::shape::Shape;
use super::skeleton::skeleton;
use super::update::nobodys;

/// The annotation in which kubectl keeps what it applied by itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The manager that such an annotation belongs to.
const KUBECTL: &str = "kubectl";

/// Most bytes of annotations; a last-applied annotation that would exceed it is dropped.
const ANNOTATION_BYTES: usize = 256 * 1024;

/// What an apply makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The object, without owners and not yet defaulted.
    pub object: Value,
    /// Its owners.
    pub owners: Owners,
}

/// A field that somebody else owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who owns it, as messages name it: `"kubectl" using apps/v1`.
    pub owner: String,
    /// The field: `.spec.replicas`.
    pub field: String,
}

/// Why an apply is refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The request is wrong in itself.
    Request(String),
    /// The configuration does not fit the schema.
    Schema(String),
    /// Others own what it sets.
    Conflicts(Vec<Conflict>),
}

impl Conflict {
    /// What a client reads of conflicts, grouped by owner.
    pub fn message(conflicts: &[Self]) -> String {
        if let [only] = conflicts {
            return format!("Apply failed with 1 conflict: conflict with {}: {}", only.owner, only.field);
        }
        let mut lines = Vec::new();
        let mut owner = None;
        for conflict in conflicts {
            if owner != Some(&conflict.owner) {
                lines.push(format!("conflicts with {}:", conflict.owner));
                owner = Some(&conflict.owner);
            }
            lines.push(format!("- {}", conflict.field));
        }
        format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
    }
}

/// Conflicts before they are told: owners with what they hold and what of it is fought over.
type Fights = Vec<(Owner, Held, FieldSet)>;

impl Writer<'_> {
    /// Applies a configuration to an object, or makes one (`live` is none). With `force`, fields that others own
    /// change hands.
    pub fn apply(&self, live: Option<&Value>, config: &Value, force: bool) -> Result<Applied, Fault> {
        self.identify(config)?;
        if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
            return Err(Fault::Request("metadata.managedFields must be nil".to_owned()));
        }
        let faults = check(self.definition, config);
        if !faults.is_empty() {
            let text = |name: &str| config["metadata"][name].as_str().unwrap_or("");
            let whole = joined(&faults);
            return Err(Fault::Schema(format!(
                "failed to create typed patch object ({}/{}; {}, Kind={}): {whole}",
                text("namespace"),
                text("name"),
                group_version(&self.api_version),
                self.kind
            )));
        }
        let empty = skeleton(self.definition);
        let mut base = live.unwrap_or(&empty).clone();
        let entries =
            base.get_mut("metadata").and_then(Value::as_object_mut).and_then(|meta| meta.remove("managedFields"));
        let mut owners = Owners::decode(&entries.unwrap_or(Value::Null)).map_err(|why| {
            Fault::Schema(format!(
                "failed to decode managed fields: {why}; reset them with kubectl patch --type=json -p \
                 '[{{\"op\":\"replace\",\"path\":\"/metadata/managedFields\",\"value\":[{{}}]}}]'"
            ))
        })?;
        if owners.0.is_empty() {
            let before = Writer { manager: "before-first-apply", ..self.clone() };
            owners = before.owners_after(&empty, &base, owners);
        }
        let mut applied = match self.merge(&base, config, owners.clone(), force) {
            Ok(applied) => applied,
            Err(fights) => {
                let allowed = (self.manager == KUBECTL).then(|| self.last_applied(&base)).flatten();
                let fights = without(fights, allowed.as_ref());
                if !fights.is_empty() {
                    return Err(Fault::Conflicts(told(&fights)));
                }
                self.merge(&base, config, owners, true).map_err(|fights| Fault::Conflicts(told(&fights)))?
            }
        };
        if self.manager == KUBECTL {
            keep_last_applied(&mut applied.object, config);
        }
        Ok(applied)
    }

    fn identify(&self, config: &Value) -> Result<(), Fault> {
        let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or("");
        let (version, kind) = (text("apiVersion"), text("kind"));
        if version == self.api_version && kind == self.kind {
            return Ok(());
        }
        Err(Fault::Request(format!("invalid object type: {}, Kind={kind}", group_version(version))))
    }

    fn merge(&self, live: &Value, config: &Value, mut owners: Owners, force: bool) -> Result<Applied, Fights> {
        let shape = Shape::root(self.definition);
        self.forget_versions(&mut owners);
        let me = self.owner(Operation::Apply);
        let before = owners.0.remove(&me);
        let mine = Held {
            api_version: self.api_version.clone(),
            set: fields_of(shape, config).without(&self.ignored),
            time: before.as_ref().map(|held| held.time.clone()).unwrap_or_default(),
        };
        owners.0.insert(me.clone(), mine);
        let merged = merge(shape, live, config);
        let object = prune(shape, merged, &owners, before.as_ref().map(|held| &held.set));

        let changes = Changes::between(shape, live, &object).without(&self.ignored);
        let written = changes.written();
        let others = owners.0.iter().filter(|(owner, _)| **owner != me);
        let fights: Fights = others
            .map(|(owner, held)| (owner.clone(), held.clone(), held.set.intersection(&written)))
            .filter(|(_, _, fought)| !fought.is_empty())
            .collect();
        if !force && !fights.is_empty() {
            return Err(fights);
        }
        owners.take(Some(&me), &written.union(&changes.removed));
        if let Some(held) = owners.0.get_mut(&me) {
            held.set = held.set.difference(nobodys());
            if object != *live {
                held.time = self.now.to_owned();
            }
        }
        owners.0.retain(|_, held| !held.set.is_empty());
        Ok(Applied { object, owners })
    }

    /// The fields that kubectl applied by itself and that still are as it applied them.
    fn last_applied(&self, live: &Value) -> Option<FieldSet> {
        let text = live["metadata"]["annotations"].get(LAST_APPLIED)?.as_str()?;
        let last: Value = serde_json::from_str(text).ok()?;
        if last["apiVersion"] != self.api_version.as_str() || !check(self.definition, &last).is_empty() {
            return None;
        }
        let shape = Shape::root(self.definition);
        let changes = Changes::between(shape, &last, live);
        let differing = changes.written().union(&changes.removed);
        Some(fields_of(shape, &last).difference(&differing))
    }
}

/// A version with its group, which may be empty, before a slash.
fn group_version(version: &str) -> String {
    if version.contains('/') { version.to_owned() } else { format!("/{version}") }
}

fn without(fights: Fights, allowed: Option<&FieldSet>) -> Fights {
    let Some(allowed) = allowed else { return fights };
    let left = fights.into_iter().map(|(owner, held, fought)| (owner, held, fought.difference(allowed)));
    left.filter(|(_, _, fought)| !fought.is_empty()).collect()
}

fn told(fights: &Fights) -> Vec<Conflict> {
    let each = |(owner, held, fought): &(Owner, Held, FieldSet)| {
        let owner = owner.told(Some(held));
        let field = move |field| Conflict { owner: owner.clone(), field };
        fought.paths().into_iter().map(field).collect::<Vec<_>>()
    };
    fights.iter().flat_map(each).collect()
}

/// Keeps kubectl's annotation, where there is one, equal to what was applied.
fn keep_last_applied(object: &mut Value, config: &Value) {
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let Some(annotations) = annotations else { return };
    if annotations.get(LAST_APPLIED).and_then(Value::as_str).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(applied) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        applied.remove(LAST_APPLIED);
    }
    annotations.insert(LAST_APPLIED.to_owned(), format!("{config}\n").into());
    if bytes(annotations) > ANNOTATION_BYTES {
        annotations.remove(LAST_APPLIED);
    }
}

fn bytes(annotations: &Map<String, Value>) -> usize {
    annotations.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum()
}
