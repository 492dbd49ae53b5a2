//! Turns a decoded Secret into one whose `stringData` went into `data`, checked and printed.

use serde_json::{Map, Value};

use super::check::{immutable, invalid_each};
use super::config_map::{MAX_BYTES, decoded_len, frozen};
use super::print::{self, AGE, NAME, column};
use super::read;
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::names;

/// Keys that a Secret of a type must have.
const REQUIRED: &[(&str, &[&str])] = &[
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];

/// Rules of Secrets.
pub(super) struct Secret;

impl Rules for Secret {
    fn default(&self, object: &mut Value) {
        if let Some(Value::Object(plain)) = read::remove(object, "/stringData") {
            read::put_missing(object, "/data", Map::new());
            if let Some(data) = object.pointer_mut("/data").and_then(Value::as_object_mut) {
                let encoded = |value: &Value| value.as_str().map(|text| encode(text.as_bytes()));
                data.extend(plain.iter().filter_map(|(key, value)| Some((key.clone(), encoded(value)?.into()))));
            }
        }
        read::omit_empty(object, &["/data"]);
        read::put_zero(object, "/type", "Opaque");
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, new: &Value, old: Option<&Value>, _target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if let Some(old) = old {
            immutable(&mut errors, "type", new, old, "/type");
            frozen(&mut errors, new, old, &["data"]);
        }
        let data = read::pairs(new, "/data");
        for (key, _) in &data {
            invalid_each(&mut errors, &format!("data[{key}]"), *key, names::config_key(key));
        }
        if data.iter().map(|(_, value)| decoded_len(value)).sum::<usize>() > MAX_BYTES {
            errors.too_long("data", MAX_BYTES);
        }
        by_type(&mut errors, new);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Type", "What the Secret is for."), column("Data", "Number of keys."), AGE] }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let keys = object.pointer("/data").and_then(Value::as_object).map_or(0, Map::len);
        vec![print::name(object), read::text(object, "/type").into(), keys.into(), print::age(object, now_seconds)]
    }

    fn field(&self, object: &Value, field: &str) -> Option<String> {
        (field == "type").then(|| read::text(object, "/type").to_owned())
    }
}

fn by_type(errors: &mut FieldErrors, secret: &Value) {
    let kind = read::text(secret, "/type");
    let has = |key: &str| read::entry(secret, "/data", key).is_some();
    if let Some((_, keys)) = REQUIRED.iter().find(|(name, _)| *name == kind) {
        for key in keys.iter().filter(|key| !has(key)) {
            errors.required(format!("data[{key}]"), "");
        }
    }
    if kind == "kubernetes.io/basic-auth" && !has("username") && !has("password") {
        errors.required("data[username]", "");
        errors.required("data[password]", "");
    }
    let account = "kubernetes.io/service-account.name";
    let named = read::entry(secret, "/metadata/annotations", account).is_some_and(|name| !name.is_empty());
    if kind == "kubernetes.io/service-account-token" && !named {
        errors.required(format!("metadata.annotations[{account}]"), "");
    }
}

/// Base64 with padding (RFC 4648 section 4).
fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn base64_matches_rfc_4648() {
        let table = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, encoded) in table {
            assert_eq!(encode(plain.as_bytes()), encoded);
        }
        assert_eq!(encode(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn string_data_wins_over_data() {
        let mut secret = json!({ "data": { "a": "eA==", "b": "eQ==" }, "stringData": { "a": "foo" } });
        Secret.default(&mut secret);
        assert_eq!(secret, json!({ "data": { "a": "Zm9v", "b": "eQ==" }, "type": "Opaque" }));
    }

    #[test]
    fn types_keys_and_immutability() {
        let check = |new: Value, old: Option<Value>| -> Vec<String> {
            let errors = Secret.validate(&new, old.as_ref(), Target::Main);
            errors.0.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
        };
        assert!(check(json!({ "type": "Opaque", "data": { "a.b": "" } }), None).is_empty());
        assert_eq!(
            check(json!({ "type": "kubernetes.io/tls", "data": { "tls.crt": "" } }), None),
            ["data[tls.key]: Required value"]
        );
        assert_eq!(
            check(json!({ "type": "kubernetes.io/basic-auth" }), None),
            ["data[username]: Required value", "data[password]: Required value"]
        );
        assert_eq!(check(json!({ "type": "Opaque", "data": { "a/b": "" } }), None).len(), 1);
        let old = json!({ "type": "Opaque", "immutable": true, "data": { "a": "eA==" } });
        assert_eq!(
            check(json!({ "type": "b", "data": {} }), Some(old)),
            [
                "type: Invalid value: \"b\": field is immutable",
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
    }
}
