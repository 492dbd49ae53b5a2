//! Turns the stored ServiceCIDRs into the networks that addresses come from, and says which of them may go.

use std::net::IpAddr;

use api::kinds::{read, service_cidr};
use serde_json::Value;

use super::ranges::{Cidr, Ranges};
use super::taken::Taken;
use crate::snapshot::Family;

const IPV6_PREFIX_MIN: u8 = 64;

/// One ServiceCIDR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    cidrs: Vec<Cidr>,
    ready: bool,
    deleting: bool,
}

impl Network {
    pub(super) fn of(object: &Value) -> Self {
        let mut cidrs = cidrs(object);
        // Like Kubernetes, no addresses from IPv6 networks of more than 2^64.
        cidrs.retain(|cidr| cidr.network.is_ipv4() || cidr.prefix >= IPV6_PREFIX_MIN);
        let deleting = read::present(object, "/metadata/deletionTimestamp");
        Self { cidrs, ready: service_cidr::is_ready(object), deleting }
    }
}

/// The networks of a ServiceCIDR; those that cannot be read are left out.
pub fn cidrs(object: &Value) -> Vec<Cidr> {
    read::texts(object, "/spec/cidrs").into_iter().filter_map(|text| text.parse().ok()).collect()
}

impl Taken {
    /// Whether the deletion of any ServiceCIDR waits.
    pub fn any_network_waits(&self) -> bool {
        self.networks.values().any(|network| network.deleting)
    }

    /// Networks that new addresses of a family may come from, in the order they are tried: the default one, then others
    /// by name. Until the default ServiceCIDR is known, the configured ranges stand for it.
    pub(super) fn networks(&self, ranges: &Ranges, family: Family) -> Vec<Cidr> {
        let default = self.networks.get(service_cidr::DEFAULT);
        let configured = ranges.service.iter().filter(|_| default.is_none());
        let others = self.networks.iter().filter(|(name, _)| &***name != service_cidr::DEFAULT).map(|(_, it)| it);
        let ready = default.into_iter().chain(others).filter(|network| network.ready);
        let all = configured.chain(ready.flat_map(|network| &network.cidrs));
        all.filter(|cidr| cidr.family() == family).copied().collect()
    }
}

/// Whether a ServiceCIDR may go: every network of it lies in one of the `others` (the ready ones), or no address that a
/// Service holds would be left without a network.
pub fn may_go(object: &Value, others: &[Cidr], held: impl IntoIterator<Item = IpAddr>) -> bool {
    let own = cidrs(object);
    let covered = |cidr: &Cidr| others.iter().any(|other| other.covers(cidr));
    let orphan = |address: IpAddr| {
        own.iter().any(|cidr| cidr.contains(address)) && !others.iter().any(|cidr| cidr.contains(address))
    };
    own.iter().all(covered) || !held.into_iter().any(orphan)
}
