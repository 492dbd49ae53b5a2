//! What the disk is asked and what it answers: a sync that fails under the running server, and names that must last. Both are
//! seen and made by strace.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::account::program;
use crate::sandbox::{Sandbox, text};

/// A strace that lets system calls of a process fail until this is dropped.
struct Failing(Child);

impl Failing {
    /// From when it returns, every thread's calls fail.
    fn attach(sandbox: &Sandbox, calls: &str) -> Self {
        let pid = sandbox.server.id().to_string();
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid, "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:error=EIO")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let failing = Self(command.spawn().expect("strace must be installed: sh scripts/setup.sh test does it"));
        let tracer = format!("TracerPid:\t{}\n", failing.0.id());
        sandbox.until("strace holds every thread", |_| {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the server lives");
            let states = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
            states.into_iter().all(|state| state.contains(&tracer))
        });
        failing
    }
}

impl Drop for Failing {
    /// Ends it as Ctrl-C does: the process goes on.
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

fn create(sandbox: &Sandbox, name: &str) -> Output {
    sandbox.kubectl(&["create", "configmap", name, "--from-literal=a=b"])
}

/// Names and resourceVersions of what `create` made.
fn configmaps(sandbox: &Sandbox) -> BTreeSet<String> {
    let path = r#"jsonpath={range .items[*]}{.metadata.name}@{.metadata.resourceVersion}{"\n"}{end}"#;
    let all = sandbox.kubectl_ok(&["get", "configmaps", "-o", path]);
    all.lines().filter(|line| !line.starts_with("kube-root-ca.crt@")).map(str::to_owned).collect()
}

#[test]
fn a_sync_that_fails_is_an_error_for_the_client_and_the_next_start_has_what_was_acknowledged() {
    let mut sandbox = Sandbox::start();
    for name in ["a", "b", "c"] {
        assert!(create(&sandbox, name).status.success());
    }
    let acknowledged = configmaps(&sandbox);
    let failing = Failing::attach(&sandbox, "fdatasync,fsync");
    for name in ["during-1", "during-2"] {
        let refused = create(&sandbox, name);
        assert!(!refused.status.success(), "{}", text(&refused));
        let told = text(&refused);
        assert!(told.contains("the store cannot write") && told.contains("a sync of the disk failed"), "{told}");
        assert!(told.contains("restart"), "{told}");
    }
    assert_eq!(configmaps(&sandbox), acknowledged, "reads go on, and show nothing that nobody was told of");
    drop(failing);
    // The kernel takes pages for clean that a failed sync left behind: only a start that reads the disk knows what is on it.
    let refused = create(&sandbox, "later");
    assert!(!refused.status.success(), "{}", text(&refused));

    sandbox.kill_server();
    sandbox.restart();
    let found = configmaps(&sandbox);
    assert!(found.is_superset(&acknowledged), "{acknowledged:?} were acknowledged, {found:?} are there");
    // The first one was on its way: nobody was told whether it is there. What was refused behind it is not.
    let more: Vec<_> = found.difference(&acknowledged).collect();
    assert!(more.iter().all(|name| name.starts_with("during-1@")) && more.len() < 2, "{more:?}");
    assert!(create(&sandbox, "after").status.success());
    let checked = sandbox.mainstay(&["store", "check", "--data-dir", &sandbox.path().to_string_lossy()]);
    assert!(checked.status.success(), "{}", text(&checked));
}

/// `mainstay store ...` under strace, which must succeed: its calls that make names or keep them.
fn traced(arguments: &[&str]) -> Vec<String> {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=rename,renameat,renameat2,mkdir,mkdirat,fsync,fdatasync", "-o"]);
    command.arg(log.path()).arg(program()).arg("store").args(arguments).stdin(Stdio::null());
    let output = command.output().expect("strace must be installed: sh scripts/setup.sh test does it");
    assert!(output.status.success(), "store {arguments:?}: {}", text(&output));
    fs::read_to_string(log.path()).expect("readable").lines().map(str::to_owned).collect()
}

/// The directories in which names are new after these calls, and not synced; and how many names there were.
fn unsynced(calls: &[String]) -> (BTreeSet<PathBuf>, usize) {
    let (mut dirty, mut names) = (BTreeSet::new(), 0);
    for call in calls.iter().filter(|call| call.ends_with(" = 0")) {
        if call.contains("sync(") {
            let path = call.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
            dirty.remove(Path::new(path.expect("strace -y names the file").0));
        } else if let Some(parent) = call.rsplit('"').nth(1).and_then(|name| Path::new(name).parent()) {
            names += 1;
            dirty.insert(parent.to_owned());
        }
    }
    (dirty, names)
}

#[test]
fn every_name_that_a_save_and_a_restore_make_is_synced() {
    let mut sandbox = Sandbox::start();
    assert!(create(&sandbox, "ham").status.success());
    let (from, save) = (sandbox.path().to_string_lossy().into_owned(), sandbox.path().join("save"));
    let (save, other) = (save.to_string_lossy().into_owned(), sandbox.path().join("deep/other"));
    let other = other.to_string_lossy().into_owned();
    let none = BTreeSet::new();
    assert_eq!(
        unsynced(&traced(&["save", &save, "--with-keys", "--data-dir", &from])),
        (none.clone(), 1),
        "moved here"
    );
    sandbox.down();
    assert_eq!(unsynced(&traced(&["save", &save, "--with-keys", "--data-dir", &from])), (none.clone(), 1), "made here");
    // Where nothing is, and over a store: directories, the store's file and place, the format, keys.
    for least in [8, 4] {
        let (dirty, names) = unsynced(&traced(&["restore", &save, "--force", "--data-dir", &other]));
        assert!(dirty == none && names >= least, "{dirty:?} of {names} names");
    }
}
