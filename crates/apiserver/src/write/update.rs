//! A changed object in, the stored one out: preconditions, what may not change, no-ops, the end of a deletion.

use std::sync::Arc;

use api::field::FieldErrors;
use api::kind::{Kind, Target};
use api::kinds;
use api::object::ObjectKey;
use api::status::Status;
use serde_json::Value;
use store::Record;

use super::create::create;
use super::track::{same_but_for_times, subresource, track};
use super::{Draft, Outcome, WriteOptions, admission, external_ips, finish};
use crate::object::{deleting, finalizers, meta, meta_mut, set, shown};
use crate::pipeline::Api;

/// Fields of metadata that only the server sets.
const SERVER_FIELDS: [&str; 6] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "generateName"];

const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";

impl Api {
    /// Replaces an object (or its status) by what a client sent. `key` is the one of the URL; an empty namespace in it
    /// takes the object's own.
    pub(crate) async fn replace_object(
        &self,
        kind: &'static Kind,
        key: &ObjectKey,
        target: Target,
        body: &Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        let decoded = finish::decode_sent(kind, body, options)?;
        let mut object = decoded.object;
        finish::place(kind, &key.namespace, Some(&key.name), &mut object)?;
        kind.rules.default(&mut object);
        let replace = |draft: &mut Draft<'_, '_>| {
            let key = crate::object::key_of(&object);
            let Some(record) = draft.record(kind, &key) else {
                let creates = kind.create_on_update && target == Target::Main;
                let fresh = meta(&object, "resourceVersion").is_empty() && meta(&object, "uid").is_empty();
                return if creates && fresh {
                    track(draft, kind, "", &options.manager, None, &mut object);
                    create(draft, kind, object)
                } else {
                    Err(Status::not_found(kind, &key.name))
                };
            };
            let old = crate::object::parsed(&record.body.bytes())?;
            track(draft, kind, subresource(target), &options.manager, Some(&old), &mut object);
            update(draft, kind, &record, &old, object, target)
        };
        let mut outcome = self.commit(options.dry_run, replace).await?;
        outcome.warnings.splice(0..0, decoded.warnings);
        Ok(outcome)
    }
}

/// Updates `old` (stored as `record`) to the decoded, defaulted and placed `new`.
pub(super) fn update(
    draft: &mut Draft<'_, '_>,
    kind: &'static Kind,
    record: &Arc<Record>,
    old: &Value,
    mut new: Value,
    target: Target,
) -> Result<Outcome, Status> {
    let key = &record.key;
    check_preconditions(kind, key, &new, old)?;
    keep(kind, &mut new, old, target);
    if target == Target::Main {
        admission::admit(draft, kind, &mut new, Some(old))?;
        finish::allocate(draft, kind, &mut new, Some(old))?;
    }
    kind.rules.prepare_update(&mut new, old, target);
    finish::times(draft.now, &mut new, Some(old));
    if kind.generation && target == Target::Main && finish::meaning_changed(kind, &new, old) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        meta_mut(&mut new).insert("generation".into(), generation.into());
    }
    let mut errors = kinds::validate_metadata(kind, &new, Some(old));
    errors.0.extend(kind.rules.validate(&new, Some(old), target).0);
    external_ips::refuse(draft.api, kind, &mut errors, &new, Some(old));
    if !errors.is_empty() {
        return Err(Status::invalid(kind, &key.name, &errors));
    }
    let warnings = finish::warnings(kind, &new, Some(old), target);
    Ok(Outcome { warnings, ..store(draft, kind, record, old, new) })
}

/// Stores an update: nothing if nothing changed, a removal if it was the last thing a deletion waited for.
pub(super) fn store(
    draft: &mut Draft<'_, '_>,
    kind: &'static Kind,
    record: &Arc<Record>,
    old: &Value,
    mut new: Value,
) -> Outcome {
    set(meta_mut(&mut new), "resourceVersion", old["metadata"].get("resourceVersion").cloned());
    if finished(kind, &new) {
        return Outcome { gone: true, ..Outcome::of(draft.remove(kind, &record.key, new, old)) };
    }
    if new == *old || same_but_for_times(&new, old) {
        return Outcome::of(shown(record));
    }
    Outcome::of(draft.put(kind, &record.key, new, Some(old)))
}

/// Whether a deletion waits for nothing any more: no finalizer, no grace, and for a Namespace no content.
pub(super) fn finished(kind: &Kind, object: &Value) -> bool {
    let grace = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    deleting(object) && grace == 0 && finalizers(object).is_empty() && !holds_content(kind, object)
}

/// Whether a Namespace still waits for its content (`spec.finalizers`).
pub(super) fn holds_content(kind: &Kind, object: &Value) -> bool {
    kind.kind == kinds::NAMESPACE.kind
        && object.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
}

/// A uid or resource version in what the client sent must be that of the stored object.
pub(super) fn check_preconditions(
    kind: &'static Kind,
    key: &ObjectKey,
    new: &Value,
    old: &Value,
) -> Result<(), Status> {
    let (uid, stored) = (meta(new, "uid"), meta(old, "uid"));
    if !uid.is_empty() && uid != stored {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}");
        return Err(Status::conflict(kind, &key.name, &why));
    }
    let version = meta(new, "resourceVersion");
    if version.is_empty() || version == "0" || version == meta(old, "resourceVersion") {
        return Ok(());
    }
    if crate::object::revision(version).is_none() {
        let mut errors = FieldErrors::default();
        errors.invalid("metadata.resourceVersion", version, "must be specified as a whole number");
        return Err(Status::invalid(kind, &key.name, &errors));
    }
    Err(Status::conflict(kind, &key.name, MODIFIED))
}

/// A patch may not name another uid; unlike in a replacement that is no precondition but a wrong value.
pub(super) fn same_uid(kind: &Kind, key: &ObjectKey, new: &Value, old: &Value) -> Result<(), Status> {
    let (uid, stored) = (meta(new, "uid"), meta(old, "uid"));
    if uid.is_empty() || uid == stored {
        return Ok(());
    }
    let mut errors = FieldErrors::default();
    errors.invalid("metadata.uid", uid, "field is immutable");
    Err(Status::invalid(kind, &key.name, &errors))
}

/// Keeps what this write may not change.
fn keep(kind: &'static Kind, new: &mut Value, old: &Value, target: Target) {
    if target == Target::Status {
        let mut kept = old.clone();
        let status = new.get("status").cloned();
        let metadata = meta_mut(new);
        for field in ["labels", "annotations", "finalizers", "managedFields"] {
            set(meta_mut(&mut kept), field, metadata.remove(field));
        }
        if let Value::Object(members) = &mut kept {
            set(members, "status", status);
        }
        *new = kept;
        return;
    }
    for field in SERVER_FIELDS {
        set(meta_mut(new), field, old["metadata"].get(field).cloned());
    }
    if let Value::Object(members) = new
        && kind.subresources.contains(&"status")
    {
        set(members, "status", old.get("status").cloned());
    }
}
