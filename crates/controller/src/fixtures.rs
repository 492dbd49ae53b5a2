//! Turns the addresses of the API and of cluster DNS into the Services `default/kubernetes` and `kube-system/kube-dns`,
//! and makes them again when somebody deletes them.

use std::net::IpAddr;
use std::sync::Arc;

use api::kind::Kind;
use api::kinds::{ENDPOINT_SLICE, ENDPOINTS, SERVICE};
use api::object::ObjectKey;
use api::status::Status;
use contract::access::Access;
use serde_json::{Value, json};

use crate::Config;
use crate::feed::Feed;
use crate::limits;

/// Runs until the feed ends.
pub(crate) async fn run(feed: Feed, access: Arc<dyn Access>, config: Arc<Config>) {
    let mut subscription = feed.subscribe();
    let watched = [ObjectKey::new("default", "kubernetes"), ObjectKey::new("kube-system", "kube-dns")];
    // The first delivery names what is there, which may be nothing: make what is missing.
    let mut first = true;
    while let Some((_, changes)) = subscription.next().await {
        if !std::mem::take(&mut first) && !watched.iter().any(|key| changes.services.contains(key)) {
            continue;
        }
        let mut pause = limits::RETRY_FIRST;
        while let Err(status) = ensure(&access, &config).await {
            tracing::debug!(%status, "the Services of the API and of DNS are not there yet: trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::RETRY_MOST);
        }
    }
}

async fn ensure(access: &Arc<dyn Access>, config: &Config) -> Result<(), Status> {
    for (kind, wanted) in objects(config) {
        let metadata = &wanted["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = ObjectKey::new(text(&metadata["namespace"]), text(&metadata["name"]));
        match access.get(kind, &key).await {
            Err(status) if status.code == 404 => {
                access.create(kind, wanted).await?;
            }
            Err(status) => return Err(status),
            Ok(stored) => {
                let mut value: Value = serde_json::from_slice(&stored.json)
                    .map_err(|error| Status::internal(format!("{key} as stored is not JSON: {error}")))?;
                if adjust(&mut value, &wanted) {
                    access.update(kind, value).await?;
                }
            }
        }
    }
    Ok(())
}

/// Takes over the fields that say where the API is. Services are left as people made them once they exist.
fn adjust(stored: &mut Value, wanted: &Value) -> bool {
    let mut changed = false;
    for field in ["endpoints", "ports", "subsets"] {
        if let Some(value) = wanted.get(field)
            && stored[field] != *value
        {
            stored[field] = value.clone();
            changed = true;
        }
    }
    changed
}

fn objects(config: &Config) -> Vec<(&'static Kind, Value)> {
    let mut objects = vec![(&SERVICE, kubernetes_service(config))];
    let same_family = |address: &&IpAddr| address.is_ipv4() == config.kubernetes_address.is_ipv4();
    let addresses: Vec<String> = config.node_addresses.iter().filter(same_family).map(ToString::to_string).collect();
    if !addresses.is_empty() {
        objects.push((&ENDPOINT_SLICE, kubernetes_slice(config, &addresses)));
        objects.push((&ENDPOINTS, kubernetes_endpoints(config, &addresses)));
    }
    if !config.dns_addresses.is_empty() {
        objects.push((&SERVICE, dns_service(config)));
    }
    objects
}

fn kubernetes_service(config: &Config) -> Value {
    let address = config.kubernetes_address.to_string();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
            "ipFamilies": [family(config.kubernetes_address)], "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": config.api_port }],
        },
    })
}

fn kubernetes_slice(config: &Config, addresses: &[String]) -> Value {
    let endpoint = |address: &String| json!({ "addresses": [address], "conditions": { "ready": true } });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes", "namespace": "default", "labels": { "kubernetes.io/service-name": "kubernetes" },
        },
        "addressType": family(config.kubernetes_address),
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{ "name": "https", "port": config.api_port, "protocol": "TCP" }],
    })
}

fn kubernetes_endpoints(config: &Config, addresses: &[String]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
        "subsets": [{
            "addresses": addresses.iter().map(|address| json!({ "ip": address })).collect::<Vec<_>>(),
            "ports": [{ "name": "https", "port": config.api_port, "protocol": "TCP" }],
        }],
    })
}

fn dns_service(config: &Config) -> Value {
    let addresses: Vec<String> = config.dns_addresses.iter().map(ToString::to_string).collect();
    let families: Vec<&str> = config.dns_addresses.iter().map(|address| family(*address)).collect();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kube-dns", "namespace": "kube-system",
            "labels": {
                "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
            },
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": addresses.first(), "clusterIPs": addresses, "ipFamilies": families,
            "ipFamilyPolicy": if addresses.len() > 1 { "RequireDualStack" } else { "SingleStack" },
            "selector": { "k8s-app": "kube-dns" },
            "ports": [
                { "name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53 },
                { "name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53 },
            ],
        },
    })
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
