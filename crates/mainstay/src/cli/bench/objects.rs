//! A number in, the Service with that number and its slice out, as the API stores them after they were programmed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use anyhow::{Result, bail};
use api::kinds::ip_address;
use api::object::ObjectKey;
use serde_json::{Value, json};

/// Namespace of everything that the benchmark makes.
pub(super) const NAMESPACE: &str = "bench";
/// Ranges that hold a million Services and a million endpoints; the second family is the usual one.
pub(super) const SERVICE_CIDR: &str = "10.96.0.0/12,fd00:10:96::/112";
/// Range of pods, see [`SERVICE_CIDR`].
pub(super) const POD_CIDR: &str = "10.240.0.0/12,fd00:10:244::/64";
/// Addresses in the IPv4 ranges that the benchmark may use.
pub(super) const ADDRESSES: usize = (1 << 20) - 2 * SKIPPED;

/// How many objects there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Services.
    pub(super) services: usize,
    /// Endpoints of each, in each family.
    pub(super) endpoints: usize,
    /// Both families instead of IPv4 alone.
    pub(super) dual_stack: bool,
}

impl Shape {
    /// Services of one family.
    pub(super) fn of(services: usize, endpoints: usize) -> Self {
        Self { services, endpoints, dual_stack: false }
    }

    /// Whether the benchmark's ranges have as many addresses.
    pub(super) fn check(self) -> Result<()> {
        let addresses = self.services.saturating_mul(self.endpoints.saturating_add(1));
        let services_max = if self.dual_stack { SERVICES_DUAL_STACK } else { ADDRESSES };
        if addresses > ADDRESSES || self.services > services_max {
            bail!(
                "{} Services with {} endpoints each need {addresses} addresses, more than the {ADDRESSES} of the benchmark's \
                 ranges (of which {services_max} are for Services).\nAsk for fewer",
                self.services,
                self.endpoints
            );
        }
        Ok(())
    }

    /// Numbers of the endpoints of a Service.
    pub(super) fn endpoints_of(self, number: usize) -> Range<usize> {
        number * self.endpoints..(number + 1) * self.endpoints
    }
}

/// Addresses of the second service range.
const SERVICES_DUAL_STACK: usize = (1 << 16) - SKIPPED;
/// The first addresses of a range belong to the node, to DNS and to `kubernetes`.
const SKIPPED: usize = 4_096;
const SERVICE_BASE: u32 = u32::from_be_bytes([10, 96, 0, 0]);
const POD_BASE: u32 = u32::from_be_bytes([10, 240, 0, 0]);
const SERVICE_BASE_6: u128 = 0xfd00_0010_0096 << 80;
const POD_BASE_6: u128 = 0xfd00_0010_0244 << 80;
const STAMP: &str = "2026-01-01T00:00:00Z";

/// Name of a Service and of its slice.
pub(super) fn name(number: usize) -> String {
    format!("service-{number}")
}

/// Path of a slice in the API.
pub(super) fn slice_path(number: usize) -> String {
    format!("{}/{}", slices_path(), name(number))
}

/// Path of the slices in the API.
pub(super) fn slices_path() -> String {
    format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices")
}

/// Path of the Services in the API.
pub(super) fn services_path() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/services")
}

/// The namespace.
pub(super) fn namespace() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE, "uid": uid(0, 0), "creationTimestamp": STAMP,
            "labels": { "kubernetes.io/metadata.name": NAMESPACE },
        },
        "spec": { "finalizers": ["kubernetes"] },
        "status": { "phase": "Active" },
    })
}

/// A Service as a client creates it: no selector, so that no controller of ours makes slices for it.
pub(super) fn new_service(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name(number), "namespace": NAMESPACE },
        "spec": { "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080 }] },
    })
}

/// The same as stored: defaulted, with an address, and programmed.
pub(super) fn service(number: usize) -> Value {
    let address = address(SERVICE_BASE, number);
    let mut service = new_service(number);
    service["metadata"]["uid"] = uid(1, number).into();
    service["metadata"]["creationTimestamp"] = STAMP.into();
    let spec = &mut service["spec"];
    for (field, value) in [
        ("type", json!("ClusterIP")),
        ("clusterIP", json!(address)),
        ("clusterIPs", json!([address])),
        ("ipFamilies", json!(["IPv4"])),
        ("ipFamilyPolicy", json!("SingleStack")),
        ("internalTrafficPolicy", json!("Cluster")),
        ("sessionAffinity", json!("None")),
    ] {
        spec[field] = value;
    }
    let condition = json!({
        "type": "Programmed", "status": "True", "reason": "AppliedEverywhere",
        "message": "revision 1 applied on 1 of 1 nodes", "lastTransitionTime": STAMP,
    });
    service["status"] = json!({ "loadBalancer": {}, "conditions": [condition] });
    service
}

/// A slice as a client creates it, with the endpoints of those numbers.
pub(super) fn new_slice(number: usize, endpoints: impl Iterator<Item = usize>) -> Value {
    let endpoint = |at| json!({ "addresses": [address(POD_BASE, at)], "conditions": { "ready": true } });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": name(number), "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": name(number),
                "endpointslice.kubernetes.io/managed-by": "bench",
            },
        },
        "addressType": "IPv4",
        "endpoints": endpoints.map(endpoint).collect::<Vec<_>>(),
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    })
}

/// The same as stored.
pub(super) fn slice(number: usize, endpoints: impl Iterator<Item = usize>) -> Value {
    let mut slice = new_slice(number, endpoints);
    slice["metadata"]["uid"] = uid(2, number).into();
    slice["metadata"]["creationTimestamp"] = STAMP.into();
    slice["metadata"]["generation"] = 1.into();
    slice
}

/// The number of a Service that no filling reaches.
pub(super) const LAST: usize = ADDRESSES - 1;

/// Everything that is stored of a Service, by table.
pub(super) fn stored(number: usize, shape: Shape) -> Vec<(&'static str, Value)> {
    let mut service = service(number);
    let mut slices = vec![slice(number, shape.endpoints_of(number))];
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::from(SERVICE_BASE + (SKIPPED + number) as u32))];
    if shape.dual_stack {
        let second = address_6(SERVICE_BASE_6, number);
        service["spec"]["clusterIPs"] = json!([addresses[0].to_string(), second.to_string()]);
        service["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
        service["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
        slices.push(slice_6(number, shape.endpoints_of(number)));
        addresses.push(second);
    }
    let key = ObjectKey::new(NAMESPACE, name(number));
    let held = addresses.into_iter().enumerate().map(|(family, address)| {
        let mut object = ip_address::of_service(address, &key);
        object["metadata"]["uid"] = uid(3 + family as u8, number).into();
        object["metadata"]["creationTimestamp"] = STAMP.into();
        ("ipaddresses.networking.k8s.io", object)
    });
    let slices = slices.into_iter().map(|slice| ("endpointslices.discovery.k8s.io", slice));
    [("services", service)].into_iter().chain(slices).chain(held).collect()
}

/// The slice of the second family.
fn slice_6(number: usize, endpoints: Range<usize>) -> Value {
    let mut slice = slice(number, endpoints.clone());
    slice["metadata"]["name"] = format!("{}-v6", name(number)).into();
    slice["metadata"]["uid"] = uid(5, number).into();
    slice["addressType"] = "IPv6".into();
    for (at, endpoint) in endpoints.enumerate() {
        slice["endpoints"][at]["addresses"] = json!([address_6(POD_BASE_6, endpoint).to_string()]);
    }
    slice
}

/// Address of an endpoint as text.
pub(super) fn endpoint(number: usize) -> String {
    address(POD_BASE, number)
}

fn address(base: u32, number: usize) -> String {
    Ipv4Addr::from(base + (SKIPPED + number) as u32).to_string()
}

fn address_6(base: u128, number: usize) -> IpAddr {
    Ipv6Addr::from(base + (SKIPPED + number) as u128).into()
}

fn uid(kind: u8, number: usize) -> String {
    format!("00000000-0000-4000-8000-{kind:02x}{number:010x}")
}

#[cfg(test)]
mod tests {
    use api::kind::{Kind, Target};
    use api::kinds::{self, ENDPOINT_SLICE, SERVICE};

    use super::*;

    /// The benchmark would measure nothing real if the API stored its objects differently.
    #[test]
    fn objects_are_valid_and_carry_every_default() {
        let mut objects: Vec<(&'static Kind, Value)> = vec![(&kinds::NAMESPACE, namespace())];
        for dual_stack in [false, true] {
            let stored = stored(7, Shape { services: 8, endpoints: 4, dual_stack });
            assert_eq!(stored.len(), if dual_stack { 5 } else { 3 });
            objects.extend(stored.into_iter().map(|(table, object)| match table {
                "services" => (&SERVICE, object),
                "endpointslices.discovery.k8s.io" => (&ENDPOINT_SLICE, object),
                _ => (&kinds::IP_ADDRESS, object),
            }));
        }
        for (kind, object) in objects {
            let mut defaulted = object.clone();
            kind.rules.default(&mut defaulted);
            assert_eq!(defaulted, object);
            assert!(kind.rules.validate(&object, None, Target::Main).is_empty(), "{object}");
            assert!(kinds::validate_metadata(kind, &object, None).is_empty(), "{object}");
        }
    }

    #[test]
    fn addresses_stay_in_their_ranges_and_off_the_fixed_ones() {
        assert_eq!(service(0)["spec"]["clusterIP"], "10.96.16.0");
        let last = slice(1, std::iter::once(ADDRESSES - 1));
        assert_eq!(last["endpoints"][0]["addresses"][0], "10.255.239.255");
        assert_eq!(address_6(SERVICE_BASE_6, SERVICES_DUAL_STACK - 1).to_string(), "fd00:10:96::ffff");
        assert_eq!(address_6(POD_BASE_6, 0).to_string(), "fd00:10:244::1000");
    }
}
