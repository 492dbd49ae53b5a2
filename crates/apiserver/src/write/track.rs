//! A write and who makes it in, `metadata.managedFields` of what is stored out.

use api::kind::{Kind, Target};
use api::managed::{Applied, Conflict, Fault, Owners, Writer, is_reset, scale_owners, with_scale_owners};
use api::status::Status;
use serde_json::{Value, json};

use super::Draft;
use crate::clock::seconds;
use crate::object::{meta_mut, set};

/// The subresource that a target stands for.
pub(super) fn subresource(target: Target) -> &'static str {
    match target {
        Target::Main => "",
        Target::Status => "status",
    }
}

/// Writes who now owns which field into an object that is being created (`old` is none) or updated.
pub(super) fn track(
    draft: &Draft<'_, '_>,
    kind: &'static Kind,
    subresource: &str,
    manager: &str,
    old: Option<&Value>,
    new: &mut Value,
) {
    let now = seconds(draft.now);
    let entries = Writer::new(kind, subresource, manager, &now).and_then(|writer| writer.track(old, new));
    set(meta_mut(new), "managedFields", entries);
}

/// Applies a configuration to what is stored, or makes a new object: the object with its owners, not yet decoded.
pub(super) fn applied(
    draft: &Draft<'_, '_>,
    kind: &'static Kind,
    subresource: &str,
    manager: &str,
    old: Option<&Value>,
    config: &Value,
    force: bool,
) -> Result<Value, Status> {
    let now = seconds(draft.now);
    let writer = Writer::new(kind, subresource, manager, &now)
        .ok_or_else(|| Status::internal(format!("no schema for {}", kind.kind)))?;
    let Applied { mut object, owners } = writer.apply(old, config, force).map_err(refused)?;
    set(meta_mut(&mut object), "managedFields", owners.encode());
    Ok(object)
}

/// What a write to the Scale of an object makes of the owners of that object.
pub(super) struct Scaling {
    parent: Owners,
    /// The Scale as it is, with its owners.
    pub(super) old: Value,
}

impl Scaling {
    /// Of an object and its Scale.
    pub(super) fn of(parent: &Value, mut scale: Value) -> Self {
        let parent = Owners::decode(&parent["metadata"]["managedFields"]).unwrap_or_default();
        set(meta_mut(&mut scale), "managedFields", scale_owners(&parent).encode());
        Self { parent, old: scale }
    }

    /// After a replacement or patch of the Scale.
    pub(super) fn track(&self, draft: &Draft<'_, '_>, kind: &Kind, manager: &str, wanted: &mut Value) -> Option<Value> {
        let now = seconds(draft.now);
        let entries = Writer::of_scale(manager, &now)?.track(Some(&self.old), wanted);
        let owners = Owners::decode(&entries.unwrap_or(Value::Null)).unwrap_or_default();
        with_scale_owners(&self.parent, owners, &kind.api_version()).encode()
    }

    /// Applies a configuration to the Scale: the Scale, and the owners of the object.
    pub(super) fn apply(
        &self,
        draft: &Draft<'_, '_>,
        kind: &Kind,
        manager: &str,
        config: &Value,
        force: bool,
    ) -> Result<(Value, Option<Value>), Status> {
        let now = seconds(draft.now);
        let writer = Writer::of_scale(manager, &now).ok_or_else(|| Status::internal("no schema for Scale"))?;
        let Applied { object, owners } = writer.apply(Some(&self.old), config, force).map_err(refused)?;
        Ok((object, with_scale_owners(&self.parent, owners, &kind.api_version()).encode()))
    }
}

fn refused(fault: Fault) -> Status {
    match fault {
        Fault::Request(why) => Status::bad_request(why),
        Fault::Schema(why) => Status { details: json!({}), ..Status::new(500, "", why) },
        Fault::Conflicts(conflicts) => {
            let cause = |conflict: &Conflict| {
                json!({
                    "reason": "FieldManagerConflict",
                    "message": format!("conflict with {}", conflict.owner),
                    "field": conflict.field,
                })
            };
            let causes: Vec<_> = conflicts.iter().map(cause).collect();
            let details = json!({ "causes": causes });
            Status { details, ..Status::new(409, "Conflict", Conflict::message(&conflicts)) }
        }
    }
}

/// Makes a wish to forget all owners survive decoding, which drops empty lists.
pub(super) fn keep_reset(body: &Value, object: &mut Value) {
    if body["metadata"].get("managedFields").is_some_and(is_reset) {
        set(meta_mut(object), "managedFields", Some(json!([{}])));
    }
}

/// Whether two objects differ in nothing but the times of their owners' entries.
pub(super) fn same_but_for_times(new: &Value, old: &Value) -> bool {
    let (Some(after), Some(before)) = (new.as_object(), old.as_object()) else { return false };
    let entries = |object: &Value| object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let others = |(name, value): (&String, &Value)| match (name.as_str(), value, before.get(name)) {
        ("metadata", Value::Object(new), Some(Value::Object(old))) => {
            new.len() == old.len()
                && new.iter().all(|(name, value)| name == "managedFields" || old.get(name) == Some(value))
        }
        (_, value, other) => Some(value) == other,
    };
    after.len() == before.len() && after.iter().all(others) && {
        let untimed = |mut entries: Vec<Value>| {
            for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
                entry.remove("time");
            }
            entries
        };
        untimed(entries(new)) == untimed(entries(old))
    }
}
