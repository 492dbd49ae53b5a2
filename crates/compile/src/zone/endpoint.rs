//! Endpoints of a Service as DNS sees them: a Service's slices in, ready endpoints with their host labels out.

use std::net::IpAddr;

use api::object::ObjectKey;

use crate::snapshot::{Endpoint, EndpointSlice, Snapshot};

/// A ready endpoint and the slice it stands in (for its ports).
pub(super) struct Ready<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) slice: &'a EndpointSlice,
}

/// The ready endpoints of a Service, slices in name order. FQDN slices have no addresses and give none.
pub(super) fn ready<'a>(snapshot: &'a Snapshot, service: &ObjectKey) -> impl Iterator<Item = Ready<'a>> {
    let slices = snapshot.slices_of.get(service).into_iter().flat_map(|keys| keys.iter());
    slices.filter_map(|key| snapshot.slices.get(key)).filter(|slice| slice.family.is_some()).flat_map(|slice| {
        slice.endpoints.iter().filter(|endpoint| endpoint.ready).map(|endpoint| Ready { endpoint, slice })
    })
}

/// The label that names an endpoint within its Service: its hostname, or else its address with dashes.
pub(super) fn label(endpoint: &Endpoint) -> String {
    match &endpoint.hostname {
        Some(hostname) if !hostname.is_empty() => hostname.to_ascii_lowercase(),
        _ => dashed(endpoint.address),
    }
}

/// `10.1.2.3` is `10-1-2-3`; in IPv6 a label that would end in a dash gets a zero (RFC 5891 forbids a final dash).
pub(super) fn dashed(address: IpAddr) -> String {
    let mut text = address.to_string().replace(['.', ':'], "-");
    if text.ends_with('-') {
        text.push('0');
    }
    text
}

/// The address a dashed label stands for.
pub(super) fn undashed(label: &str) -> Option<IpAddr> {
    let dotted = label.replace('-', ".");
    if let Ok(address) = dotted.parse::<std::net::Ipv4Addr>() {
        return Some(IpAddr::V4(address));
    }
    label.replace('-', ":").parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6)
}
