//! The redb log on a real file and on a counted disk.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use std::fs;

use api::object::ObjectKey;
use bytes::Bytes;

use super::*;
use crate::log::faulty::Disk;

fn entry(table: &'static str, name: &str, revision: u64, body: Option<&str>) -> LogEntry {
    let body = Bytes::copy_from_slice(body.unwrap_or_default().as_bytes());
    let key = ObjectKey::new("perf", name);
    let record = Record { key, revision: Revision(revision), created: Revision(revision), body: body.into() };
    LogEntry { table, deleted: record.body.is_empty(), record: Arc::new(record) }
}

fn on(disk: &Disk) -> RedbLog {
    let disk = disk.clone();
    RedbLog::on(move || disk.backend(), Arc::default()).unwrap()
}

#[test]
fn a_file_brings_back_the_newest_state() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("deep/data");
    let mut log = RedbLog::open_dir(&data).unwrap();
    assert_eq!(log.load(&Packer::default()).unwrap(), Loaded::default());
    let (ham, eggs) = (entry("services", "ham", 1, Some("a")), entry("pods", "eggs", 2, Some("b")));
    log.append(&[ham, eggs.clone(), entry("services", "ham", 3, Some("c"))]).unwrap();
    log.append(&[entry("services", "bacon", 4, Some("d")), entry("services", "ham", 5, None)]).unwrap();
    drop(log);

    let loaded = RedbLog::open_dir(&data).unwrap().load(&Packer::default()).unwrap();
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
    set_format(log.database().unwrap(), FORMAT + 1);
    drop(log);
    let error = RedbLog::open_dir(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 2, known: 1, .. }));
    let text = error.to_string();
    assert!(text.contains("format 2") && text.contains("up to 1") && text.contains("newer mainstay"), "{text}");

    set_format(&Database::open(dir.path().join(FILE)).unwrap(), FORMAT);
    assert_eq!(RedbLog::open_dir(dir.path()).unwrap().load(&Packer::default()).unwrap().tables["services"].len(), 1);
}

#[test]
fn what_is_no_database_is_an_error_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), b"hello, I am a manifest").unwrap();
    let error = RedbLog::open_dir(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Log { .. }), "{error}");
    assert!(error.to_string().contains("another --data-dir"), "{error}");

    fs::write(dir.path().join(FILE), b"").unwrap();
    let error = RedbLog::open_dir(dir.path()).unwrap_err().to_string();
    assert!(error.contains("it is empty") && error.contains("restore a save"), "{error}");

    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = RedbLog::open_dir(&file).unwrap_err();
    assert!(error.to_string().contains("creating its directory"), "{error}");
}

#[test]
fn a_crash_during_the_first_start_leaves_nothing_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(super::place::UNBORN), vec![7; 5000]).unwrap();
    let mut log = RedbLog::open_dir(dir.path()).unwrap();
    assert_eq!(log.load(&Packer::default()).unwrap(), Loaded::default());
    assert!(!dir.path().join(super::place::UNBORN).exists());
}

#[test]
fn a_record_from_the_future_is_damage() {
    let mut log = on(&Disk::new(1));
    log.append(&[entry("services", "ham", 9, Some("a")), entry("services", "eggs", 3, Some("b"))]).unwrap();
    let error = log.load(&Packer::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("services perf/ham has revision 9"), "{error}");
}

#[test]
fn a_batch_costs_one_sync_however_large() {
    let disk = Disk::new(1);
    let mut log = on(&disk);
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

#[test]
fn a_damaged_page_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = RedbLog::open_dir(dir.path()).unwrap();
    let body = "x".repeat(3000);
    log.append(&[entry("services", "ham", 1, Some(&body))]).unwrap();
    drop(log);
    let path = dir.path().join(FILE);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(100).position(|window| window == [b'x'; 100]).unwrap();
    bytes[at + 50] = b'y';
    fs::write(&path, &bytes).unwrap();

    let error = RedbLog::open_dir(dir.path()).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains("mainstay store restore"), "{error}");
    let findings = RedbLog::inspect(dir.path(), |_, _| {}).unwrap();
    assert!(!findings.wrong.is_empty());
    assert!(fs::read(&path).unwrap() == bytes, "a look changes nothing");
}

#[test]
fn a_log_that_ends_before_what_was_acknowledged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = RedbLog::open_dir(dir.path()).unwrap();
    log.append(&[entry("services", "ham", 1, Some("a"))]).unwrap();
    drop(log);
    let old = fs::read(dir.path().join(FILE)).unwrap();
    let mut log = RedbLog::open_dir(dir.path()).unwrap();
    log.append(&[entry("services", "ham", 2, Some("b"))]).unwrap();
    drop(log);
    fs::write(dir.path().join(FILE), old).unwrap();
    let error = RedbLog::open_dir(dir.path()).unwrap_err().to_string();
    assert!(error.contains("ends at revision 1, but revision 2 was acknowledged"), "{error}");
}

#[test]
fn a_lost_file_is_no_new_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("store");
    drop(RedbLog::open_dir(&data).unwrap());
    fs::remove_file(data.join(FILE)).unwrap();
    let mut log = RedbLog::open_dir(&data).unwrap();
    log.append(&[entry("services", "ham", 7, Some("a"))]).unwrap();
    drop(log);
    fs::rename(data.join(FILE), dir.path().join("elsewhere")).unwrap();
    for _ in 0..2 {
        let error = RedbLog::open_dir(&data).unwrap_err().to_string();
        assert!(error.contains("it is gone, but revision 7 was acknowledged"), "{error}");
        assert!(error.contains("store restore") && error.contains("remove the directory"), "{error}");
        assert!(!data.join(FILE).exists(), "nothing took its place");
    }
    fs::rename(dir.path().join("elsewhere"), data.join(FILE)).unwrap();
    assert_eq!(RedbLog::open_dir(&data).unwrap().load(&Packer::default()).unwrap().revision, Revision(7));
    fs::remove_dir_all(&data).unwrap();
    assert_eq!(RedbLog::open_dir(&data).unwrap().load(&Packer::default()).unwrap(), Loaded::default(), "begun anew");
}

#[test]
fn an_open_log_is_examined_without_closing_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = RedbLog::open_dir(dir.path()).unwrap();
    for revision in 1..50 {
        log.append(&[entry("services", &format!("s{revision}"), revision, Some("a"))]).unwrap();
    }
    let findings = log.examine().unwrap();
    assert_eq!((findings.revision, findings.rows, findings.wrong), (Revision(49), 49, vec![]));
    log.append(&[entry("services", "ham", 50, Some("b"))]).unwrap();
}

/// The file grows with what lives in it, not with what was written.
#[test]
fn a_file_that_is_written_over_stays_as_long_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = RedbLog::open_dir(dir.path()).unwrap();
    let body = "b".repeat(1000);
    let mut revision = 0;
    let mut write = |log: &mut RedbLog, rounds: u64| {
        for _ in 0..rounds {
            let batch: Vec<_> = (0..100)
                .map(|_| {
                    revision += 1;
                    entry("pods", &format!("p{}", revision % 1000), revision, Some(&body))
                })
                .collect();
            log.append(&batch).unwrap();
        }
        fs::metadata(dir.path().join(FILE)).unwrap().len()
    };
    let early = write(&mut log, 30);
    let late = write(&mut log, 70);
    assert!(late <= 2 * early, "{early} bytes after 3,000 writes, {late} after 10,000");
    let (before, after) = log.compact().unwrap();
    assert!(after <= before && after < 8 << 20, "{before} -> {after}");
    assert_eq!(log.load(&Packer::default()).unwrap().tables["pods"].len(), 1000);
}
