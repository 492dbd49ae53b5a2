//! What creates and updates have in common: decoding, placing, allocating, filling times.

use api::decode::{self, Decoded, Validation};
use api::kind::{Kind, Target};
use api::kinds;
use api::status::Status;
use compile::allocate::allocate as allocate_service;
use jiff::Timestamp;
use serde_json::Value;

use super::track::keep_reset;
use super::{Draft, WriteOptions};
use crate::clock::seconds;
use crate::object::{meta, meta_mut, set};

/// Decodes what a client sent: fields that do not exist or occur twice are refused, told of or dropped, as it asked.
pub(crate) fn decode_sent(kind: &'static Kind, body: &Value, options: &WriteOptions) -> Result<Decoded, Status> {
    let decoded = decode_with(kind, body, options)?;
    match options.validation {
        Validation::Strict if !decoded.warnings.is_empty() => Err(Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {}",
            kind.kind,
            kind.version,
            kind.kind,
            strict(&decoded.warnings)
        ))),
        _ => Ok(decoded),
    }
}

/// Decodes what a client sent; the faults that a strict client is refused for are the warnings.
pub(crate) fn decode_with(kind: &'static Kind, body: &Value, options: &WriteOptions) -> Result<Decoded, Status> {
    let lenient = options.validation == Validation::Ignore;
    let mut decoded = decode(kind, body, if lenient { Validation::Ignore } else { Validation::Warn })?;
    if !lenient {
        decoded.warnings.splice(0..0, options.faults.iter().cloned());
    }
    Ok(decoded)
}

/// What a strict client reads of faults. Those of YAML have lines and are one error together.
pub(crate) fn strict(faults: &[String]) -> String {
    let (lines, mut texts): (Vec<_>, Vec<_>) = faults.iter().cloned().partition(|fault| fault.starts_with("line "));
    if !lines.is_empty() {
        texts.insert(0, format!("yaml: unmarshal errors:\n  {}", lines.join("\n  ")));
    }
    format!("strict decoding error: {}", texts.join(", "))
}

/// Decodes an object, and drops the fields of metadata that this server does not keep.
pub(crate) fn decode(kind: &'static Kind, body: &Value, validation: Validation) -> Result<Decoded, Status> {
    let mut decoded = decode::decode(kind, body, validation)?;
    meta_mut(&mut decoded.object).remove("selfLink");
    keep_reset(body, &mut decoded.object);
    Ok(decoded)
}

/// Makes the object's namespace and name those of the URL, and refuses an object that says otherwise. An empty
/// `namespace` (a call that has no URL) takes the object's own.
pub(crate) fn place(
    kind: &'static Kind,
    namespace: &str,
    name: Option<&str>,
    object: &mut Value,
) -> Result<(), Status> {
    let own = meta(object, "namespace").to_owned();
    if kind.namespaced {
        if !own.is_empty() && !namespace.is_empty() && own != namespace {
            return Err(Status::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request ({own} and \
                 {namespace})"
            )));
        }
        let placed = if namespace.is_empty() { own } else { namespace.to_owned() };
        if placed.is_empty() {
            return Err(Status::bad_request("an empty namespace may not be set during creation"));
        }
        set(meta_mut(object), "namespace", Some(placed.into()));
    } else if !own.is_empty() {
        return Err(Status::bad_request(format!(
            "namespace {own:?} is set on a {}, which lives in no namespace; remove metadata.namespace",
            kind.kind
        )));
    }
    let Some(name) = name else { return Ok(()) };
    match meta(object, "name") {
        "" => set(meta_mut(object), "name", Some(name.into())),
        own if own == name => {}
        own => {
            return Err(Status::bad_request(format!(
                "the name of the object ({own}) does not match the name on the URL ({name})"
            )));
        }
    }
    Ok(())
}

/// Gives a Service its addresses and ports.
pub(crate) fn allocate(
    draft: &Draft<'_, '_>,
    kind: &'static Kind,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if kind.kind != kinds::SERVICE.kind {
        return Ok(());
    }
    let seed = draft.api.config.ids.bits();
    let taken = draft.api.taken();
    allocate_service(object, old, &draft.api.config.ranges, &taken, seed, draft.dry_run)
}

/// Texts for `Warning:` headers: those of the kind's rules, and that nothing acts on it if that is so.
pub(crate) fn warnings(kind: &Kind, new: &Value, old: Option<&Value>, target: Target) -> Vec<String> {
    let mut warnings = kind.rules.warnings(new, old);
    warnings.extend(kind.not_enforced.filter(|_| target == Target::Main).map(str::to_owned));
    warnings
}

/// Fills `lastTransitionTime` of conditions that the rules set without a clock: the stored time while the status is the
/// same, else now.
pub(crate) fn times(now: Timestamp, object: &mut Value, old: Option<&Value>) {
    let before = old.and_then(|old| old["status"]["conditions"].as_array());
    let Some(conditions) = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut) else { return };
    for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
        if condition.get("lastTransitionTime").is_some_and(|time| !time.is_null()) {
            continue;
        }
        let same = |other: &&Value| {
            other.get("type") == condition.get("type") && other.get("status") == condition.get("status")
        };
        let kept = before.and_then(|before| before.iter().find(same)).and_then(|old| old.get("lastTransitionTime"));
        let time = kept.filter(|time| time.is_string()).cloned().unwrap_or_else(|| seconds(now).into());
        condition.insert("lastTransitionTime".into(), time);
    }
}

/// Whether anything but metadata and status differs (for an EndpointSlice also its labels): what `generation` counts.
pub(crate) fn meaning_changed(kind: &Kind, new: &Value, old: &Value) -> bool {
    let members = |object: &Value| {
        let mut members = object.as_object().cloned().unwrap_or_default();
        for field in ["metadata", "status", "kind", "apiVersion"] {
            members.remove(field);
        }
        members
    };
    let labels = kind.kind == kinds::ENDPOINT_SLICE.kind && new["metadata"]["labels"] != old["metadata"]["labels"];
    labels || members(new) != members(old)
}
