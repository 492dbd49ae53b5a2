//! Versions and compaction against a model that keeps one whole map per revision.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const TABLES: [&str; 2] = ["pods", "services"];

type Snapshot = BTreeMap<(&'static str, ObjectKey), (u64, u64, Bytes)>;

fn key(number: u8) -> ObjectKey {
    ObjectKey::new(["", "a", "a.b", "b"][usize::from(number % 4)], ["x", "y", "z"][usize::from(number / 4 % 3)])
}

/// Stages one change on both sides; a deletion of nothing is none.
fn change(mvcc: &mut Mvcc, model: &mut Vec<Snapshot>, table: &'static str, key: ObjectKey, size: Option<usize>) {
    let revision = Revision(model.len() as u64);
    let old = mvcc.get(table, &key, mvcc.head()).cloned();
    if old.is_none() && size.is_none() {
        return;
    }
    let created = old.as_ref().map_or(revision, |old| old.created);
    let body = Bytes::from(vec![revision.0 as u8; size.unwrap_or(5)]);
    let mut now = model.last().cloned().unwrap_or_default();
    match size {
        Some(_) => now.insert((table, key.clone()), (revision.0, created.0, body.clone())),
        None => now.remove(&(table, key.clone())),
    };
    model.push(now);
    let new = Arc::new(Record { key, revision, created, body: body.into() });
    mvcc.stage(Event { revision, table, old, new, deleted: size.is_none() });
}

/// What the model holds of a range, in order.
fn expected(model: &Snapshot, table: &str, range: &Range) -> Vec<(ObjectKey, u64, u64, Bytes)> {
    let wanted = |key: &ObjectKey| {
        range.namespace.as_ref().is_none_or(|namespace| *key.namespace == **namespace)
            && range.after.as_ref().is_none_or(|after| key > after)
    };
    let rows = model.iter().filter(|((of, key), _)| *of == table && wanted(key));
    rows.map(|((_, key), (revision, created, body))| (key.clone(), *revision, *created, body.clone())).collect()
}

fn check_range(mvcc: &Mvcc, model: &Snapshot, table: &str, range: &Range, at: Revision) {
    let page = mvcc.page(table, range, at);
    let mut all = expected(model, table, range);
    let beyond = all.split_off(all.len().min(range.limit.unwrap_or(usize::MAX)));
    let row = |record: &Arc<Record>| (record.key.clone(), record.revision.0, record.created.0, record.body.bytes());
    assert_eq!(page.records.iter().map(row).collect::<Vec<_>>(), all, "{table} {range:?} at {at}");
    assert_eq!(page.remaining, beyond.len(), "{table} {range:?} at {at}");
}

/// Replaying the changes after `from` over the list at `from` must give the list now, and each change must tell the
/// truth about what was there before.
fn check_replay(mvcc: &Mvcc, model: &[Snapshot], tables: &[&'static str], from: Revision, limit: usize) {
    let mut state = model[from.0 as usize].clone();
    state.retain(|(table, _), _| tables.is_empty() || tables.contains(table));
    let mut seen = from;
    while seen < mvcc.published() {
        let (events, upto) = mvcc.changes(tables, seen, limit).unwrap();
        assert!(upto > seen, "no progress at {seen}");
        for event in events {
            assert!(event.revision > seen && event.revision <= upto, "out of order");
            seen = event.revision;
            let id = (event.table, event.new.key.clone());
            let old = event.old.as_ref().map(|old| (old.revision.0, old.created.0, old.body.bytes()));
            assert_eq!(state.get(&id).cloned(), old, "old of {}", event.revision);
            if event.deleted {
                state.remove(&id);
            } else {
                state.insert(id, (event.revision.0, event.new.created.0, event.new.body.bytes()));
            }
        }
        seen = upto;
    }
    let mut now = model[mvcc.published().0 as usize].clone();
    now.retain(|(table, _), _| tables.is_empty() || tables.contains(table));
    assert_eq!(state, now, "replay from {from}");
}

fn check_all(mvcc: &Mvcc, model: &[Snapshot]) {
    for (revision, snapshot) in model.iter().enumerate() {
        let at = Revision(revision as u64);
        if at < mvcc.oldest || at > mvcc.published {
            assert!(mvcc.readable(Some(at)).is_err());
            continue;
        }
        for table in TABLES {
            for namespace in [None, Some("a"), Some("b"), Some("nobody")] {
                for (after, limit) in [(None, None), (Some(key(1)), Some(1)), (Some(key(6)), None), (None, Some(2))] {
                    let range = Range { namespace: namespace.map(str::to_owned), after, limit };
                    check_range(mvcc, snapshot, table, &range, at);
                }
            }
        }
        check_replay(mvcc, model, &[], at, 3);
        check_replay(mvcc, model, &["pods"], at, 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_kept_revision_reads_as_it_was(
        steps in prop::collection::vec((0..2usize, 0..12u8, prop::option::weighted(0.7, 0..40usize), 0..4u8), 1..60),
        history_events in 1..30usize,
        history_bytes in prop_oneof![Just(usize::MAX), 300..4000usize],
    ) {
        let limits = Limits { history_events, history_bytes, ..Limits::default() };
        let mut mvcc = Mvcc::default();
        let mut model = vec![Snapshot::new()];
        for (table, number, size, publish) in steps {
            change(&mut mvcc, &mut model, TABLES[table], key(number), size);
            prop_assert_eq!(mvcc.head().0 + 1, model.len() as u64);
            if publish == 0 {
                mvcc.publish(mvcc.head(), &limits);
                prop_assert!(mvcc.ring.len() <= history_events && mvcc.ring_bytes <= history_bytes);
                check_all(&mvcc, &model);
            }
        }
        // What nobody can ask for any more is gone: versions and tombstones are those of the ring, or live.
        mvcc.publish(mvcc.head(), &Limits { history_events: 0, ..limits });
        let versions: usize = mvcc.tables.values().flat_map(BTreeMap::values).map(|of| 1 + of.older.len()).sum();
        prop_assert_eq!(versions, model.last().map_or(0, BTreeMap::len));
        prop_assert_eq!(mvcc.ring_bytes, 0);
        check_all(&mvcc, &model);
    }
}

#[test]
fn what_is_not_published_is_not_compacted() {
    let limits = Limits { history_events: 1, ..Limits::default() };
    let (mut mvcc, mut model) = (Mvcc::default(), vec![Snapshot::new()]);
    for number in 0..5 {
        change(&mut mvcc, &mut model, "pods", key(number), Some(1));
    }
    mvcc.publish(Revision(2), &limits);
    assert_eq!((mvcc.oldest, mvcc.published(), mvcc.head()), (Revision(2), Revision(2), Revision(5)));
    assert_eq!(mvcc.page("pods", &Range::default(), mvcc.published()).records.len(), 2);
    assert_eq!(mvcc.changes(&[], Revision(2), 9).unwrap().0.len(), 0, "staged changes stay hidden");
}

#[test]
fn the_body_of_a_deleted_object_is_freed_by_compaction() {
    let (mut mvcc, mut model) = (Mvcc::default(), vec![Snapshot::new()]);
    change(&mut mvcc, &mut model, "pods", key(1), Some(1000));
    let body = Arc::downgrade(mvcc.get("pods", &key(1), Revision(1)).unwrap());
    change(&mut mvcc, &mut model, "pods", key(1), None);
    change(&mut mvcc, &mut model, "services", key(1), Some(1));
    mvcc.publish(Revision(3), &Limits::default());
    assert!(body.upgrade().is_some(), "history may still ask for it");
    mvcc.publish(Revision(3), &Limits { history_events: 1, ..Limits::default() });
    assert!(body.upgrade().is_none());
    assert!(!mvcc.tables.contains_key("pods"));
}
