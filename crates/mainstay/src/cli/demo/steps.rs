//! Steps about names and types: each asks from inside a pod or the node's network and says what it saw.

use serde_json::Value;

use super::Stage;
use super::report::{Said, Unseen};

/// The pod that asks.
pub(super) const CLIENT: &str = "default/client";

/// Namespaces perf and qa with ham and eggs are there and answer.
pub(super) async fn breakfast(stage: &mut Stage) -> Result<Said, Unseen> {
    let cluster = &stage.cluster;
    cluster.create(include_str!("breakfast.yaml")).await?;
    for (namespace, service) in [("perf", "ham-svc"), ("qa", "ham-svc"), ("qa", "eggs-svc")] {
        cluster.ready_endpoints(namespace, service, 1).await?;
    }
    for namespace in ["perf", "qa"] {
        cluster.pod_ready(namespace, "client").await?;
    }
    Ok("3 Deployments, 3 Services, 2 clients; every endpoint applied by the node".to_owned().into())
}

/// The same short name means another Service in another namespace.
pub(super) async fn short_names(stage: &mut Stage) -> Result<Said, Unseen> {
    let mut seen = Vec::new();
    for namespace in ["perf", "qa"] {
        let answer = curl(stage, &format!("{namespace}/client"), "http://ham-svc").await?;
        if answer["namespace"] != namespace {
            return Err(Unseen::new(
                format!("ham-svc asked for in {namespace} answers from {namespace}"),
                answer.to_string(),
                format!("kubectl exec -n {namespace} client -- dig ham-svc"),
            ));
        }
        seen.push(format!("ham-svc in {namespace} is {}", answer["pod"].as_str().unwrap_or("?")));
    }
    Ok(seen.join("; ").into())
}

/// From perf, eggs in qa are reached by the full name, and not by the short one.
pub(super) async fn full_name(stage: &mut Stage) -> Result<Said, Unseen> {
    let answer = curl(stage, "perf/client", "http://eggs-svc.qa.svc.cluster.local").await?;
    let short = stage.cluster.run(Some("perf/client"), &["curl", "-s", "http://eggs-svc"]).await;
    if answer["namespace"] != "qa" || short.is_ok() {
        return Err(Unseen::new(
            "eggs-svc.qa.svc.cluster.local answers from qa, and eggs-svc alone is unknown in perf",
            format!("{answer}; short name: {short:?}"),
            "kubectl exec -n perf client -- dig eggs-svc.qa.svc.cluster.local",
        ));
    }
    let pod = answer["pod"].as_str().unwrap_or("?");
    Ok(format!("perf reaches {pod} by eggs-svc.qa.svc.cluster.local; eggs-svc alone is unknown there").into())
}

/// my-app with three pods behind four Services.
pub(super) async fn types(stage: &mut Stage) -> Result<Said, Unseen> {
    let cluster = &stage.cluster;
    cluster.create(include_str!("types.yaml")).await?;
    for service in ["my-clusterip-service", "my-nodeport-service", "my-headless-service"] {
        cluster.ready_endpoints("default", service, 3).await?;
    }
    cluster.pod_ready("default", "client").await?;
    Ok("3 pods behind 4 Services".to_owned().into())
}

/// By address and by name from a pod.
pub(super) async fn cluster_ip(stage: &mut Stage) -> Result<Said, Unseen> {
    let path = "/api/v1/namespaces/default/services/my-clusterip-service";
    let service = stage.cluster.object(path).await?;
    let address = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    let by_address = curl(stage, CLIENT, &format!("http://{address}")).await?;
    let by_name = curl(stage, CLIENT, "http://my-clusterip-service").await?;
    if [&by_address, &by_name].iter().any(|answer| !is_my_app(answer)) {
        let look = "kubectl get endpointslices -l kubernetes.io/service-name=my-clusterip-service";
        return Err(Unseen::new("an answer from a pod of my-app, twice", format!("{by_address}; {by_name}"), look));
    }
    let client = by_address["client"].as_str().unwrap_or("?");
    Ok(format!("http://{address} and http://my-clusterip-service answer; the pod saw the client as {client}").into())
}

/// From the node's network to the node's own address.
pub(super) async fn node_port(stage: &mut Stage) -> Result<Said, Unseen> {
    let nodes = stage.cluster.object("/api/v1/nodes").await?;
    let addresses = nodes["items"][0]["status"]["addresses"].as_array().cloned().unwrap_or_default();
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP");
    let address = internal.and_then(|address| address["address"].as_str()).unwrap_or_default().to_owned();
    let url = format!("http://{address}:30007");
    for pod in [Some(CLIENT), None] {
        let text = stage.cluster.run(pod, &["curl", "-s", &url]).await;
        let answer: Value = text.as_deref().ok().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        if !is_my_app(&answer) {
            let seen = text.unwrap_or_else(|error| format!("{error:#}"));
            return Err(Unseen::new(format!("{url} answers from a pod of my-app"), seen, "mainstay dump nft"));
        }
    }
    Ok(format!("{url} answers from a pod and from the node").into())
}

/// The name resolves to the pods themselves.
pub(super) async fn headless(stage: &mut Stage) -> Result<Said, Unseen> {
    let name = "my-headless-service.default.svc.cluster.local";
    let text = stage.cluster.run(Some(CLIENT), &["dig", "+short", name, "A"]).await?;
    let mut resolved: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    resolved.sort_unstable();
    let pods = stage.cluster.object("/api/v1/namespaces/default/pods?labelSelector=app%3Dmy-app").await?;
    let items = pods["items"].as_array().cloned().unwrap_or_default();
    let mut addresses: Vec<&str> = items.iter().filter_map(|pod| pod["status"]["podIP"].as_str()).collect();
    addresses.sort_unstable();
    if resolved != addresses || resolved.len() != 3 {
        let look = "kubectl exec client -- dig my-headless-service.default.svc.cluster.local";
        return Err(Unseen::new(format!("{addresses:?}"), format!("{resolved:?}"), look));
    }
    let answer = curl(stage, CLIENT, "http://my-headless-service:8080").await?;
    if !is_my_app(&answer) {
        return Err(Unseen::new("an answer from a pod of my-app", answer.to_string(), "kubectl get pods -o wide"));
    }
    Ok(format!("the name is {}", resolved.join(", ")).into())
}

/// An alias for ham in perf.
pub(super) async fn external_name(stage: &mut Stage) -> Result<Said, Unseen> {
    let name = "my-external-name.default.svc.cluster.local";
    let target = stage.cluster.run(Some(CLIENT), &["dig", "+short", name, "CNAME"]).await?;
    let answer = curl(stage, CLIENT, "http://my-external-name").await?;
    if target.trim() != "ham-svc.perf.svc.cluster.local." || answer["namespace"] != "perf" {
        let look = "kubectl exec client -- dig my-external-name.default.svc.cluster.local";
        return Err(Unseen::new(
            "a CNAME to ham-svc.perf.svc.cluster.local., answering",
            format!("{target} {answer}"),
            look,
        ));
    }
    Ok(format!("my-external-name is {}; ham of perf answers", target.trim()).into())
}

/// 3,000 connections through the ClusterIP land evenly.
pub(super) async fn spread(stage: &mut Stage) -> Result<Said, Unseen> {
    const COUNT: u32 = 3000;
    let outcome = stage.cluster.requests(CLIENT, "my-clusterip-service:80", COUNT).await?;
    let expected = f64::from(COUNT) / 3.0;
    // Binomial: sigma = sqrt(n p (1 - p)). Five of them happen by chance once in two million runs.
    let sigma = (f64::from(COUNT) * (1.0 / 3.0) * (2.0 / 3.0)).sqrt();
    let even = outcome.by_pod.values().all(|count| (*count as f64 - expected).abs() <= 5.0 * sigma);
    let below: Vec<String> = outcome
        .by_pod
        .iter()
        .map(|(pod, count)| format!("{pod:<32} {count:>5}  {:+.1} sigma", (*count as f64 - expected) / sigma))
        .collect();
    if outcome.ok != u64::from(COUNT) || outcome.by_pod.len() != 3 || !even {
        let seen = format!("{} answered, failures {:?}, shares {:?}", outcome.ok, outcome.failed, outcome.by_pod);
        return Err(Unseen::new(
            format!("{COUNT} answers, {expected} from each of 3 pods, give or take {:.0}", 5.0 * sigma),
            seen,
            "mainstay dump nft",
        ));
    }
    Ok(Said { line: format!("{COUNT} connections, {expected} expected for each"), below })
}

/// Whether a pod of my-app answered.
pub(super) fn is_my_app(answer: &Value) -> bool {
    answer["pod"].as_str().is_some_and(|pod| pod.starts_with("my-app-")) && answer["namespace"] == "default"
}

/// The JSON that an echo pod answers.
pub(super) async fn curl(stage: &Stage, pod: &str, url: &str) -> Result<Value, Unseen> {
    let text = stage.cluster.run(Some(pod), &["curl", "-s", url]).await;
    let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
    let look = format!("kubectl exec -n {namespace} {name} -- curl -v {url}");
    let text = text.map_err(|error| Unseen::new(format!("{url} to answer"), format!("{error:#}"), look.clone()))?;
    serde_json::from_str(&text).map_err(|_| Unseen::new(format!("JSON from {url}"), text, look))
}
