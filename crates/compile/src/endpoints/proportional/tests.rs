//! Zones and endpoints in, hints out: every reason to have none, the shares, and that hints stay.

use std::sync::Arc;

use api::object::ObjectKey;
use proptest::prelude::*;

use super::*;
use crate::snapshot::{Meta, Node};

fn zones_of(cpus: &[(&str, u64)]) -> Zones {
    cpus.iter().map(|(zone, cpu)| ((*zone).into(), *cpu)).collect()
}

fn ready<'a>(zones: &[&'a str]) -> Vec<Ready<'a>> {
    zones.iter().map(|zone| Ready { zone: (!zone.is_empty()).then_some(*zone), hint: None }).collect()
}

#[test]
fn reasons_for_no_hints() {
    let two = zones_of(&[("a", 1000), ("b", 1000)]);
    let rows = [
        (None, vec!["a", "b"], NODE_INFORMATION),
        (Some(&two), vec!["a"], "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        (Some(&two), vec![], "Insufficient number of endpoints (0 endpoints, 2 zones)"),
        (Some(&two), vec!["a", ""], NO_ZONE),
    ];
    for (zones, endpoints, why) in rows {
        assert_eq!(hints(zones, &ready(&endpoints)), Err(why.to_owned()), "{endpoints:?}");
    }
    // 2/3 of 3 endpoints may be 1 or more; 3 zones of 3 with one tiny: somebody would carry more than a fifth too much.
    let uneven = zones_of(&[("a", 10_000), ("b", 100), ("c", 100)]);
    let why = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold \
               (3 endpoints, 3 zones)";
    assert_eq!(hints(Some(&uneven), &ready(&["a", "b", "c"])), Err(why.to_owned()));
}

#[test]
fn which_nodes_count() {
    let node = |name: &str, zone: Option<&str>, cpu_milli, ready, control_plane| Node {
        meta: Meta { key: ObjectKey::new("", name), ..Meta::default() },
        zone: zone.map(Box::from),
        cpu_milli,
        ready,
        control_plane,
        ..Node::default()
    };
    let of = |nodes: &[Node]| {
        let mut snapshot = Snapshot::default();
        for node in nodes {
            snapshot.nodes.insert_mut(node.meta.key.clone(), Arc::new(node.clone()));
        }
        zones(&snapshot)
    };
    let (a, b) = (node("n1", Some("a"), 4000, true, false), node("n2", Some("b"), 2000, true, false));
    assert_eq!(of(&[a.clone(), b.clone()]), Some(zones_of(&[("a", 4000), ("b", 2000)])));
    assert_eq!(
        of(&[a.clone(), b.clone(), node("n3", Some("b"), 500, true, false)]),
        Some(zones_of(&[("a", 4000), ("b", 2500)]))
    );
    assert_eq!(of(std::slice::from_ref(&a)), None, "one zone");
    assert_eq!(of(&[a.clone(), b.clone(), node("n3", None, 1, true, false)]), None, "a ready node without zone");
    assert_eq!(of(&[a.clone(), b.clone(), node("n3", Some("b"), 0, true, false)]), None, "a ready node without CPU");
    for ignored in [node("n3", None, 0, false, false), node("n3", None, 0, true, true)] {
        assert_eq!(of(&[a.clone(), b.clone(), ignored]), Some(zones_of(&[("a", 4000), ("b", 2000)])));
    }
}

/// CPU of each zone, zones of the endpoints, and how many are then meant for each zone.
type Row<'a> = (&'a [(&'a str, u64)], &'a [&'a str], &'a [(&'a str, usize)]);

#[test]
fn endpoints_are_meant_for_zones_in_proportion() {
    let rows: &[Row<'_>] = &[
        (&[("a", 1), ("b", 1)], &["a", "b"], &[("a", 1), ("b", 1)]),
        (&[("a", 1), ("b", 1)], &["a", "a", "a", "a"], &[("a", 2), ("b", 2)]),
        (&[("a", 4), ("b", 4), ("c", 4)], &["a", "a", "b", "b", "c", "c"], &[("a", 2), ("b", 2), ("c", 2)]),
        (&[("a", 2), ("b", 1)], &["a", "b", "b", "b", "b", "b"], &[("a", 4), ("b", 2)]),
        // Zone c has endpoints but no ready node: nobody there asks for them.
        (&[("a", 1), ("b", 1)], &["a", "b", "c", "c"], &[("a", 2), ("b", 2)]),
    ];
    for (cpus, endpoints, expected) in rows {
        let hints = hints(Some(&zones_of(cpus)), &ready(endpoints)).unwrap();
        let counts: Vec<(&str, usize)> =
            count(&hints.iter().map(|zone| &**zone).collect::<Vec<_>>()).into_iter().collect();
        assert_eq!(counts, *expected, "{cpus:?} {endpoints:?}");
    }
}

#[test]
fn only_as_many_move_as_must() {
    let zones = zones_of(&[("a", 1000), ("b", 1000)]);
    let mut endpoints = ready(&["a", "a", "b", "b"]);
    let first = hints(Some(&zones), &endpoints).unwrap();
    assert_eq!(first.iter().map(|zone| &**zone).collect::<Vec<_>>(), ["a", "a", "b", "b"]);
    for (endpoint, hint) in endpoints.iter_mut().zip(&first) {
        endpoint.hint = Some(hint);
    }
    // Two more in zone a: the others keep theirs, and b gets one.
    endpoints.extend(ready(&["a", "a"]));
    let second = hints(Some(&zones), &endpoints).unwrap();
    assert_eq!(second[..4], first[..]);
    assert_eq!(second.iter().filter(|zone| &***zone == "b").count(), 3);
}

proptest! {
    #[test]
    fn hints_hold_their_limits_and_stay(
        cpus in proptest::collection::vec(1_u64..8, 2..5),
        places in proptest::collection::vec((0_usize..6, proptest::option::of(0_usize..6)), 0..40),
    ) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let zones: Zones = cpus.iter().enumerate().map(|(index, cpu)| (names[index].into(), *cpu)).collect();
        let endpoints: Vec<Ready<'_>> = places
            .iter()
            .map(|(zone, hint)| Ready { zone: Some(names[*zone]), hint: hint.map(|hint| names[hint]) })
            .collect();
        if let Ok(first) = hints(Some(&zones), &endpoints) {
            prop_assert_eq!(first.len(), endpoints.len());
            prop_assert!(first.iter().all(|zone| zones.contains_key(zone)), "{:?}: a zone that asks", first);
            let again: Vec<Ready<'_>> = endpoints
                .iter()
                .zip(&first)
                .map(|(endpoint, hint)| Ready { hint: Some(hint), ..*endpoint })
                .collect();
            prop_assert_eq!(hints(Some(&zones), &again), Ok(first.clone()), "a second look changes nothing");
        }
    }
}
