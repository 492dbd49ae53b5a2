//! A patch in, the patched object out: read, patched, checked and stored in one transaction, so nothing is retried.

use api::kind::{Kind, Target};
use api::object::ObjectKey;
use api::patch;
use api::status::Status;
use serde_json::Value;

use super::update::update;
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

impl Language {
    /// The language of a media type; 415 for others.
    pub(crate) fn of(media: &str) -> Result<Self, Status> {
        let why = match media {
            "application/json-patch+json" => return Ok(Self::Json),
            "application/merge-patch+json" => return Ok(Self::Merge),
            "application/strategic-merge-patch+json" => return Ok(Self::Strategic),
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
                "server-side apply is not served yet; use kubectl apply without --server-side - "
            }
            _ => "the body of the request was in an unknown format - ",
        };
        let message = format!(
            "{why}accepted media types include: application/json-patch+json, application/merge-patch+json, \
             application/strategic-merge-patch+json"
        );
        Err(Status::new(415, "UnsupportedMediaType", message))
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
        options: WriteOptions,
    ) -> Result<Outcome, Status> {
        let patch = |draft: &mut Draft<'_, '_>| {
            let (record, old) = draft.existing(kind, key)?;
            let patched = language.apply(kind, &old, change)?;
            let decoded =
                finish::decode(kind, &patched, options.validation).map_err(|status| of_patch(&status, change))?;
            let mut new = decoded.object;
            finish::place(kind, &key.namespace, Some(&key.name), &mut new)?;
            kind.rules.default(&mut new);
            let mut outcome = update(draft, kind, &record, &old, new, target)?;
            outcome.warnings.splice(0..0, decoded.warnings);
            Ok(outcome)
        };
        self.commit(options.dry_run, patch).await
    }
}

/// A result that is no object of its kind is the patch's fault: 422 on the field `patch`, where a create answers 400.
fn of_patch(status: &Status, change: &Value) -> Status {
    let why = status.message.split_once("cannot be handled as a ").and_then(|(_, rest)| rest.split_once(": "));
    Status::invalid_patch(change, why.map_or(status.message.as_str(), |(_, why)| why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_side_apply_says_what_to_do_instead() {
        let refused = Language::of("application/apply-patch+yaml").unwrap_err();
        assert_eq!(refused.code, 415);
        assert!(refused.message.contains("use kubectl apply without --server-side"), "{}", refused.message);
        assert_eq!(Language::of("text/plain").unwrap_err().code, 415);
    }
}
