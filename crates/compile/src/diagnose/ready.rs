//! MS1006 and MS1601: pods that are not ready and why, and what will go wrong at the next rollout.

use std::sync::Arc;

use super::Case;
use super::codes::{MS1006, MS1601};
use super::finding::{Finding, Fix, Severity, in_namespace};
use super::index::workload_of;
use super::select::count;
use crate::snapshot::Pod;

/// MS1006: none or only some of the matched pods are ready.
pub(super) fn pods(case: &Case<'_>, pods: &[Arc<Pod>], findings: &mut Vec<Finding>) {
    let living: Vec<_> = pods.iter().filter(|pod| !pod.meta.deleting).collect();
    let unready: Vec<_> = living.iter().filter(|pod| !pod.ready || pod.ips.is_empty()).collect();
    let Some(first) = unready.first() else { return };
    let all = unready.len() == living.len();
    let severity = match (all, case.service.publish_not_ready) {
        (_, true) => Severity::Note,
        (true, false) => Severity::Problem,
        (false, false) => Severity::Warning,
    };
    let why = |pod: &Pod| {
        let facts = case.facts.pods.get(&pod.meta.key).and_then(|facts| facts.unready.clone());
        facts.unwrap_or_else(|| {
            if pod.ips.is_empty() { "it has no address yet" } else { "condition Ready is not True" }.to_owned()
        })
    };
    let summary =
        format!("{} of {} not ready: pod {}: {}", unready.len(), count(living.len()), first.meta.key.name, why(first));
    let evidence = unready.iter().map(|pod| format!("pod {}: {}", pod.meta.key.name, why(pod)));
    let command = format!("kubectl describe pod {}{}", first.meta.key.name, in_namespace(&first.meta.key.namespace));
    let finding = case.finding(&MS1006, severity, "spec.selector", summary);
    findings.push(finding.evidence(evidence).fix(Fix::command(command)));
}

/// MS1601: pods that count as ready before they listen, and hooks that only wait.
pub(super) fn rollout(case: &Case<'_>, pods: &[Arc<Pod>], findings: &mut Vec<Finding>) {
    let known = || pods.iter().filter_map(|pod| Some((pod, case.facts.pods.get(&pod.meta.key)?)));
    let unprobed: Vec<_> = known().filter(|(pod, facts)| !facts.readiness_probe && pod.owner.is_some()).collect();
    if let Some((pod, facts)) = unprobed.first() {
        let who = workload_of(pod);
        let summary = format!("{who} has no readinessProbe: its pods get traffic before they listen");
        let port = case.service.ports.first().map(|port| match &port.target {
            crate::snapshot::TargetPort::Number(number) => serde_json::json!(number),
            crate::snapshot::TargetPort::Name(name) => serde_json::json!(name),
        });
        let at = case.service.ports.first().map_or(0, |port| facts.serves(&port.target));
        let probe = serde_json::json!([{
            "op": "add", "path": format!("/spec/template/spec/containers/{at}/readinessProbe"),
            "value": { "tcpSocket": { "port": port }, "periodSeconds": 2 },
        }]);
        let command = format!("kubectl patch {who}{} --type=json -p '{probe}'", in_namespace(&pod.meta.key.namespace));
        let evidence = unprobed.iter().map(|(pod, _)| format!("pod {} has no readinessProbe", pod.meta.key.name));
        let finding = case.finding(&MS1601, Severity::Note, "spec.selector", summary);
        findings.push(finding.evidence(evidence).fix(Fix::command(command)));
    }
    let sleeping = known().find_map(|(pod, facts)| Some((pod, facts.pre_stop_sleep.clone()?)));
    if let Some((pod, (at, sleep))) = sleeping {
        let who = workload_of(pod);
        let summary = format!("{who} waits in preStop ({sleep}): not needed, SIGTERM comes after traffic has stopped");
        let space = in_namespace(&pod.meta.key.namespace);
        let command = if pod.owner.is_some() {
            let path = format!("/spec/template/spec/containers/{at}/lifecycle/preStop");
            let remove = serde_json::json!([{ "op": "remove", "path": path }]);
            format!("kubectl patch {who}{space} --type=json -p '{remove}'")
        } else {
            // The containers of a pod cannot be changed, and no workload makes it anew.
            let name = &pod.meta.key.name;
            format!(
                "kubectl get pod {name}{space} -o json | jq 'del(.spec.containers[{at}].lifecycle.preStop)' | kubectl replace --force -f -"
            )
        };
        findings.push(case.finding(&MS1601, Severity::Note, "spec.selector", summary).fix(Fix::command(command)));
    }
}
