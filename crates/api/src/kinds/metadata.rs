//! Turns an object's metadata into what is wrong with it, whatever the kind.

use serde_json::Value;

use super::check::invalid_each;
use super::{address, read};
use crate::field::FieldErrors;
use crate::kind::Kind;
use crate::names;

/// Most bytes of all annotations together.
const ANNOTATION_BYTES: usize = 256 * 1024;

/// Checks `metadata` of a new object, or of an update of `old`. The apiserver calls it for every write, before the kind's own rules.
pub fn validate_metadata(kind: &Kind, new: &Value, old: Option<&Value>) -> FieldErrors {
    let mut errors = FieldErrors::default();
    match old {
        None => create(&mut errors, kind, new),
        Some(old) => update(&mut errors, new, old),
    }
    labels(&mut errors, "metadata.labels", &read::pairs(new, "/metadata/labels"));
    annotations(&mut errors, "metadata.annotations", &read::pairs(new, "/metadata/annotations"));
    owners(&mut errors, new);
    if old.is_none() {
        finalizers(&mut errors, new);
    }
    errors
}

fn create(errors: &mut FieldErrors, kind: &Kind, new: &Value) {
    let generate = read::text(new, "/metadata/generateName");
    if !generate.is_empty() {
        // A trailing dash is fine, a suffix follows.
        let sample = generate.strip_suffix('-').map_or(generate.to_owned(), |base| format!("{base}a"));
        invalid_each(errors, "metadata.generateName", generate, name_problems(kind, &sample));
    }
    let name = read::text(new, "/metadata/name");
    if name.is_empty() {
        errors.required("metadata.name", "name or generateName is required");
    } else {
        invalid_each(errors, "metadata.name", name, name_problems(kind, name));
    }
    let namespace = read::text(new, "/metadata/namespace");
    match (kind.namespaced, namespace) {
        (true, "") => errors.required("metadata.namespace", ""),
        (true, _) => invalid_each(errors, "metadata.namespace", namespace, names::dns1123_label(namespace)),
        (false, "") => {}
        (false, _) => errors.forbidden("metadata.namespace", "not allowed on this type"),
    }
}

fn name_problems(kind: &Kind, name: &str) -> Vec<String> {
    match kind.kind {
        "Namespace" | "Service" | "StatefulSet" => names::dns1123_label(name),
        "IPAddress" => address::canonical_ip_problems(name),
        _ => names::dns1123_subdomain(name),
    }
}

fn update(errors: &mut FieldErrors, new: &Value, old: &Value) {
    if read::present(old, "/metadata/deletionTimestamp") {
        let stored = read::texts(old, "/metadata/finalizers");
        let mut added = read::texts(new, "/metadata/finalizers");
        added.retain(|finalizer| !stored.contains(finalizer));
        added.sort_unstable();
        if !added.is_empty() {
            let names: Vec<_> = added.iter().map(|name| format!("{name:?}")).collect();
            let why = "no new finalizers can be added if the object is being deleted, found new finalizers";
            errors.forbidden("metadata.finalizers", &format!("{why} []string{{{}}}", names.join(", ")));
        }
    }
    let fixed = ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];
    for member in fixed {
        let pointer = format!("/metadata/{member}");
        if !read::same(new, old, &pointer) {
            let value = new.pointer(&pointer).cloned().unwrap_or_default();
            errors.invalid(format!("metadata.{member}"), value, "field is immutable");
        }
    }
    finalizers(errors, new);
}

/// Checks label keys and values; also used for selectors.
pub(super) fn labels(errors: &mut FieldErrors, field: &str, labels: &[(&str, &str)]) {
    for (key, value) in labels {
        invalid_each(errors, field, *key, names::qualified_name(key));
        invalid_each(errors, field, *value, names::label_value(value));
    }
}

/// Checks annotation keys and the size of all together.
pub(super) fn annotations(errors: &mut FieldErrors, field: &str, annotations: &[(&str, &str)]) {
    for (key, _) in annotations {
        // Case does not matter in annotation keys.
        invalid_each(errors, field, *key, names::qualified_name(&key.to_lowercase()));
    }
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > ANNOTATION_BYTES {
        errors.too_long(field, ANNOTATION_BYTES);
    }
}

fn owners(errors: &mut FieldErrors, new: &Value) {
    let owners = read::list(new, "/metadata/ownerReferences");
    let mut controller: Option<String> = None;
    // Kubernetes reports owner references without their index.
    let field = "metadata.ownerReferences";
    for owner in owners {
        let version = read::text(owner, "/apiVersion");
        if version.rsplit('/').next().is_none_or(str::is_empty) {
            errors.invalid(format!("{field}.apiVersion"), version, "version must not be empty");
        }
        for member in ["kind", "name", "uid"] {
            let value = read::text(owner, &format!("/{member}"));
            if value.is_empty() {
                errors.invalid(format!("{field}.{member}"), value, "must not be empty");
            }
        }
        if version == "v1" && read::text(owner, "/kind") == "Event" {
            errors.invalid(field, owner.clone(), "/v1, Kind=Event is disallowed from being an owner");
        }
        if read::flag(owner, "/controller") {
            let this = format!("{}/{}", read::text(owner, "/kind"), read::text(owner, "/name"));
            match &controller {
                None => controller = Some(this),
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    errors.invalid(field, owners.to_vec(), &why);
                }
            }
        }
    }
}

fn finalizers(errors: &mut FieldErrors, new: &Value) {
    let finalizers = read::texts(new, "/metadata/finalizers");
    for finalizer in &finalizers {
        invalid_each(errors, "metadata.finalizers", *finalizer, names::qualified_name(finalizer));
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid("metadata.finalizers", finalizers, why);
    }
}

#[cfg(test)]
mod tests;
