//! A new object in, the stored one out.

use api::field::FieldErrors;
use api::kind::{Kind, Target};
use api::kinds;
use api::object::ObjectKey;
use api::status::Status;
use serde_json::{Value, json};

use super::{Draft, Outcome, WriteOptions, external_ips, finish};
use crate::clock::seconds;
use crate::limits;
use crate::object::{deleting, meta, meta_mut, set, table};
use crate::pipeline::Api;

impl Api {
    /// Creates an object from what a client sent. `namespace` is the one of the URL; empty takes the object's own.
    pub(crate) async fn create_object(
        &self,
        kind: &'static Kind,
        namespace: &str,
        body: &Value,
        options: WriteOptions,
    ) -> Result<Outcome, Status> {
        let decoded = finish::decode(kind, body, options.validation)?;
        let mut object = decoded.object;
        finish::place(kind, namespace, None, &mut object)?;
        kind.rules.default(&mut object);
        let mut outcome = self.commit(options.dry_run, |draft| create(draft, kind, object)).await?;
        outcome.warnings.splice(0..0, decoded.warnings);
        Ok(outcome)
    }
}

/// Creates a decoded, defaulted and placed object.
pub(super) fn create(draft: &mut Draft<'_, '_>, kind: &'static Kind, mut object: Value) -> Result<Outcome, Status> {
    if !meta(&object, "resourceVersion").is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    check_namespace(draft, kind, &object)?;
    name(draft, kind, &mut object)?;
    let meta_fields = meta_mut(&mut object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields", "generation"] {
        meta_fields.remove(field);
    }
    meta_fields.insert("uid".into(), draft.api.config.ids.uid().into());
    meta_fields.insert("creationTimestamp".into(), seconds(draft.now).into());
    if kind.generation {
        meta_fields.insert("generation".into(), 1.into());
    }
    finish::allocate(draft, kind, &mut object, None)?;
    kind.rules.prepare_create(&mut object);
    finish::times(draft.now, &mut object, None);
    let key = crate::object::key_of(&object);
    let mut errors = kinds::validate_metadata(kind, &object, None);
    errors.0.extend(kind.rules.validate(&object, None, Target::Main).0);
    external_ips::refuse(draft.api, kind, &mut errors, &object, None);
    if !errors.is_empty() {
        return Err(Status::invalid(kind, &key.name, &errors));
    }
    let warnings = kind.rules.warnings(&object, None);
    let object = draft.put(kind, &key, object, None);
    Ok(Outcome { created: true, warnings, ..Outcome::of(object) })
}

/// A namespaced object needs a namespace that exists and is not going away.
fn check_namespace(draft: &Draft<'_, '_>, kind: &'static Kind, object: &Value) -> Result<(), Status> {
    if !kind.namespaced {
        return Ok(());
    }
    let namespace = meta(object, "namespace");
    let (_, found) = draft.existing(&kinds::NAMESPACE, &ObjectKey::new("", namespace))?;
    if !deleting(&found) {
        return Ok(());
    }
    let name = meta(object, "name");
    let message = format!(
        "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being \
         terminated",
        kind.qualified()
    );
    let details = json!({
        "name": name, "group": kind.group, "kind": kind.plural,
        "causes": [{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }],
    });
    Err(Status { details, ..Status::new(403, "Forbidden", message) })
}

/// Checks that the name is free, or makes one from `generateName`.
fn name(draft: &Draft<'_, '_>, kind: &'static Kind, object: &mut Value) -> Result<(), Status> {
    let namespace = meta(object, "namespace").to_owned();
    let taken = |name: &str| draft.record(kind, &ObjectKey::new(namespace.as_str(), name)).is_some();
    let given = meta(object, "name").to_owned();
    if !given.is_empty() {
        return if taken(&given) { Err(Status::already_exists(kind, &given)) } else { Ok(()) };
    }
    let base = meta(object, "generateName").to_owned();
    if base.is_empty() {
        let mut errors = FieldErrors::default();
        errors.required("metadata.name", "name or generateName is required");
        return Err(Status::invalid(kind, "", &errors));
    }
    let end = base.floor_char_boundary(limits::NAME_BASE);
    let mut candidate = String::new();
    for _ in 0..limits::NAME_ATTEMPTS {
        candidate = format!("{}{}", &base[..end], draft.api.config.ids.suffix());
        if !taken(&candidate) {
            set(meta_mut(object), "name", Some(candidate.into()));
            return Ok(());
        }
    }
    tracing::warn!(table = table(kind), base, "no free generated name");
    let mut status = Status::already_exists(kind, &candidate);
    status.message.push_str(", the server was not able to generate a unique name for the object");
    Err(status)
}
