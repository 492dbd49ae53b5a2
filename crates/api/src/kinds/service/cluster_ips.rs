//! Turns the linked fields `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy` into what is wrong with them (KEP-563).

use std::net::IpAddr;

use serde_json::Value;

use super::{is_headless, needs_cluster_ip};
use crate::field::FieldErrors;
use crate::kinds::{address, read};

const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];

/// Checks the linked fields on their own; allocation runs it before it touches anything, validation runs it again.
pub fn validate_cluster_ips(service: &Value, old: Option<&Value>) -> FieldErrors {
    let mut errors = FieldErrors::default();
    if !needs_cluster_ip(service) {
        return errors;
    }
    in_step(&mut errors, service);
    families(&mut errors, service);
    let ips = read::texts(service, "/spec/clusterIPs");
    if !each_ip(&mut errors, service, &ips, old) {
        return errors;
    }
    let is_v6: Vec<_> = ips.iter().map(|ip| address::parse_ip(ip).is_some_and(|ip: IpAddr| ip.is_ipv6())).collect();
    let none = ips.first() == Some(&"None");
    if ips.len() > 1 && !none && !(is_v6.contains(&true) && is_v6.contains(&false)) {
        errors.invalid("spec.clusterIPs", all(service), "may specify no more than one IP for each IP family");
    }
    if is_headless(service) || none {
        return errors;
    }
    for (i, (family, ip)) in read::texts(service, "/spec/ipFamilies").into_iter().zip(&ips).enumerate() {
        if FAMILIES.contains(&family) && (family == "IPv6") != is_v6[i] {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.invalid(format!("spec.clusterIPs[{i}]"), *ip, &why);
        }
    }
    errors
}

fn in_step(errors: &mut FieldErrors, service: &Value) {
    let one = read::text(service, "/spec/clusterIP");
    let many = read::texts(service, "/spec/clusterIPs");
    match (one, many.first()) {
        ("", Some(_)) => {
            errors.invalid("spec.clusterIPs", all(service), "must be empty when `clusterIP` is not specified");
        }
        ("", None) => {}
        (_, None) => errors.required("spec.clusterIPs", ""),
        (one, Some(first)) if one != *first => {
            errors.invalid("spec.clusterIPs", all(service), "first value must match `clusterIP`");
        }
        _ => {}
    }
}

fn families(errors: &mut FieldErrors, service: &Value) {
    let families = read::texts(service, "/spec/ipFamilies");
    for (i, family) in families.iter().enumerate() {
        let field = format!("spec.ipFamilies[{i}]");
        if !FAMILIES.contains(family) {
            errors.not_supported(&field, *family, FAMILIES);
        }
        if families[..i].contains(family) {
            errors.duplicate(&field, *family);
        }
    }
    let policy = read::text(service, "/spec/ipFamilyPolicy");
    if read::present(service, "/spec/ipFamilyPolicy") && !POLICIES.contains(&policy) {
        errors.not_supported("spec.ipFamilyPolicy", policy, POLICIES);
    }
}

/// False if an address cannot be read, which would make every later check misleading.
fn each_ip(errors: &mut FieldErrors, service: &Value, ips: &[&str], old: Option<&Value>) -> bool {
    let stored = old.map(|old| read::texts(old, "/spec/clusterIPs")).unwrap_or_default();
    let before = errors.0.len();
    for (i, ip) in ips.iter().enumerate() {
        match (i, *ip) {
            (0, "None") if ips.len() > 1 => {
                errors.invalid("spec.clusterIPs", all(service), "'None' must be the first and only value");
            }
            (0, "None") => {}
            _ => address::check_ip(errors, &format!("spec.clusterIPs[{i}]"), ip, &stored),
        }
    }
    let good = errors.0.len() == before;
    if ips.len() > 2 {
        errors.invalid("spec.clusterIPs", all(service), "may only hold up to 2 values");
    }
    good
}

/// Compares with the stored Service: the primary address and family stay, the secondary goes only with SingleStack.
pub(super) fn validate_update(errors: &mut FieldErrors, new: &Value, old: &Value) {
    if !needs_cluster_ip(new) || !needs_cluster_ip(old) {
        return;
    }
    let (was_headless, headless) = (is_headless(old), is_headless(new));
    let single = read::text(new, "/spec/ipFamilyPolicy") == "SingleStack";
    if !(was_headless && headless) {
        let lists = (read::list(new, "/spec/clusterIPs"), read::list(old, "/spec/clusterIPs"));
        let names = Names { list: "clusterIPs", unset: "primary clusterIP can not be unset", secondary: "clusterIP" };
        changed(errors, new, lists, single, &names);
    }
    if was_headless == headless && !headless {
        let lists = (read::list(new, "/spec/ipFamilies"), read::list(old, "/spec/ipFamilies"));
        let names = Names { list: "ipFamilies", unset: "primary ipFamily can not be unset", secondary: "ipFamily" };
        changed(errors, new, lists, single, &names);
    }
}

struct Names {
    list: &'static str,
    unset: &'static str,
    secondary: &'static str,
}

fn changed(errors: &mut FieldErrors, new: &Value, lists: (&[Value], &[Value]), single: bool, names: &Names) {
    let (is, was) = lists;
    let value = || new.pointer(&format!("/spec/{}", names.list)).cloned().unwrap_or_default();
    let field = |i: usize| format!("spec.{}[{i}]", names.list);
    if is.len() == was.len() {
        for (i, _) in is.iter().zip(was).enumerate().filter(|(_, (is, was))| is != was) {
            let at = if names.list == "ipFamilies" { 0 } else { i };
            errors.invalid(field(at), value(), "may not change once set");
        }
        return;
    }
    if is.is_empty() {
        errors.invalid(field(0), value(), names.unset);
    } else if !was.is_empty() && is[0] != was[0] {
        errors.invalid(field(0), value(), "may not change once set");
    }
    if is.len() == 1 && was.len() > 1 && !single {
        let policy = new.pointer("/spec/ipFamilyPolicy").cloned().unwrap_or_default();
        let why = format!("must be set to 'SingleStack' when releasing the secondary {}", names.secondary);
        errors.invalid("spec.ipFamilyPolicy", policy, &why);
    }
}

fn all(service: &Value) -> Value {
    service.pointer("/spec/clusterIPs").cloned().unwrap_or_default()
}
