//! Steps that follow one Service: registration, discovery, and the articles' DNS troubleshooting, with times.

use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};

use super::Stage;
use super::cluster::ready_addresses;
use super::report::{Said, Unseen};
use super::steps::{CLIENT, curl, is_my_app};

/// Posted, given an address, joined with its pods, in DNS and in the kernel: each with its time and revision.
pub(super) async fn registration(stage: &mut Stage) -> Result<Said, Unseen> {
    let cluster = &stage.cluster;
    let manifest = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "foo-svc" },
        "spec": { "selector": { "app": "my-app" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    });
    let began = Instant::now();
    let service = cluster.api.post("/api/v1/namespaces/default/services", &manifest).await?.ok()?;
    let posted = ms(began);
    let address = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dfoo-svc";
    let listed = cluster.wait(slices, "endpoints", |slices| ready_addresses(slices) == 3).await?;
    let joined = ms(began);
    let revision: u64 = listed["items"][0]["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .context("a slice without resourceVersion")?;
    cluster.applied(revision).await?;
    let applied = ms(began);
    let status = cluster.object("/mainstay/status").await?;
    let name = "foo-svc.default.svc.cluster.local";
    let answer = cluster.run(Some(CLIENT), &["dig", "+short", name]).await?;
    let at = service["metadata"]["resourceVersion"].as_str().unwrap_or("?");
    let below = vec![
        format!("1 the manifest is posted, and stored at revision {at}         {posted:>6.1} ms"),
        format!("2 it has ClusterIP {address}"),
        format!("3 its EndpointSlice has 3 endpoints, at revision {revision}        {joined:>6.1} ms"),
        format!("4 kernel and DNS have both applied revision {revision}             {applied:>6.1} ms"),
    ];
    if answer.trim() != address || status["applied"].as_u64().is_none_or(|applied| applied < revision) {
        return Err(Unseen::new(format!("{name} is {address} once {revision} is applied"), answer, "mainstay status"));
    }
    Ok(Said { line: format!("{name} is {address}; one revision, {revision}, everywhere"), below })
}

/// A pod asks for the name and connects to what it is told.
pub(super) async fn discovery(stage: &mut Stage) -> Result<Said, Unseen> {
    let began = Instant::now();
    let resolver = stage.cluster.run(Some(CLIENT), &["cat", "/etc/resolv.conf"]).await?;
    let answer = stage.cluster.run(Some(CLIENT), &["dig", "+short", "+search", "foo-svc"]).await?;
    let asked = ms(began);
    let body = curl(stage, CLIENT, "http://foo-svc").await?;
    let connected = ms(began);
    let server = resolver.lines().find_map(|line| line.strip_prefix("nameserver ")).unwrap_or("?").to_owned();
    let search = resolver.lines().find_map(|line| line.strip_prefix("search ")).unwrap_or("?");
    let below = vec![
        format!("1 /etc/resolv.conf: nameserver {server}, search {search}"),
        format!("2 foo-svc is {}                                     {asked:>6.1} ms", answer.trim()),
        format!("3 connected; {} answers            {connected:>6.1} ms", body["pod"].as_str().unwrap_or("?")),
    ];
    if !is_my_app(&body) || !search.starts_with("default.svc.cluster.local ") || !resolver.contains("ndots:5") {
        return Err(Unseen::new(
            "an answer from my-app, found by its short name",
            format!("{body} {resolver}"),
            "mainstay status",
        ));
    }
    Ok(Said { line: "a pod finds foo-svc by its short name".to_owned(), below })
}

/// The four commands of "DNS resolution fails": pods, logs, resolv.conf (above), restart; answers keep flowing.
pub(super) async fn dns_restart(stage: &mut Stage) -> Result<Said, Unseen> {
    const PODS: &str = "/api/v1/namespaces/kube-system/pods";
    let cluster = &stage.cluster;
    let selected = format!("{PODS}?labelSelector=k8s-app%3Dkube-dns");
    let running = |pods: &Value| pods["items"][0]["status"]["phase"] == "Running";
    let before = cluster.wait(&selected, "a Running DNS pod", running).await?;
    let old = &before["items"][0]["metadata"];
    let (name, uid) = (old["name"].as_str().unwrap_or_default(), old["uid"].clone());
    let log = cluster.api.text(&format!("{PODS}/{name}/log?tailLines=5")).await?;
    cluster.api.delete(&format!("{PODS}/{name}"), &json!({})).await?.ok()?;
    let (mut asked, mut failed) = (0, 0);
    loop {
        let answer =
            cluster.run(Some(CLIENT), &["dig", "+short", "+tries=1", "foo-svc.default.svc.cluster.local"]).await;
        asked += 1;
        failed += u32::from(!answer.is_ok_and(|answer| answer.starts_with("10.")));
        let now = cluster.object(&selected).await?;
        if asked >= 20 && running(&now) && now["items"][0]["metadata"]["uid"] != uid {
            break;
        }
        if asked > 1000 {
            return Err(Unseen::new("a new DNS pod", now.to_string(), "kubectl get pods -n kube-system"));
        }
    }
    if failed > 0 || log.trim().is_empty() {
        let look = "kubectl logs -n kube-system -l k8s-app=kube-dns";
        return Err(Unseen::new(
            "a log, and every question answered",
            format!("{failed} of {asked} failed; log {log:?}"),
            look,
        ));
    }
    Ok(format!("{name} runs and logs; deleted, a new one took over; {asked} questions meanwhile, all answered").into())
}

fn ms(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}
