//! Replays writes against what a kube-apiserver v1.36.3 answered to them (a `refused.jsonl` per group of kinds).

use serde_json::Value;

use super::{by_kind, validate_metadata};
use crate::decode::{Validation, decode};
use crate::kind::{Kind, Target};
use crate::status::Status;

/// The kind of an object.
pub(super) fn kind_of(object: &Value) -> &'static Kind {
    by_kind(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap()).unwrap()
}

/// An object as a client would send it, in the namespace `default`, decoded and defaulted.
pub(super) fn sent(object: &Value) -> Value {
    let kind = kind_of(object);
    let mut object = decode(kind, object, Validation::Ignore).unwrap().object;
    if kind.namespaced {
        object["metadata"]["namespace"] = "default".into();
    }
    kind.rules.default(&mut object);
    object
}

/// What a create (or, with `old`, an update) is answered: the stored object, or the refusal.
pub(super) fn write(object: &Value, old: Option<&Value>) -> Result<Value, Status> {
    let kind = kind_of(object);
    let mut new = sent(object);
    match old {
        None => kind.rules.prepare_create(&mut new),
        Some(old) => kind.rules.prepare_update(&mut new, old, Target::Main),
    }
    let mut errors = validate_metadata(kind, &new, old);
    errors.0.extend(kind.rules.validate(&new, old, Target::Main).0);
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    if errors.is_empty() { Ok(new) } else { Err(Status::invalid(kind, name, &errors)) }
}

/// Holds every line of a recording against this server's rules; returns how many there were.
pub(super) fn replay(recording: &str) -> usize {
    let mut count = 0;
    for line in recording.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let old = case.get("old").map(|old| write(old, None).unwrap());
        let refused = write(&case["object"], old.as_ref()).expect_err(line);
        assert_eq!((refused.code, refused.message.as_str()), (422, case["message"].as_str().unwrap()), "{line}");
        let causes = refused.details["causes"].as_array().unwrap().iter();
        let causes: Vec<_> = causes
            .map(|cause| format!("{} {}", cause["reason"].as_str().unwrap(), cause["field"].as_str().unwrap()))
            .collect();
        assert_eq!(Value::from(causes), case["causes"], "{line}");
        count += 1;
    }
    count
}
