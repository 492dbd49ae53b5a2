//! The handle: what readers, watchers and writers see while the log is slow, fails, or is cut.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::*;
use crate::log::memory::MemoryLog;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("perf", name)
}

fn open(log: &MemoryLog) -> Store {
    Store::open(Box::new(log.clone()), Limits::default()).unwrap()
}

async fn put(store: &Store, table: &'static str, name: &str, body: &str) -> Result<Revision, String> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let change = |txn: &mut Txn<'_>| -> Result<(), ()> {
        txn.put(table, key(name), body);
        Ok(())
    };
    store.write(change).await.map(|(_, revision)| revision).map_err(|error| error.to_string())
}

fn names(records: &[Arc<Record>]) -> Vec<String> {
    records
        .iter()
        .map(|record| format!("{}={}", record.key.name, String::from_utf8_lossy(&record.body.bytes())))
        .collect()
}

fn listed(store: &Store, at: Option<u64>) -> Vec<String> {
    names(&store.list("pods", &Range::default(), at.map(Revision)).unwrap().records)
}

/// Polls once: enough to get a write past its closure, as nothing else holds the writer lock.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_transaction_sees_itself_and_gets_one_revision_per_change() {
    let store = open(&MemoryLog::default());
    put(&store, "pods", "b", "1").await.unwrap();
    let (created, last) = store
        .write(|txn| -> Result<Revision, ()> {
            assert_eq!(txn.next_revision(), Revision(2));
            txn.put("pods", key("a"), Bytes::from_static(b"2"));
            txn.delete("pods", &key("b"), Bytes::from_static(b"gone"));
            assert_eq!(txn.get("pods", &key("b")), None);
            assert_eq!(names(&txn.scan("pods", None)), ["a=2"]);
            txn.put("pods", key("b"), Bytes::from_static(b"4"));
            txn.delete("pods", &key("never was"), Bytes::new());
            txn.put("pods", ObjectKey::new("qa", "c"), Bytes::from_static(b"5"));
            assert_eq!(names(&txn.scan("pods", Some("perf"))), ["a=2", "b=4"]);
            assert_eq!(names(&txn.scan("pods", Some("qa"))), ["c=5"]);
            assert_eq!(txn.next_revision(), Revision(6));
            Ok(txn.get("pods", &key("b")).unwrap().created)
        })
        .await
        .unwrap();
    assert_eq!((created, last, store.revision()), (Revision(4), Revision(5), Revision(5)));
    assert_eq!(listed(&store, None), ["a=2", "b=4", "c=5"]);
    assert_eq!(listed(&store, Some(3)), ["a=2"]);
    assert_eq!(listed(&store, Some(1)), ["b=1"]);
    let (events, seen) = store.watch(&["pods"], Revision(1)).unwrap().next().await.unwrap();
    assert_eq!(seen, Revision(5));
    let shown: Vec<_> = events.iter().map(|event| (event.revision.0, event.deleted, event.old.is_some())).collect();
    assert_eq!(shown, [(2, false, false), (3, true, true), (4, false, false), (5, false, false)]);
    assert_eq!(&events[1].new.body.bytes()[..], b"gone");
    assert_eq!((events[1].new.revision, events[1].new.created), (Revision(3), Revision(1)));
}

#[tokio::test]
async fn a_refusal_or_no_change_writes_nothing() {
    let log = MemoryLog::default();
    let store = open(&log);
    put(&store, "pods", "a", "1").await.unwrap();
    let refused = store
        .write(|txn| -> Result<(), &str> {
            txn.put("pods", key("b"), Bytes::from_static(b"2"));
            Err("quota")
        })
        .await;
    assert!(matches!(refused, Err(WriteError::Refused("quota"))));
    let ((), revision) = store.write(|_| Ok::<_, ()>(())).await.unwrap();
    assert_eq!((revision, log.batches()), (Revision(1), vec![1]));
    assert_eq!(listed(&store, None), ["a=1"]);
    assert_eq!(put(&store, "pods", "b", "2").await, Ok(Revision(2)), "no revision was used up");
}

#[tokio::test]
async fn nothing_is_shown_before_it_is_durable_but_the_next_writer_sees_it() {
    let log = MemoryLog::default();
    let store = open(&log);
    put(&store, "pods", "a", "1").await.unwrap();
    let mut watch = store.watch(&[], Revision(1)).unwrap();
    log.hold();
    let mut first = pin!(put(&store, "pods", "a", "2"));
    assert!(poll_once(first.as_mut()).is_pending());
    log.wait_for_append();
    // Reads go on during the sync, and see only what is durable.
    assert_eq!((listed(&store, None), store.revision()), (vec!["a=1".to_owned()], Revision(1)));
    let future = ReadError::Future { asked: Revision(2), current: Revision(1) };
    assert_eq!(store.list("pods", &Range::default(), Some(Revision(2))).unwrap_err(), future);
    assert!(poll_once(pin!(watch.next())).is_pending());
    // A writer that saw un-synced state and changed nothing must not answer before that state is safe.
    let mut looked = pin!(store.write(|txn| Ok::<_, ()>(txn.get("pods", &key("a")).unwrap().body.bytes())));
    assert!(poll_once(looked.as_mut()).is_pending());
    log.release();
    assert_eq!(first.await, Ok(Revision(2)));
    assert_eq!(looked.await.unwrap(), (Bytes::from_static(b"2"), Revision(2)));
    let (events, seen) = watch.next().await.unwrap();
    assert_eq!((events.len(), seen), (1, Revision(2)));
}

#[tokio::test]
async fn writers_that_wait_share_one_commit() {
    let log = MemoryLog::default();
    let store = open(&log);
    log.hold();
    let mut first = Box::pin(put(&store, "pods", "first", "x"));
    assert!(poll_once(first.as_mut()).is_pending());
    log.wait_for_append();
    let mut rest: Vec<_> = (0..50).map(|_| Box::pin(put(&store, "pods", "same", "x"))).collect();
    for write in &mut rest {
        assert!(poll_once(write.as_mut()).is_pending());
    }
    log.release();
    assert_eq!(first.await, Ok(Revision(1)));
    for (index, write) in rest.into_iter().enumerate() {
        assert_eq!(write.await, Ok(Revision(index as u64 + 2)), "acknowledged in order");
    }
    assert_eq!(log.batches(), [1, 50]);
}

#[tokio::test]
async fn a_cancelled_write_is_whole_or_never_was() {
    let log = MemoryLog::default();
    let store = Store::open(Box::new(log.clone()), Limits { pending_writes: 1, ..Limits::default() }).unwrap();
    log.hold();
    {
        let mut staged = pin!(put(&store, "pods", "staged", "x"));
        assert!(poll_once(staged.as_mut()).is_pending());
        log.wait_for_append();
        let mut queued = pin!(put(&store, "pods", "queued", "x"));
        assert!(poll_once(queued.as_mut()).is_pending());
        // The queue is full: this one waits before its closure runs.
        let mut early = pin!(store.write(|_| -> Result<(), ()> { panic!("its closure must not run") }));
        assert!(poll_once(early.as_mut()).is_pending());
    }
    log.release();
    assert_eq!(put(&store, "pods", "last", "x").await, Ok(Revision(3)));
    assert_eq!(listed(&store, None), ["last=x", "queued=x", "staged=x"]);
    drop(store);
    assert_eq!(listed(&open(&log), None), ["last=x", "queued=x", "staged=x"]);
}

#[tokio::test]
async fn after_the_log_failed_the_store_reads_what_was_acknowledged() {
    let log = MemoryLog::default();
    let store = open(&log);
    put(&store, "pods", "a", "1").await.unwrap();
    log.hold();
    let mut doomed = pin!(put(&store, "pods", "a", "2"));
    assert!(poll_once(doomed.as_mut()).is_pending());
    log.wait_for_append();
    let mut behind = pin!(put(&store, "pods", "b", "3"));
    assert!(poll_once(behind.as_mut()).is_pending());
    let mut idle = pin!(store.write(|_| Ok::<_, ()>(())));
    assert!(poll_once(idle.as_mut()).is_pending());
    log.fail();
    log.release();
    let reason = doomed.await.unwrap_err();
    assert!(reason.contains("told to fail") && reason.contains("restart"), "{reason}");
    assert_eq!(behind.await.unwrap_err(), reason);
    assert!(matches!(idle.await, Err(WriteError::Log(_))), "it rested on a write that was lost");
    assert!(put(&store, "pods", "c", "4").await.unwrap_err().contains("told to fail"));
    assert!(store.failure().is_some());
    assert_eq!((listed(&store, None), store.revision()), (vec!["a=1".to_owned()], Revision(1)));
    let mut watch = store.watch(&[], Revision(0)).unwrap();
    assert_eq!(watch.next().await.unwrap().1, Revision(1));
    assert!(poll_once(pin!(watch.next())).is_pending());
}

#[tokio::test]
async fn a_panicking_closure_or_log_does_not_wedge_the_store() {
    struct Panics;
    impl Log for Panics {
        fn load(&mut self, _packer: &Packer) -> std::io::Result<crate::Loaded> {
            Ok(crate::Loaded::default())
        }
        fn append(&mut self, _: &[LogEntry]) -> std::io::Result<()> {
            panic!("an engine bug")
        }
    }
    let store = open(&MemoryLog::default());
    let clone = store.clone();
    let task = tokio::spawn(async move { clone.write(|_| -> Result<(), ()> { panic!("a bug above") }).await });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(put(&store, "pods", "a", "1").await, Ok(Revision(1)));

    let store = Store::open(Box::new(Panics), Limits::default()).unwrap();
    assert!(put(&store, "pods", "a", "1").await.unwrap_err().contains("engine panicked"));
    assert!(store.failure().is_some());
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told() {
    let limits = Limits { history_events: 10, watch_events: 4, ..Limits::default() };
    let store = Store::open(Box::new(MemoryLog::default()), limits).unwrap();
    let mut slow = store.watch(&[], Revision(0)).unwrap();
    let mut other = store.watch(&["services"], Revision(0)).unwrap();
    for number in 0..10 {
        put(&store, "pods", &format!("p{number}"), "x").await.unwrap();
    }
    assert_eq!(slow.next().await.unwrap().1, Revision(4), "chunks are bounded");
    let (events, seen) = other.next().await.unwrap();
    assert_eq!((events.len(), seen), (0, Revision(10)), "nothing for it, but a bookmark");
    for number in 0..5 {
        put(&store, "pods", &format!("q{number}"), "x").await.unwrap();
    }
    let compacted = |asked| ReadError::Compacted { asked: Revision(asked), oldest: Revision(5) };
    assert_eq!(slow.next().await.unwrap_err(), compacted(4));
    assert_eq!(store.watch(&[], Revision(4)).err(), Some(compacted(4)));
    assert_eq!(store.get("pods", &key("p0"), Some(Revision(3))), Err(compacted(3)));
    assert_eq!(
        store.watch(&[], Revision(16)).err().map(|error| error.to_string()).as_deref(),
        Some("revision 16 is in the future: the store is at 15")
    );
    assert_eq!(other.next().await.unwrap().1, Revision(15));
}

#[tokio::test]
async fn a_restart_goes_on_from_the_persisted_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_dir(dir.path()).unwrap();
    put(&store, "pods", "a", "1").await.unwrap();
    let gone = |txn: &mut Txn<'_>| -> Result<(), ()> {
        txn.delete("pods", &key("a"), Bytes::from_static(b"2"));
        Ok(())
    };
    store.write(gone).await.unwrap();
    assert!(matches!(Store::open_dir(dir.path()), Err(OpenError::InUse { .. })));
    drop(store);
    let store = Store::open_dir(dir.path()).unwrap();
    assert_eq!((store.revision(), listed(&store, None).len()), (Revision(2), 0));
    assert!(matches!(store.watch(&[], Revision(1)).err(), Some(ReadError::Compacted { .. })));
    assert_eq!(put(&store, "pods", "a", "3").await, Ok(Revision(3)));
    assert_eq!(store.get("pods", &key("a"), None).unwrap().unwrap().created, Revision(3));
}

#[test]
fn damage_is_reported_with_the_file_and_the_object() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = RedbLog::open_dir(dir.path()).unwrap();
    let record = |revision| Record {
        key: key("a"),
        revision: Revision(revision),
        created: Revision(1),
        body: Bytes::new().into(),
    };
    let entry = |name, revision| LogEntry { table: name, record: Arc::new(record(revision)), deleted: false };
    log.append(&[entry("pods", 7), entry("services", 2)]).unwrap();
    drop(log);
    let text = Store::open_dir(dir.path()).err().unwrap().to_string();
    let start =
        format!("cannot open the store {}: verifying it: pods perf/a has revision 7", dir.path().join(FILE).display());
    assert!(text.starts_with(&start) && text.ends_with("or choose another --data-dir"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watchers_see_every_change_once_in_order_while_many_write() {
    const WRITERS: u64 = 6;
    const WRITES: u64 = 60;
    let limits = Limits { watch_events: 7, ..Limits::default() };
    let store = Store::open(Box::new(MemoryLog::default()), limits).unwrap();
    let watchers: Vec<_> = (0..20u64)
        .map(|number| {
            let tables: &[&'static str] = if number % 2 == 0 { &[] } else { &["services"] };
            let mut watch = store.watch(tables, Revision(0)).unwrap();
            tokio::spawn(async move {
                let (mut all, mut upto) = (Vec::new(), Revision(0));
                while upto < Revision(WRITERS * WRITES) {
                    let (events, seen) = watch.next().await.unwrap();
                    assert!(seen > upto && events.iter().all(|event| event.revision > upto && event.revision <= seen));
                    upto = seen;
                    all.extend(events);
                }
                all
            })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, table) = (store.clone(), ["pods", "services"][writer as usize % 2]);
            tokio::spawn(async move {
                for number in 0..WRITES {
                    put(&store, table, &format!("w{writer}"), &number.to_string()).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for (number, watcher) in watchers.into_iter().enumerate() {
        let events = watcher.await.unwrap();
        let expected = if number % 2 == 0 { WRITERS * WRITES } else { WRITERS / 2 * WRITES };
        assert_eq!(events.len() as u64, expected);
        assert!(events.is_sorted_by(|one, next| one.revision < next.revision));
        for writer in 0..WRITERS {
            let name = format!("w{writer}");
            let bodies = events.iter().filter(|event| *event.new.key.name == name).map(|event| event.new.body.bytes());
            let numbers: Vec<u64> = bodies.map(|body| str::from_utf8(&body).unwrap().parse().unwrap()).collect();
            assert!(numbers.is_empty() || numbers == (0..WRITES).collect::<Vec<_>>(), "{name}: {numbers:?}");
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_it_has_space_and_reads_go_on() {
    let log = MemoryLog::default();
    let limits = Limits { retry_after: std::time::Duration::ZERO, ..Limits::default() };
    let store = Store::open(Box::new(log.clone()), limits).unwrap();
    put(&store, "pods", "a", "1").await.unwrap();
    let mut watch = store.watch(&[], Revision(1)).unwrap();
    log.fill();
    for _ in 0..3 {
        let refused = put(&store, "pods", "b", "2").await.unwrap_err();
        assert!(refused.contains("cannot append 1 changes up to revision 2"), "{refused}");
        assert!(refused.contains("free some on the disk"), "{refused}");
        assert!(store.failure_passes());
        assert_eq!((listed(&store, None), store.revision()), (vec!["a=1".to_owned()], Revision(1)));
    }
    log.space();
    assert_eq!(put(&store, "pods", "c", "3").await, Ok(Revision(2)), "the number was never shown to anyone");
    assert_eq!((store.failure(), listed(&store, None)), (None, vec!["a=1".to_owned(), "c=3".to_owned()]));
    let (events, seen) = watch.next().await.unwrap();
    assert_eq!((events.len(), &*events[0].new.key.name, seen), (1, "c", Revision(2)));
    let life = store.write(|txn| Ok::<_, ()>(txn.life())).await.unwrap().0;
    assert_eq!(life, 1, "who derived something from the writes that were forgotten is told");
    let reopened = open(&log);
    assert_eq!(listed(&reopened, None), ["a=1", "c=3"]);
}

/// A closure that runs while the log fails and another writer heals it has seen, and numbered its changes after, what is
/// forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closure_that_a_heal_overtakes_writes_nothing() {
    for changes in [0, 2] {
        let log = MemoryLog::default();
        let limits = Limits { retry_after: std::time::Duration::ZERO, ..Limits::default() };
        let store = Store::open(Box::new(log.clone()), limits).unwrap();
        put(&store, "pods", "a", "1").await.unwrap();
        let mut watch = store.watch(&[], Revision(1)).unwrap();
        log.hold();
        let mut lost = Box::pin(put(&store, "pods", "lost", "2"));
        assert!(poll_once(lost.as_mut()).is_pending());
        log.wait_for_append();

        let ((begun, is_begun), (go, may_go)) = (oneshot::channel(), std::sync::mpsc::channel());
        let slow = store.clone();
        let overtaken = tokio::spawn(async move {
            let change = move |txn: &mut Txn<'_>| -> Result<(), ()> {
                assert!(txn.get("pods", &key("lost")).is_some(), "it rests on what is not durable yet");
                begun.send(()).unwrap();
                tokio::task::block_in_place(|| may_go.recv().unwrap());
                (0..changes).for_each(|n| txn.put("pods", key(&format!("slow-{n}")), Bytes::from_static(b"x")));
                Ok(())
            };
            slow.write(change).await.map_err(|error| error.to_string())
        });
        is_begun.await.unwrap();
        log.fill();
        log.release();
        lost.await.unwrap_err();
        log.space();
        // This one heals the log, and waits for its turn behind the slow one.
        let mut next = Box::pin(put(&store, "pods", "b", "3"));
        while store.failure().is_some() {
            assert!(poll_once(next.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        go.send(()).unwrap();
        let refused = overtaken.await.unwrap().unwrap_err();
        assert!(refused.contains("try again"), "{refused}");
        assert_eq!(next.await, Ok(Revision(2)));
        let (events, seen) = watch.next().await.unwrap();
        assert_eq!((events.len(), &*events[0].new.key.name, seen), (1, "b", Revision(2)));
        assert_eq!(listed(&store, None), ["a=1", "b=3"]);
    }
}

#[tokio::test]
async fn other_failures_do_not_pass() {
    let log = MemoryLog::default();
    let limits = Limits { retry_after: std::time::Duration::ZERO, ..Limits::default() };
    let store = Store::open(Box::new(log.clone()), limits).unwrap();
    log.fail();
    put(&store, "pods", "a", "1").await.unwrap_err();
    log.space();
    let refused = put(&store, "pods", "a", "1").await.unwrap_err();
    assert!(refused.contains("until the server is restarted"), "{refused}");
    assert!(!store.failure_passes() && store.failure().is_some());
}

#[tokio::test]
async fn everything_at_one_revision_is_handed_out() {
    let store = open(&MemoryLog::default());
    put(&store, "services", "a", "1").await.unwrap();
    put(&store, "pods", "b", "2").await.unwrap();
    let (revision, tables) = store.all();
    let shown: Vec<_> = tables.iter().map(|(table, records)| (table.as_str(), names(records))).collect();
    assert_eq!(revision, Revision(2));
    assert_eq!(shown, [("pods", vec!["b=2".to_owned()]), ("services", vec!["a=1".to_owned()])]);
}
