//! Who goes when an owner goes: tables, and random graphs with circles that must come to rest.

use api::kinds::CONFIG_MAP;
use proptest::prelude::*;

use super::*;

fn meta(uid: &str, owners: &[&str]) -> Meta {
    let owner =
        |uid: &&str| Owner { uid: (*uid).into(), name: (*uid).into(), block_owner_deletion: true, ..Owner::default() };
    Meta {
        name: uid.into(),
        namespace: "ns".into(),
        uid: uid.into(),
        owner_references: owners.iter().map(owner).collect(),
        ..Meta::default()
    }
}

fn deleting(mut meta: Meta, finalizer: &str) -> Meta {
    meta.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
    meta.finalizers = vec![finalizer.into()];
    meta
}

fn absent(uids: &[&str]) -> BTreeSet<Uid> {
    uids.iter().map(|uid| (*uid).into()).collect()
}

#[test]
fn the_last_owner_takes_its_dependents_along() {
    let mut graph = Graph::default();
    graph.put(&CONFIG_MAP, &meta("a", &[]));
    graph.put(&CONFIG_MAP, &meta("b", &["a", "x"]));
    assert!(graph.decide("b", &absent(&[])).is_empty(), "unconfirmed absence counts for nothing");
    assert_eq!(graph.doubts("b").len(), 1);
    assert_eq!(format!("{:?}", graph.decide("b", &absent(&["x"]))), "[edit configmaps ns/b: Disown([\"x\"])]");
    assert_eq!(graph.delete("a"), absent(&["b"]));
    assert_eq!(format!("{:?}", graph.decide("b", &absent(&["a", "x"]))), "[delete configmaps ns/b]");
}

#[test]
fn foreground_waits_for_blocking_dependents_and_orphans_are_let_go() {
    let mut graph = Graph::default();
    graph.put(&CONFIG_MAP, &meta("b", &["a"]));
    let touched = graph.put(&CONFIG_MAP, &deleting(meta("a", &[]), FOREGROUND));
    assert_eq!(touched, absent(&["a", "b"]));
    assert!(graph.decide("a", &absent(&[])).is_empty());
    assert_eq!(format!("{:?}", graph.decide("b", &absent(&[]))), "[delete configmaps ns/b]");
    assert_eq!(graph.delete("b"), absent(&["a"]));
    let done = "[edit configmaps ns/a: RemoveFinalizer(\"foregroundDeletion\")]";
    assert_eq!(format!("{:?}", graph.decide("a", &absent(&[]))), done);

    graph.put(&CONFIG_MAP, &meta("d", &["c"]));
    graph.put(&CONFIG_MAP, &deleting(meta("c", &[]), ORPHAN));
    assert_eq!(format!("{:?}", graph.decide("c", &absent(&[]))), "[edit configmaps ns/d: Disown([\"c\"])]");
    graph.put(&CONFIG_MAP, &meta("d", &[]));
    assert_eq!(format!("{:?}", graph.decide("c", &absent(&[]))), "[edit configmaps ns/c: RemoveFinalizer(\"orphan\")]");
}

/// Carries decisions out on a toy API until nothing is left to do.
fn settle(objects: &mut BTreeMap<String, Meta>, graph: &mut Graph, mut queue: BTreeSet<Uid>) {
    let mut steps = 0;
    while let Some(uid) = queue.pop_first() {
        steps += 1;
        assert!(steps < 10_000, "does not come to rest");
        let confirmed: BTreeSet<Uid> = graph
            .doubts(&uid)
            .into_iter()
            .map(|(_, owner)| owner.uid)
            .filter(|owner| !objects.contains_key(&**owner))
            .collect();
        for write in graph.decide(&uid, &confirmed) {
            queue.extend(perform(objects, graph, &write));
            queue.insert(uid.clone());
        }
    }
}

fn perform(objects: &mut BTreeMap<String, Meta>, graph: &mut Graph, write: &Write) -> BTreeSet<Uid> {
    let (target, gone) = match write {
        Write::Delete { target, propagation: Some("Foreground"), .. } => {
            let object = objects.get_mut(&*target.uid).unwrap();
            *object = deleting(object.clone(), FOREGROUND);
            (target, false)
        }
        Write::Delete { target, .. } => (target, true),
        Write::Edit { target, edit: Edit::Disown(uids), .. } => {
            let object = objects.get_mut(&*target.uid).unwrap();
            object.owner_references.retain(|owner| !uids.contains(&owner.uid));
            (target, false)
        }
        Write::Edit { target, edit: Edit::RemoveFinalizer(_), .. } => (target, true),
        other => panic!("unexpected {other:?}"),
    };
    if gone {
        objects.remove(&*target.uid);
        graph.delete(&target.uid)
    } else {
        graph.put(&CONFIG_MAP, &objects[&*target.uid])
    }
}

proptest! {
    #[test]
    fn circles_come_to_rest(
        edges in proptest::collection::vec((0_u8..6, 0_u8..6), 0..14),
        mode in prop_oneof![Just("Background"), Just(FOREGROUND), Just(ORPHAN)],
    ) {
        let mut objects = BTreeMap::new();
        let mut graph = Graph::default();
        for number in 0..6_u8 {
            let mut owners: Vec<String> =
                edges.iter().filter(|(child, owner)| *child == number && owner != child).map(|(_, owner)| format!("u{owner}")).collect();
            owners.sort();
            owners.dedup();
            let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
            objects.insert(format!("u{number}"), meta(&format!("u{number}"), &owners));
        }
        for object in objects.values() {
            graph.put(&CONFIG_MAP, object);
        }
        let before = objects.clone();
        let queue = if mode == "Background" {
            objects.remove("u0");
            graph.delete("u0")
        } else {
            let root = deleting(objects["u0"].clone(), mode);
            objects.insert("u0".to_owned(), root.clone());
            graph.put(&CONFIG_MAP, &root)
        };
        settle(&mut objects, &mut graph, queue);
        prop_assert!(!objects.contains_key("u0"), "the deleted object is gone");
        for (uid, object) in &objects {
            prop_assert!(object.owner_references.iter().all(|owner| objects.contains_key(&*owner.uid)));
            prop_assert!(object.deletion_timestamp.is_none(), "{} is left half deleted", uid);
        }
        for (uid, object) in &before {
            if object.owner_references.is_empty() && uid != "u0" {
                prop_assert!(objects.contains_key(uid), "{} had no owner and lives on", uid);
            }
        }
        if mode == ORPHAN {
            prop_assert_eq!(objects.len(), 5, "orphans live on");
        }
    }
}
