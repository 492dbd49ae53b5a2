//! Restores that end at every step, that meet a server, and that are told impossible numbers.

use std::fs;

use api::object::ObjectKey;
use store::save::{SAVE_FORMAT, Writer};

use super::*;

fn record(name: &str, revision: u64) -> (String, Record) {
    let key = ObjectKey::new("perf", name);
    let body = Bytes::from(format!("{{\"metadata\":{{\"name\":{name:?}}}}}")).into();
    ("services".to_owned(), Record { key, revision: Revision(revision), created: Revision(1), body })
}

/// A save with one object and a key.
fn save(at: &Path, name: &str, revision: u64) -> PathBuf {
    let (version, time) = ("1.0.0".to_owned(), "2026-11-21T20:00:00Z".to_owned());
    let header = Header { mainstay_save: SAVE_FORMAT, version, revision, time, keys: true };
    let file = at.join(format!("save-of-{name}"));
    let mut writer = Writer::new(File::create(&file).unwrap(), &header).unwrap();
    let (table, record) = record(name, revision.min(9));
    writer.object(&table, &record).unwrap();
    writer.file("pki/ca.key", name.as_bytes()).unwrap();
    writer.finish().unwrap();
    file
}

/// The names of what a store holds.
fn names(store: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let findings = RedbLog::inspect(store, |_, record| names.push(record.key.name.to_string())).unwrap();
    assert_eq!(findings.wrong, Vec::<String>::new());
    names
}

/// What every store beside the one in use holds.
fn beside(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let kept = entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("store."));
    kept.flat_map(|path| names(&path)).collect()
}

/// An instance that has written `mine`, with a key.
fn instance() -> (tempfile::TempDir, DataDir) {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = DataDir::choose(Some(directory.path())).unwrap();
    data_dir.create().unwrap();
    crate::keep::admit(&data_dir).unwrap();
    RedbLog::import(&data_dir.store(), Revision(20), &[record("mine", 9)]).unwrap();
    fs::create_dir(data_dir.pki()).unwrap();
    fs::write(data_dir.pki().join("ca.key"), "mine").unwrap();
    (directory, data_dir)
}

#[test]
fn a_restore_that_ends_at_any_step_loses_nothing_and_the_next_one_is_whole() {
    let mut ends = 0;
    loop {
        let (directory, data_dir) = instance();
        let (first, second) = (save(directory.path(), "first", 9), save(directory.path(), "second", 9));
        let Work { steps, revision, objects, kept, held, .. } = prepare(&data_dir, &first, true).unwrap();
        for step in steps.iter().take(ends) {
            step.take(revision, &objects).unwrap();
            let lock = File::open(directory.path().join("lock")).unwrap();
            assert!(lock.try_lock().is_err(), "no server may start at {step:?}");
        }
        drop(held);
        // A server that starts now has the one or the other, whole; and the old one is somewhere, under a name that stays.
        let now = names(&data_dir.store());
        assert!(now == ["mine"] || now == ["first"], "after {ends} steps: {now:?}");
        if now == ["first"] {
            assert_eq!(names(kept.as_deref().unwrap()), ["mine"], "after {ends} steps");
        }

        let restored = restore(&data_dir, &second, true).unwrap();
        assert_eq!(names(&data_dir.store()), ["second"]);
        assert_eq!(names(&restored.kept.unwrap()), now, "it says where that is");
        assert!(beside(directory.path()).contains(&"mine".to_owned()), "after {ends} steps the old store is gone");
        assert!(!directory.path().join("store.restoring").exists());
        assert_eq!(fs::read_to_string(data_dir.pki().join("ca.key")).unwrap(), "second");
        if ends == steps.len() {
            break;
        }
        ends += 1;
    }
    assert_eq!(ends, 5, "clear, import, rename, exchange, put");
}

#[test]
fn a_new_store_that_was_half_made_is_made_again_and_a_foreign_one_stays() {
    let (directory, data_dir) = instance();
    fs::create_dir(directory.path().join("store.restoring")).unwrap();
    fs::write(directory.path().join("store.restoring").join(FILE), "half").unwrap();
    // As a restore of an earlier release left the old store when it was interrupted.
    RedbLog::import(&directory.path().join("store.new"), Revision(9), &[record("older", 9)]).unwrap();
    restore(&data_dir, &save(directory.path(), "first", 9), true).unwrap();
    let mut beside = beside(directory.path());
    beside.sort();
    assert_eq!((names(&data_dir.store()), beside), (vec!["first".to_owned()], vec!["mine".into(), "older".into()]));
    assert_eq!(fs::read_to_string(data_dir.pki().join("ca.key.before")).unwrap(), "mine");
}

#[test]
fn a_server_that_starts_is_not_restored_under() {
    let (directory, data_dir) = instance();
    let file = save(directory.path(), "first", 9);
    let server = pods::sandbox::lock(directory.path()).unwrap();
    let error = crate::report(&restore(&data_dir, &file, true).unwrap_err());
    assert!(error.contains("cannot restore: another mainstay starts or works on"), "{error}");
    let error = super::super::save_offline(&data_dir, &directory.path().join("save"), false).unwrap_err();
    assert!(crate::report(&error).contains("cannot save the store: another mainstay"), "{error:#}");
    assert_eq!((names(&data_dir.store()), beside(directory.path())), (vec!["mine".to_owned()], vec![]));
    drop(server);

    let empty = tempfile::tempdir().unwrap();
    let other = DataDir::choose(Some(&empty.path().join("new"))).unwrap();
    other.create().unwrap();
    let server = pods::sandbox::lock(other.path()).unwrap();
    assert!(restore(&other, &file, false).is_err(), "where no store is yet, too");
    assert!(!other.store().exists());
    drop(server);
    assert_eq!(restore(&other, &file, false).unwrap().kept, None);
    assert_eq!(names(&other.store()), ["first"]);
}

#[test]
fn it_begins_far_above_every_known_revision_even_of_a_lost_store() {
    let (directory, data_dir) = instance();
    let file = save(directory.path(), "first", 9);
    assert_eq!(restore(&data_dir, &file, true).unwrap().revision, 20 + GAP);
    fs::remove_file(data_dir.store().join(FILE)).unwrap();
    assert_eq!(restore(&data_dir, &file, false).unwrap().revision, 20 + 2 * GAP, "the mark is left");
    for revision in [u64::MAX, u64::MAX - GAP, HIGHEST - GAP + 1] {
        let crafted = save(directory.path(), "crafted", revision);
        let error = restore(&data_dir, &crafted, true).unwrap_err().to_string();
        assert!(error.contains(&format!("revision {revision} is one that no store comes to.\nUse another")), "{error}");
    }
    assert_eq!(names(&data_dir.store()), ["first"]);
}
