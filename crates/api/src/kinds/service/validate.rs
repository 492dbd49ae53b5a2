//! Turns a defaulted and allocated Service (and the stored one, on updates) into the list of its wrong fields.

use serde_json::Value;

use super::{cluster_ips, externally_accessible, is_headless, needs_health_check, ports, service_type};
use crate::field::FieldErrors;
use crate::kind::Target;
use crate::kinds::check::invalid_each;
use crate::kinds::{address, metadata, read};
use crate::names;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";

pub(super) fn validate(new: &Value, old: Option<&Value>, target: Target) -> FieldErrors {
    let mut errors = FieldErrors::default();
    if target == Target::Status {
        load_balancer_status(&mut errors, new, old);
        return errors;
    }
    if let Some(old) = old {
        update(&mut errors, new, old);
    }
    topology(&mut errors, new);
    by_type(&mut errors, new);
    ports::validate(&mut errors, new);
    metadata::labels(&mut errors, "spec.selector", &read::pairs(new, "/spec/selector"));
    affinity(&mut errors, new);
    errors.0.extend(cluster_ips::validate_cluster_ips(new, old).0);
    external_ips(&mut errors, new, old);
    if !TYPES.contains(&service_type(new)) {
        errors.not_supported("spec.type", service_type(new), TYPES);
    }
    ports::validate_together(&mut errors, new);
    source_ranges(&mut errors, new, old);
    load_balancer_fields(&mut errors, new);
    traffic_policies(&mut errors, new);
    errors
}

fn update(errors: &mut FieldErrors, new: &Value, old: &Value) {
    cluster_ips::validate_update(errors, new, old);
    let balanced = |service| service_type(service) == "LoadBalancer";
    if balanced(new) && balanced(old) && !read::same(new, old, "/spec/loadBalancerClass") {
        let class = new.pointer("/spec/loadBalancerClass").cloned().unwrap_or_default();
        errors.invalid("spec.loadBalancerClass", class, "may not change once set");
    }
    if needs_health_check(new) && needs_health_check(old) && !read::same(new, old, "/spec/healthCheckNodePort") {
        errors.forbidden("spec.healthCheckNodePort", "field is immutable");
    }
}

fn topology(errors: &mut FieldErrors, service: &Value) {
    let annotation = |key| read::entry(service, "/metadata/annotations", key);
    if let (Some(mode), Some(hints)) = (annotation(TOPOLOGY_MODE), annotation(TOPOLOGY_HINTS))
        && mode != hints
    {
        let why = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
        errors.invalid(format!("metadata.annotations[{TOPOLOGY_MODE}]"), mode, &why);
    }
}

fn by_type(errors: &mut FieldErrors, service: &Value) {
    let kind = service_type(service);
    if read::list(service, "/spec/ports").is_empty() && !is_headless(service) && kind != "ExternalName" {
        errors.required("spec.ports", "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(service) => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.invalid("spec.clusterIPs[0]", "None", &why);
        }
        "ExternalName" => {
            for list in ["clusterIPs", "ipFamilies"] {
                if !read::list(service, &format!("/spec/{list}")).is_empty() {
                    errors.forbidden(format!("spec.{list}"), "may not be set for ExternalName services");
                }
            }
            if read::present(service, "/spec/ipFamilyPolicy") {
                errors.forbidden("spec.ipFamilyPolicy", "may not be set for ExternalName services");
            }
            external_name(errors, service);
        }
        _ => {}
    }
}

fn external_name(errors: &mut FieldErrors, service: &Value) {
    let name = read::text(service, "/spec/externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errors.required("spec.externalName", "");
    } else {
        invalid_each(errors, "spec.externalName", name, names::dns1123_subdomain(name));
    }
}

fn affinity(errors: &mut FieldErrors, service: &Value) {
    let field = "spec.sessionAffinityConfig";
    match read::text(service, "/spec/sessionAffinity") {
        "ClientIP" => {
            let seconds = read::int(service, "/spec/sessionAffinityConfig/clientIP/timeoutSeconds").unwrap_or(0);
            if !(1..=86_400).contains(&seconds) {
                let why = "must be greater than 0 and less than 86400";
                errors.invalid(format!("{field}.clientIP.timeoutSeconds"), seconds, why);
            }
        }
        "None" => {
            if read::present(service, "/spec/sessionAffinityConfig") {
                errors.forbidden(field, "must not be set when session affinity is None");
            }
        }
        "" => errors.required("spec.sessionAffinity", ""),
        other => errors.not_supported("spec.sessionAffinity", other, &["ClientIP", "None"]),
    }
}

fn external_ips(errors: &mut FieldErrors, new: &Value, old: Option<&Value>) {
    let stored = old.map(|old| read::texts(old, "/spec/externalIPs")).unwrap_or_default();
    for (i, ip) in read::texts(new, "/spec/externalIPs").into_iter().enumerate() {
        let field = format!("spec.externalIPs[{i}]");
        let before = errors.0.len();
        address::check_ip(errors, &field, ip, &stored);
        if errors.0.len() == before {
            address::check_endpoint_ip(errors, &field, ip);
        }
    }
}

fn source_ranges(errors: &mut FieldErrors, new: &Value, old: Option<&Value>) {
    let balanced = service_type(new) == "LoadBalancer";
    let ranges = read::texts(new, "/spec/loadBalancerSourceRanges");
    if !ranges.is_empty() {
        // The capital letter is Kubernetes' own, and part of the interface since.
        let field = "spec.LoadBalancerSourceRanges";
        if !balanced {
            errors.forbidden(field, ONLY_LOAD_BALANCER);
        }
        let stored = old.map(|old| read::texts(old, "/spec/loadBalancerSourceRanges")).unwrap_or_default();
        let stored: Vec<_> = stored.into_iter().map(str::trim).collect();
        for (i, range) in ranges.into_iter().enumerate() {
            address::check_network(errors, &format!("{field}[{i}]"), range.trim(), &stored);
        }
        return;
    }
    let annotation = |service| read::entry(service, "/metadata/annotations", SOURCE_RANGES);
    let Some(value) = annotation(new) else { return };
    let field = format!("metadata.annotations[{SOURCE_RANGES}]");
    if !balanced {
        errors.forbidden(&field, ONLY_LOAD_BALANCER);
    }
    if old.and_then(annotation) != Some(value) && !value.trim().is_empty() {
        for range in value.split(',') {
            address::check_network(errors, &field, range.trim(), &[]);
        }
    }
}

fn load_balancer_fields(errors: &mut FieldErrors, service: &Value) {
    let balanced = service_type(service) == "LoadBalancer";
    let given = read::present(service, "/spec/allocateLoadBalancerNodePorts");
    if given && !balanced {
        errors.forbidden("spec.allocateLoadBalancerNodePorts", ONLY_LOAD_BALANCER);
    }
    if balanced && !given {
        errors.required("allocateLoadBalancerNodePorts", "");
    }
    if let Some(class) = service.pointer("/spec/loadBalancerClass").and_then(Value::as_str) {
        if balanced {
            invalid_each(errors, "spec.loadBalancerClass", class, names::qualified_name(class));
        } else {
            errors.forbidden("spec.loadBalancerClass", ONLY_LOAD_BALANCER);
        }
    }
}

fn traffic_policies(errors: &mut FieldErrors, service: &Value) {
    let policies = &["Cluster", "Local"];
    let external = read::text(service, "/spec/externalTrafficPolicy");
    let field = "spec.externalTrafficPolicy";
    match (externally_accessible(service), external) {
        (false, "") => {}
        (false, _) => errors.invalid(field, external, "may only be set for externally-accessible services"),
        (true, "") => errors.required(field, ""),
        (true, _) if !policies.contains(&external) => errors.not_supported(field, external, policies),
        (true, _) => {}
    }
    health_check(errors, service);
    let kind = service_type(service);
    match service.pointer("/spec/internalTrafficPolicy").and_then(Value::as_str) {
        None if matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer") => {
            errors.required("spec.internalTrafficPolicy", "");
        }
        Some(policy) if !policies.contains(&policy) => {
            errors.not_supported("spec.internalTrafficPolicy", policy, policies);
        }
        _ => {}
    }
    let supported = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(distribution) = service.pointer("/spec/trafficDistribution").and_then(Value::as_str)
        && !supported.contains(&distribution)
    {
        errors.not_supported("spec.trafficDistribution", distribution, supported);
    }
}

fn health_check(errors: &mut FieldErrors, service: &Value) {
    let field = "spec.healthCheckNodePort";
    let port = read::int(service, "/spec/healthCheckNodePort").unwrap_or(0);
    match (needs_health_check(service), port) {
        (false, 0) => {}
        (false, _) => {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(field, port, why);
        }
        (true, 0) => errors.required(field, ""),
        (true, _) => invalid_each(errors, field, port, names::port_number(port)),
    }
}

fn load_balancer_status(errors: &mut FieldErrors, new: &Value, old: Option<&Value>) {
    let pointer = "/status/loadBalancer/ingress";
    let field = "status.loadBalancer.ingress";
    let ingress = read::list(new, pointer);
    if service_type(new) != "LoadBalancer" {
        if !ingress.is_empty() {
            errors.forbidden(field, "may only be used when `spec.type` is 'LoadBalancer'");
        }
        return;
    }
    let stored = old.map_or(&[][..], |old| read::list(old, pointer));
    let stored: Vec<_> = stored.iter().map(|ingress| read::text(ingress, "/ip")).filter(|ip| !ip.is_empty()).collect();
    for (i, ingress) in ingress.iter().enumerate() {
        let field = format!("{field}[{i}]");
        let ip = read::text(ingress, "/ip");
        if !ip.is_empty() {
            address::check_ip(errors, &format!("{field}.ip"), ip, &stored);
        }
        let mode_field = format!("{field}.ipMode");
        match (ingress.pointer("/ipMode").and_then(Value::as_str), ip.is_empty()) {
            (None, false) => errors.required(mode_field, "must be specified when `ip` is set"),
            (Some(_), true) => errors.forbidden(mode_field, "may not be specified when `ip` is not set"),
            (Some(mode), false) if !["Proxy", "VIP"].contains(&mode) => {
                errors.not_supported(mode_field, mode, &["Proxy", "VIP"]);
            }
            _ => {}
        }
        let hostname = read::text(ingress, "/hostname");
        if !hostname.is_empty() {
            let field = format!("{field}.hostname");
            invalid_each(errors, &field, hostname, names::dns1123_subdomain(hostname));
            if address::parse_ip(hostname).is_some() {
                errors.invalid(field, hostname, "must be a DNS name, not an IP address");
            }
        }
    }
}
