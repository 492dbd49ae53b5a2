//! Turns an incoming write and the stored Service into the Service to store: what is kept, restored, dropped and announced as pending.

use serde_json::{Value, json};

use super::{
    allocates_node_ports, externally_accessible, holds_node_ports, needs_cluster_ip, needs_health_check, service_type,
};
use crate::kind::Target;
use crate::kinds::read;

pub(super) fn prepare_create(service: &mut Value) {
    read::put(service, "/status", json!({ "loadBalancer": {} }));
    hide_internal_policy(service);
    announce(service);
}

pub(super) fn prepare_update(new: &mut Value, old: &Value, target: Target) {
    if target == Target::Status {
        read::copy(new, old, "/spec");
        return;
    }
    read::copy(new, old, "/status");
    drop_type_dependent(new, old);
    hide_internal_policy(new);
    if !read::same(new, old, "/spec") {
        announce(new);
    }
}

/// Restores what the server once allocated and this write does not mention, and keeps `clusterIP` and `clusterIPs` in step.
/// `compile::allocate` calls it first thing; doing it twice changes nothing.
pub fn carry_over(new: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        for pointer in ["/spec/clusterIP", "/spec/clusterIPs"] {
            read::omit_empty(new, &[pointer]);
            if !read::present(new, pointer) {
                read::copy(new, old, pointer);
            }
        }
    }
    if allocates_node_ports(old) && allocates_node_ports(new) {
        carry_node_ports(new, old);
    }
    if needs_health_check(old) && needs_health_check(new) && node_port(new, "/spec/healthCheckNodePort") == 0 {
        read::copy(new, old, "/spec/healthCheckNodePort");
    }
    keep_in_step(new, old);
}

/// Gives ports their numbers back by port name, unless the number already serves another port.
fn carry_node_ports(new: &mut Value, old: &Value) {
    let numbers = |service: &Value| -> Vec<i64> {
        let numbers = read::list(service, "/spec/ports").iter().map(|port| node_port(port, "/nodePort"));
        numbers.filter(|number| *number != 0).collect()
    };
    let (of_old, of_new) = (numbers(old), numbers(new));
    let used = |number: i64| of_old.contains(&number) && of_new.contains(&number);
    for port in read::list_mut(new, "/spec/ports") {
        // The last port of a name wins, as in the map that Kubernetes builds.
        let name = read::text(port, "/name").to_owned();
        let known = read::list(old, "/spec/ports").iter().rev().find(|known| read::text(known, "/name") == name);
        let number = known.map_or(0, |known| node_port(known, "/nodePort"));
        if node_port(port, "/nodePort") == 0 && number != 0 && !used(number) {
            read::put(port, "/nodePort", number);
        }
    }
}

fn keep_in_step(new: &mut Value, old: &Value) {
    let same_ip = read::text(new, "/spec/clusterIP") == read::text(old, "/spec/clusterIP");
    let none_given = read::list(new, "/spec/clusterIPs").is_empty();
    if none_given && same_ip && !read::list(old, "/spec/clusterIPs").is_empty() {
        read::copy(new, old, "/spec/clusterIPs");
    }
    let same_ips = read::list(new, "/spec/clusterIPs") == read::list(old, "/spec/clusterIPs");
    if same_ip || !same_ips {
        return;
    }
    let given = read::text(new, "/spec/clusterIP").to_owned();
    if given.is_empty() {
        read::remove(new, "/spec/clusterIPs");
    } else {
        read::put(new, "/spec/clusterIPs", json!([given]));
    }
}

/// A field that the new type cannot have goes away if the client left it as stored; if the client changed it, validation speaks.
fn drop_type_dependent(new: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && !needs_cluster_ip(new) {
        if read::same(new, old, "/spec/clusterIP") && read::same(new, old, "/spec/clusterIPs") {
            read::remove(new, "/spec/clusterIP");
            read::remove(new, "/spec/clusterIPs");
        }
        for pointer in ["/spec/ipFamilies", "/spec/ipFamilyPolicy"] {
            drop_same(new, old, pointer);
        }
    }
    if holds_node_ports(old) && !holds_node_ports(new) && node_ports_within(new, old) {
        for port in read::list_mut(new, "/spec/ports") {
            read::remove(port, "/nodePort");
        }
    }
    if needs_health_check(old) && !needs_health_check(new) {
        drop_same(new, old, "/spec/healthCheckNodePort");
    }
    if service_type(old) == "LoadBalancer" && service_type(new) != "LoadBalancer" {
        drop_same(new, old, "/spec/allocateLoadBalancerNodePorts");
        drop_same(new, old, "/spec/loadBalancerClass");
    }
    if externally_accessible(old) && !externally_accessible(new) {
        drop_same(new, old, "/spec/externalTrafficPolicy");
    }
    if service_type(new) != "LoadBalancer" {
        read::put(new, "/status/loadBalancer", json!({}));
    }
}

fn drop_same(new: &mut Value, old: &Value, pointer: &str) {
    if read::same(new, old, pointer) {
        read::remove(new, pointer);
    }
}

fn node_ports_within(new: &Value, old: &Value) -> bool {
    let within = |port: &Value| {
        let number = node_port(port, "/nodePort");
        let stored = read::list(old, "/spec/ports").iter().any(|known| node_port(known, "/nodePort") == number);
        number == 0 || stored
    };
    read::list(new, "/spec/ports").iter().all(within)
}

fn node_port(object: &Value, pointer: &str) -> i64 {
    read::int(object, pointer).unwrap_or(0)
}

/// Kubernetes hides `internalTrafficPolicy` of ExternalName Services on every read. A wrong value stays, for validation to see.
fn hide_internal_policy(service: &mut Value) {
    let valid = matches!(read::text(service, "/spec/internalTrafficPolicy"), "Cluster" | "Local");
    if valid && !needs_cluster_ip(service) {
        read::remove(service, "/spec/internalTrafficPolicy");
    }
}

/// Says that no node has applied this spec yet. `lastTransitionTime` is left out unless the condition already was False:
/// the apiserver, which has a clock, fills it.
fn announce(service: &mut Value) {
    let mut pending = json!({
        "type": "Programmed",
        "status": "False",
        "reason": "Pending",
        "message": "waiting for every node to apply this change",
    });
    let mut conditions = read::list(service, "/status/conditions").to_vec();
    match conditions.iter_mut().find(|condition| read::text(condition, "/type") == "Programmed") {
        Some(condition) => {
            if read::text(condition, "/status") == "False" {
                read::copy(&mut pending, condition, "/lastTransitionTime");
            }
            *condition = pending;
        }
        None => conditions.push(pending),
    }
    read::put(service, "/status/conditions", conditions);
}
