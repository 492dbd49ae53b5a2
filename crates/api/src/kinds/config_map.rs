//! Turns a decoded ConfigMap into a checked and printed one.

use serde_json::{Map, Value};

use super::check::invalid_each;
use super::print::{self, AGE, NAME, column};
use super::read;
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::names;

/// Most bytes of all values together, of a ConfigMap as of a Secret.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// Rules of ConfigMaps.
pub(super) struct ConfigMap;

impl Rules for ConfigMap {
    fn default(&self, object: &mut Value) {
        read::omit_empty(object, &["/data", "/binaryData"]);
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, new: &Value, old: Option<&Value>, _target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if let Some(old) = old {
            frozen(&mut errors, new, old, &["data", "binaryData"]);
        }
        let data = read::pairs(new, "/data");
        let binary = read::pairs(new, "/binaryData");
        for (key, _) in &data {
            let field = format!("data[{key}]");
            invalid_each(&mut errors, &field, *key, names::config_key(key));
            if binary.iter().any(|(other, _)| other == key) {
                errors.invalid(field, *key, "duplicate of key present in binaryData");
            }
        }
        for (key, _) in &binary {
            invalid_each(&mut errors, &format!("binaryData[{key}]"), *key, names::config_key(key));
        }
        let bytes = data.iter().map(|(_, value)| value.len()).chain(binary.iter().map(|(_, value)| decoded_len(value)));
        if bytes.sum::<usize>() > MAX_BYTES {
            errors.too_long("", MAX_BYTES);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Data", "Number of keys."), AGE] }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let keys = |pointer: &str| object.pointer(pointer).and_then(Value::as_object).map_or(0, Map::len);
        let count = keys("/data") + keys("/binaryData");
        vec![print::name(object), count.into(), print::age(object, now_seconds)]
    }
}

/// Checks that an object marked immutable stays as it is.
pub(super) fn frozen(errors: &mut FieldErrors, new: &Value, old: &Value, members: &[&str]) {
    if !read::flag(old, "/immutable") {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if !read::flag(new, "/immutable") {
        errors.forbidden("immutable", why);
    }
    for member in members {
        if !read::same(new, old, &format!("/{member}")) {
            errors.forbidden(*member, why);
        }
    }
}

/// Bytes that a base64 text stands for.
pub(super) fn decoded_len(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}
