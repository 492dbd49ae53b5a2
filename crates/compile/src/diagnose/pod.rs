//! A pod in, the Services that it is behind and those that it nearly is behind out.

use api::object::ObjectKey;

use super::near;
use super::report::{StepResult, Verdict};
use super::select::text;
use super::slices::slices_of;
use super::{PodFacts, limits, ports};
use crate::endpoints::index::matches;
use crate::snapshot::{Pod, Service, Snapshot};

/// Services that select a pod, in order of name.
pub fn services_of(snapshot: &Snapshot, pod: &Pod) -> Vec<ObjectKey> {
    let selects =
        |service: &Service| service.selector.as_ref().is_some_and(|selector| matches(selector, &pod.meta.labels));
    in_namespace(snapshot, &pod.meta.key.namespace)
        .filter(|(_, one)| selects(one))
        .map(|(key, _)| key.clone())
        .collect()
}

fn in_namespace<'a>(snapshot: &'a Snapshot, namespace: &'a str) -> impl Iterator<Item = (&'a ObjectKey, &'a Service)> {
    let services = snapshot.services.range(ObjectKey::new(namespace, "")..);
    services.take_while(move |(key, _)| *key.namespace == *namespace).map(|(key, service)| (key, &**service))
}

/// The steps from a pod's side: is it ready, what does it listen on, which Services lead to it.
pub fn pod_steps(snapshot: &Snapshot, pod: &Pod, facts: &PodFacts) -> Vec<StepResult> {
    let step = |name, verdict, text: String| StepResult { name, verdict, text };
    let mut steps = Vec::new();
    steps.push(match (&facts.unready, pod.ready) {
        (_, true) => step("READY", Verdict::Ok, "it is ready".to_owned()),
        (why, false) => {
            let why = why.clone().unwrap_or_else(|| "condition Ready is not True".to_owned());
            step("READY", Verdict::Fail, format!("MS1006 {why}"))
        }
    });
    steps.push(match &facts.listening {
        None => step("SOCKETS", Verdict::Skip, "not looked at".to_owned()),
        Some(sockets) => step("SOCKETS", Verdict::Ok, format!("listens on {}", ports::listening(sockets))),
    });
    let services = services_of(snapshot, pod);
    for key in &services {
        let found = slices_of(snapshot, key).flat_map(|slice| &slice.endpoints);
        let mine: Vec<_> = found.filter(|end| end.pod.as_deref() == Some(&*pod.meta.key.name)).collect();
        let state = match mine.first() {
            None => (Verdict::Fail, "no slice of it holds this pod".to_owned()),
            Some(end) if end.terminating => (Verdict::Warn, format!("terminating, serving={}", end.serving)),
            Some(end) if end.ready => (Verdict::Ok, format!("{} is a ready endpoint", end.address)),
            Some(end) => (Verdict::Warn, format!("{} is an endpoint that is not ready", end.address)),
        };
        steps.push(step("SERVICE", state.0, format!("svc/{}: {}", key.name, state.1)));
    }
    if services.is_empty() {
        let near =
            in_namespace(snapshot, &pod.meta.key.namespace).take(limits::LABEL_SETS).filter_map(|(key, service)| {
                let near = near::compare(service.selector.as_ref()?, &pod.meta.labels)?;
                Some((near.rank(0), format!("svc/{} nearly selects it: {}", key.name, near.reasons().join("; "))))
            });
        let hint = near.min().map_or_else(String::new, |(_, text)| format!("; {text}"));
        let labels = format!("no Service selects {}{hint}", text(&pod.meta.labels));
        steps.push(step("SERVICE", if hint.is_empty() { Verdict::Skip } else { Verdict::Warn }, labels));
    }
    steps
}
