//! Which endpoints one node may use: candidates of a Service port in, the cluster set and the local set out.
//!
//! KEP-2433 (hints), KEP-1669 and KEP-2086 (terminating endpoints, internal traffic policy).

use std::net::IpAddr;

use crate::snapshot::Endpoint;

/// An endpoint of one Service port.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<'a> {
    /// Address.
    pub address: IpAddr,
    /// Resolved port number.
    pub port: u16,
    /// Conditions, node and hints.
    pub endpoint: &'a Endpoint,
}

/// The node for which endpoints are chosen.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// Its name.
    pub node: &'a str,
    /// Its zone, if it has one.
    pub zone: Option<&'a str>,
}

impl Candidate<'_> {
    fn ready(&self) -> bool {
        self.endpoint.ready
    }

    /// Shutting down, but still answering: used only when nothing is ready.
    fn fallback(&self) -> bool {
        self.endpoint.serving && self.endpoint.terminating
    }

    fn local(&self, here: Here<'_>) -> bool {
        self.endpoint.node.as_deref() == Some(here.node)
    }
}

/// Ready endpoints, narrowed by hints; when none is ready, those that terminate and still serve. Indexes into
/// `candidates`, in order.
pub fn cluster_set(candidates: &[Candidate<'_>], here: Here<'_>) -> Vec<usize> {
    let ready = indexes(candidates, |candidate| candidate.ready());
    if ready.is_empty() {
        return indexes(candidates, |candidate| candidate.fallback());
    }
    hinted(candidates, &ready, here).unwrap_or(ready)
}

/// The same among the endpoints of this node, without hints: policy Local.
pub fn local_set(candidates: &[Candidate<'_>], here: Here<'_>) -> Vec<usize> {
    let ready = indexes(candidates, |candidate| candidate.ready() && candidate.local(here));
    if !ready.is_empty() {
        return ready;
    }
    indexes(candidates, |candidate| candidate.fallback() && candidate.local(here))
}

fn indexes(candidates: &[Candidate<'_>], wanted: impl Fn(&Candidate<'_>) -> bool) -> Vec<usize> {
    (0..candidates.len()).filter(|index| wanted(&candidates[*index])).collect()
}

/// Endpoints meant for this node, else for its zone. One missing hint anywhere switches hints off: it means that the
/// one who wrote them has not seen every endpoint yet.
fn hinted(candidates: &[Candidate<'_>], ready: &[usize], here: Here<'_>) -> Option<Vec<usize>> {
    let endpoints = || ready.iter().map(|index| candidates[*index].endpoint);
    if endpoints().all(|endpoint| !endpoint.hint_nodes.is_empty()) {
        let mine = choose(candidates, ready, |endpoint| endpoint.hint_nodes.iter().any(|node| &**node == here.node));
        if mine.is_some() {
            return mine;
        }
    }
    let zone = here.zone?;
    if !endpoints().all(|endpoint| !endpoint.hint_zones.is_empty()) {
        return None;
    }
    choose(candidates, ready, |endpoint| endpoint.hint_zones.iter().any(|hint| &**hint == zone))
}

fn choose(candidates: &[Candidate<'_>], from: &[usize], wanted: impl Fn(&Endpoint) -> bool) -> Option<Vec<usize>> {
    let chosen: Vec<usize> = from.iter().copied().filter(|index| wanted(candidates[*index].endpoint)).collect();
    (!chosen.is_empty()).then_some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(ready: bool, serving: bool, terminating: bool, node: &str, hints: (&[&str], &[&str])) -> Endpoint {
        let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        Endpoint {
            address: IpAddr::from([10, 0, 0, 1]),
            ready,
            serving,
            terminating,
            node: Some(node.into()),
            zone: None,
            hostname: None,
            pod: None,
            pod_uid: None,
            hint_zones: names(hints.0),
            hint_nodes: names(hints.1),
            weight: None,
        }
    }

    /// (ready, serving, terminating, node, zone hints, node hints) of each endpoint; cluster set; local set.
    type Case<'a> = (&'a [(bool, bool, bool, &'a str, &'a [&'a str], &'a [&'a str])], &'a [usize], &'a [usize]);

    #[test]
    fn sets_follow_readiness_hints_and_locality() {
        let cases: &[Case<'_>] = &[
            (&[], &[], &[]),
            (&[(true, true, false, "n1", &[], &[]), (false, false, false, "n1", &[], &[])], &[0], &[0]),
            (&[(false, true, true, "n1", &[], &[]), (false, false, true, "n1", &[], &[])], &[0], &[0]),
            (&[(true, true, false, "n2", &[], &[]), (false, true, true, "n1", &[], &[])], &[0], &[1]),
            (&[(true, true, false, "n1", &["a"], &[]), (true, true, false, "n2", &["b"], &[])], &[0], &[0]),
            (&[(true, true, false, "n1", &["a"], &[]), (true, true, false, "n2", &[], &[])], &[0, 1], &[0]),
            (&[(true, true, false, "n1", &["b"], &[]), (true, true, false, "n2", &["b"], &[])], &[0, 1], &[0]),
            (&[(true, true, false, "n1", &["b"], &["n2"]), (true, true, false, "n2", &["a"], &["n1"])], &[1], &[0]),
            (&[(true, true, false, "n1", &["a"], &["n2"]), (true, true, false, "n2", &["b"], &["n3"])], &[0], &[0]),
        ];
        let here = Here { node: "n1", zone: Some("a") };
        for (index, (endpoints, cluster, local)) in cases.iter().enumerate() {
            let owned: Vec<Endpoint> = endpoints.iter().map(|e| endpoint(e.0, e.1, e.2, e.3, (e.4, e.5))).collect();
            let candidates: Vec<Candidate<'_>> =
                owned.iter().map(|endpoint| Candidate { address: endpoint.address, port: 80, endpoint }).collect();
            assert_eq!(cluster_set(&candidates, here), *cluster, "case {index}");
            assert_eq!(local_set(&candidates, here), *local, "case {index}");
        }
    }
}
