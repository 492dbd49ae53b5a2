//! Turns what a Service says about IP families, and what the cluster has, into `ipFamilyPolicy` and `ipFamilies` (KEP-563).

use api::field::FieldErrors;
use api::kinds::{address, read, service};
use api::status::Status;
use serde_json::{Value, json};

use super::invalid;
use super::ranges::Ranges;
use crate::snapshot::Family;

const POLICY: &str = "/spec/ipFamilyPolicy";
const FAMILIES: &str = "/spec/ipFamilies";
const IPS: &str = "/spec/clusterIPs";

/// Whether an update leaves a PreferDualStack Service alone: such a one is not upgraded when the cluster gains a family.
pub(super) fn settled(new: &Value, old: Option<&Value>) -> bool {
    let Some(old) = old else { return false };
    let prefers = |service: &Value, otherwise: bool| match read::text(service, POLICY) {
        "" => otherwise,
        policy => policy == "PreferDualStack",
    };
    let kind = service::service_type(new);
    matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer")
        && kind == service::service_type(old)
        && prefers(new, false)
        && prefers(old, true)
        && read::list(new, IPS) == read::list(old, IPS)
        && read::list(new, FAMILIES) == read::list(old, FAMILIES)
}

/// Fills policy and families, or says what is wrong before any address is taken.
pub(super) fn fill(new: &mut Value, old: Option<&Value>, ranges: &Ranges) -> Result<(), Status> {
    if !service::needs_cluster_ip(new) {
        return Ok(());
    }
    let headless = read::text(new, "/spec/clusterIP") == "None";
    let bare = headless && read::pairs(new, "/spec/selector").is_empty();
    fill_policy(new, old, bare);
    let errors = service::validate_cluster_ips(new, old);
    if !errors.is_empty() {
        return Err(invalid(new, &errors));
    }
    let mut errors = FieldErrors::default();
    release(&mut errors, new, old);
    check_single(&mut errors, new);
    families_of_addresses(&mut errors, new, ranges);
    if !errors.is_empty() {
        return Err(invalid(new, &errors));
    }
    let mut families = families(new);
    if !bare {
        check_configured(&mut errors, new, ranges);
        if !errors.is_empty() {
            return Err(invalid(new, &errors));
        }
    }
    if families.is_empty() {
        families.push(ranges.primary());
    }
    // Without selector and address, nobody but the user knows the endpoints: both families are let through.
    let dual = read::text(new, POLICY) != "SingleStack" && (bare || ranges.service.len() == 2);
    if dual && families.len() == 1 {
        families.push(if families[0] == Family::V4 { Family::V6 } else { Family::V4 });
    }
    let names: Vec<_> = families.into_iter().map(name).collect();
    read::put(new, FAMILIES, json!(names));
    Ok(())
}

/// `IPv4` or `IPv6`.
pub(super) fn name(family: Family) -> &'static str {
    if family == Family::V4 { "IPv4" } else { "IPv6" }
}

/// `spec.ipFamilies`.
pub(super) fn families(service: &Value) -> Vec<Family> {
    let family = |name| if name == "IPv6" { Family::V6 } else { Family::V4 };
    read::texts(service, FAMILIES).into_iter().map(family).collect()
}

fn fill_policy(new: &mut Value, old: Option<&Value>, bare: bool) {
    if read::present(new, POLICY) {
        return;
    }
    let kept = old.map_or("", |old| read::text(old, POLICY));
    let policy = match (kept, bare) {
        ("", true) => "RequireDualStack",
        ("", false) => "SingleStack",
        (kept, _) => kept,
    };
    read::put(new, POLICY, policy);
}

/// SingleStack lets go of the second address and family if the lists were left as stored; any other policy keeps both.
fn release(errors: &mut FieldErrors, new: &mut Value, old: Option<&Value>) {
    let Some(old) = old else { return };
    let single = read::text(new, POLICY) == "SingleStack";
    for (pointer, what) in [(IPS, "cluster IP"), (FAMILIES, "IP family")] {
        let (is, was) = (read::list(new, pointer), read::list(old, pointer));
        if single && is == was && is.len() > 1 {
            let first = is[0].clone();
            read::put(new, pointer, json!([first]));
        } else if !single && !is.is_empty() && is.len() < was.len() {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            errors.invalid("spec.ipFamilyPolicy", policy(new), &why);
        }
    }
}

fn check_single(errors: &mut FieldErrors, new: &Value) {
    if read::text(new, POLICY) != "SingleStack" {
        return;
    }
    for (pointer, what) in [(IPS, "cluster IPs"), (FAMILIES, "IP families")] {
        if read::list(new, pointer).len() == 2 {
            let why = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.invalid("spec.ipFamilyPolicy", policy(new), &why);
        }
    }
}

/// Addresses beyond the given families bring their own.
fn families_of_addresses(errors: &mut FieldErrors, new: &mut Value, ranges: &Ranges) {
    let mut names: Vec<String> = read::texts(new, FAMILIES).into_iter().map(str::to_owned).collect();
    for (i, ip) in read::texts(new, IPS).into_iter().enumerate().skip(names.len()) {
        if ip == "None" {
            break;
        }
        let family = if address::parse_ip(ip).is_some_and(|ip| ip.is_ipv6()) { Family::V6 } else { Family::V4 };
        if ranges.of(family).is_some() {
            names.push(name(family).to_owned());
        } else {
            let all = new.pointer(IPS).cloned().unwrap_or_default();
            let why = format!("{} is not configured on this cluster", name(family));
            errors.invalid(format!("spec.clusterIPs[{i}]"), all, &why);
        }
    }
    if !names.is_empty() {
        read::put(new, FAMILIES, json!(names));
    }
}

fn check_configured(errors: &mut FieldErrors, new: &Value, ranges: &Ranges) {
    if read::text(new, POLICY) == "RequireDualStack" && ranges.service.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        errors.invalid("spec.ipFamilyPolicy", policy(new), why);
    }
    for (i, family) in families(new).into_iter().enumerate() {
        if ranges.of(family).is_none() {
            errors.invalid(format!("spec.ipFamilies[{i}]"), name(family), "not configured on this cluster");
        }
    }
}

fn policy(service: &Value) -> Value {
    service.pointer(POLICY).cloned().unwrap_or_default()
}
