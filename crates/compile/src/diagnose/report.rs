//! Findings in, the steps of a packet's way out: each step with its verdict and what was seen, the first failing one named.

use serde_json::{Value, json};

use super::codes::Step;
use super::finding::{Change, Finding, Fix, Severity};
use super::select::{count, text};
use super::slices::slices_of;
use super::{Case, diagnose, index, ports};
use crate::snapshot::{Builder, ServiceType, Snapshot, TargetPort};

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good.
    Ok,
    /// Some traffic is lost here.
    Warn,
    /// Traffic ends here.
    Fail,
    /// Does not apply, or was not looked at.
    Skip,
}

impl Verdict {
    /// As printed.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
            Self::Skip => "-",
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// Its name.
    pub name: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was seen.
    pub text: String,
}

/// Everything about one Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The steps in order.
    pub steps: Vec<StepResult>,
    /// All findings in the order of the steps.
    pub findings: Vec<Finding>,
    /// Index of the finding at the first failing step, else of the first warning.
    pub first: Option<usize>,
}

impl Report {
    /// Whether anything is wrong.
    pub fn clean(&self) -> bool {
        let bad = |step: &StepResult| matches!(step.verdict, Verdict::Fail | Verdict::Warn);
        !self.steps.iter().any(bad) && self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }

    /// For `-o json`.
    pub fn to_json(&self) -> Value {
        let step = |step: &StepResult| json!({ "step": step.name, "verdict": step.verdict.text(), "text": step.text });
        json!({
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "first": self.first.and_then(|first| self.findings.get(first)).map(|finding| finding.code.id),
        })
    }
}

/// Goes through the steps.
pub fn explain(case: &Case<'_>) -> Report {
    let mut findings = diagnose(case);
    findings.sort_by_key(|finding| (finding.code.step, finding.severity));
    let all = [
        Step::Dns,
        Step::Vip,
        Step::Policy,
        Step::Select,
        Step::Ports,
        Step::Ready,
        Step::Endpoints,
        Step::Local,
        Step::LoadBalancer,
    ];
    let mut steps: Vec<StepResult> = all.into_iter().filter_map(|step| result(case, step, &findings)).collect();
    for tried in &case.facts.tried {
        let verdict = if tried.ok { Verdict::Ok } else { Verdict::Fail };
        let text = format!("{} -> {}", tried.command, tried.said);
        steps.push(StepResult { name: tried.step, verdict, text });
    }
    let at = |severity: Severity| findings.iter().position(|finding| finding.severity == severity);
    let first = at(Severity::Problem).or_else(|| at(Severity::Warning));
    Report { steps, findings, first }
}

/// One step; none if the Service has no such step.
fn result(case: &Case<'_>, step: Step, findings: &[Finding]) -> Option<StepResult> {
    let alias = case.service.service_type == ServiceType::ExternalName;
    if alias && step != Step::Dns {
        return None;
    }
    let mine = findings.iter().filter(|finding| finding.code.step == step).min_by_key(|finding| finding.severity);
    let seen = seen(case, step)?;
    let (verdict, text) = match mine {
        Some(finding) if finding.severity == Severity::Problem => (Verdict::Fail, finding.line()),
        Some(finding) if finding.severity == Severity::Warning => (Verdict::Warn, finding.line()),
        _ => seen,
    };
    Some(StepResult { name: step.name(), verdict, text })
}

/// What a step shows when nothing is wrong with it.
fn seen(case: &Case<'_>, step: Step) -> Option<(Verdict, String)> {
    let service = case.service;
    let pods = case.pods();
    let ok = |text: String| Some((Verdict::Ok, text));
    let skip = |text: &str| Some((Verdict::Skip, text.to_owned()));
    match step {
        Step::Dns => Some(name(case)),
        Step::Vip if service.headless => skip("headless: the name leads to the pods themselves"),
        Step::Vip => {
            let addresses: Vec<_> = service.cluster_ips.iter().map(ToString::to_string).collect();
            let ports = service.ports.iter().map(|port| format!("{}/{}", port.port, ports::protocol(port.protocol)));
            let ports = ports.collect::<Vec<_>>().join(", ");
            let applied =
                case.facts.applied.map_or_else(String::new, |applied| format!(", revision {applied} applied"));
            ok(format!("{} port {ports} programmed{applied}", addresses.join(" and ")))
        }
        Step::Policy => skip("this version enforces no NetworkPolicy: none is in the way"),
        Step::Select if !case.selects() => skip("no selector: endpoints come from slices that others make"),
        Step::Select => {
            let selector = service.selector.as_ref().map(text).unwrap_or_default();
            let mut owners: Vec<_> = pods.iter().map(|pod| index::workload_of(pod)).collect();
            owners.dedup();
            let of = if owners.len() == 1 { format!(" of {}", owners[0]) } else { String::new() };
            ok(format!("{selector} matches {}{of}", count(pods.len())))
        }
        Step::Ports | Step::Ready if pods.is_empty() => None,
        Step::Ports => ok(port_texts(case).join(", ")),
        Step::Ready => {
            let ready = pods.iter().filter(|pod| pod.ready && !pod.meta.deleting).count();
            ok(format!("{ready} of {} ready", count(pods.len())))
        }
        Step::Endpoints => Some(endpoints(case)),
        Step::Local if service.internal_local || service.external_local => {
            ok("a local endpoint on every node".to_owned())
        }
        Step::LoadBalancer if service.service_type == ServiceType::LoadBalancer => {
            let addresses: Vec<_> = service.load_balancer_ips.iter().map(ToString::to_string).collect();
            if addresses.is_empty() { skip("no address yet") } else { ok(addresses.join(", ")) }
        }
        Step::Local | Step::LoadBalancer | Step::Remarks | Step::Host => None,
    }
}

fn name(case: &Case<'_>) -> (Verdict, String) {
    let key = case.key();
    let name = format!("{}.{}.svc.{}", key.name, key.namespace, case.config.domain);
    if case.service.service_type == ServiceType::ExternalName {
        return (Verdict::Ok, format!("{name} -> CNAME {}", case.service.external_name));
    }
    match &case.facts.answers {
        None => (Verdict::Skip, format!("{name}: not asked")),
        Some(answers) => {
            let answers: Vec<_> = answers.iter().map(ToString::to_string).collect();
            let said =
                if answers.is_empty() { "no address (no ready endpoint)".to_owned() } else { answers.join(", ") };
            (Verdict::Ok, format!("{name} -> {said}"))
        }
    }
}

fn port_texts(case: &Case<'_>) -> Vec<String> {
    let text = |port: &crate::snapshot::ServicePort| {
        let target = match &port.target {
            TargetPort::Number(number) => number.to_string(),
            TargetPort::Name(name) => name.to_string(),
        };
        format!("{}/{} -> {target}", port.port, ports::protocol(port.protocol))
    };
    let looked = case
        .pods()
        .iter()
        .filter(|pod| case.facts.pods.get(&pod.meta.key).is_some_and(|facts| facts.listening.is_some()))
        .count();
    let mut texts: Vec<_> = case.service.ports.iter().map(text).collect();
    if looked > 0 {
        texts.push(format!("sockets of {} looked at", count(looked)));
    }
    texts
}

/// Ready endpoints, all that are not ending, and slices.
pub fn endpoint_count(snapshot: &Snapshot, service: &api::object::ObjectKey) -> (usize, usize, usize) {
    let mut all = std::collections::BTreeMap::new();
    let mut slices = 0;
    for slice in slices_of(snapshot, service) {
        slices += 1;
        for endpoint in slice.endpoints.iter().filter(|endpoint| !endpoint.terminating) {
            // A dual-stack pod is one endpoint: it is in a slice of each family.
            let name = endpoint.pod.as_ref().map_or_else(|| endpoint.address.to_string(), ToString::to_string);
            *all.entry(name).or_insert(false) |= endpoint.ready;
        }
    }
    (all.values().filter(|ready| **ready).count(), all.len(), slices)
}

fn endpoints(case: &Case<'_>) -> (Verdict, String) {
    let (ready, all, slices) = endpoint_count(case.snapshot, case.key());
    let text = format!("{ready} of {all} endpoints ready, in {slices} slice{}", if slices == 1 { "" } else { "s" });
    (if ready == 0 { Verdict::Fail } else { Verdict::Ok }, text)
}

/// The snapshot as it would be with a fix applied to `object`, the fix's subject as the API shows it.
pub fn patched(snapshot: &Snapshot, fix: &Fix, object: &Value) -> Option<Snapshot> {
    let (subject, change) = fix.change.as_ref()?;
    let new = match change {
        Change::Merge(patch) => api::patch::merge_patch(object, patch),
        Change::Json(patch) => api::patch::json_patch(object, patch),
    };
    let plural = match subject.kind {
        "Service" => "services",
        "EndpointSlice" => "endpointslices",
        _ => return None,
    };
    let mut builder = Builder::over(snapshot);
    builder.put(plural, &subject.key, api::object::Revision(u64::MAX), new.ok()?.to_string().as_bytes()).ok()?;
    Some(Snapshot::clone(&builder.publish(snapshot.revision).0))
}

/// What a fix would lead to, in one line: `case` is that of the patched snapshot.
pub fn outcome(case: &Case<'_>) -> String {
    let left: Vec<Finding> = diagnose(case)
        .into_iter()
        .filter(|finding| finding.severity < Severity::Note && finding.code.id != "MS1202")
        .collect();
    let ready = if case.selects() {
        case.pods().iter().filter(|pod| pod.ready && !pod.meta.deleting).count()
    } else {
        endpoint_count(case.snapshot, case.key()).0
    };
    let endpoints = format!("{ready} endpoint{}", if ready == 1 { "" } else { "s" });
    match left.iter().min_by_key(|finding| finding.severity) {
        None => format!("{endpoints}, nothing left to mend"),
        Some(next) => format!("{endpoints}; then {}", next.line()),
    }
}
