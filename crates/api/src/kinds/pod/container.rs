//! Turns the containers of a pod spec into what is wrong with them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::security;
use crate::field::{Fault, FieldErrors};
use crate::kinds::check::{invalid_each, nonnegative, number_or_name, one_of, protocol};
use crate::kinds::{print, read};
use crate::{names, quantity};

const HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
const ONLY_RESTARTABLE: &str = "may not be set for init containers without restartPolicy=Always";

pub(super) fn validate(errors: &mut FieldErrors, spec: &Value, field: &str, volumes: &BTreeSet<&str>) {
    let containers = read::list(spec, "/containers");
    if containers.is_empty() {
        errors.required(format!("{field}.containers"), "");
    }
    let mut seen = BTreeSet::new();
    let host_users = spec["hostUsers"] != false;
    for (i, container) in containers.iter().enumerate() {
        let field = format!("{field}.containers[{i}]");
        common(errors, container, &field, volumes, (&mut seen, host_users));
        probes(errors, container, &field);
    }
    for (i, container) in read::list(spec, "/initContainers").iter().enumerate() {
        let field = format!("{field}.initContainers[{i}]");
        common(errors, container, &field, volumes, (&mut seen, host_users));
        if read::text(container, "/restartPolicy") == "Always" {
            probes(errors, container, &field);
            continue;
        }
        for member in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if read::present(container, &format!("/{member}")) {
                errors.forbidden(format!("{field}.{member}"), ONLY_RESTARTABLE);
            }
        }
    }
}

fn common<'a>(
    errors: &mut FieldErrors,
    container: &'a Value,
    field: &str,
    volumes: &BTreeSet<&str>,
    (seen, host_users): (&mut BTreeSet<&'a str>, bool),
) {
    let name = read::text(container, "/name");
    if name.is_empty() {
        errors.required(format!("{field}.name"), "");
    } else {
        invalid_each(errors, &format!("{field}.name"), name, names::dns1123_label(name));
    }
    if read::text(container, "/image").is_empty() {
        errors.required(format!("{field}.image"), "");
    }
    one_of(errors, container, field, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"]);
    ports(errors, container, field);
    environment(errors, container, field);
    mounts(errors, container, field, volumes);
    one_of(errors, container, field, "imagePullPolicy", &["Always", "IfNotPresent", "Never"]);
    resources(errors, container, field);
    security::container(errors, container, &format!("{field}.securityContext"), host_users);
    if !seen.insert(name) {
        errors.duplicate(format!("{field}.name"), name);
    }
}

fn ports(errors: &mut FieldErrors, container: &Value, field: &str) {
    let mut names = BTreeSet::new();
    for (i, port) in read::list(container, "/ports").iter().enumerate() {
        let field = format!("{field}.ports[{i}]");
        let name = read::text(port, "/name");
        if !name.is_empty() {
            let problems = names::port_name(name);
            if problems.is_empty() && !names.insert(name) {
                errors.duplicate(format!("{field}.name"), name);
            }
            invalid_each(errors, &format!("{field}.name"), name, problems);
        }
        match read::int(port, "/containerPort").unwrap_or(0) {
            0 => errors.required(format!("{field}.containerPort"), ""),
            number => invalid_each(errors, &format!("{field}.containerPort"), number, names::port_number(number)),
        }
        match read::int(port, "/hostPort").unwrap_or(0) {
            0 => {}
            number => invalid_each(errors, &format!("{field}.hostPort"), number, names::port_number(number)),
        }
        protocol(errors, &field, port);
    }
}

fn environment(errors: &mut FieldErrors, container: &Value, field: &str) {
    for (i, variable) in read::list(container, "/env").iter().enumerate() {
        let field = format!("{field}.env[{i}]");
        match read::text(variable, "/name") {
            "" => errors.required(format!("{field}.name"), ""),
            name => invalid_each(errors, &format!("{field}.name"), name, names::env_name(name)),
        }
        if read::present(variable, "/valueFrom") {
            let sources = variable["valueFrom"].as_object().map_or(0, serde_json::Map::len);
            let field = format!("{field}.valueFrom");
            if !read::text(variable, "/value").is_empty() {
                errors.invalid(&field, "", "may not be specified when `value` is not empty");
            }
            if sources == 0 {
                let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
                errors.invalid(&field, "", why);
            } else if sources > 1 {
                errors.invalid(&field, "", "may not have more than one field specified at a time");
            }
        }
    }
}

fn mounts(errors: &mut FieldErrors, container: &Value, field: &str, volumes: &BTreeSet<&str>) {
    let mut paths = BTreeSet::new();
    let list = &format!("{field}.volumeMounts");
    for (i, mount) in read::list(container, "/volumeMounts").iter().enumerate() {
        let field = format!("{list}[{i}]");
        let name = read::text(mount, "/name");
        if name.is_empty() {
            errors.required(format!("{field}.name"), "");
        }
        if !volumes.contains(name) {
            errors.push(Fault::NotFound, format!("{field}.name"), format!("Not found: {name:?}"));
        }
        let path = read::text(mount, "/mountPath");
        if path.is_empty() {
            errors.required(format!("{field}.mountPath"), "");
        }
        if !paths.insert(path) {
            errors.invalid(format!("{field}.mountPath"), path, "must be unique");
        }
        sub_paths(errors, mount, list, &field);
    }
}

/// The part of a volume that is mounted must lie in it. Its own messages have no index, as upstream's.
fn sub_paths(errors: &mut FieldErrors, mount: &Value, list: &str, field: &str) {
    let texts = ["subPath", "subPathExpr"].map(|member| (member, read::text(mount, &format!("/{member}"))));
    for (member, path) in texts {
        if member == "subPathExpr" && texts.iter().all(|(_, path)| !path.is_empty()) {
            errors.invalid(format!("{field}.{member}"), path, "subPathExpr and subPath are mutually exclusive");
        }
        if path.starts_with('/') {
            errors.invalid(format!("{list}.{member}"), path, "must be a relative path");
        }
        if path.split('/').any(|part| part == "..") {
            errors.invalid(format!("{list}.{member}"), path, "must not contain '..'");
        }
    }
}

/// Checks the amounts of resources at `pointer`; `field` is their path in messages.
pub(crate) fn validate_amounts(errors: &mut FieldErrors, object: &Value, pointer: &str, field: &str) {
    for (name, value) in object.pointer(pointer).and_then(Value::as_object).into_iter().flatten() {
        let field = format!("{field}[{name}]");
        resource_name(errors, &field, name);
        amount_or_error(errors, &field, value);
    }
}

fn resource_name(errors: &mut FieldErrors, field: &str, name: &str) {
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") {
        invalid_each(errors, field, name, names::qualified_name(name));
    }
}

/// An amount that is not negative, in the finest unit.
fn amount_or_error(errors: &mut FieldErrors, field: &str, value: &Value) -> Option<i128> {
    match amount(value) {
        None => errors.invalid(field, value.clone(), quantity::MALFORMED),
        Some(..0) => errors.invalid(field, value.clone(), "must be greater than or equal to 0"),
        good => return good,
    }
    None
}

fn amount(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => quantity::nanos(text),
        other => quantity::nanos(&other.to_string()),
    }
}

fn resources(errors: &mut FieldErrors, container: &Value, field: &str) {
    let field = format!("{field}.resources");
    let limits = container.pointer("/resources/limits");
    for list in ["limits", "requests"] {
        let members = container.pointer(&format!("/resources/{list}")).and_then(Value::as_object);
        for (name, value) in members.into_iter().flatten() {
            let field = format!("{field}.{list}[{name}]");
            resource_name(errors, &field, name);
            let asked = amount_or_error(errors, &field, value);
            let limit = limits.and_then(|limits| limits.get(name)).filter(|_| list == "requests");
            if let (Some(asked), Some(limit)) = (asked, limit)
                && amount(limit).is_some_and(|most| asked > most)
            {
                let shown = print::plain(limit);
                let why = format!("must be less than or equal to {name} limit of {shown}");
                errors.invalid(format!("{}.requests", field_of(&field)), print::plain(value), &why);
            }
        }
    }
}

/// `a.resources` of `a.resources.requests[cpu]`.
fn field_of(field: &str) -> &str {
    field.rfind(".requests[").map_or(field, |end| &field[..end])
}

fn probes(errors: &mut FieldErrors, container: &Value, field: &str) {
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let pointer = format!("/{probe}");
        let Some(value) = container.pointer(&pointer).filter(|value| value.is_object()) else { continue };
        let field = format!("{field}.{probe}");
        handler(errors, value, &field);
        for member in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            nonnegative(errors, &format!("{field}.{member}"), value, &format!("/{member}"));
        }
        if read::int(value, "/terminationGracePeriodSeconds").is_some_and(|seconds| seconds <= 0) {
            let seconds = value["terminationGracePeriodSeconds"].clone();
            errors.invalid(format!("{field}.terminationGracePeriodSeconds"), seconds, "must be greater than 0");
        }
        if probe != "readinessProbe" && read::int(value, "/successThreshold").unwrap_or(1) != 1 {
            errors.invalid(format!("{field}.successThreshold"), value["successThreshold"].clone(), "must be 1");
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(value) = container.pointer(&format!("/lifecycle/{hook}")).filter(|value| value.is_object()) {
            handler(errors, value, &format!("{field}.lifecycle.{hook}"));
        }
    }
}

fn handler(errors: &mut FieldErrors, value: &Value, field: &str) {
    let given: Vec<_> = HANDLERS.iter().filter(|handler| read::present(value, &format!("/{handler}"))).collect();
    for extra in given.iter().skip(1) {
        errors.forbidden(format!("{field}.{extra}"), "may not specify more than 1 handler type");
    }
    let Some(handler) = given.first() else {
        errors.required(field, "must specify a handler type");
        return;
    };
    let field = format!("{field}.{handler}");
    match **handler {
        "exec" if read::list(value, "/exec/command").is_empty() => errors.required(format!("{field}.command"), ""),
        "httpGet" => {
            number_or_name(errors, &format!("{field}.port"), &value["httpGet"]["port"]);
            let scheme = read::text(value, "/httpGet/scheme");
            if !["HTTP", "HTTPS"].contains(&scheme) {
                errors.not_supported(format!("{field}.scheme"), scheme, &["HTTP", "HTTPS"]);
            }
        }
        "tcpSocket" => number_or_name(errors, &format!("{field}.port"), &value["tcpSocket"]["port"]),
        "grpc" => number_or_name(errors, &format!("{field}.port"), &value["grpc"]["port"]),
        _ => {}
    }
}
