//! Turns the paths and backends of an Ingress into what is wrong with them.

use serde_json::{Value, json};

use crate::field::FieldErrors;
use crate::kinds::check::invalid_each;
use crate::kinds::read;
use crate::names;

const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

/// Kubernetes always shows the port of a Service backend, if only as an empty object.
pub(super) fn default(ingress: &mut Value, pointer: &str) {
    let service = format!("{pointer}/service");
    if ingress.pointer(&service).is_some_and(Value::is_object) {
        read::put_missing(ingress, &format!("{service}/port"), json!({}));
    }
}

/// Checks the HTTP paths of a rule, if it has any.
pub(super) fn validate_http(errors: &mut FieldErrors, rule: &Value, field: &str) {
    let Some(http) = rule.pointer("/http").filter(|http| !http.is_null()) else { return };
    let field = format!("{field}.http.paths");
    let paths = read::list(http, "/paths");
    if paths.is_empty() {
        errors.required(&field, "");
    }
    for (i, path) in paths.iter().enumerate() {
        self::path(errors, path, &format!("{field}[{i}]"));
    }
}

fn path(errors: &mut FieldErrors, path: &Value, field: &str) {
    let at = format!("{field}.path");
    let text = read::text(path, "/path");
    let absolute = |errors: &mut FieldErrors| {
        if !text.starts_with('/') {
            errors.invalid(&at, text, "must be an absolute path");
        }
    };
    match path.pointer("/pathType").and_then(Value::as_str) {
        None => {
            errors.required(format!("{field}.pathType"), "pathType must be specified");
            return;
        }
        Some("Exact" | "Prefix") => {
            absolute(errors);
            for sequence in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|it| text.contains(**it)) {
                errors.invalid(&at, text, &format!("must not contain '{sequence}'"));
            }
            for suffix in ["/..", "/."].iter().filter(|it| text.ends_with(**it)) {
                errors.invalid(&at, text, &format!("cannot end with '{suffix}'"));
            }
        }
        Some("ImplementationSpecific") if text.is_empty() => {}
        Some("ImplementationSpecific") => absolute(errors),
        Some(other) => errors.not_supported(format!("{field}.pathType"), other, PATH_TYPES),
    }
    validate(errors, &path["backend"], &format!("{field}.backend"));
}

/// Checks a backend: one Service port, or one other resource.
pub(super) fn validate(errors: &mut FieldErrors, backend: &Value, field: &str) {
    match (read::present(backend, "/resource"), read::present(backend, "/service")) {
        (true, true) => errors.invalid(field, "", "cannot set both resource and service backends"),
        (false, false) => errors.invalid(field, "", "resource or service backend is required"),
        (true, false) => reference(errors, &backend["resource"], &format!("{field}.resource")),
        (false, true) => service(errors, &backend["service"], field),
    }
}

fn service(errors: &mut FieldErrors, service: &Value, field: &str) {
    let name_field = format!("{field}.service.name");
    match read::text(service, "/name") {
        "" => errors.required(name_field, ""),
        name => invalid_each(errors, &name_field, name, names::dns1123_label(name)),
    }
    let (name, number) = (read::text(service, "/port/name"), read::int(service, "/port/number").unwrap_or(0));
    let port = format!("{field}.service.port");
    match (name, number) {
        ("", 0) => errors.required(field, "port name or number is required"),
        ("", number) => invalid_each(errors, &format!("{port}.number"), number, names::port_number(number)),
        (name, 0) => invalid_each(errors, &format!("{port}.name"), name, names::port_name(name)),
        _ => errors.invalid(field, "", "cannot set both port name & port number"),
    }
}

/// Checks `apiGroup`, `kind` and `name` of a reference to any object.
pub(super) fn reference(errors: &mut FieldErrors, reference: &Value, field: &str) {
    if let Some(group) = reference.pointer("/apiGroup").and_then(Value::as_str) {
        invalid_each(errors, &format!("{field}.apiGroup"), group, names::dns1123_subdomain(group));
    }
    for member in ["kind", "name"] {
        required_segment(errors, reference, field, member);
    }
}

/// Checks a required member that becomes part of a URL.
pub(super) fn required_segment(errors: &mut FieldErrors, object: &Value, field: &str, member: &str) {
    let field = format!("{field}.{member}");
    match read::text(object, &format!("/{member}")) {
        "" => errors.required(field, ""),
        text => invalid_each(errors, &field, text, names::path_segment(text)),
    }
}
