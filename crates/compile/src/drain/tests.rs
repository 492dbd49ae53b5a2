//! Small worlds: one Service `web` with pod `a` leaving and, mostly, pod `b` staying.

use std::sync::Arc;

use super::*;
use crate::snapshot::{Endpoint, Family, Labels, Meta, Service};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn endpoint(uid: &str, ready: bool, terminating: bool) -> Endpoint {
    Endpoint {
        address: "10.244.0.2".parse().unwrap(),
        ready,
        serving: true,
        terminating,
        node: None,
        zone: None,
        hostname: None,
        pod: Some(uid.into()),
        pod_uid: Some(uid.into()),
        hint_zones: Vec::new(),
        hint_nodes: Vec::new(),
        weight: None,
    }
}

fn world(deleting: bool, endpoints: Vec<Endpoint>) -> Snapshot {
    let meta = |name: &str, pairs: &[(&str, &str)]| Meta {
        key: ObjectKey::new("ns", name),
        uid: name.into(),
        revision: Revision(40),
        labels: labels(pairs),
        deleting: false,
    };
    let mut snapshot = Snapshot { revision: Revision(50), ..Snapshot::default() };
    let pod = Pod { meta: Meta { deleting, ..meta("a", &[("app", "web")]) }, ..Pod::default() };
    snapshot.pods.insert_mut(pod.meta.key.clone(), Arc::new(pod));
    let service = Service { selector: Some(labels(&[("app", "web")])), meta: meta("web", &[]), ..Service::default() };
    snapshot.services.insert_mut(service.meta.key.clone(), Arc::new(service));
    let slice = EndpointSlice {
        meta: meta("web-1", &[("kubernetes.io/service-name", "web")]),
        family: Some(Family::V4),
        ports: Vec::new(),
        endpoints,
        owner_uid: None,
        trigger_time: None,
        weights_unread: None,
    };
    snapshot.slices_of.insert_mut(ObjectKey::new("ns", "web"), Arc::new([slice.meta.key.clone()]));
    snapshot.slices.insert_mut(slice.meta.key.clone(), Arc::new(slice));
    snapshot
}

fn decide_at(snapshot: &Snapshot, applied: u64, elapsed_ms: u64, awaited: Option<u64>) -> Decision {
    let pod = ObjectKey::new("ns", "a");
    let (applied, awaited) = (Revision(applied), awaited.map(Revision));
    decide(&Input { pod: &pod, uid: "a", snapshot, applied, awaited, elapsed_ms, grace_seconds: 30 })
}

#[test]
fn held_until_the_deletion_is_seen_and_applied() {
    let before = world(false, vec![endpoint("a", true, false), endpoint("b", true, false)]);
    assert_eq!(decide_at(&before, 99, 0, None), Decision::Hold { awaited: None });
    let seen = world(true, vec![endpoint("a", true, false), endpoint("b", true, false)]);
    assert_eq!(decide_at(&seen, 99, 0, None), Decision::Hold { awaited: None });
    let terminating = world(true, vec![endpoint("a", false, true), endpoint("b", true, false)]);
    assert_eq!(decide_at(&terminating, 39, 0, None), Decision::Hold { awaited: Some(Revision(40)) });
    assert_eq!(decide_at(&terminating, 40, 0, Some(40)), Decision::Release(Reason::Proven(Revision(40))));
}

#[test]
fn later_changes_of_the_slice_do_not_prolong_the_wait() {
    let later = world(true, vec![endpoint("a", false, true), endpoint("b", true, false)]);
    assert_eq!(decide_at(&later, 30, 0, Some(30)), Decision::Release(Reason::Proven(Revision(30))));
}

#[test]
fn removal_from_the_slice_still_waits_for_the_nodes() {
    let gone = world(true, vec![endpoint("b", true, false)]);
    assert_eq!(decide_at(&gone, 49, 0, None), Decision::Hold { awaited: Some(Revision(50)) });
    assert_eq!(decide_at(&gone, 50, 0, Some(50)), Decision::Release(Reason::Proven(Revision(50))));
}

#[test]
fn the_last_endpoint_is_released_at_once() {
    let last = world(true, vec![endpoint("a", false, true), endpoint("b", false, false)]);
    assert_eq!(
        decide_at(&last, 0, 0, None),
        Decision::Release(Reason::LastEndpoint(vec![ObjectKey::new("ns", "web")]))
    );
}

#[test]
fn the_wait_is_bounded_by_half_the_grace_period() {
    let terminating = world(true, vec![endpoint("a", false, true), endpoint("b", true, false)]);
    let timed_out = Decision::Release(Reason::TimedOut { awaited: Some(Revision(40)) });
    assert_eq!(decide_at(&terminating, 39, 14_999, None), Decision::Hold { awaited: Some(Revision(40)) });
    assert_eq!(decide_at(&terminating, 39, 15_000, None), timed_out);
    assert_eq!([0, 4, 5, 8, 10, 30].map(budget_ms), [0, 0, 0, 3000, 5000, 15_000]);
}

#[test]
fn without_service_or_grace_nothing_is_waited_for() {
    let mut lonely = world(true, vec![endpoint("b", true, false)]);
    lonely.services.remove_mut(&ObjectKey::new("ns", "web"));
    assert_eq!(decide_at(&lonely, 0, 0, None), Decision::Release(Reason::NoService));
    let pod = ObjectKey::new("ns", "a");
    let full = world(false, vec![endpoint("a", true, false)]);
    let (applied, awaited) = (Revision(0), None);
    let input = Input { pod: &pod, uid: "a", snapshot: &full, applied, awaited, elapsed_ms: 0, grace_seconds: 0 };
    assert_eq!(decide(&input), Decision::Release(Reason::NoGrace));
}
