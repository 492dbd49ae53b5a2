//! A patch in, the patched object out: read, patched, checked and stored in one transaction, so nothing is retried.

use api::decode::Validation;
use api::kind::{Kind, Target};
use api::object::ObjectKey;
use api::patch;
use api::status::Status;
use serde_json::Value;

use super::track::{subresource, track};
use super::update::{same_uid, update};
use super::{Draft, Outcome, WriteOptions, finish};
use crate::pipeline::Api;

/// The patch languages served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// `application/json-patch+json`, RFC 6902.
    Json,
    /// `application/merge-patch+json`, RFC 7396.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
}

/// The media type of a server-side apply.
const APPLY: &str = "application/apply-patch+yaml";

impl Language {
    /// The language of a media type, none for server-side apply; 415 for others.
    pub(crate) fn of(media: &str) -> Result<Option<Self>, Status> {
        Ok(Some(match media {
            "application/json-patch+json" => Self::Json,
            "application/merge-patch+json" => Self::Merge,
            "application/strategic-merge-patch+json" => Self::Strategic,
            APPLY => return Ok(None),
            _ => {
                let message = format!(
                    "the body of the request was in an unknown format - accepted media types include: \
                     application/json-patch+json, application/merge-patch+json, \
                     application/strategic-merge-patch+json, {APPLY}"
                );
                return Err(Status::new(415, "UnsupportedMediaType", message));
            }
        }))
    }

    /// A fault of the patch's text, as clients read it.
    pub(crate) fn fault(self, fault: String) -> String {
        if self == Self::Json { format!("json patch {fault}") } else { fault }
    }

    /// Applies a patch to an object of a kind.
    pub(super) fn apply(self, kind: &'static Kind, old: &Value, change: &Value) -> Result<Value, Status> {
        match self {
            Self::Json => patch::json_patch(old, change),
            Self::Merge => patch::merge_patch(old, change),
            Self::Strategic => patch::strategic(kind, old, change),
        }
    }
}

impl Api {
    /// Patches an object (or its status).
    pub(crate) async fn patch_object(
        &self,
        kind: &'static Kind,
        key: &ObjectKey,
        target: Target,
        language: Language,
        change: &Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        let patch = |draft: &mut Draft<'_, '_>| {
            let (record, old) = draft.existing(kind, key)?;
            let patched = language.apply(kind, &old, change)?;
            let shown = || if language == Language::Strategic { go(change) } else { patched.to_string() };
            let decoded = finish::decode_with(kind, &patched, options).map_err(|status| of_patch(&status, &shown()))?;
            if options.validation == Validation::Strict && !decoded.warnings.is_empty() {
                return Err(Status::invalid_patch(&shown(), &finish::strict(&decoded.warnings)));
            }
            let mut new = decoded.object;
            finish::place(kind, &key.namespace, Some(&key.name), &mut new)?;
            same_uid(kind, key, &new, &old)?;
            kind.rules.default(&mut new);
            track(draft, kind, subresource(target), &options.manager, Some(&old), &mut new);
            let mut outcome = update(draft, kind, &record, &old, new, target)?;
            outcome.warnings.splice(0..0, decoded.warnings);
            Ok(outcome)
        };
        self.commit(options.dry_run, patch).await
    }
}

/// A result that is no object of its kind is the patch's fault: 422 on the field `patch`, where a create answers 400.
fn of_patch(status: &Status, shown: &str) -> Status {
    let why = status.message.split_once("cannot be handled as a ").and_then(|(_, rest)| rest.split_once(": "));
    Status::invalid_patch(shown, why.map_or(status.message.as_str(), |(_, why)| why))
}

/// A value as Go prints it: how clients know strategic patches from messages.
fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("{name}:{}", go(value))).collect();
            format!("map[{}]", members.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn languages_are_known_by_their_media_types() {
        assert_eq!(Language::of("application/merge-patch+json").unwrap(), Some(Language::Merge));
        assert_eq!(Language::of(APPLY).unwrap(), None);
        let refused = Language::of("application/apply-patch+cbor").unwrap_err();
        assert_eq!(refused.code, 415);
        assert!(refused.message.contains("application/apply-patch+yaml"), "{}", refused.message);
    }

    #[test]
    fn patches_are_shown_as_go_prints_them() {
        assert_eq!(
            go(&json!({ "spec": { "ports": [{ "port": 1 }, null], "a": "b" } })),
            "map[spec:map[a:b ports:[map[port:1] <nil>]]]"
        );
    }
}
