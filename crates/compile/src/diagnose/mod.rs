//! Turns a Service, everything around it and what was observed of its pods into findings: what is wrong, where, how it
//! is known and what to type. The same facts always give the same findings; nothing here looks at the world itself.
//!
//! The Warnings of the API, the wide columns, Events, `mainstay explain` and `mainstay doctor` all come from here.

mod addresses;
mod codes;
pub mod facts;
mod finding;
pub mod host_codes;
mod index;
mod names;
mod near;
mod outside;
mod pod;
mod ports;
mod ready;
mod report;
mod select;
mod slices;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api::object::ObjectKey;

pub use codes::{CODES, Code, Step, by_id};
pub use facts::{Facts, PodFacts, Socket, Tried};
pub use finding::{Change, Finding, Fix, Severity, Subject};
pub use host_codes::HOST_CODES;
pub use index::{Index, Workload, workload_of};
pub use pod::{pod_steps, services_of};
pub use report::{Report, StepResult, Verdict, endpoint_count, explain, outcome, patched};
pub use slices::{endpoints_findings, slice_findings};

use crate::allocate::Cidr;
use crate::endpoints::index::matches;
use crate::load_balancer::Pools;
use crate::snapshot::{Pod, Service, ServiceType, Snapshot};

/// Limits of what one diagnosis looks at.
pub mod limits {
    /// Label sets of one namespace that are compared with a selector that matches nothing.
    pub const LABEL_SETS: usize = 4_000;
    /// Namespaces in which the same selector is looked for.
    pub const NAMESPACES: usize = 256;
    /// Slices of one namespace that are searched for a label that was left out.
    pub const SLICES: usize = 2_000;
    /// Items of evidence in one finding.
    pub const EVIDENCE: usize = 6;
    /// Longest summary in bytes: what a `Warning:` header may have without being cut.
    pub const SUMMARY: usize = 120;
}

/// What does not change from one Service to the next.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Cluster domain.
    pub domain: Box<str>,
    /// Ranges of Services.
    pub service_cidrs: Vec<Cidr>,
    /// Pools of load-balancer addresses.
    pub pools: Pools,
}

/// One Service with everything that a diagnosis may look at.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// Settings.
    pub config: &'a Config,
    /// Objects.
    pub snapshot: &'a Snapshot,
    /// Label sets, owners of addresses, workloads.
    pub index: &'a Index,
    /// What was observed.
    pub facts: &'a Facts,
    /// The Service, as it is or as it is proposed.
    pub service: &'a Service,
}

impl<'a> Case<'a> {
    /// Key of the Service.
    pub fn key(&self) -> &'a ObjectKey {
        &self.service.meta.key
    }

    /// Whether slices are made from a selector.
    pub fn selects(&self) -> bool {
        self.service.service_type != ServiceType::ExternalName && self.service.selector.is_some()
    }

    /// Pods that the selector matches and that have not ended.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        selected(self.snapshot, self.index, self.service)
    }

    fn finding(&self, code: &'static Code, severity: Severity, field: &str, summary: String) -> Finding {
        Finding::new(code, severity, Subject::service(self.key()), field, summary)
    }
}

/// Pods that a Service selects and that have not ended, in order of name.
pub fn selected(snapshot: &Snapshot, index: &Index, service: &Service) -> Vec<Arc<Pod>> {
    let Some(selector) = &service.selector else { return Vec::new() };
    let keys = index.pods_of(service);
    let pods = keys.iter().filter_map(|key| snapshot.pods.get(key));
    pods.filter(|pod| !pod.finished && matches(selector, &pod.meta.labels)).cloned().collect()
}

/// Everything that can be said about one Service, worst first within the order of a packet's way.
pub fn diagnose(case: &Case<'_>) -> Vec<Finding> {
    let pods = case.pods();
    let mut findings = Vec::new();
    names::external_name(case, &mut findings);
    if case.service.service_type == ServiceType::ExternalName {
        return findings;
    }
    names::answers(case, &mut findings);
    outside::lag(case, &mut findings);
    select::selector(case, &pods, &mut findings);
    select::workloads(case, &pods, &mut findings);
    slices::of_service(case, &mut findings);
    ports::targets(case, &pods, &mut findings);
    ready::pods(case, &pods, &mut findings);
    addresses::endpoints(case, &mut findings);
    outside::local(case, &pods, &mut findings);
    outside::node_ports(case, &mut findings);
    outside::skew(case, &mut findings);
    outside::balancer(case, &mut findings);
    outside::exposure(case, &mut findings);
    ready::rollout(case, &pods, &mut findings);
    names::headless(case, &mut findings);
    findings
}

/// The one word for the column PROBLEM: of the worst finding, the first along a packet's way.
pub fn word(findings: &[Finding]) -> Option<&'static str> {
    let worst = findings.iter().filter(|finding| finding.severity < Severity::Note);
    worst.min_by_key(|finding| finding.severity).map(|finding| finding.code.word)
}

/// What a client is told when it writes: findings of codes that are about the manifest, not about a passing state.
pub fn warnings(findings: &[Finding]) -> Vec<String> {
    let told = findings.iter().filter(|finding| finding.code.at_write && finding.severity < Severity::Note);
    told.map(Finding::line).collect()
}
