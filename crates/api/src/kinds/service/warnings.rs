//! Turns a Service into the warnings a client should read although the write succeeds.

use serde_json::Value;

use super::{is_headless, needs_cluster_ip, service_type};
use crate::kinds::{address, read};

pub(super) fn warnings(service: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let deprecated = "service.kubernetes.io/topology-aware-hints";
    if read::entry(service, "/metadata/annotations", deprecated).is_some() {
        let instead = "service.kubernetes.io/topology-mode";
        warnings.push(format!("annotation {deprecated} is deprecated, please use {instead} instead"));
    }
    let headless = is_headless(service) && service_type(service) == "ClusterIP";
    let external_ips = read::texts(service, "/spec/externalIPs");
    let balancer_ip = read::text(service, "/spec/loadBalancerIP");
    if !headless {
        each_ip(&mut warnings, "clusterIPs", &read::texts(service, "/spec/clusterIPs"));
    } else {
        if !balancer_ip.is_empty() {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !external_ips.is_empty() {
            warnings.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if read::text(service, "/spec/sessionAffinity") != "None" {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    each_ip(&mut warnings, "externalIPs", &external_ips);
    if !external_ips.is_empty() && !headless && needs_cluster_ip(service) {
        let text = "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
        warnings.push(text.to_owned());
    }
    warnings.extend(address::ip_warnings("spec.loadBalancerIP", balancer_ip));
    for (i, range) in read::texts(service, "/spec/loadBalancerSourceRanges").into_iter().enumerate() {
        warnings.extend(address::network_warnings(&format!("spec.loadBalancerSourceRanges[{i}]"), range));
    }
    ignored(&mut warnings, service, &external_ips);
    warnings
}

fn ignored(warnings: &mut Vec<String>, service: &Value, external_ips: &[&str]) {
    if !needs_cluster_ip(service) && !external_ips.is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if needs_cluster_ip(service) && !read::text(service, "/spec/externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if read::text(service, "/spec/trafficDistribution") == "PreferClose" {
        let text = "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        warnings.push(text.to_owned());
    }
}

fn each_ip(warnings: &mut Vec<String>, list: &str, ips: &[&str]) {
    for (i, ip) in ips.iter().enumerate() {
        warnings.extend(address::ip_warnings(&format!("spec.{list}[{i}]"), ip));
    }
}
