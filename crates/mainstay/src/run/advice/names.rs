//! What people check when names do not resolve: does DNS run, what does its log say, whom do pods ask, what is answered.

use api::object::ObjectKey;
use api::status::Status;
use compile::diagnose::{StepResult, Tried, Verdict};
use compile::snapshot::{Pod, Snapshot};
use contract::streams::LogOptions;
use futures::StreamExt;
use serde_json::{Value, json};

use super::Advisor;

/// Lines of the log that are shown.
const LOG_LINES: u64 = 3;

impl Advisor {
    /// The four checks; names are looked up from the pod `from` (`NAMESPACE/NAME`), else from any that is ready.
    pub(super) async fn dns(&self, from: Option<&str>) -> Result<Value, Status> {
        let snapshot = self.state().snapshot.clone();
        let from = match from {
            Some(text) => {
                let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
                let key = ObjectKey::new(namespace, name);
                snapshot.pods.get(&key).ok_or_else(|| Status::not_found(&api::kinds::POD, name))?;
                Some(key)
            }
            None => snapshot.pods.iter().find(|(_, pod)| pod.ready && !serves_dns(pod)).map(|(key, _)| key.clone()),
        };
        let mut steps = vec![running(&snapshot), self.log(&snapshot).await];
        match &from {
            Some(from) => {
                let file = self.run("RESOLVER", from, &["cat", "/etc/resolv.conf"]).await?;
                steps.push(resolver(&snapshot, file));
                let asked = self.run("DNS", from, &["dig", "+short", "+search", "kubernetes.default"]).await?;
                steps.push(answer(&snapshot, asked));
            }
            None => {
                let text = "no pod is ready to ask from; name one: mainstay doctor dns --from pod/NAME".to_owned();
                steps.push(StepResult { name: "ANSWER", verdict: Verdict::Skip, text });
            }
        }
        let clean = !steps.iter().any(|step| matches!(step.verdict, Verdict::Fail | Verdict::Warn));
        let step = |step: &StepResult| json!({ "step": step.name, "verdict": step.verdict.text(), "text": step.text });
        Ok(json!({
            "revision": snapshot.revision.0, "clean": clean, "steps": steps.iter().map(step).collect::<Vec<_>>(),
        }))
    }

    async fn log(&self, snapshot: &Snapshot) -> StepResult {
        let name = "LOG";
        let Some(pod) = snapshot.pods.values().find(|pod| serves_dns(pod) && pod.ready) else {
            return StepResult { name, verdict: Verdict::Skip, text: "no pod of DNS is ready".to_owned() };
        };
        let options = LogOptions { tail_lines: Some(LOG_LINES), ..LogOptions::default() };
        let mut stream = match self.streams.logs(&pod.meta.key, &options).await {
            Ok(stream) => stream,
            Err(status) => return StepResult { name, verdict: Verdict::Warn, text: status.to_string() },
        };
        let mut text = Vec::new();
        while let Some(Ok(bytes)) = stream.next().await {
            text.extend_from_slice(&bytes);
        }
        let text = String::from_utf8_lossy(&text).lines().collect::<Vec<_>>().join(" | ");
        StepResult { name, verdict: Verdict::Ok, text: if text.is_empty() { "empty".to_owned() } else { text } }
    }
}

fn serves_dns(pod: &Pod) -> bool {
    &*pod.meta.key.namespace == "kube-system" && pod.meta.labels.get("k8s-app").is_some_and(|app| &**app == "kube-dns")
}

fn running(snapshot: &Snapshot) -> StepResult {
    let pods: Vec<_> = snapshot.pods.values().filter(|pod| serves_dns(pod) && !pod.meta.deleting).collect();
    let ready = pods.iter().filter(|pod| pod.ready).count();
    let names: Vec<_> = pods.iter().map(|pod| pod.meta.key.name.to_string()).collect();
    let verdict = if ready == 0 { Verdict::Fail } else { Verdict::Ok };
    let text = format!("{ready} of {} ready: {}", pods.len(), names.join(", "));
    StepResult { name: "RUNNING", verdict, text }
}

/// A pod must ask the cluster's name server.
fn resolver(snapshot: &Snapshot, file: Tried) -> StepResult {
    let service = snapshot.services.get(&ObjectKey::new("kube-system", "kube-dns"));
    let servers = service.map_or(&[][..], |service| &service.cluster_ips);
    let asks = servers.iter().any(|server| file.said.contains(&format!("nameserver {server}")));
    let verdict = if file.ok && asks { Verdict::Ok } else { Verdict::Fail };
    StepResult { name: "RESOLVER", verdict, text: format!("{} -> {}", file.command, file.said) }
}

/// The name of the API's own Service must be answered with its address.
fn answer(snapshot: &Snapshot, asked: Tried) -> StepResult {
    let service = snapshot.services.get(&ObjectKey::new("default", "kubernetes"));
    let right = service.is_some_and(|service| {
        service.cluster_ips.iter().any(|address| asked.said.split("; ").any(|said| said == address.to_string()))
    });
    let verdict = if asked.ok && right { Verdict::Ok } else { Verdict::Fail };
    StepResult { name: "ANSWER", verdict, text: format!("{} -> {}", asked.command, asked.said) }
}
