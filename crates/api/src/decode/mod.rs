//! Bodies of requests: JSON in, an object that has only known fields of the right types out, or a 400 that names the
//! field.

mod check;
mod json;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::kind::Kind;
use crate::limits::{FIELD_FAULTS_MAX, PATH_BYTES_MAX};
use crate::schema::Schema;
use crate::status::Status;

pub use json::parse_json;
#[cfg(test)]
pub(crate) use tests::any_json;

/// What to do about unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    /// Drop them.
    Ignore,
    /// Drop them and warn.
    #[default]
    Warn,
    /// Refuse.
    Strict,
}

impl Validation {
    /// The value of the `fieldValidation` parameter; empty means the default.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Self::Warn),
            "Ignore" => Some(Self::Ignore),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// A decoded object.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object: known fields only, without nulls and empty lists.
    pub object: Value,
    /// Texts for `Warning:` headers.
    pub warnings: Vec<String>,
}

/// Decodes a body as an object of `kind`.
pub fn decode(kind: &Kind, body: &Value, validation: Validation) -> Result<Decoded, Status> {
    decode_with(kind, body, &[], validation)
}

/// The same, for a body in which `duplicates` (paths, as `parse_json` gives them) occurred twice.
pub fn decode_with(
    kind: &Kind,
    body: &Value,
    duplicates: &[String],
    validation: Validation,
) -> Result<Decoded, Status> {
    let Some(members) = body.as_object() else {
        return Err(Status::bad_request(
            "the object provided is unrecognized (must be of type Object with kind and apiVersion)",
        ));
    };
    identify(kind, members)?;
    let schema = Schema::get();
    let id = schema.of_kind(kind).ok_or_else(|| Status::internal(format!("no schema for {}", kind.kind)))?;
    let mut unknown = Vec::new();
    let mut object = check::object(schema, id, members, &mut unknown).map_err(|why| cannot(kind, &why))?;
    object.insert("apiVersion".into(), kind.api_version().into());
    object.insert("kind".into(), kind.kind.into());
    let faults = unknown.iter().map(|path| format!("unknown field \"{path}\""));
    let duplicates = duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
    let faults: Vec<String> = faults.chain(duplicates).take(FIELD_FAULTS_MAX).collect();
    let warnings = match validation {
        Validation::Ignore => Vec::new(),
        Validation::Strict if !faults.is_empty() => {
            return Err(cannot(kind, &format!("strict decoding error: {}", faults.join(", "))));
        }
        _ => faults,
    };
    Ok(Decoded { object: Value::Object(object), warnings })
}

/// The body must say that it is what the URL asks for; saying nothing is tolerated, as in Kubernetes.
fn identify(kind: &Kind, members: &serde_json::Map<String, Value>) -> Result<(), Status> {
    let given = |field: &str| shortened(members.get(field).and_then(Value::as_str).unwrap_or_default());
    let (version, name) = (given("apiVersion"), given("kind"));
    let right = (version.is_empty() || version == kind.api_version()) && (name.is_empty() || name == kind.kind);
    if right {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "{name} in version \"{version}\" cannot be handled as a {}: the API version and kind in the data ({version}, \
         Kind={name}) do not match the expected API version ({}, Kind={})",
        kind.kind,
        kind.api_version(),
        kind.kind
    )))
}

/// A path short enough to be told, cut between characters.
fn shortened(path: &str) -> &str {
    &path[..path.floor_char_boundary(PATH_BYTES_MAX)]
}

fn cannot(kind: &Kind, why: &str) -> Status {
    Status::bad_request(format!(
        "{} in version \"{}\" cannot be handled as a {}: {why}",
        kind.kind, kind.version, kind.kind
    ))
}
