//! A deletion in; out comes a removed object, or one that says since when and for what it waits.

use api::field::FieldErrors;
use api::kind::Kind;
use api::kinds;
use api::object::ObjectKey;
use api::status::Status;
use contract::access::DeleteOptions;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::update::{finished, holds_content};
use super::{Draft, Outcome};
use crate::clock::seconds;
use crate::object::{deleting, finalizers, member_mut, meta, meta_mut, set};
use crate::pipeline::Api;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Namespaces that Kubernetes does not let anybody delete.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

impl Api {
    /// Deletes an object, or starts to.
    pub(crate) async fn delete_object(
        &self,
        kind: &'static Kind,
        key: &ObjectKey,
        options: &DeleteOptions,
        dry_run: bool,
    ) -> Result<Outcome, Status> {
        self.commit(dry_run, |draft| delete(draft, kind, key, options)).await
    }
}

pub(crate) fn delete(
    draft: &mut Draft<'_, '_>,
    kind: &'static Kind,
    key: &ObjectKey,
    options: &DeleteOptions,
) -> Result<Outcome, Status> {
    let (record, old) = draft.existing(kind, key)?;
    check(kind, key, options, &old)?;
    super::admission::admit_delete(kind, key)?;
    let mut new = old.clone();
    let wanted = dependents(kind, options.propagation.as_deref(), &old)?;
    set(meta_mut(&mut new), "finalizers", (!wanted.is_empty()).then(|| json!(wanted)));
    mark(kind, draft.now, options.grace_seconds, &mut new, &old);
    if kind.kind == kinds::SERVICE_CIDR.kind {
        draft.settle_network(&mut new)?;
    }
    if finished(kind, &new) {
        if !deleting(&old) {
            // It never waited, so its last state says nothing about a deletion.
            let metadata = meta_mut(&mut new);
            metadata.remove("deletionTimestamp");
            metadata.remove("deletionGracePeriodSeconds");
            set(metadata, "generation", old["metadata"].get("generation").cloned());
        }
        return Ok(Outcome { gone: true, ..Outcome::of(draft.remove(kind, key, new, &old)) });
    }
    Ok(super::update::store(draft, kind, &record, &old, new))
}

fn check(kind: &'static Kind, key: &ObjectKey, options: &DeleteOptions, old: &Value) -> Result<(), Status> {
    if kind.kind == kinds::NAMESPACE.kind && IMMORTAL.contains(&&*key.name) {
        let message = format!("namespaces \"{}\" is forbidden: this namespace may not be deleted", key.name);
        let details = json!({ "name": &*key.name, "kind": kind.plural });
        return Err(Status { details, ..Status::new(403, "Forbidden", message) });
    }
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != meta(old, "uid")) {
        let stored = meta(old, "uid");
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}");
        return Err(Status::conflict(kind, &key.name, &why));
    }
    let stored = meta(old, "resourceVersion");
    if let Some(version) = options.revision.filter(|version| version.to_string() != stored) {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {stored}"
        );
        return Err(Status::conflict(kind, &key.name, &why));
    }
    Ok(())
}

/// The 422 for options of a deletion.
pub(crate) fn invalid_options(errors: &FieldErrors) -> Status {
    let message = format!("DeleteOptions.meta.k8s.io \"\" is invalid: {errors}");
    let details = json!({ "group": "meta.k8s.io", "kind": "DeleteOptions", "causes": errors.causes() });
    Status { details, ..Status::new(422, "Invalid", message) }
}

/// The finalizers after `propagationPolicy`: the garbage collector clears the two that stand for it.
fn dependents(kind: &Kind, policy: Option<&str>, old: &Value) -> Result<Vec<String>, Status> {
    let mut list: Vec<String> = finalizers(old).into_iter().map(str::to_owned).collect();
    let chosen = match policy {
        // batch/v1 keeps what its oldest clients rely on: without a wish, the pods of a Job live on.
        None if kind.kind == kinds::JOB.kind && !deleting(old) => Some(ORPHAN),
        None => return Ok(list),
        Some("Background") => None,
        Some("Orphan") => Some(ORPHAN),
        Some("Foreground") => Some(FOREGROUND),
        Some(other) => {
            let mut errors = FieldErrors::default();
            errors.not_supported("propagationPolicy", other, &["Foreground", "Background", "Orphan", "nil"]);
            return Err(invalid_options(&errors));
        }
    };
    list.retain(|name| name != ORPHAN && name != FOREGROUND);
    list.extend(chosen.map(str::to_owned));
    Ok(list)
}

/// Sets when the object will be gone. A second deletion can only shorten the time.
fn mark(kind: &'static Kind, now: Timestamp, asked: Option<i64>, new: &mut Value, old: &Value) {
    let grace = grace(kind, asked, old);
    let metadata = meta_mut(new);
    if deleting(old) {
        let before = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        // Without a wish of its own a repeated deletion leaves the first one as it is.
        if asked.is_some() && grace < before {
            let start = meta(old, "deletionTimestamp").parse::<Timestamp>().unwrap_or(now);
            let at = start.saturating_sub(SignedDuration::from_secs(before - grace)).unwrap_or(now);
            metadata.insert("deletionTimestamp".into(), seconds(at).into());
            metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        }
    } else {
        let at = now.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(now);
        metadata.insert("deletionTimestamp".into(), seconds(at).into());
        metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
            metadata.insert("generation".into(), (generation + 1).into());
        }
    }
    if holds_content(kind, new) {
        // Nobody sends a grace to a Namespace; it waits for its content instead.
        meta_mut(new).remove("deletionGracePeriodSeconds");
        member_mut(new, "status").insert("phase".into(), "Terminating".into());
    }
}

/// Only Pods have a grace: none of them when no node has it yet, or when it has ended already.
fn grace(kind: &'static Kind, asked: Option<i64>, old: &Value) -> i64 {
    if kind.kind != kinds::POD.kind {
        return 0;
    }
    let scheduled = old["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    let ended = matches!(old["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let own = || old["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    match asked {
        _ if !scheduled || ended => 0,
        // Kubernetes takes negative times, from ancient manifests, for one second.
        asked => match asked.unwrap_or_else(own) {
            ..=-1 => 1,
            grace => grace.min(i64::from(u32::MAX)),
        },
    }
}
