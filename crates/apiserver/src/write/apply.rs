//! A configuration in, the object that has it applied out: server-side apply.

use api::decode::Validation;
use api::kind::{Kind, Target};
use api::object::ObjectKey;
use api::status::Status;
use serde_json::Value;

use super::create::create;
use super::track::{applied, subresource};
use super::update::{same_uid, update};
use super::{Draft, Outcome, WriteOptions, finish};
use crate::object::{meta, meta_mut, parsed, set};
use crate::pipeline::Api;

impl Api {
    /// Applies a configuration to an object (or its status), which is created if there is none.
    pub(crate) async fn apply_object(
        &self,
        kind: &'static Kind,
        key: &ObjectKey,
        target: Target,
        config: &Value,
        force: bool,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        let apply = |draft: &mut Draft<'_, '_>| {
            let record = draft.record(kind, key);
            if record.is_none() && target == Target::Status {
                return Err(Status::not_found(kind, &key.name));
            }
            let old = record.as_ref().map(|record| parsed(&record.body.bytes())).transpose()?;
            let object = applied(draft, kind, subresource(target), &options.manager, old.as_ref(), config, force)?;
            let entries = object["metadata"].get("managedFields").cloned();
            let mut object = finish::decode(kind, &object, Validation::Ignore)?.object;
            finish::place(kind, &key.namespace, Some(&key.name), &mut object)?;
            kind.rules.default(&mut object);
            set(meta_mut(&mut object), "managedFields", entries);
            if let (Some(record), Some(old)) = (record, old) {
                same_uid(kind, key, &object, &old)?;
                return update(draft, kind, &record, &old, object, target);
            }
            let uid = meta(&object, "uid");
            if !uid.is_empty() {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(Status::conflict(kind, &key.name, &why));
            }
            create(draft, kind, object)
        };
        self.commit(options.dry_run, apply).await
    }
}

/// Keys that occur twice in an applied configuration: refused, told of or ignored, as the client asked.
pub(crate) fn apply_faults(faults: Vec<String>, validation: Validation) -> Result<Vec<String>, Status> {
    match validation {
        Validation::Strict if !faults.is_empty() => Err(Status::bad_request(format!(
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
            faults.join("\n  ")
        ))),
        Validation::Ignore => Ok(Vec::new()),
        _ => Ok(faults),
    }
}
