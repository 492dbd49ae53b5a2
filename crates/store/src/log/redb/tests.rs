//! The redb log on a real file and on a counted disk.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::*;
use crate::log::faulty::Disk;

fn entry(table: &'static str, name: &str, revision: u64, body: Option<&str>) -> LogEntry {
    let body = Bytes::copy_from_slice(body.unwrap_or_default().as_bytes());
    let key = ObjectKey::new("perf", name);
    let record = Record { key, revision: Revision(revision), created: Revision(revision), body };
    LogEntry { table, deleted: record.body.is_empty(), record: Arc::new(record) }
}

#[test]
fn a_file_brings_back_the_newest_state() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("deep/data");
    let mut log = RedbLog::open_dir(&data).unwrap();
    assert_eq!(log.load().unwrap(), Loaded::default());
    let (ham, eggs) = (entry("services", "ham", 1, Some("a")), entry("pods", "eggs", 2, Some("b")));
    log.append(&[ham, eggs.clone(), entry("services", "ham", 3, Some("c"))]).unwrap();
    log.append(&[entry("services", "bacon", 4, Some("d")), entry("services", "ham", 5, None)]).unwrap();
    drop(log);

    let loaded = RedbLog::open_dir(&data).unwrap().load().unwrap();
    let bacon = entry("services", "bacon", 4, Some("d"));
    assert_eq!(loaded.revision, Revision(5), "the deletion counts");
    let tables: Vec<_> = loaded.tables.into_iter().collect();
    let expected = [
        ("pods".to_owned(), vec![Record::clone(&eggs.record)]),
        ("services".to_owned(), vec![Record::clone(&bacon.record)]),
    ];
    assert_eq!(tables, expected);
    let mode = fs::metadata(data.join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "secrets lie in it");
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_second_opener_is_told_who_is_in_the_way_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let first = RedbLog::open_dir(dir.path()).unwrap();
    let error = RedbLog::open_dir(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    let path = dir.path().join(FILE);
    let text = format!(
        "cannot open the store {}: another process holds its lock; \
         stop that process (`mainstay down`) or choose another --data-dir",
        path.display()
    );
    assert_eq!(error.to_string(), text);
    drop(first);
    RedbLog::open_dir(dir.path()).unwrap();
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = RedbLog::open_dir(dir.path()).unwrap();
    log.append(&[entry("services", "ham", 1, Some("a"))]).unwrap();
    let set_format = |database: &Database, format| {
        let write = database.begin_write().unwrap();
        write.open_table(META).unwrap().insert("format", format).unwrap();
        write.commit().unwrap();
    };
    set_format(&log.database, FORMAT + 1);
    drop(log);
    let error = RedbLog::open_dir(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 2, known: 1, .. }));
    let text = error.to_string();
    assert!(text.contains("format 2") && text.contains("up to 1") && text.contains("newer mainstay"), "{text}");

    set_format(&builder().open(dir.path().join(FILE)).unwrap(), FORMAT);
    assert_eq!(RedbLog::open_dir(dir.path()).unwrap().load().unwrap().tables["services"].len(), 1);
}

#[test]
fn what_is_no_database_is_an_error_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), b"hello, I am a manifest").unwrap();
    let error = RedbLog::open_dir(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Log { .. }), "{error}");
    assert!(error.to_string().contains("another --data-dir"), "{error}");

    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = RedbLog::open_dir(&file).unwrap_err();
    assert!(error.to_string().contains("creating its directory"), "{error}");
}

#[test]
fn a_crash_during_the_first_start_leaves_nothing_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(UNBORN), vec![7; 5000]).unwrap();
    let mut log = RedbLog::open_dir(dir.path()).unwrap();
    assert_eq!(log.load().unwrap(), Loaded::default());
    assert!(!dir.path().join(UNBORN).exists());
}

#[test]
fn a_record_from_the_future_is_damage() {
    let mut log = RedbLog::with_backend(Disk::new(1).backend()).unwrap();
    log.append(&[entry("services", "ham", 9, Some("a")), entry("services", "eggs", 3, Some("b"))]).unwrap();
    let error = log.load().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("services perf/ham has revision 9"), "{error}");
}

#[test]
fn a_batch_costs_one_sync_however_large() {
    let disk = Disk::new(1);
    let mut log = RedbLog::with_backend(disk.backend()).unwrap();
    log.append(&[entry("services", "ham", 1, Some("a"))]).unwrap();
    for (round, changes) in [1, 2, 500].into_iter().enumerate() {
        let before = disk.syncs();
        let first = 1000 * (round as u64 + 1);
        let batch: Vec<_> = (0..changes).map(|n| entry("pods", &format!("p{n}"), first + n, Some("x"))).collect();
        log.append(&batch).unwrap();
        // A batch that outgrows the file may sync once more for the new length.
        assert!((1..=2).contains(&(disk.syncs() - before)), "{} syncs for {changes} changes", disk.syncs() - before);
    }
}
