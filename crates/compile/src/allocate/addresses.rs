//! Turns a Service with families into one with an address per family, explicit or free.

use std::net::IpAddr;

use api::kinds::{address, read, service};
use api::status::Status;
use serde_json::{Value, json};

use super::draw::Draw;
use super::families::{families, name};
use super::ranges::Ranges;
use super::taken::Taken;
use super::{invalid_field, ranges::Cidr};
use crate::snapshot::Family;

const IPS: &str = "/spec/clusterIPs";

pub(super) fn fill(
    new: &mut Value,
    old: Option<&Value>,
    ranges: &Ranges,
    taken: &Taken,
    draw: &mut Draw,
    dry_run: bool,
) -> Result<(), Status> {
    if !service::needs_cluster_ip(new) {
        return Ok(());
    }
    let mut ips: Vec<String> = read::texts(new, IPS).into_iter().map(str::to_owned).collect();
    let none = |ips: &[String]| ips.first().is_some_and(|ip| ip == "None");
    // Which of the families need an address now: all of them on create, the second on an upgrade to dual-stack.
    let kept = match old {
        Some(old) if service::needs_cluster_ip(old) => {
            let was_none = read::texts(old, IPS).first() == Some(&"None");
            let upgraded = families(old).len() == 1 && families(new).len() == 2;
            if was_none || !upgraded {
                return Ok(());
            }
            1
        }
        _ if none(&ips) => return Ok(()),
        _ => 0,
    };
    for (i, family) in families(new).into_iter().enumerate().skip(kept) {
        let asked = ips.get(i).cloned().unwrap_or_default();
        let ip = match ranges.of(family) {
            None => return Err(unconfigured(family)),
            Some(cidr) if asked.is_empty() => free(new, cidr, taken, draw, dry_run)?,
            Some(cidr) => explicit(new, cidr, &asked, taken, dry_run)?,
        };
        if i < ips.len() {
            ips[i] = ip;
        } else {
            ips.push(ip);
        }
    }
    if let Some(first) = ips.first() {
        read::put(new, "/spec/clusterIP", first.as_str());
        read::put(new, IPS, json!(ips));
    }
    Ok(())
}

fn unconfigured(family: Family) -> Status {
    Status::internal(format!("failed to allocate a serviceIP: {} is not configured on this cluster", name(family)))
}

fn free(new: &Value, cidr: &Cidr, taken: &Taken, draw: &mut Draw, dry_run: bool) -> Result<String, Status> {
    if dry_run {
        return Ok(cidr.network.to_string());
    }
    let ip = cidr.pick(draw, |ip| taken.address(ip).is_some());
    let name = read::text(new, "/metadata/name");
    let full = || Status::internal(format!("failed to allocate a serviceIP for Service {name:?}: range is full"));
    ip.map(|ip| ip.to_string()).ok_or_else(full)
}

fn explicit(new: &Value, cidr: &Cidr, asked: &str, taken: &Taken, dry_run: bool) -> Result<String, Status> {
    let Some(ip) = address::parse_ip(asked) else {
        return Err(Status::internal(format!("failed to parse service IP {asked:?}")));
    };
    match refusal(cidr, ip, taken, dry_run) {
        None => Ok(asked.to_owned()),
        Some(why) => {
            let all = new.pointer(IPS).cloned().unwrap_or_default();
            Err(invalid_field(new, "spec.clusterIPs", all, &format!("failed to allocate IP {asked}: {why}")))
        }
    }
}

/// Why an address cannot be had. After Kubernetes' words come ours: the range, or the Service that has the address.
fn refusal(cidr: &Cidr, ip: IpAddr, taken: &Taken, dry_run: bool) -> Option<String> {
    // The network's own address and its broadcast address are in no Service's range.
    if !cidr.is_usable(ip) {
        return Some(format!("the provided network does not match the current range ({cidr})"));
    }
    let owner = taken.address(ip).filter(|_| !dry_run)?;
    Some(format!("provided IP is already allocated (by {owner})"))
}
