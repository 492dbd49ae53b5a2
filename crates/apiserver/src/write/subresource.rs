//! `scale`, `binding` and `finalize`: small objects that stand for one field of a larger one.

use api::decode::Validation;
use api::field::FieldErrors;
use api::kind::{Kind, Target};
use api::kinds;
use api::object::ObjectKey;
use api::status::Status;
use serde_json::{Value, json};

use super::patch::Language;
use super::track::{Scaling, track};
use super::update::{check_preconditions, store, update};
use super::{Draft, Outcome, WriteOptions, finish};
use crate::clock::seconds;
use crate::object::{member_mut, meta, meta_mut, parsed, set};
use crate::pipeline::Api;

/// What a client wants of a Scale.
pub(crate) enum ScaleChange<'c> {
    /// Replace it.
    Replace(&'c Value),
    /// Patch it.
    Patch(Language, &'c Value),
    /// Apply a configuration, with force or without.
    Apply(&'c Value, bool),
}

/// The `autoscaling/v1` Scale of a Deployment or ReplicaSet.
pub(crate) fn scale_of(object: &Value) -> Value {
    let mut metadata = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        set(&mut metadata, field, object["metadata"].get(field).cloned());
    }
    let selector = selector_text(&object["spec"]["selector"]);
    let mut status = json!({ "replicas": object["status"]["replicas"].as_i64().unwrap_or(0) });
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": { "replicas": object["spec"]["replicas"].as_i64().unwrap_or(0) }, "status": status,
    })
}

/// A label selector in its text form, as Scale carries it.
fn selector_text(selector: &Value) -> String {
    let mut parts = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or("")));
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or("");
        let values: Vec<_> = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let values = values.join(",");
        match expression["operator"].as_str() {
            Some("In") => parts.push(format!("{key} in ({values})")),
            Some("NotIn") => parts.push(format!("{key} notin ({values})")),
            Some("Exists") => parts.push(key.to_owned()),
            Some("DoesNotExist") => parts.push(format!("!{key}")),
            _ => {}
        }
    }
    parts.join(",")
}

/// A Scale that names this object, or 400.
fn check_scale(kind: &'static Kind, key: &ObjectKey, scale: &mut Value) -> Result<(), Status> {
    if !scale.is_object() || scale["kind"].as_str().is_some_and(|kind| kind != "Scale") {
        return Err(Status::bad_request("the object sent to the scale subresource is not a Scale"));
    }
    if meta(scale, "name").is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            key.name
        )));
    }
    finish::place(kind, &key.namespace, Some(&key.name), scale)
}

impl Api {
    /// Changes the Scale of an object; the outcome's object is the scaled one.
    pub(crate) async fn scale_object(
        &self,
        kind: &'static Kind,
        key: &ObjectKey,
        change: ScaleChange<'_>,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        let scale = |draft: &mut Draft<'_, '_>| {
            let (record, old) = draft.existing(kind, key)?;
            let scaling = Scaling::of(&old, scale_of(&old));
            let (mut wanted, applied) = match &change {
                ScaleChange::Replace(scale) => ((*scale).clone(), None),
                // A Scale has no lists to merge by key, so a strategic patch is a merge patch.
                ScaleChange::Patch(Language::Strategic, change) => {
                    (Language::Merge.apply(kind, &scale_of(&old), change)?, None)
                }
                ScaleChange::Patch(language, change) => (language.apply(kind, &scale_of(&old), change)?, None),
                ScaleChange::Apply(config, force) => {
                    let (scale, entries) = scaling.apply(draft, kind, &options.manager, config, *force)?;
                    (scale, Some(entries))
                }
            };
            check_scale(kind, key, &mut wanted)?;
            let replicas = replicas(&wanted, &key.name)?;
            check_preconditions(kind, key, &wanted, &old)?;
            let mut new = old.clone();
            member_mut(&mut new, "spec").insert("replicas".into(), replicas.into());
            let entries = applied.unwrap_or_else(|| scaling.track(draft, kind, &options.manager, &mut wanted));
            set(meta_mut(&mut new), "managedFields", entries);
            update(draft, kind, &record, &old, new, Target::Main)
        };
        self.commit(options.dry_run, scale).await
    }

    /// Assigns a Pod to the node that a Binding names.
    pub(crate) async fn bind(&self, key: &ObjectKey, binding: &Value, dry_run: bool) -> Result<Outcome, Status> {
        let named = meta(binding, "name");
        if !named.is_empty() && named != &*key.name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        let node = binding["target"]["name"].as_str().unwrap_or("");
        if node.is_empty() {
            let mut errors = FieldErrors::default();
            errors.required("target.name", "");
            let causes = json!({ "name": &*key.name, "kind": "Binding", "causes": errors.causes() });
            let message = format!("Binding \"{}\" is invalid: {errors}", key.name);
            return Err(Status { details: causes, ..Status::new(422, "Invalid", message) });
        }
        self.commit(dry_run, |draft| bind(draft, key, node)).await
    }

    /// Sets `spec.finalizers` of a Namespace; with the last one gone, a deleted Namespace goes too.
    pub(crate) async fn finalize_namespace(
        &self,
        key: &ObjectKey,
        body: &Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        let kind: &'static Kind = &kinds::NAMESPACE;
        let mut sent = finish::decode(kind, body, Validation::Ignore)?.object;
        finish::place(kind, "", Some(&key.name), &mut sent)?;
        let finalize = |draft: &mut Draft<'_, '_>| {
            let (record, old) = draft.existing(kind, key)?;
            check_preconditions(kind, key, &sent, &old)?;
            let mut new = old.clone();
            set(member_mut(&mut new, "spec"), "finalizers", sent["spec"].get("finalizers").cloned());
            track(draft, kind, "finalize", &options.manager, Some(&old), &mut new);
            Ok(store(draft, kind, &record, &old, new))
        };
        self.commit(options.dry_run, finalize).await
    }
}

fn replicas(scale: &Value, name: &str) -> Result<i64, Status> {
    let mut errors = FieldErrors::default();
    let asked = scale["spec"].get("replicas").cloned().unwrap_or_else(|| 0.into());
    match asked.as_i64() {
        Some(replicas @ 0..=2_147_483_647) => return Ok(replicas),
        Some(replicas) if replicas < 0 => {
            errors.invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        }
        _ => errors.invalid("spec.replicas", asked, "must be a whole number of at most 2147483647"),
    }
    let details = json!({ "name": name, "group": "autoscaling", "kind": "Scale", "causes": errors.causes() });
    let message = format!("Scale.autoscaling \"{name}\" is invalid: {errors}");
    Err(Status { details, ..Status::new(422, "Invalid", message) })
}

fn bind(draft: &mut Draft<'_, '_>, key: &ObjectKey, node: &str) -> Result<Outcome, Status> {
    let kind: &'static Kind = &kinds::POD;
    let (record, old) = draft.existing(kind, key)?;
    let refuse = |why: String| {
        let mut status = Status::conflict(kind, &key.name, &why);
        status.message = format!("Operation cannot be fulfilled on pods/binding \"{}\": {why}", key.name);
        Err(status)
    };
    if !meta(&old, "deletionTimestamp").is_empty() {
        return refuse(format!("pod {} is being deleted, cannot be assigned to a host", key.name));
    }
    match old["spec"]["nodeName"].as_str() {
        None | Some("") => {}
        Some(current) => return refuse(format!("pod {} is already assigned to node {current:?}", key.name)),
    }
    let mut new = parsed(&record.body.bytes())?;
    member_mut(&mut new, "spec").insert("nodeName".into(), node.into());
    let scheduled = json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": seconds(draft.now) });
    let status = member_mut(&mut new, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Value::Array(conditions) = conditions {
        conditions.retain(|condition| condition["type"] != "PodScheduled");
        conditions.push(scheduled);
    }
    if let Some(generation) = old["metadata"]["generation"].as_i64() {
        meta_mut(&mut new).insert("generation".into(), (generation + 1).into());
    }
    Ok(store(draft, kind, &record, &old, new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_says_how_many_and_which() {
        let scale = scale_of(&json!({
            "metadata": { "name": "ham", "resourceVersion": "7", "labels": {} },
            "spec": { "replicas": 3, "selector": {
                "matchLabels": { "app": "ham" },
                "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["a", "b"] }],
            } },
            "status": { "replicas": 2 },
        }));
        assert_eq!(scale["metadata"], json!({ "name": "ham", "resourceVersion": "7" }));
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(scale["status"], json!({ "replicas": 2, "selector": "app=ham,tier in (a,b)" }));
    }

    #[test]
    fn replicas_are_whole_and_not_negative() {
        assert_eq!(replicas(&json!({ "spec": {} }), "ham").unwrap(), 0);
        let refused = replicas(&json!({ "spec": { "replicas": -1 } }), "ham").unwrap_err();
        assert_eq!(
            refused.message,
            "Scale.autoscaling \"ham\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
        assert_eq!(replicas(&json!({ "spec": { "replicas": "x" } }), "ham").unwrap_err().code, 422);
    }
}
