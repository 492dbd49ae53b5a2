//! Whom the selector matches: nobody (with the nearest label set), or more than one workload.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::object::ObjectKey;
use serde_json::{Value, json};

use super::codes::{MS1001, MS1002, MS1003};
use super::finding::{Finding, Fix, Severity, Subject, in_namespace};
use super::index::workload_of;
use super::near::{self, Near};
use super::{Case, limits, selected};
use crate::endpoints::index::matches;
use crate::snapshot::{Labels, Pod, Service};

const FIELD: &str = "spec.selector";

/// MS1001 and MS1002: nothing matches.
pub(super) fn selector(case: &Case<'_>, pods: &[Arc<Pod>], findings: &mut Vec<Finding>) {
    let (Some(selector), true) = (&case.service.selector, case.selects()) else { return };
    if !pods.is_empty() {
        findings.extend(left_out(case, selector, pods.len()).filter(|_| case.facts.thorough));
        return;
    }
    let namespace = &case.key().namespace;
    let makers: Vec<_> =
        case.index.workloads(namespace).filter(|workload| matches(selector, &workload.template)).collect();
    if let Some(workload) = makers.iter().find(|workload| workload.replicas > 0) {
        let summary = format!("selector {} matches no pod yet: {} is starting them", text(selector), workload.text());
        findings.push(case.finding(&MS1001, Severity::Note, FIELD, summary));
        return;
    }
    if let Some(workload) = makers.first() {
        let summary = format!("selector {} matches 0 pods: {} is scaled to 0", text(selector), workload.text());
        let command = format!("kubectl scale {}{} --replicas=1", workload.text(), in_namespace(namespace));
        findings.push(case.finding(&MS1001, Severity::Problem, FIELD, summary).fix(Fix::command(command)));
        return;
    }
    if case.facts.brief {
        findings.push(nothing(case, selector));
        return;
    }
    let finding = unlabelled_template(case, selector).or_else(|| nearest(case, selector));
    findings.push(finding.or_else(|| other_namespace(case, selector)).unwrap_or_else(|| nothing(case, selector)));
}

/// `a=b,c=d`.
pub(super) fn text(selector: &Labels) -> String {
    selector.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

fn starts(case: &Case<'_>, selector: &Labels) -> String {
    format!("selector {} matches 0 pods in {}", text(selector), case.key().namespace)
}

fn nothing(case: &Case<'_>, selector: &Labels) -> Finding {
    let namespace = &case.key().namespace;
    let sets = case.index.groups(namespace).map(|(labels, group)| {
        let labels = if labels.is_empty() { "no label".to_owned() } else { text(labels) };
        format!("{} in {namespace}: {labels}", count(group.count()))
    });
    let sets: Vec<_> = sets.take(limits::EVIDENCE).collect();
    let summary = format!("{}, and no label set is near", starts(case, selector));
    let command = format!("kubectl get pods{} --show-labels", in_namespace(namespace));
    let evidence = if sets.is_empty() { vec![format!("namespace {namespace} has no pods")] } else { sets };
    case.finding(&MS1001, Severity::Problem, FIELD, summary).evidence(evidence).fix(Fix::command(command))
}

/// Pods that are nearly matched beside those that are: who is not behind the Service, and why.
fn left_out(case: &Case<'_>, selector: &Labels, matched: usize) -> Option<Finding> {
    let namespace = &case.key().namespace;
    let groups = case.index.groups(namespace).take(limits::LABEL_SETS);
    let near = groups.filter_map(|(labels, group)| Some((near::compare(selector, labels)?, group)));
    let mut near: Vec<_> = near.collect();
    near.sort_by_key(|(near, group)| near.rank(group.count()));
    let pods: usize = near.iter().map(|(_, group)| group.count()).sum();
    let evidence = near.iter().filter_map(|(near, group)| {
        let sample = case.snapshot.pods.get(&group.sample(namespace)?)?;
        Some(format!("{} of {}: {}", count(group.count()), workload_of(sample), near.reasons().join("; ")))
    });
    let summary = format!("selector {} matches {}, and nearly {pods} more", text(selector), count(matched));
    (pods > 0).then(|| case.finding(&MS1002, Severity::Note, FIELD, summary).evidence(evidence))
}

/// The labels stand on the workload itself and were forgotten on its pod template.
fn unlabelled_template(case: &Case<'_>, selector: &Labels) -> Option<Finding> {
    let namespace = &case.key().namespace;
    let workload = case.index.workloads(namespace).find(|workload| matches(selector, &workload.labels))?;
    let name = workload.text();
    let summary = format!("{}; {name} has these labels itself, its pod template has not", starts(case, selector));
    let patch = json!({ "spec": { "template": { "metadata": { "labels": selector } } } });
    let command = format!("kubectl patch {name}{} -p '{patch}'", in_namespace(namespace));
    let evidence = vec![
        format!("{name} metadata.labels: {}", text(&workload.labels)),
        format!("{name} spec.template.metadata.labels: {}", text(&workload.template)),
    ];
    let finding = case.finding(&MS1002, Severity::Problem, FIELD, summary);
    Some(finding.evidence(evidence).fix(Fix::command(command)))
}

/// The nearest label set of the namespace's pods, or of the templates that will make pods.
fn nearest(case: &Case<'_>, selector: &Labels) -> Option<Finding> {
    let namespace = &case.key().namespace;
    let groups = case.index.groups(namespace).take(limits::LABEL_SETS).filter_map(|(labels, group)| {
        let near = near::compare(selector, labels)?;
        let who = group.sample(namespace).and_then(|key| case.snapshot.pods.get(&key)).map(|pod| workload_of(pod));
        Some((near, group.count(), who.unwrap_or_default()))
    });
    let templates = case
        .index
        .workloads(namespace)
        .take(limits::LABEL_SETS)
        .filter_map(|workload| Some((near::compare(selector, &workload.template)?, 0, workload.text())));
    let mut all: Vec<(Near, usize, String)> = groups.collect();
    // A template whose pods are there already says nothing new.
    let templates: Vec<_> = templates.filter(|(.., name)| !all.iter().any(|(.., who)| who == name)).collect();
    all.extend(templates);
    all.sort_by_key(|(near, count, who)| (near.rank(*count), who.clone()));
    let (near, pods, who) = all.first()?;
    let meant = near.selector();
    let of = if *pods == 0 { format!("template of {who}") } else { format!("{} of {who}", count(*pods)) };
    let summary = format!("{}; nearest: {} ({of})", starts(case, selector), text(&meant));
    let evidence = all.iter().map(|(near, pods, who)| {
        let of = if *pods == 0 { format!("template of {who}") } else { format!("{} of {who}", count(*pods)) };
        format!("{of}: {}", near.reasons().join("; "))
    });
    let finding = case.finding(&MS1002, Severity::Problem, FIELD, summary).evidence(evidence);
    Some(finding.fix(Fix::merge(Subject::service(case.key()), patch(selector, &meant))))
}

/// A merge patch from one selector to another: names that go are null.
fn patch(from: &Labels, to: &Labels) -> Value {
    let gone = from.keys().filter(|name| !to.contains_key(name)).map(|name| (name.to_string(), Value::Null));
    let new = to.iter().filter(|(name, value)| from.get(name) != Some(*value));
    let new = new.map(|(name, value)| (name.to_string(), Value::from(&**value)));
    json!({ "spec": { "selector": gone.chain(new).collect::<serde_json::Map<_, _>>() } })
}

/// The same labels, in a namespace that the Service does not look into.
fn other_namespace(case: &Case<'_>, selector: &Labels) -> Option<Finding> {
    let own = &case.key().namespace;
    let others = case.index.namespaces().filter(|namespace| **namespace != **own).take(limits::NAMESPACES);
    let found = others.filter_map(|namespace| {
        let mut there = Service { selector: Some(selector.clone()), ..Service::default() };
        there.meta.key = ObjectKey::new(namespace, case.key().name.clone());
        let pods = selected(case.snapshot, case.index, &there);
        pods.first().map(|pod| (namespace.to_owned(), pods.len(), workload_of(pod)))
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|(namespace, pods, _)| (std::cmp::Reverse(*pods), namespace.clone()));
    let (namespace, pods, who) = found.first()?;
    let summary = format!("{}; {} of {who} match in namespace {namespace}", starts(case, selector), count(*pods));
    let name = &case.key().name;
    let command = format!(
        "kubectl get svc {name}{} -o json | jq 'del(.metadata.namespace,.metadata.uid,.metadata.resourceVersion,\
         .metadata.finalizers,.spec.clusterIP,.spec.clusterIPs,.spec.ports[].nodePort,.spec.healthCheckNodePort,\
         .status)' | kubectl create -n {namespace} -f -",
        in_namespace(own)
    );
    let evidence = found.iter().map(|(namespace, pods, who)| format!("{namespace}: {} of {who}", count(*pods)));
    let finding = case.finding(&MS1002, Severity::Problem, FIELD, summary).evidence(evidence);
    Some(finding.fix(Fix::command(command)))
}

/// MS1003: pods of several workloads. A second version of the same application is only noted.
pub(super) fn workloads(case: &Case<'_>, pods: &[Arc<Pod>], findings: &mut Vec<Finding>) {
    let Some(selector) = &case.service.selector else { return };
    let mut found: BTreeMap<String, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.owner.is_some()) {
        found.entry(workload_of(pod)).or_default().push(pod);
    }
    if found.len() < 2 {
        return;
    }
    const APPLICATION: [&str; 4] = ["app", "app.kubernetes.io/name", "k8s-app", "run"];
    let differing = APPLICATION.into_iter().find(|name| {
        let values: BTreeSet<_> =
            found.values().filter_map(|pods| pods.first()).map(|pod| pod.meta.labels.get(name)).collect();
        values.len() > 1
    });
    let names: Vec<_> = found.keys().cloned().collect();
    let summary = format!("selector {} matches {} workloads: {}", text(selector), names.len(), names.join(", "));
    let severity = if differing.is_some() { Severity::Warning } else { Severity::Note };
    let evidence = found.iter().map(|(name, pods)| {
        let labels = pods.first().map(|pod| text(&pod.meta.labels)).unwrap_or_default();
        format!("{} of {name}: {labels}", count(pods.len()))
    });
    let mut finding = case.finding(&MS1003, severity, FIELD, summary).evidence(evidence);
    let most = found.values().max_by_key(|pods| pods.len()).and_then(|pods| pods.first());
    if let Some((name, value)) = differing.and_then(|name| Some((name, most?.meta.labels.get(name)?))) {
        let patch = json!({ "spec": { "selector": { name: value } } });
        finding = finding.fix(Fix::merge(Subject::service(case.key()), patch));
    }
    findings.push(finding);
}

/// `1 pod`, `3 pods`.
pub(super) fn count(pods: usize) -> String {
    format!("{pods} pod{}", if pods == 1 { "" } else { "s" })
}
