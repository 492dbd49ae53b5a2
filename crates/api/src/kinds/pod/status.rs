//! Turns a Pod into its quality-of-service class, and its reported status into what is wrong with it.

use serde_json::Value;

use crate::field::FieldErrors;
use crate::kinds::{address, print, read};
use crate::quantity;

/// Guaranteed: every container limits cpu and memory and asks for just that. BestEffort: nothing asked. Burstable: between.
pub(super) fn qos_class(pod: &Value) -> &'static str {
    let containers = || read::list(pod, "/spec/containers").iter().chain(read::list(pod, "/spec/initContainers"));
    let amount = |container: &Value, list: &str, name: &str| {
        let value = container.pointer(&format!("/resources/{list}/{name}"));
        value.and_then(|value| quantity::nanos(&print::plain(value))).filter(|amount| *amount > 0)
    };
    let kinds = ["cpu", "memory"];
    let asks = |container: &Value| {
        kinds.iter().any(|name| ["limits", "requests"].iter().any(|list| amount(container, list, name).is_some()))
    };
    let guaranteed = |container: &Value| {
        kinds.iter().all(|name| {
            let limit = amount(container, "limits", name);
            let request = amount(container, "requests", name);
            limit.is_some() && (request.is_none() || request == limit)
        })
    };
    if !containers().any(asks) {
        "BestEffort"
    } else if containers().all(guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

pub(super) fn validate(errors: &mut FieldErrors, pod: &Value) {
    let ips: Vec<_> = read::list(pod, "/status/podIPs").iter().map(|ip| read::text(ip, "/ip")).collect();
    for (i, ip) in ips.iter().enumerate() {
        address::check_ip(errors, &format!("status.podIPs[{i}]"), ip, &[]);
    }
    let families: Vec<_> = ips.iter().filter_map(|ip| address::parse_ip(ip)).map(|ip| ip.is_ipv6()).collect();
    if families.len() > 2 || matches!(families.as_slice(), [one, other] if one == other) {
        let why = "may specify no more than one IP for each IP family";
        errors.invalid("status.podIPs", ips.clone(), why);
    }
    if let Some(ip) = pod.pointer("/status/podIP").and_then(Value::as_str)
        && ips.first().is_some_and(|first| *first != ip)
    {
        errors.invalid("status.podIPs[0].ip", ips[0], "must be equal to `podIP`");
    }
}
