//! List options in; one page at one revision out, with a token for the next one.

use std::sync::Arc;

use api::object::{ObjectKey, Revision};
use api::status::Status;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use store::{Page, Range, ReadError, Record};

use crate::limits;
use crate::object::{revision, table};
use crate::pipeline::{Api, read_failure};
use crate::query::Query;
use crate::select::Selection;

/// Which page of a list, at which revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListOptions {
    /// At most so many objects; none means all.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub after: Option<ObjectKey>,
    /// Read exactly at this revision.
    pub exact: Option<Revision>,
    /// Read at this revision or later.
    pub not_older: Option<Revision>,
}

/// One page of a list.
pub(crate) struct Listed {
    /// The revision read at.
    pub revision: Revision,
    /// The selected records in key order.
    pub records: Vec<Arc<Record>>,
    /// Token for the next page, if there is more.
    pub more: Option<String>,
    /// How many more there are, when no selector hides that.
    pub remaining: Option<usize>,
}

/// Why there is no page.
pub(crate) enum ListFailure {
    /// As for any request.
    Status(Status),
    /// The token is too old; with this one the rest can be had as it is now.
    Expired(String),
}

impl From<Status> for ListFailure {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl ListFailure {
    /// The Status document.
    pub(crate) fn to_json(&self) -> (u16, Value) {
        match self {
            Self::Status(status) => (status.code, status.to_json()),
            Self::Expired(token) => {
                let message = "The provided continue parameter is too old to display a consistent list result. You can \
                               start a new list without the continue parameter, or use the continue token in this \
                               response to retrieve the remainder of the results. Continuing with the provided token \
                               results in an inconsistent list - objects that were created, modified, or deleted \
                               between the time the first chunk was returned and now may show up in the list.";
                let mut status = Status::new(410, "Expired", message).to_json();
                status["metadata"] = json!({ "continue": token });
                (410, status)
            }
        }
    }
}

impl ListOptions {
    /// Reads the options of a list from a query.
    pub(crate) fn parse(query: &Query) -> Result<Self, Status> {
        if query.flag("sendInitialEvents") {
            return Err(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        let limit = query.number::<i64>("limit")?.filter(|limit| *limit > 0);
        let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let matching = query.get("resourceVersionMatch");
        let version = match query.get("resourceVersion") {
            None => None,
            Some(text) => Some(revision(text).ok_or_else(|| {
                Status::bad_request(format!("Invalid value: {text:?}: resourceVersion must be a whole number"))
            })?),
        };
        if let Some(token) = query.get("continue") {
            return match (version, matching) {
                (Some(version), _) if version.0 != 0 => {
                    Err(Status::bad_request("specifying resource version is not allowed when using continue"))
                }
                (_, Some(_)) => Err(forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden when continue is provided",
                )),
                _ => {
                    let (at, after) = decode_token(token)?;
                    Ok(Self { limit, after: Some(after), exact: at, not_older: None })
                }
            };
        }
        let (exact, not_older) = match (matching, version) {
            (None, version) => (None, version.filter(|version| version.0 != 0)),
            (Some(_), None) => {
                return Err(forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            (Some("Exact"), Some(Revision(0))) => {
                return Err(forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
            (Some("Exact"), version) => (version, None),
            (Some("NotOlderThan"), version) => (None, version),
            (Some(other), _) => return Err(unsupported_match(other)),
        };
        Ok(Self { limit, after: None, exact, not_older })
    }
}

impl Api {
    /// Reads one page.
    pub(crate) async fn list_objects(
        &self,
        kind: &'static api::kind::Kind,
        selection: &Selection,
        options: &ListOptions,
    ) -> Result<Listed, ListFailure> {
        if let Some(wanted) = options.not_older.max(options.exact) {
            self.reached(wanted).await?;
        }
        let namespace = selection.namespace.clone();
        let store = &self.inner.store;
        let mut at = options.exact;
        let mut after = options.after.clone();
        let mut records = Vec::new();
        let limit = options.limit.unwrap_or(usize::MAX);
        loop {
            let chunk = match options.limit {
                None => None,
                Some(limit) if selection.is_everything() => Some(limit),
                Some(limit) => Some(limit.max(limits::LIST_CHUNK)),
            };
            let range = Range { namespace: namespace.clone(), after: after.clone(), limit: chunk };
            let Page { revision, records: read, remaining } = match store.list(table(kind), &range, at) {
                Ok(page) => page,
                Err(ReadError::Compacted { .. }) if options.after.is_some() => {
                    let after = options.after.as_ref().unwrap_or_else(|| unreachable!("checked above"));
                    return Err(ListFailure::Expired(encode_token(None, after)));
                }
                Err(error) => return Err(read_failure(error).into()),
            };
            at = Some(revision);
            let last_read = read.len();
            for (index, record) in read.into_iter().enumerate() {
                after = Some(record.key.clone());
                if !selection.matches(&record) {
                    continue;
                }
                records.push(record);
                if records.len() == limit {
                    let left = last_read - index - 1 + remaining;
                    let more = (left > 0).then(|| encode_token(at, &records[limit - 1].key));
                    let counted = (left > 0 && selection.is_everything()).then_some(left);
                    return Ok(Listed { revision, records, more, remaining: counted });
                }
            }
            if remaining == 0 {
                return Ok(Listed { revision, records, more: None, remaining: None });
            }
        }
    }

    /// Waits a little for a revision that has not happened yet; 504 if it does not.
    pub(crate) async fn reached(&self, wanted: Revision) -> Result<(), Status> {
        let store = &self.inner.store;
        let current = store.revision();
        if current >= wanted {
            return Ok(());
        }
        let wait = async {
            let mut watch = store.watch(&[], current)?;
            while watch.next().await?.1 < wanted {}
            Ok(())
        };
        match tokio::time::timeout(limits::FUTURE_WAIT, wait).await {
            Ok(result) => result.map_err(read_failure),
            Err(_) => Err(read_failure(ReadError::Future { asked: wanted, current: store.revision() })),
        }
    }
}

/// `start` ends in NUL so that a token names the place after the object, as in Kubernetes.
fn encode_token(at: Option<Revision>, after: &ObjectKey) -> String {
    let at = at.map_or(-1, |at| i64::try_from(at.0).unwrap_or(i64::MAX));
    URL_SAFE_NO_PAD.encode(json!({ "v": "meta.k8s.io/v1", "rv": at, "start": format!("{after}\0") }).to_string())
}

fn decode_token(token: &str) -> Result<(Option<Revision>, ObjectKey), Status> {
    let decode = || {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let value: Value = serde_json::from_slice(&bytes).ok()?;
        if value["v"] != "meta.k8s.io/v1" {
            return None;
        }
        let at = match value["rv"].as_i64()? {
            -1 => None,
            at => Some(Revision(u64::try_from(at).ok()?)),
        };
        let start = value["start"].as_str()?.strip_suffix('\0')?;
        let (namespace, name) = start.split_once('/').unwrap_or(("", start));
        Some((at, ObjectKey::new(namespace, name)))
    };
    decode().ok_or_else(|| Status::bad_request("continue key is not valid: it was not issued by this server"))
}

fn forbidden(field: &str, why: &str) -> Status {
    let mut errors = api::field::FieldErrors::default();
    errors.forbidden(field, why);
    list_options(&errors)
}

fn unsupported_match(value: &str) -> Status {
    let mut errors = api::field::FieldErrors::default();
    errors.not_supported("resourceVersionMatch", value, &["Exact", "NotOlderThan", ""]);
    list_options(&errors)
}

/// The 422 for options of lists and watches.
pub(crate) fn list_options(errors: &api::field::FieldErrors) -> Status {
    let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {errors}");
    let details = json!({ "name": "", "group": "meta.k8s.io", "kind": "ListOptions", "causes": errors.causes() });
    Status { details, ..Status::new(422, "Invalid", message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<ListOptions, Status> {
        ListOptions::parse(&Query::parse(query).unwrap())
    }

    #[test]
    fn tokens_round_trip_and_strange_ones_are_refused() {
        let key = ObjectKey::new("perf", "ham");
        assert_eq!(decode_token(&encode_token(Some(Revision(7)), &key)).unwrap(), (Some(Revision(7)), key.clone()));
        assert_eq!(decode_token(&encode_token(None, &key)).unwrap(), (None, key));
        for token in ["x", "e30", ""] {
            assert_eq!(decode_token(token).unwrap_err().code, 400, "{token}");
        }
    }

    #[test]
    fn versions_and_how_they_match() {
        assert_eq!(parse("resourceVersion=0").unwrap(), ListOptions::default());
        assert_eq!(parse("resourceVersion=5").unwrap().not_older, Some(Revision(5)));
        assert_eq!(parse("resourceVersion=5&resourceVersionMatch=Exact").unwrap().exact, Some(Revision(5)));
        for (query, code) in [
            ("resourceVersionMatch=Exact", 422),
            ("resourceVersion=0&resourceVersionMatch=Exact", 422),
            ("resourceVersion=1&resourceVersionMatch=Newest", 422),
            ("resourceVersion=x", 400),
            ("continue=x", 400),
            ("limit=x", 400),
            ("sendInitialEvents=true", 422),
        ] {
            assert_eq!(parse(query).unwrap_err().code, code, "{query}");
        }
    }
}
