//! Ctrl-C at a bad moment: a server that is just starting and a demo in the middle leave no process and no directory.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::account;
use crate::sandbox::{PATIENCE, pause};

/// Processes that name a directory in their command line, as servers and holders do.
fn processes(directory: &Path) -> Vec<String> {
    let wanted = directory.display().to_string();
    let all = std::fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&wanted)).collect()
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("a signal can be sent");
}

fn until(what: &str, mut look: impl FnMut() -> bool) {
    let began = Instant::now();
    while !look() {
        assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        pause();
    }
}

#[test]
fn a_server_that_is_interrupted_while_it_starts_leaves_no_holder() {
    for signal in [Signal::INT, Signal::TERM] {
        let directory = account::directory();
        let mut up = Command::new(account::program());
        up.args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory.path());
        up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = up.spawn().expect("mainstay up starts");
        // The first sign of the holder: the server itself is not ready for long.
        let log = directory.path().join("holder.log");
        let began = Instant::now();
        while !log.exists() {
            assert!(began.elapsed() < PATIENCE, "no holder");
            std::thread::yield_now();
        }
        send(&server, signal);
        let status = server.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "it ends in order: {status}");
        until("the holder is gone", || processes(directory.path()).is_empty());
    }
}

#[test]
fn a_demo_that_is_interrupted_ends_its_sandbox() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let place = account::directory();
        let mut demo = Command::new(account::program());
        demo.arg("demo").env("TMPDIR", place.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut demo = demo.spawn().expect("the demo starts");
        let holder = || processes(place.path()).iter().any(|line| line.contains("holder"));
        until("its sandbox runs", holder);
        send(&demo, signal);
        assert_eq!(demo.wait().expect("it ends").code(), Some(code));
        until("nothing of it runs", || processes(place.path()).is_empty());
        assert_eq!(std::fs::read_dir(place.path()).expect("a directory").count(), 0, "its directory is gone");
    }
}
