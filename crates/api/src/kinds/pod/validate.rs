//! Turns a defaulted pod spec into the list of its wrong fields, as far as pods run here.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{container, security};
use crate::field::FieldErrors;
use crate::kinds::check::{invalid_each, one_of};
use crate::kinds::{address, metadata, read};
use crate::names;

/// Checks the pod template of a workload.
pub(crate) fn validate_template(errors: &mut FieldErrors, object: &Value) {
    let field = "spec.template";
    let labels = read::pairs(object, "/spec/template/metadata/labels");
    metadata::labels(errors, &format!("{field}.labels"), &labels);
    let annotations = read::pairs(object, "/spec/template/metadata/annotations");
    metadata::annotations(errors, &format!("{field}.annotations"), &annotations);
    validate_spec(errors, object, "/spec/template/spec", &format!("{field}.spec"));
    if !read::list(object, "/spec/template/spec/ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.forbidden(format!("{field}.spec.ephemeralContainers"), why);
    }
}

/// Checks the pod spec at `pointer`, whose path in messages is `field`.
pub(super) fn validate_spec(errors: &mut FieldErrors, object: &Value, pointer: &str, field: &str) {
    let empty = Value::Null;
    let spec = object.pointer(pointer).unwrap_or(&empty);
    let volumes = volumes(errors, spec, field);
    container::validate(errors, spec, field, &volumes);
    security::pod(errors, spec, field);
    one_of(errors, spec, field, "restartPolicy", &["Always", "OnFailure", "Never"]);
    one_of(errors, spec, field, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    metadata::labels(errors, &format!("{field}.nodeSelector"), &read::pairs(spec, "/nodeSelector"));
    dns_config(errors, spec, field);
    for gate in read::list(spec, "/readinessGates").iter().enumerate() {
        let name = read::text(gate.1, "/conditionType");
        let field = format!("{field}.readinessGates[{}].conditionType", gate.0);
        invalid_each(errors, &field, name, names::qualified_name(name));
    }
    type Check = fn(&str) -> Vec<String>;
    let named: [(&str, Check); 4] = [
        ("serviceAccountName", names::dns1123_subdomain),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
    ];
    for (member, check) in named {
        let value = read::text(spec, &format!("/{member}"));
        if !value.is_empty() {
            invalid_each(errors, &format!("{field}.{member}"), value, check(value));
        }
    }
    if let Some(seconds) = read::int(spec, "/activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let why = "must be between 1 and 2147483647, inclusive";
        errors.invalid(format!("{field}.activeDeadlineSeconds"), seconds, why);
    }
    for (i, alias) in read::list(spec, "/hostAliases").iter().enumerate() {
        let field = format!("{field}.hostAliases[{i}]");
        address::check_ip(errors, &format!("{field}.ip"), read::text(alias, "/ip"), &[]);
        for name in read::texts(alias, "/hostnames") {
            invalid_each(errors, &format!("{field}.hostnames"), name, names::dns1123_subdomain(name));
        }
    }
}

/// Checks volumes and returns their names, for the mounts.
fn volumes<'a>(errors: &mut FieldErrors, spec: &'a Value, field: &str) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (i, volume) in read::list(spec, "/volumes").iter().enumerate() {
        let field = format!("{field}.volumes[{i}]");
        let name = read::text(volume, "/name");
        if name.is_empty() {
            errors.required(format!("{field}.name"), "");
        } else {
            invalid_each(errors, &format!("{field}.name"), name, names::dns1123_label(name));
        }
        if !names.insert(name) {
            errors.duplicate(format!("{field}.name"), name);
        }
        let sources = volume.as_object().into_iter().flat_map(|members| members.keys()).filter(|key| *key != "name");
        for extra in sources.skip(1) {
            errors.forbidden(format!("{field}.{extra}"), "may not specify more than 1 volume type");
        }
    }
    names
}

fn dns_config(errors: &mut FieldErrors, spec: &Value, field: &str) {
    let field = format!("{field}.dnsConfig");
    let servers = read::texts(spec, "/dnsConfig/nameservers");
    if read::text(spec, "/dnsPolicy") == "None" {
        if !read::present(spec, "/dnsConfig") {
            errors.required(&field, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.required(format!("{field}.nameservers"), why);
        }
    }
    if servers.len() > 3 {
        errors.invalid(format!("{field}.nameservers"), servers.clone(), "must not have more than 3 nameservers");
    }
    for (i, server) in servers.iter().enumerate() {
        address::check_ip(errors, &format!("{field}.nameservers[{i}]"), server, &[]);
    }
    let searches = read::texts(spec, "/dnsConfig/searches");
    if searches.len() > 32 {
        errors.invalid(format!("{field}.searches"), searches.clone(), "must not have more than 32 search paths");
    }
    if searches.join(" ").len() > 2048 {
        let why = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(format!("{field}.searches"), searches.clone(), why);
    }
    for (i, option) in read::list(spec, "/dnsConfig/options").iter().enumerate() {
        if read::text(option, "/name").is_empty() {
            errors.required(format!("{field}.options[{i}]"), "must not be empty");
        }
    }
}
