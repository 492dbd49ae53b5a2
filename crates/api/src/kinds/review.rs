//! Questions that are posted like objects and answered at once, never stored: who am I, may I do this.

use serde_json::Value;

use super::{ALL, CORE};
use crate::field::FieldErrors;
use crate::kind::{Column, Kind, Rules, Target};

/// Rules of questions: they have none that an object could break; who answers them checks them.
struct Review;

impl Rules for Review {
    fn default(&self, _object: &mut Value) {}

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, _new: &Value, _old: Option<&Value>, _target: Target) -> FieldErrors {
        FieldErrors::default()
    }

    fn columns(&self) -> &'static [Column] {
        &[]
    }

    fn cells(&self, _object: &Value, _now_seconds: i64) -> Vec<Value> {
        Vec::new()
    }
}

const AUTHENTICATION: Kind = Kind { group: "authentication.k8s.io", namespaced: false, rules: &Review, ..CORE };
const AUTHORIZATION: Kind = Kind { group: "authorization.k8s.io", ..AUTHENTICATION };

/// Who am I?
pub static SELF_SUBJECT_REVIEW: Kind =
    Kind { kind: "SelfSubjectReview", plural: "selfsubjectreviews", singular: "selfsubjectreview", ..AUTHENTICATION };
/// Whose token is this?
pub static TOKEN_REVIEW: Kind =
    Kind { kind: "TokenReview", plural: "tokenreviews", singular: "tokenreview", ..AUTHENTICATION };
/// A wish for a token, posted to `serviceaccounts/NAME/token`; no resource of its own.
pub static TOKEN_REQUEST: Kind = Kind { kind: "TokenRequest", namespaced: true, ..AUTHENTICATION };
/// May somebody do this in one namespace?
pub static LOCAL_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    kind: "LocalSubjectAccessReview",
    plural: "localsubjectaccessreviews",
    singular: "localsubjectaccessreview",
    namespaced: true,
    ..AUTHORIZATION
};
/// May I do this?
pub static SELF_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    ..AUTHORIZATION
};
/// What may I do in a namespace?
pub static SELF_SUBJECT_RULES_REVIEW: Kind = Kind {
    kind: "SelfSubjectRulesReview",
    plural: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    ..AUTHORIZATION
};
/// May somebody do this?
pub static SUBJECT_ACCESS_REVIEW: Kind = Kind {
    kind: "SubjectAccessReview",
    plural: "subjectaccessreviews",
    singular: "subjectaccessreview",
    ..AUTHORIZATION
};

/// Every question.
pub static REVIEWS: &[&Kind] = &[
    &SELF_SUBJECT_REVIEW,
    &TOKEN_REVIEW,
    &LOCAL_SUBJECT_ACCESS_REVIEW,
    &SELF_SUBJECT_ACCESS_REVIEW,
    &SELF_SUBJECT_RULES_REVIEW,
    &SUBJECT_ACCESS_REVIEW,
];

/// Whether a kind is a question: created, never stored.
pub fn is_review(kind: &Kind) -> bool {
    REVIEWS.iter().any(|review| (review.group, review.plural) == (kind.group, kind.plural))
}

/// Everything that clients are told of: kinds of objects, other names of them, and questions.
pub fn served() -> impl Iterator<Item = &'static Kind> {
    ALL.iter().copied().chain([&super::EVENTS_EVENT]).chain(REVIEWS.iter().copied())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decode::{Validation, decode};

    #[test]
    fn questions_are_decoded_like_objects() {
        let asked = json!({ "spec": { "resourceAttributes": { "verb": "get", "resource": "pods" } } });
        let decoded = decode(&SELF_SUBJECT_ACCESS_REVIEW, &asked, Validation::Strict).unwrap().object;
        assert_eq!(decoded["spec"], asked["spec"]);
        for review in REVIEWS {
            assert!(crate::schema::Schema::get().of_kind(review).is_some(), "{}", review.kind);
            assert!(is_review(review) && !ALL.iter().any(|kind| is_review(kind)));
        }
    }
}
