//! Query parameters of a write in, how it is to be done and who does it out; a wrong one is a 422 that names it.

use api::decode::Validation;
use api::field::{Fault, FieldErrors};
use api::status::Status;
use http::HeaderMap;
use http::header::USER_AGENT;
use serde_json::json;

use crate::limits;
use crate::query::Query;
use crate::write::WriteOptions;

/// Which of Kubernetes' option types a request's parameters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Options {
    /// Of a POST.
    Create,
    /// Of a PUT.
    Update,
    /// Of a PATCH that is not an apply.
    Patch,
    /// Of an apply.
    Apply,
}

impl Options {
    fn kind(self) -> &'static str {
        match self {
            Self::Create => "CreateOptions",
            Self::Update => "UpdateOptions",
            Self::Patch | Self::Apply => "PatchOptions",
        }
    }

    /// Reads `dryRun`, `fieldValidation`, `fieldManager` and, of an apply, whether `force` may be there.
    pub(crate) fn parse(self, query: &Query, headers: &HeaderMap) -> Result<WriteOptions, Status> {
        let mut errors = FieldErrors::default();
        let named = query.get("fieldManager").unwrap_or("");
        match self {
            Self::Apply if named.is_empty() => errors.required("fieldManager", "is required for apply patch"),
            Self::Patch if query.get("force").is_some() => {
                errors.forbidden("force", "may not be specified for non-apply patch");
            }
            _ => {}
        }
        check_manager(&mut errors, named);
        let dry = query.all("dryRun");
        if let Some(other) = dry.iter().find(|value| !value.is_empty() && *value != "All") {
            errors.not_supported("dryRun", json!([other]), &["All"]);
        }
        let text = query.get("fieldValidation").unwrap_or("");
        let validation = Validation::parse(text);
        if validation.is_none() {
            errors.not_supported("fieldValidation", text, &["", "Ignore", "Strict", "Warn"]);
        }
        if !errors.is_empty() {
            return Err(self.refused(&errors));
        }
        let manager = if named.is_empty() { of_user_agent(headers) } else { named.to_owned() };
        Ok(WriteOptions {
            dry_run: dry.iter().any(|value| value == "All"),
            validation: validation.unwrap_or_default(),
            manager,
            faults: Vec::new(),
        })
    }

    fn refused(self, errors: &FieldErrors) -> Status {
        let message = format!("{}.meta.k8s.io \"\" is invalid: {errors}", self.kind());
        let details = json!({ "group": "meta.k8s.io", "kind": self.kind(), "causes": errors.causes() });
        Status { details, ..Status::new(422, "Invalid", message) }
    }
}

fn check_manager(errors: &mut FieldErrors, manager: &str) {
    if manager.len() > limits::MANAGER_BYTES {
        errors.too_long("fieldManager", limits::MANAGER_BYTES);
    }
    for (place, letter) in manager.char_indices().filter(|(_, letter)| !is_print(*letter)) {
        let why = format!("invalid character U+{:04X} (at position {place})", u32::from(letter));
        errors.push(Fault::Invalid, "fieldManager", format!("Invalid value: {manager:?}: {why}"));
    }
}

/// Whether a character can be seen; of blanks only the plain one counts.
fn is_print(letter: char) -> bool {
    letter == ' ' || !(letter.is_control() || letter.is_whitespace())
}

/// The first word of `User-Agent`, up to its slash: who writes when the request does not say.
fn of_user_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
    let mut name: String = agent.split('/').next().unwrap_or("").chars().filter(|letter| is_print(*letter)).collect();
    name.truncate(name.floor_char_boundary(limits::MANAGER_BYTES));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: Options, query: &str, agent: &str) -> Result<WriteOptions, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, agent.parse().unwrap());
        options.parse(&Query::parse(query).unwrap(), &headers)
    }

    #[test]
    fn the_manager_is_named_or_taken_from_the_user_agent() {
        let manager = |query, agent| parse(Options::Create, query, agent).unwrap().manager;
        assert_eq!(manager("fieldManager=me", "kubectl/v1.32.0 (linux/amd64)"), "me");
        assert_eq!(manager("", "kubectl/v1.32.0 (linux/amd64)"), "kubectl");
        assert_eq!(manager("", "curl"), "curl");
        assert_eq!(manager("", &"x".repeat(200)).len(), 128);
    }

    #[test]
    fn wrong_options_are_named() {
        for (options, query, expected) in [
            (
                Options::Apply,
                "",
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ),
            (
                Options::Patch,
                "force=true",
                "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
            ),
            (
                Options::Update,
                "fieldManager=a%0Ab",
                "UpdateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\nb\": invalid character \
                 U+000A (at position 1)",
            ),
            (
                Options::Create,
                "fieldValidation=Maybe",
                "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Maybe\": supported \
                 values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
            ),
        ] {
            let refused = parse(options, query, "x").unwrap_err();
            assert_eq!((refused.code, refused.message.as_str()), (422, expected));
        }
        let long = format!("fieldManager={}", "x".repeat(129));
        assert!(parse(Options::Create, &long, "x").unwrap_err().message.contains("may not be more than 128 bytes"));
    }
}
