//! Steps with the articles' own manifests: named ports, a load balancer, affinity, the client's address.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Stage;
use super::report::{Said, Unseen};
use super::steps::{CLIENT, curl, is_my_app};

/// Every object as printed.
pub(super) async fn printed(stage: &mut Stage) -> Result<Said, Unseen> {
    let cluster = &stage.cluster;
    cluster.create(include_str!("articles.yaml")).await?;
    cluster.pod_ready("default", "nginx").await?;
    cluster.ready_endpoints("default", "nginx-service", 1).await?;
    for service in ["my-loadbalancer-service", "my-affinity-service", "my-external-service"] {
        cluster.ready_endpoints("default", service, 3).await?;
    }
    let text = include_str!("articles.yaml");
    Ok(format!("{} objects, image names and all", text.matches("\nkind: ").count()).into())
}

/// A targetPort by name.
pub(super) async fn named_port(stage: &mut Stage) -> Result<Said, Unseen> {
    let answer = curl(stage, CLIENT, "http://nginx-service").await?;
    let name = "_name-of-service-port._tcp.nginx-service.default.svc.cluster.local";
    let record = stage.cluster.run(Some(CLIENT), &["dig", "+short", name, "SRV"]).await?;
    if answer["pod"] != "nginx" || !record.contains(" 80 nginx-service.default.svc.cluster.local.") {
        let look = "kubectl get endpointslices -l kubernetes.io/service-name=nginx-service -o yaml";
        return Err(Unseen::new("nginx behind nginx-service, and its SRV record", format!("{answer} {record}"), look));
    }
    Ok(format!("nginx-service:80 is http-web-svc of pod nginx; SRV {}", record.trim()).into())
}

/// An address of the pool, and an answer at it.
pub(super) async fn load_balancer(stage: &mut Stage) -> Result<Said, Unseen> {
    let (address, node_port) = balanced(stage, "my-loadbalancer-service").await?;
    let text = stage.cluster.run(None, &["curl", "-s", &format!("http://{address}")]).await?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    if !is_my_app(&answer) {
        return Err(Unseen::new(format!("http://{address} answers from my-app"), text, "mainstay dump nft"));
    }
    Ok(format!("EXTERNAL-IP {address} answers; node port {node_port} was given too").into())
}

/// One client, one pod, until that pod goes.
pub(super) async fn affinity(stage: &mut Stage) -> Result<Said, Unseen> {
    const COUNT: u32 = 100;
    let first = sole_pod(stage, COUNT).await?;
    let path = format!("/api/v1/namespaces/default/pods/{first}");
    stage.cluster.api.delete(&path, &json!({})).await?.ok()?;
    stage.cluster.wait(&path, "the pod to be gone", Value::is_null).await?;
    let second = sole_pod(stage, COUNT).await?;
    stage.cluster.ready_endpoints("default", "my-affinity-service", 3).await?;
    if first == second {
        let look = "kubectl describe svc my-affinity-service";
        return Err(Unseen::new(format!("another pod than {first}"), second, look));
    }
    Ok(format!("{COUNT} requests to {first}; it is deleted; {COUNT} to {second}").into())
}

/// externalTrafficPolicy: Local keeps the client's address; Cluster may not.
pub(super) async fn client_address(stage: &mut Stage) -> Result<Said, Unseen> {
    let (local, _) = balanced(stage, "my-external-service").await?;
    let text = stage.cluster.run(Some(CLIENT), &["curl", "-s", &format!("http://{local}")]).await?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let pod = stage.cluster.object("/api/v1/namespaces/default/pods/client").await?;
    let own = pod["status"]["podIP"].as_str().unwrap_or("?").to_owned();
    let service = stage.cluster.object("/api/v1/namespaces/default/services/my-external-service").await?;
    let port = service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0);
    let nodes = stage.cluster.object("/api/v1/nodes").await?;
    let node = nodes["items"][0]["status"]["addresses"][0]["address"].as_str().unwrap_or_default();
    let health = stage.cluster.run(None, &["curl", "-s", &format!("http://{node}:{port}/healthz")]).await?;
    let healthy: Value = serde_json::from_str(&health).unwrap_or_default();
    let seen_as = answer["client"].as_str().unwrap_or("?").to_owned();
    if !seen_as.starts_with(&own) || healthy["localEndpoints"] != 3 {
        let look = "kubectl get svc my-external-service -o yaml";
        return Err(Unseen::new(format!("the client's own address {own}, 3 local endpoints"), text + &health, look));
    }
    Ok(format!("the pod saw the client as {seen_as}; health check node port {port} reports 3 local endpoints").into())
}

/// Address and node port of a Service once it has an address.
async fn balanced(stage: &Stage, name: &str) -> Result<(String, u64), Unseen> {
    let path = format!("/api/v1/namespaces/default/services/{name}");
    let given = |service: &Value| service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string();
    let service = stage.cluster.wait(&path, "an address", given).await?;
    let revision = service["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    stage.cluster.applied(revision).await?;
    let address = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap_or_default().to_owned();
    Ok((address, service["spec"]["ports"][0]["nodePort"].as_u64().unwrap_or(0)))
}

/// The pod that answered all requests; an error if it was not one.
async fn sole_pod(stage: &Stage, count: u32) -> Result<String, Unseen> {
    let outcome = stage.cluster.requests(CLIENT, "my-affinity-service:80", count).await?;
    let shares: BTreeMap<_, _> = outcome.by_pod.iter().collect();
    match shares.keys().next() {
        Some(pod) if shares.len() == 1 && outcome.ok == u64::from(count) => Ok((*pod).clone()),
        _ => {
            let look = "kubectl describe svc my-affinity-service";
            Err(Unseen::new(format!("{count} answers from one pod"), format!("{shares:?} {:?}", outcome.failed), look))
        }
    }
}
