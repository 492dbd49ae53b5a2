//! Events as clients of `events.k8s.io/v1` write and read them in, Events of the core group out, and back: one table, two
//! names for some of its fields (KEP-383; k8s.io/api/events/v1 says which).

use api::field::FieldErrors;
use api::kind::Kind;
use api::kinds;
use api::status::Status;
use bytes::Bytes;
use serde_json::{Map, Value};

/// Names in `events.k8s.io/v1` and in the core group; all other fields have one name.
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];
/// What a name may be at most in a new Event (pkg/apis/core/validation, events.go).
const TEXT_BYTES: usize = 128;
const NOTE_BYTES: usize = 1024;

/// The kind whose table is asked for, and whether the request speaks of it in the newer names.
pub(crate) fn stored(kind: &'static Kind) -> (&'static Kind, bool) {
    if kind.group == kinds::EVENTS_EVENT.group { (&kinds::EVENT, true) } else { (kind, false) }
}

/// An Event, or a patch of one, in the names of the core group.
pub(crate) fn to_core(body: Value) -> Value {
    match body {
        Value::Object(members) => Value::Object(renamed(members, |(new, core)| (new, core), "v1")),
        // A JSON patch names the first member of each path.
        Value::Array(steps) => steps.into_iter().map(step_to_core).collect(),
        other => other,
    }
}

/// A stored Event in the names of `events.k8s.io/v1`.
pub(crate) fn from_core(event: Value) -> Value {
    match event {
        Value::Object(members) => {
            Value::Object(renamed(members, |(new, core)| (core, new), &kinds::EVENTS_EVENT.api_version()))
        }
        other => other,
    }
}

/// The same for the text of a stored Event; what cannot be read stays as it is.
pub(crate) fn text_from_core(text: &Bytes) -> Bytes {
    serde_json::from_slice(text).map_or_else(|_| text.clone(), |event| from_core(event).to_string().into())
}

/// What a new Event must say that is made by the newer API: older ones are not asked.
pub(crate) fn check_new(event: &Value) -> Result<(), Status> {
    let mut errors = FieldErrors::default();
    let text = |field: &str| event.get(field).and_then(Value::as_str).unwrap_or("");
    if event.get("eventTime").is_none_or(Value::is_null) {
        errors.required("eventTime", "");
    }
    for field in ["reportingController", "reportingInstance", "action", "reason"] {
        if text(field).is_empty() {
            errors.required(field, "");
        } else if text(field).len() > TEXT_BYTES && field != "reportingController" {
            errors.invalid(field, text(field), &format!("can have at most {TEXT_BYTES} characters"));
        }
    }
    if text("note").len() > NOTE_BYTES {
        errors.invalid("note", text("note"), &format!("can have at most {NOTE_BYTES} characters"));
    }
    if !matches!(text("type"), "Normal" | "Warning") {
        errors.invalid("type", text("type"), "has invalid value: ");
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&kinds::EVENTS_EVENT, event["metadata"]["name"].as_str().unwrap_or(""), &errors))
}

fn renamed<'n>(
    members: Map<String, Value>,
    direction: impl Fn((&'n str, &'n str)) -> (&'n str, &'n str),
    api_version: &str,
) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in members {
        let other = NAMES.into_iter().map(&direction).find(|(from, _)| *from == name).map(|(_, to)| to.to_owned());
        let value = if name == "apiVersion" { api_version.into() } else { value };
        out.insert(other.unwrap_or(name), value);
    }
    out
}

fn step_to_core(mut step: Value) -> Value {
    for member in ["path", "from"] {
        let Some(path) = step.get(member).and_then(Value::as_str) else { continue };
        let Some(rest) = path.strip_prefix('/') else { continue };
        let (first, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if let Some((_, core)) = NAMES.into_iter().find(|(new, _)| *new == first) {
            step[member] = format!("/{core}{tail}").into();
        }
    }
    step
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "a" }, "note": "n",
            "eventTime": "2026-11-21T09:00:00.000000Z", "reportingController": "kube-proxy", "reportingInstance": "x",
            "action": "StartKubeProxy", "reason": "Starting", "type": "Normal", "regarding": { "kind": "Node", "name": "x" },
        })
    }

    #[test]
    fn there_and_back_nothing_is_lost() {
        let core = to_core(event());
        assert_eq!((&core["apiVersion"], &core["message"]), (&json!("v1"), &json!("n")));
        assert_eq!(core["involvedObject"]["kind"], "Node");
        assert!(core.get("note").is_none() && core.get("regarding").is_none());
        assert_eq!(from_core(core), event());
        assert_eq!(text_from_core(&Bytes::from_static(b"no JSON")), Bytes::from_static(b"no JSON"));
    }

    #[test]
    fn patches_are_renamed_like_objects() {
        let series = json!({ "series": { "count": 2 }, "note": "m" });
        assert_eq!(to_core(series), json!({ "series": { "count": 2 }, "message": "m" }));
        let steps = json!([
            { "op": "replace", "path": "/note", "value": "m" }, { "op": "test", "path": "/regarding/name", "value": "x" },
            { "op": "move", "from": "/deprecatedCount", "path": "/series/count" },
        ]);
        let paths =
            |steps: &Value| steps.as_array().unwrap().iter().map(|step| step["path"].clone()).collect::<Vec<_>>();
        let core = to_core(steps);
        assert_eq!(paths(&core), ["/message", "/involvedObject/name", "/series/count"]);
        assert_eq!(core[2]["from"], "/count");
    }

    #[test]
    fn a_new_event_says_who_and_what() {
        check_new(&event()).unwrap();
        for field in ["eventTime", "reportingController", "reportingInstance", "action", "reason", "type"] {
            let mut lacking = event();
            lacking.as_object_mut().unwrap().remove(field);
            let refused = check_new(&lacking).unwrap_err();
            assert!(refused.code == 422 && refused.message.contains(field), "{refused}");
        }
        let mut long = event();
        long["note"] = "x".repeat(NOTE_BYTES + 1).into();
        assert_eq!(check_new(&long).unwrap_err().code, 422);
    }
}
