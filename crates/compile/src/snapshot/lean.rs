//! Services and slices as decoded in, what a node that only programmes Services needs of them out.
//!
//! A cluster has a hundred thousand endpoints and each of its nodes holds them all, so every name that is left out counts.

use super::build::SERVICE_NAME;
use super::{EndpointSlice, Labels, Meta, Service};

/// Label of slices of headless Services: they are not programmed.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Label whose value names the proxy that a Service is for.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// Who an endpoint is and where it runs is forgotten, unless it runs on `node`.
pub(super) fn slice(slice: &mut EndpointSlice, node: &str) {
    keep_labels(&mut slice.meta, &[SERVICE_NAME, HEADLESS]);
    slice.owner_uid = None;
    slice.ports.iter_mut().for_each(|port| port.app_protocol = None);
    for endpoint in &mut slice.endpoints {
        endpoint.node.take_if(|at| **at != *node);
        (endpoint.zone, endpoint.hostname) = (None, None);
        (endpoint.pod, endpoint.pod_uid) = (None, None);
        endpoint.hint_zones.shrink_to_fit();
        endpoint.hint_nodes.shrink_to_fit();
    }
}

/// What selects pods, names aliases or is for controllers is forgotten.
pub(super) fn service(service: &mut Service) {
    keep_labels(&mut service.meta, &[PROXY_NAME]);
    service.selector = None;
    service.external_name = Box::default();
    service.traffic_distribution = None;
    service.programmed = None;
    service.ports.iter_mut().for_each(|port| port.app_protocol = None);
}

fn keep_labels(meta: &mut Meta, names: &[&str]) {
    let mut kept = Labels::default();
    for name in names {
        if let Some(value) = meta.labels.get(name) {
            kept.insert((*name).into(), value.clone());
        }
    }
    meta.labels = kept;
}

#[cfg(test)]
mod tests {
    use api::object::{ObjectKey, Revision};
    use serde_json::json;

    use crate::snapshot::{Builder, Changes};

    #[test]
    fn a_node_keeps_addresses_and_its_own_name() {
        let mut builder = Builder::for_node("here");
        let key = ObjectKey::new("ns", "web-1");
        let endpoint = |address: &str, node: &str| {
            json!({ "addresses": [address], "nodeName": node, "zone": "z", "hostname": "h",
                    "targetRef": { "kind": "Pod", "name": "p", "uid": "u" }, "hints": { "forZones": [{ "name": "z" }] } })
        };
        let mut slice = json!({
            "metadata": { "labels": { "kubernetes.io/service-name": "web", "app": "web", "service.kubernetes.io/headless": "" } },
            "addressType": "IPv4", "ports": [{ "port": 80, "appProtocol": "http" }],
            "endpoints": [endpoint("10.0.0.1", "here"), endpoint("10.0.0.2", "there")],
        });
        let mut put = |revision, slice: &serde_json::Value| {
            builder.put("endpointslices", &key, Revision(revision), slice.to_string().as_bytes()).unwrap();
            builder.publish(Revision(revision))
        };
        let (snapshot, _) = put(1, &slice);
        assert!(snapshot.without_pods);
        let kept = snapshot.slices.get(&key).unwrap();
        assert_eq!(
            kept.meta.labels.keys().map(|name| &**name).collect::<Vec<_>>(),
            ["kubernetes.io/service-name", "service.kubernetes.io/headless"]
        );
        let [here, there] = &kept.endpoints[..] else { panic!("two endpoints") };
        assert_eq!((here.node.as_deref(), there.node.as_deref()), (Some("here"), None));
        assert!(here.pod.is_none() && here.pod_uid.is_none() && here.zone.is_none() && here.hostname.is_none());
        assert_eq!(&*here.hint_zones[0], "z", "which zone it is meant for decides");
        slice["endpoints"][1]["targetRef"]["name"] = json!("another");
        assert_eq!(put(2, &slice).1, Changes::default(), "what is forgotten is no change");
        slice["endpoints"][1]["conditions"] = json!({ "ready": false });
        assert_eq!(put(3, &slice).1.services.len(), 1);
    }
}
