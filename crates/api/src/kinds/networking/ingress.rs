//! Turns a decoded Ingress into a defaulted, checked and printed one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::ingress_backend;
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::kinds::check::invalid_each;
use crate::kinds::print::{self, AGE, NAME, column};
use crate::kinds::{address, read};
use crate::names;

/// The annotation that named the class before `spec.ingressClassName` did.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const CLASS: &str = "/spec/ingressClassName";
const HOSTS_SHOWN: usize = 3;

/// Rules of Ingresses.
pub(crate) struct Ingress;

impl Rules for Ingress {
    fn default(&self, object: &mut Value) {
        read::put_missing(object, "/spec", json!({}));
        read::put_missing(object, "/status/loadBalancer", json!({}));
        ingress_backend::default(object, "/spec/defaultBackend");
        for rule in 0..read::list(object, "/spec/rules").len() {
            let paths = format!("/spec/rules/{rule}/http/paths");
            for path in 0..read::list(object, &paths).len() {
                let path = format!("{paths}/{path}");
                read::put_missing(object, &format!("{path}/backend"), json!({}));
                ingress_backend::default(object, &format!("{path}/backend"));
            }
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        read::put(object, "/status", json!({ "loadBalancer": {} }));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target) {
        read::copy(new, old, if target == Target::Main { "/status" } else { "/spec" });
    }

    fn validate(&self, new: &Value, old: Option<&Value>, target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if target == Target::Status {
            balancer(&mut errors, new, old);
            return errors;
        }
        spec(&mut errors, new, old);
        if old.is_none()
            && let (Some(annotation), Some(class)) = (class_annotation(new), new.pointer(CLASS).and_then(Value::as_str))
            && annotation != class
        {
            let field = format!("annotations.{CLASS_ANNOTATION}");
            errors.invalid(field, annotation, "must match `ingressClassName` when both are specified");
        }
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() && class_annotation(new).is_some() && !read::present(new, CLASS) {
            warnings.push(format!(
                "annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead"
            ));
        }
        for (i, point) in read::list(new, "/status/loadBalancer/ingress").iter().enumerate() {
            let field = format!("status.loadBalancer.ingress[{i}]");
            warnings.extend(address::ip_warnings(&field, read::text(point, "/ip")));
        }
        warnings
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Class", "IngressClass that should serve it."),
                column("Hosts", "Host names that the rules are about."),
                column("Address", "Addresses it is served at."),
                column("Ports", "Ports that open."),
                AGE,
            ]
        }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let class = object.pointer(CLASS).and_then(Value::as_str).unwrap_or("<none>");
        let tls = !read::list(object, "/spec/tls").is_empty();
        vec![
            print::name(object),
            class.into(),
            hosts(read::list(object, "/spec/rules")).into(),
            addresses(object).into(),
            if tls { "80, 443" } else { "80" }.into(),
            print::age(object, now_seconds),
        ]
    }
}

/// Names the class that a new Ingress gets when it names none: that of the newest default IngressClass.
pub fn default_class(ingress: &mut Value, class: &str) {
    read::put(ingress, CLASS, class);
}

/// Whether a new Ingress says by itself which class should serve it.
pub fn names_class(ingress: &Value) -> bool {
    read::present(ingress, CLASS) || class_annotation(ingress).is_some()
}

fn class_annotation(ingress: &Value) -> Option<&str> {
    read::entry(ingress, "/metadata/annotations", CLASS_ANNOTATION)
}

fn hosts(rules: &[Value]) -> String {
    let mut shown = Vec::new();
    let mut more = false;
    for host in rules.iter().map(|rule| read::text(rule, "/host")) {
        more |= shown.len() == HOSTS_SHOWN;
        if !more && !host.is_empty() {
            shown.push(host);
        }
    }
    match (shown.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, false) => shown.join(","),
        (false, true) => format!("{} + {} more...", shown.join(","), rules.len() - HOSTS_SHOWN),
    }
}

fn addresses(ingress: &Value) -> String {
    let points = read::list(ingress, "/status/loadBalancer/ingress").iter();
    let texts = points.map(|point| match read::text(point, "/ip") {
        "" => read::text(point, "/hostname"),
        ip => ip,
    });
    let texts: BTreeSet<&str> = texts.filter(|text| !text.is_empty()).collect();
    texts.into_iter().collect::<Vec<_>>().join(",")
}

fn spec(errors: &mut FieldErrors, new: &Value, old: Option<&Value>) {
    let rules = read::list(new, "/spec/rules");
    let backend = new.pointer("/spec/defaultBackend").filter(|backend| !backend.is_null());
    if rules.is_empty() && backend.is_none() {
        errors.invalid("spec", Value::Null, "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = backend {
        ingress_backend::validate(errors, backend, "spec.defaultBackend");
    }
    // What an earlier version let pass stays acceptable.
    let lenient = old.is_some_and(broken_wildcard_rule);
    for (i, rule) in rules.iter().enumerate() {
        let field = format!("spec.rules[{i}]");
        let wildcard = host(errors, rule, &field);
        if !(wildcard && lenient) {
            ingress_backend::validate_http(errors, rule, &field);
        }
    }
    tls(errors, new, old);
    if let Some(class) = new.pointer(CLASS).and_then(Value::as_str) {
        invalid_each(errors, "spec.ingressClassName", class, names::dns1123_subdomain(class));
    }
}

/// Checks the host of a rule; tells whether it has a wildcard.
fn host(errors: &mut FieldErrors, rule: &Value, field: &str) -> bool {
    let host = read::text(rule, "/host");
    if host.is_empty() {
        return false;
    }
    let field = format!("{field}.host");
    if address::parse_ip(host).is_some() {
        errors.invalid(&field, host, "must be a DNS name, not an IP address");
    }
    invalid_each(errors, &field, host, dns_name(host));
    host.contains('*')
}

fn dns_name(host: &str) -> Vec<String> {
    if host.contains('*') { names::wildcard_dns1123_subdomain(host) } else { names::dns1123_subdomain(host) }
}

fn broken_wildcard_rule(old: &Value) -> bool {
    read::list(old, "/spec/rules").iter().any(|rule| {
        let mut errors = FieldErrors::default();
        ingress_backend::validate_http(&mut errors, rule, "");
        read::text(rule, "/host").contains('*') && !errors.is_empty()
    })
}

fn tls(errors: &mut FieldErrors, new: &Value, old: Option<&Value>) {
    let secret = |tls: &Value| {
        let name = read::text(tls, "/secretName").to_owned();
        let problems = if name.is_empty() { Vec::new() } else { names::dns1123_subdomain(&name) };
        (name, problems)
    };
    let lenient = old.is_some_and(|old| read::list(old, "/spec/tls").iter().any(|tls| !secret(tls).1.is_empty()));
    for (i, tls) in read::list(new, "/spec/tls").iter().enumerate() {
        let field = format!("spec.tls[{i}]");
        for (j, host) in read::texts(tls, "/hosts").into_iter().enumerate() {
            invalid_each(errors, &format!("{field}.hosts[{j}]"), host, dns_name(host));
        }
        let (name, problems) = secret(tls);
        if !lenient {
            invalid_each(errors, &format!("{field}.secretName"), name, problems);
        }
    }
}

/// Checks the addresses that a controller reports.
fn balancer(errors: &mut FieldErrors, new: &Value, old: Option<&Value>) {
    let points = "/status/loadBalancer/ingress";
    let stored: Vec<_> =
        old.map_or(&[][..], |old| read::list(old, points)).iter().map(|at| read::text(at, "/ip")).collect();
    for (i, point) in read::list(new, points).iter().enumerate() {
        let field = format!("status.loadBalancer.ingress[{i}]");
        let (ip, hostname) = (read::text(point, "/ip"), read::text(point, "/hostname"));
        if !ip.is_empty() {
            address::check_ip(errors, &format!("{field}.ip"), ip, &stored);
        }
        if !hostname.is_empty() {
            let field = format!("{field}.hostname");
            invalid_each(errors, &field, hostname, names::dns1123_subdomain(hostname));
            if address::parse_ip(hostname).is_some() {
                errors.invalid(field, hostname, "must be a DNS name, not an IP address");
            }
        }
    }
}
