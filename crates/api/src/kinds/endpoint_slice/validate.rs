//! Turns an EndpointSlice into the list of its wrong fields.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::FieldErrors;
use crate::kinds::check::{immutable, invalid_each, protocol};
use crate::kinds::{address, read};
use crate::names;

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_HINTS: usize = 8;

pub(super) fn validate(new: &Value, old: Option<&Value>) -> FieldErrors {
    let mut errors = FieldErrors::default();
    match read::text(new, "/addressType") {
        "" => errors.required("addressType", ""),
        kind if !["FQDN", "IPv4", "IPv6"].contains(&kind) => {
            errors.not_supported("addressType", kind, &["FQDN", "IPv4", "IPv6"]);
        }
        _ => {}
    }
    ports(&mut errors, new);
    // Endpoints that were accepted once stay acceptable.
    if !old.is_some_and(|old| read::same(new, old, "/endpoints")) {
        endpoints(&mut errors, new);
    }
    if let Some(old) = old {
        immutable(&mut errors, "addressType", new, old, "/addressType");
    }
    errors
}

fn ports(errors: &mut FieldErrors, slice: &Value) {
    let ports = read::list(slice, "/ports");
    if ports.len() > MAX_PORTS {
        errors.too_many("ports", ports.len(), MAX_PORTS);
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let field = format!("ports[{i}]");
        let name = read::text(port, "/name");
        if !name.is_empty() {
            invalid_each(errors, &format!("{field}.name"), name, names::dns1123_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(format!("{field}.name"), name);
        }
        protocol(errors, &field, port);
        if let Some(name) = port.pointer("/appProtocol").and_then(Value::as_str) {
            invalid_each(errors, &format!("{field}.appProtocol"), name, names::qualified_name(name));
        }
    }
}

fn endpoints(errors: &mut FieldErrors, slice: &Value) {
    let endpoints = read::list(slice, "/endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        errors.too_many("endpoints", endpoints.len(), MAX_ENDPOINTS);
        return;
    }
    let kind = read::text(slice, "/addressType");
    for (i, endpoint) in endpoints.iter().enumerate() {
        let field = format!("endpoints[{i}]");
        addresses(errors, endpoint, kind, &format!("{field}.addresses"));
        if let Some(node) = endpoint.pointer("/nodeName").and_then(Value::as_str) {
            invalid_each(errors, &format!("{field}.nodeName"), node, names::dns1123_subdomain(node));
        }
        if let Some(hostname) = endpoint.pointer("/hostname").and_then(Value::as_str) {
            invalid_each(errors, &format!("{field}.hostname"), hostname, names::dns1123_label(hostname));
        }
        hints(errors, endpoint, &field, "forZones", names::label_value);
        hints(errors, endpoint, &field, "forNodes", names::dns1123_subdomain);
    }
}

fn addresses(errors: &mut FieldErrors, endpoint: &Value, kind: &str, field: &str) {
    let addresses = read::texts(endpoint, "/addresses");
    if addresses.is_empty() {
        errors.required(field, "must contain at least 1 address");
    } else if addresses.len() > MAX_ADDRESSES {
        errors.too_many(field, addresses.len(), MAX_ADDRESSES);
    }
    for (i, text) in addresses.into_iter().enumerate() {
        let at = format!("{field}[{i}]");
        let before = errors.0.len();
        match kind {
            "IPv4" => address::check_ip(errors, &at, text, &[]),
            "IPv6" => address::check_canonical_ip(errors, &at, text),
            "FQDN" => fqdn(errors, &at, text),
            _ => {}
        }
        let Some(ip) = address::parse_ip(text).filter(|_| errors.0.len() == before) else { continue };
        match kind {
            "IPv4" if !ip.is_ipv4() => errors.invalid(field, text, "must be an IPv4 address"),
            "IPv6" if !ip.is_ipv6() => errors.invalid(field, text, "must be an IPv6 address"),
            _ => {}
        }
        if matches!(kind, "IPv4" | "IPv6") {
            address::check_endpoint_ip(errors, &at, text);
        }
    }
}

fn fqdn(errors: &mut FieldErrors, field: &str, name: &str) {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errors.required(field, "");
        return;
    }
    let problems = names::dns1123_subdomain(name);
    if problems.is_empty() && !name.contains('.') {
        errors.invalid(field, name, "should be a domain with at least two segments separated by dots");
    }
    invalid_each(errors, field, name, problems);
}

fn hints(errors: &mut FieldErrors, endpoint: &Value, field: &str, list: &str, check: fn(&str) -> Vec<String>) {
    let hints = read::list(endpoint, &format!("/hints/{list}"));
    let field = format!("{field}.hints.{list}");
    if hints.len() > MAX_HINTS {
        errors.too_many(field, hints.len(), MAX_HINTS);
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, hint) in hints.iter().enumerate() {
        let name = read::text(hint, "/name");
        let field = format!("{field}[{i}].name");
        if !seen.insert(name) {
            errors.duplicate(&field, name);
        }
        invalid_each(errors, &field, name, check(name));
    }
}
