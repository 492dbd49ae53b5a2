//! The ledger on files and directories of a test: order, kills, what others changed since.

use super::*;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn write_file(ledger: &Ledger, path: &Path, text: &str) {
    let before = std::fs::read_to_string(path).ok();
    let change = Change::File { path: path.to_owned(), before, after: text.to_owned() };
    ledger.make(change, || Ok(std::fs::write(path, text)?)).unwrap();
}

#[test]
fn everything_is_taken_back_in_reverse_also_after_a_kill() {
    let (data, host) = (directory(), directory());
    let (made, old) = (host.path().join("made"), host.path().join("old"));
    std::fs::write(&old, "of the host").unwrap();
    let ledger = Ledger::open(data.path()).unwrap();
    ledger.make(Change::Directory { path: made.clone() }, || Ok(std::fs::create_dir(&made)?)).unwrap();
    write_file(&ledger, &made.join("inside"), "ours");
    write_file(&ledger, &old, "ours");
    write_file(&ledger, &old, "ours, newer");
    // Noted and never made.
    ledger.note(Change::File { path: host.path().join("never"), before: None, after: "x".into() }).unwrap();
    drop(ledger);

    let ledger = Ledger::open(data.path()).unwrap();
    assert_eq!(ledger.changes().len(), 5);
    let undone = ledger.undo_all().unwrap();
    assert_eq!((undone.count, undone.left.len(), undone.failed.len()), (4, 0, 0), "{undone:?}");
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "of the host");
    assert!(!made.exists());
    assert!(!Ledger::exists(data.path()), "a ledger without changes is no file");
}

#[test]
fn what_others_changed_since_is_left_alone_and_said() {
    let (data, host) = (directory(), directory());
    let path = host.path().join("file");
    let ledger = Ledger::open(data.path()).unwrap();
    write_file(&ledger, &path, "ours");
    std::fs::write(&path, "theirs").unwrap();
    let undone = ledger.undo_all().unwrap();
    assert_eq!(undone.count, 0);
    assert!(undone.left[0].contains("somebody else"), "{undone:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");
}

#[test]
fn a_line_cut_short_counts_as_not_made_and_a_damaged_one_is_named() {
    let data = directory();
    let ledger = Ledger::open(data.path()).unwrap();
    ledger.note(Change::Directory { path: "/nonexistent/a".into() }).unwrap();
    drop(ledger);
    let path = Ledger::path(data.path());
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{}", &whole[..whole.len() / 2])).unwrap();
    let ledger = Ledger::open(data.path()).unwrap();
    assert_eq!(ledger.changes().len(), 1);
    ledger.note(Change::Directory { path: "/nonexistent/b".into() }).unwrap();
    drop(ledger);
    assert_eq!(Ledger::open(data.path()).unwrap().changes().len(), 2, "the cut line is no part of the next one");

    std::fs::write(&path, format!("nonsense\n{whole}")).unwrap();
    let error = format!("{:#}", Ledger::open(data.path()).unwrap_err());
    assert!(error.contains("line 1") && error.contains("damaged"), "{error}");
}

#[test]
fn a_reboot_forgets_what_the_kernel_held_and_keeps_files() {
    let (data, host) = (directory(), directory());
    let path = host.path().join("file");
    let ledger = Ledger::open(data.path()).unwrap();
    write_file(&ledger, &path, "ours");
    // If this were tried, the table of another instance on this machine would be at stake: it must not be.
    ledger.note(Change::NftTable { name: "mainstay-test-none".into() }).unwrap();
    assert!(ledger.is_live());
    drop(ledger);
    let file = Ledger::path(data.path());
    let boot = Place::here().unwrap().boot;
    let text = std::fs::read_to_string(&file).unwrap().replace(&boot, "another-boot");
    std::fs::write(&file, text).unwrap();
    let ledger = Ledger::open(data.path()).unwrap();
    assert!(!ledger.is_live());
    let undone = ledger.undo_all().unwrap();
    assert_eq!((undone.count, undone.failed.len()), (1, 0), "{undone:?}");
    assert!(!path.exists());
}

#[test]
fn a_change_that_was_taken_back_is_no_more_noted() {
    let data = directory();
    let ledger = Ledger::open(data.path()).unwrap();
    let change = Change::Directory { path: "/nonexistent/a".into() };
    ledger.note(change.clone()).unwrap();
    ledger.note(change.clone()).unwrap();
    assert_eq!(ledger.changes().len(), 1, "once");
    ledger.gone(&change).unwrap();
    drop(ledger);
    assert_eq!(Ledger::open(data.path()).unwrap().changes(), []);
}

#[test]
fn a_second_opener_is_refused() {
    let data = directory();
    let _held = Ledger::open(data.path()).unwrap();
    let error = Ledger::open(data.path()).unwrap_err().to_string();
    assert!(error.contains("mainstay down"), "{error}");
}
