//! Steps about change under load: scaling, rolling updates with and without drain, a pod that dies.

use serde_json::{Value, json};

use super::Stage;
use super::cluster::Cluster;
use super::report::{Said, Unseen};

const CLIENT: &str = "default/client";
const SERVICE: &str = "my-clusterip-service";
const TARGET: &str = "my-clusterip-service:80";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/my-app";
const PODS: &str = "/api/v1/namespaces/default/pods?labelSelector=app%3Dmy-app";
/// New connections a second.
const RATE: u32 = 2000;
/// How much later the kernel learns of a change, while rolling updates are compared.
const APPLY_DELAY_MS: u64 = 200;

/// Up to five, down to one and to none, and back: traffic follows, none is a refusal and not a time-out.
pub(super) async fn scale(stage: &mut Stage) -> Result<Said, Unseen> {
    let cluster = &stage.cluster;
    let load = cluster.load(CLIENT, TARGET, RATE).await?;
    cluster.scale("my-app", SERVICE, 5).await?;
    let five = cluster.requests(CLIENT, TARGET, 500).await?;
    cluster.scale("my-app", SERVICE, 1).await?;
    let outcome = Cluster::finish(load).await?;
    let one = cluster.requests(CLIENT, TARGET, 200).await?;
    cluster.scale("my-app", SERVICE, 0).await?;
    let none = cluster.requests(CLIENT, TARGET, 50).await?;
    cluster.scale("my-app", SERVICE, 3).await?;
    let refused = none.failed.get("refused").copied().unwrap_or_default();
    let right = outcome.failures() == 0 && five.by_pod.len() == 5 && one.by_pod.len() == 1 && refused == 50;
    let seen = format!(
        "{} connections while scaling, {} failed; 5 pods: {} answered; 1 pod: {}; none: {refused} of 50 refused at once",
        outcome.started,
        outcome.failures(),
        five.by_pod.len(),
        one.by_pod.len(),
    );
    if right {
        return Ok(seen.into());
    }
    let look = "kubectl get events; kubectl get endpointslices -w";
    let example = format!("{seen}; {:?} {:?}", outcome.failed, outcome.example);
    Err(Unseen::new("no failure while scaling, answers from 5 pods, from 1, and 50 refusals from none", example, look))
}

/// A rolling update while the kernel learns of every change 200 ms late. With drain nothing may fail; without, some must.
pub(super) async fn rolling_update(stage: &mut Stage, drain: bool) -> Result<Said, Unseen> {
    let cluster = &stage.cluster;
    cluster.ready_endpoints("default", SERVICE, 3).await?;
    settled(cluster).await?;
    cluster.faults(APPLY_DELAY_MS, drain).await?;
    let load = cluster.load(CLIENT, TARGET, RATE).await?;
    let result = restart(cluster, drain).await;
    let outcome = Cluster::finish(load).await;
    cluster.faults(0, true).await?;
    result?;
    let outcome = outcome?;
    let (started, stalled) = (outcome.started, outcome.stalled);
    let line = format!(
        "{started} connections, {} failed {:?}, {stalled} stalled a second",
        outcome.failures(),
        outcome.failed
    );
    let enough = started >= u64::from(RATE) / 10;
    let right = if drain { outcome.failures() == 0 } else { outcome.failures() + stalled > 0 };
    if right && enough {
        return Ok(Said::from(format!("{line}, kernel {APPLY_DELAY_MS} ms behind")));
    }
    let expected = if drain { "no failure" } else { "some failures: that is what drain prevents" };
    let seen = format!("{line}; first: {}", outcome.example.unwrap_or_default());
    Err(Unseen::new(expected, seen, "kubectl get events --sort-by=.lastTimestamp"))
}

/// Changes the template and waits until only new pods are left.
async fn restart(cluster: &Cluster, drain: bool) -> Result<(), Unseen> {
    let stamp = json!({ "demo.mainstay.dev/drain": drain.to_string() });
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": stamp } } } });
    cluster.api.merge(DEPLOYMENT, &patch).await?.ok()?;
    let rolled_out = |deployment: &Value| {
        let (spec, status) = (&deployment["spec"], &deployment["status"]);
        let all = spec["replicas"].as_u64();
        deployment["metadata"]["generation"] == status["observedGeneration"]
            && status["updatedReplicas"].as_u64() == all
            && status["replicas"].as_u64() == all
            && status["availableReplicas"].as_u64() == all
    };
    cluster.wait(DEPLOYMENT, "the rollout", rolled_out).await?;
    settled(cluster).await?;
    // The kernel is behind: only once it has caught up is the update over for those who connect.
    Ok(cluster.ready_endpoints("default", SERVICE, 3).await?)
}

/// Waits until no pod of my-app is terminating.
async fn settled(cluster: &Cluster) -> Result<(), Unseen> {
    let none = |pods: &Value| {
        let mut items = pods["items"].as_array().into_iter().flatten();
        items.all(|pod| pod["metadata"]["deletionTimestamp"].is_null())
    };
    cluster.wait(PODS, "terminating pods to end", none).await?;
    Ok(())
}

/// A pod without any grace: what was in flight is lost, but once the node has applied it, nothing more.
pub(super) async fn killed(stage: &mut Stage) -> Result<Said, Unseen> {
    let cluster = &stage.cluster;
    cluster.ready_endpoints("default", SERVICE, 3).await?;
    let pods = cluster.object(PODS).await?;
    let victim = pods["items"][0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let load = cluster.load(CLIENT, TARGET, RATE).await?;
    let other = cluster.requests(CLIENT, TARGET, 200).await?;
    let path = format!("/api/v1/namespaces/default/pods/{victim}");
    cluster.api.delete(&path, &json!({ "gracePeriodSeconds": 0 })).await?.ok()?;
    cluster.wait(&path, "the pod to go", Value::is_null).await?;
    cluster.ready_endpoints("default", SERVICE, 3).await?;
    let during = Cluster::finish(load).await?;
    let after = cluster.requests(CLIENT, TARGET, 1000).await?;
    let line = format!(
        "{victim} gone: {} of {} connections in flight lost, 0 of {} after",
        during.failures(),
        during.started,
        after.started
    );
    // A tenth of a second of this load is 200 connections, of which a third go to one of three pods.
    let right =
        during.failures() <= 100 && after.failures() == 0 && !after.by_pod.contains_key(&victim) && other.ok == 200;
    if right {
        return Ok(line.into());
    }
    let seen = format!("{line}: during {:?} {:?}, after {:?}", during.failed, during.example, after.failed);
    Err(Unseen::new("at most 100 connections lost, none once the node has applied it", seen, "kubectl get events"))
}
