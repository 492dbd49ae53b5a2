//! A number in, the Service with that number and its slice out, as the API stores them after they were programmed.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// Namespace of everything that the benchmark makes.
pub(super) const NAMESPACE: &str = "bench";
/// Ranges that hold a million Services and a million endpoints; the second family is the usual one.
pub(super) const SERVICE_CIDR: &str = "10.96.0.0/12,fd00:10:96::/112";
/// Range of pods, see [`SERVICE_CIDR`].
pub(super) const POD_CIDR: &str = "10.240.0.0/12,fd00:10:244::/64";
/// Addresses in the IPv4 ranges that the benchmark may use.
pub(super) const ADDRESSES: usize = (1 << 20) - 2 * SKIPPED;

/// The first addresses of a range belong to the node, to DNS and to `kubernetes`.
const SKIPPED: usize = 4_096;
const SERVICE_BASE: u32 = u32::from_be_bytes([10, 96, 0, 0]);
const POD_BASE: u32 = u32::from_be_bytes([10, 240, 0, 0]);
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

fn address(base: u32, number: usize) -> String {
    Ipv4Addr::from(base + (SKIPPED + number) as u32).to_string()
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
        let objects: [(&'static Kind, Value); 3] =
            [(&kinds::NAMESPACE, namespace()), (&SERVICE, service(7)), (&ENDPOINT_SLICE, slice(7, 28..32))];
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
    }
}
