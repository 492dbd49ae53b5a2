//! Turns a decoded Service into one whose absent fields hold their defaults and whose empty fields are absent.

use serde_json::{Value, json};

use super::{externally_accessible, needs_cluster_ip, service_type};
use crate::kinds::read;

/// Three hours, the time ClientIP affinity lasts unless said otherwise.
const AFFINITY_SECONDS: i64 = 10_800;

pub(super) fn default(service: &mut Value) {
    let empty = [
        "/spec/clusterIP",
        "/spec/clusterIPs",
        "/spec/ipFamilies",
        "/spec/ports",
        "/spec/selector",
        "/spec/externalIPs",
        "/spec/externalName",
        "/spec/externalTrafficPolicy",
        "/spec/healthCheckNodePort",
        "/spec/loadBalancerIP",
        "/spec/loadBalancerSourceRanges",
        "/spec/publishNotReadyAddresses",
    ];
    read::omit_empty(service, &empty);
    affinity(service);
    read::put_zero(service, "/spec/type", "ClusterIP");
    read::list_mut(service, "/spec/ports").iter_mut().for_each(port);
    if externally_accessible(service) {
        read::put_zero(service, "/spec/externalTrafficPolicy", "Cluster");
    }
    if needs_cluster_ip(service) && matches!(service_type(service), "ClusterIP" | "NodePort" | "LoadBalancer") {
        read::put_missing(service, "/spec/internalTrafficPolicy", "Cluster");
    }
    if service_type(service) == "LoadBalancer" {
        read::put_missing(service, "/spec/allocateLoadBalancerNodePorts", true);
        for ingress in read::list_mut(service, "/status/loadBalancer/ingress") {
            if !read::text(ingress, "/ip").is_empty() {
                read::put_missing(ingress, "/ipMode", "VIP");
            }
        }
    }
}

fn affinity(service: &mut Value) {
    read::put_zero(service, "/spec/sessionAffinity", "None");
    match read::text(service, "/spec/sessionAffinity") {
        "None" => {
            read::remove(service, "/spec/sessionAffinityConfig");
        }
        "ClientIP" if !read::present(service, "/spec/sessionAffinityConfig/clientIP/timeoutSeconds") => {
            let config = json!({ "clientIP": { "timeoutSeconds": AFFINITY_SECONDS } });
            read::put(service, "/spec/sessionAffinityConfig", config);
        }
        _ => {}
    }
}

fn port(port: &mut Value) {
    read::omit_empty(port, &["/name", "/nodePort"]);
    read::put_zero(port, "/protocol", "TCP");
    let number = read::int(port, "/port").unwrap_or(0);
    read::put_zero(port, "/targetPort", number);
}
