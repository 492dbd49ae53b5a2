//! Turns a decoded NetworkPolicy into a defaulted, checked and printed one.

use serde_json::{Value, json};

use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::kinds::check::invalid_each;
use crate::kinds::print::{self, AGE, NAME, column};
use crate::kinds::workload::label_selector;
use crate::kinds::{address, read};
use crate::names;

const TYPES: &[&str] = &["Ingress", "Egress"];
/// The list of rules of each direction, and of the peers in a rule.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

/// Rules of NetworkPolicies.
pub(crate) struct NetworkPolicy;

impl Rules for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        read::put_missing(object, "/spec/podSelector", json!({}));
        if read::list(object, "/spec/policyTypes").is_empty() {
            // A policy without types is about what comes in; with rules about what goes out, about both.
            let most = if read::list(object, "/spec/egress").is_empty() { 1 } else { 2 };
            read::put(object, "/spec/policyTypes", json!(TYPES[..most]));
        }
        for (direction, _) in DIRECTIONS {
            for rule in read::list_mut(object, &format!("/spec/{direction}")) {
                for port in read::list_mut(rule, "/ports") {
                    read::put_missing(port, "/protocol", "TCP");
                }
            }
        }
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, new: &Value, old: Option<&Value>, _target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        label_selector::check(&mut errors, "spec.podSelector", &new["spec"]["podSelector"]);
        let stored: Vec<&str> = old.map_or(Vec::new(), networks);
        for (direction, peers) in DIRECTIONS {
            for (i, rule) in read::list(new, &format!("/spec/{direction}")).iter().enumerate() {
                let field = format!("spec.{direction}[{i}]");
                for (j, port) in read::list(rule, "/ports").iter().enumerate() {
                    self::port(&mut errors, port, &format!("{field}.ports[{j}]"));
                }
                for (j, peer) in read::list(rule, &format!("/{peers}")).iter().enumerate() {
                    self::peer(&mut errors, peer, &format!("{field}.{peers}[{j}]"), &stored);
                }
            }
        }
        types(&mut errors, new);
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        for (direction, peers) in DIRECTIONS {
            for (i, rule) in read::list(new, &format!("/spec/{direction}")).iter().enumerate() {
                for (j, peer) in read::list(rule, &format!("/{peers}")).iter().enumerate() {
                    let field = format!("spec.{direction}[{i}].{peers}[{j}].ipBlock");
                    let network = read::text(peer, "/ipBlock/cidr");
                    warnings.extend(address::network_warnings(&format!("{field}.cidr"), network));
                    for (k, except) in read::texts(peer, "/ipBlock/except").into_iter().enumerate() {
                        warnings.extend(address::network_warnings(&format!("{field}.except[{k}]"), except));
                    }
                }
            }
        }
        warnings
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Pod-Selector", "Labels of the pods that the policy is about."), AGE] }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let selector = object.pointer("/spec/podSelector").unwrap_or(&Value::Null);
        vec![print::name(object), label_selector::text(selector).into(), print::age(object, now_seconds)]
    }
}

/// Every network that a stored policy names: none of them is refused again.
fn networks(policy: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    for (direction, peers) in DIRECTIONS {
        for rule in read::list(policy, &format!("/spec/{direction}")) {
            for peer in read::list(rule, &format!("/{peers}")) {
                found.push(read::text(peer, "/ipBlock/cidr"));
                found.extend(read::texts(peer, "/ipBlock/except"));
            }
        }
    }
    found.retain(|network| !network.is_empty());
    found
}

fn types(errors: &mut FieldErrors, policy: &Value) {
    let types = read::texts(policy, "/spec/policyTypes");
    if types.len() > TYPES.len() {
        errors.invalid("spec.policyTypes", types, "may not specify more than two policyTypes");
        return;
    }
    for (i, name) in types.into_iter().enumerate().filter(|(_, name)| !TYPES.contains(name)) {
        errors.not_supported(format!("spec.policyTypes[{i}]"), name, TYPES);
    }
}

fn port(errors: &mut FieldErrors, port: &Value, field: &str) {
    let protocols = ["TCP", "UDP", "SCTP"];
    let protocol = port.pointer("/protocol").and_then(Value::as_str);
    if let Some(protocol) = protocol.filter(|it| !protocols.contains(it)) {
        errors.not_supported(format!("{field}.protocol"), protocol, &protocols);
    }
    let (at, end_at) = (format!("{field}.port"), format!("{field}.endPort"));
    let end = read::int(port, "/endPort");
    match (port.pointer("/port").filter(|it| !it.is_null()), end) {
        (None, Some(end)) => errors.invalid(end_at, end, "may not be specified when `port` is not specified"),
        (None, None) => {}
        (Some(Value::String(name)), _) => {
            if let Some(end) = end {
                errors.invalid(end_at, end, "may not be specified when `port` is non-numeric");
            }
            invalid_each(errors, &at, name.as_str(), names::port_name(name));
        }
        (Some(number), _) => {
            let number = number.as_i64().unwrap_or(0);
            invalid_each(errors, &at, number, names::port_number(number));
            let Some(end) = end else { return };
            if end < number {
                // Kubernetes shows the first port here, not the last.
                errors.invalid(&end_at, number, "must be greater than or equal to `port`");
            }
            invalid_each(errors, &end_at, end, names::port_number(end));
        }
    }
}

fn peer(errors: &mut FieldErrors, peer: &Value, field: &str, stored: &[&str]) {
    let mut peers = 0;
    for selector in ["podSelector", "namespaceSelector"] {
        if let Some(value) = peer.get(selector).filter(|it| !it.is_null()) {
            peers += 1;
            label_selector::check(errors, &format!("{field}.{selector}"), value);
        }
    }
    let block = peer.get("ipBlock").filter(|it| !it.is_null());
    if let Some(block) = block {
        ip_block(errors, block, &format!("{field}.ipBlock"), stored);
    }
    match (peers, block) {
        (0, None) => errors.required(field, "must specify a peer"),
        (1.., Some(_)) => errors.forbidden(field, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

fn ip_block(errors: &mut FieldErrors, block: &Value, field: &str, stored: &[&str]) {
    let cidr = read::text(block, "/cidr");
    let at = format!("{field}.cidr");
    if cidr.is_empty() {
        errors.required(at, "");
        return;
    }
    address::check_network(errors, &at, cidr, stored);
    let Some((network, prefix)) = address::parse_network(cidr) else { return };
    for (i, text) in read::texts(block, "/except").into_iter().enumerate() {
        let field = format!("{field}.except[{i}]");
        address::check_network(errors, &field, text, stored);
        let Some((except, longer)) = address::parse_network(text) else { continue };
        let within = except.is_ipv4() == network.is_ipv4()
            && address::masked(except, prefix) == address::masked(network, prefix);
        if !within || prefix >= longer {
            errors.invalid(field, text, "must be a strict subset of `cidr`");
        }
    }
}
