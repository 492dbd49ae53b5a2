//! A snapshot in, what load balancers are told about a node out: the port they ask on, and how many endpoints are here.
//!
//! A load balancer that keeps the client's address must send traffic only to nodes that have an endpoint themselves
//! (externalTrafficPolicy Local), and asks each node for that on `spec.healthCheckNodePort`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::object::ObjectKey;
use serde_json::{Value, json};

use crate::service_table::family_of;
use crate::snapshot::{Family, ServiceType, Snapshot};

/// The port on which the node answers for a Service; none if it does not.
pub fn port(snapshot: &Snapshot, key: &ObjectKey) -> Option<u16> {
    let service = snapshot.services.get(key)?;
    let asked = service.service_type == ServiceType::LoadBalancer && service.external_local && !service.other_proxy;
    Some(service.load_balancer.health_check_port).filter(|port| asked && *port != 0)
}

/// How many endpoints of a Service are ready on this node, in one family.
pub fn local_endpoints(snapshot: &Snapshot, key: &ObjectKey, node: &str, family: Family) -> usize {
    let keys = snapshot.slices_of.get(key).into_iter().flat_map(|keys| keys.iter());
    let slices = keys.filter_map(|key| snapshot.slices.get(key)).filter(|slice| slice.family == Some(family));
    let here = slices.flat_map(|slice| &slice.endpoints).filter(|endpoint| {
        endpoint.ready && endpoint.node.as_deref() == Some(node) && family_of(endpoint.address) == family
    });
    here.map(|endpoint| endpoint.address).collect::<BTreeSet<IpAddr>>().len()
}

/// What a load balancer is answered: the status code and the body, as Kubernetes' proxy writes them.
pub fn answer(key: &ObjectKey, endpoints: usize, healthy: bool) -> (u16, String) {
    let code = if endpoints > 0 && healthy { 200 } else { 503 };
    let text = |text: &str| Value::from(text).to_string();
    let (namespace, name) = (text(&key.namespace), text(&key.name));
    let service = format!("\t\"service\": {{\n\t\t\"namespace\": {namespace},\n\t\t\"name\": {name}\n\t}},\n");
    let rest = format!("\t\"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": {}\n", json!(healthy));
    (code, format!("{{\n{service}{rest}}}"))
}

#[cfg(test)]
mod tests {
    use api::object::Revision;

    use super::*;
    use crate::snapshot::Builder;

    #[test]
    fn only_what_is_ready_here_counts_each_address_once() {
        let mut builder = Builder::default();
        let key = ObjectKey::new("ns", "web");
        let spec = json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000 });
        let mut put = |plural, name: &str, object: Value| {
            let key = ObjectKey::new("ns", name);
            builder.put(plural, &key, Revision(1), object.to_string().as_bytes()).unwrap();
        };
        put("services", "web", json!({ "metadata": {}, "spec": spec }));
        let endpoint = |address: &str, node: &str, ready: bool| json!({ "addresses": [address], "nodeName": node, "conditions": { "ready": ready } });
        for (name, family, endpoints) in [
            ("a", "IPv4", json!([endpoint("10.0.0.1", "n1", true), endpoint("10.0.0.2", "n1", false)])),
            ("b", "IPv4", json!([endpoint("10.0.0.1", "n1", true), endpoint("10.0.0.3", "n2", true)])),
            ("c", "IPv6", json!([endpoint("fd00::1", "n1", true), endpoint("fd00::2", "n1", true)])),
        ] {
            let labels = json!({ "kubernetes.io/service-name": "web" });
            let slice = json!({ "metadata": { "labels": labels }, "addressType": family, "endpoints": endpoints });
            put("endpointslices", name, slice);
        }
        let snapshot = builder.publish(Revision(1)).0;
        assert_eq!(port(&snapshot, &key), Some(31000));
        assert_eq!(local_endpoints(&snapshot, &key, "n1", Family::V4), 1);
        assert_eq!(local_endpoints(&snapshot, &key, "n2", Family::V4), 1);
        assert_eq!(local_endpoints(&snapshot, &key, "n1", Family::V6), 2);
        assert_eq!(local_endpoints(&snapshot, &key, "n3", Family::V4), 0);
        assert_eq!(port(&snapshot, &ObjectKey::new("ns", "none")), None);
    }

    #[test]
    fn policy_cluster_has_no_port() {
        for (kind, policy, expected) in
            [("LoadBalancer", "Cluster", None), ("NodePort", "Local", None), ("LoadBalancer", "Local", Some(31000))]
        {
            let spec = json!({ "type": kind, "externalTrafficPolicy": policy, "healthCheckNodePort": 31000 });
            let mut builder = Builder::default();
            let key = ObjectKey::new("ns", "web");
            let object = json!({ "metadata": {}, "spec": spec }).to_string();
            builder.put("services", &key, Revision(1), object.as_bytes()).unwrap();
            assert_eq!(port(&builder.publish(Revision(1)).0, &key), expected, "{kind} {policy}");
        }
    }

    #[test]
    fn the_answer_is_what_load_balancers_expect() {
        let key = ObjectKey::new("default", "web");
        let expected = "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"web\"\n\t},\n\
                        \t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}";
        assert_eq!(answer(&key, 2, true), (200, expected.to_owned()));
        assert_eq!(answer(&key, 0, true).0, 503);
        let (code, body) = answer(&key, 2, false);
        assert_eq!((code, body.contains("\"serviceProxyHealthy\": false")), (503, true));
    }
}
