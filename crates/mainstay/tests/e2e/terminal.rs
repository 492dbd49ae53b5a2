//! `mainstay exec` on a terminal: a person types, sees answers, changes the window, presses Ctrl-C; and gets the terminal
//! back as it was, however it ends.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::account;
use crate::sandbox::{PATIENCE, Sandbox, pause};

/// A terminal window in which `mainstay exec` runs.
struct Window {
    master: File,
    /// Keeps the terminal alive when the program in it has ended.
    _slave: OwnedFd,
    seen: Arc<Mutex<String>>,
    program: Child,
}

impl Window {
    fn open(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).expect("a terminal");
        rustix::pty::unlockpt(&master).expect("it is unlocked");
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).expect("its other side");
        resize(&master, 80, 24);
        let stdio = || Stdio::from(slave.try_clone().expect("a descriptor"));
        // `setsid --ctty` makes it the controlling terminal, so that it can send signals.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(account::program()).args(["exec", "--data-dir"]).arg(sandbox.path());
        command.args(arguments).env("SHELL", "/bin/sh").env("TERM", "vt100").env("PS1", "$ ");
        let program = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().expect("setsid runs");
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut reader, into) = (File::from(master.try_clone().expect("a descriptor")), seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                into.lock().expect("no panic").push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Self { master: master.into(), _slave: slave, seen, program }
    }

    fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    fn seen(&self) -> String {
        self.seen.lock().expect("no panic").clone()
    }

    fn see(&self, expected: &str) {
        let began = Instant::now();
        while !self.seen().contains(expected) {
            assert!(began.elapsed() < PATIENCE, "expected {expected:?}, seen: {:?}", self.seen());
            pause();
        }
    }

    /// Whether the terminal edits lines and echoes, as it did before.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(self.master.as_fd()).expect("the terminal's settings").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn until_raw(&self) {
        let began = Instant::now();
        while self.is_cooked() {
            assert!(began.elapsed() < PATIENCE, "raw mode; seen: {:?}", self.seen());
            pause();
        }
    }

    fn end(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.program.try_wait().expect("it can be waited for") {
                return status.code();
            }
            assert!(began.elapsed() < PATIENCE, "it does not end; seen: {:?}", self.seen());
            pause();
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn resize(terminal: &impl AsFd, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("the window has a size");
}

/// What a person does in any shell: the same in the node's network and in a pod.
fn work(window: &mut Window) {
    window.until_raw();
    window.type_in("echo got-$((40 + 2)); stty size; echo $TERM; tty\n");
    window.see("got-42");
    window.see("24 80");
    window.see("vt100");
    window.see("/dev/pts/");
    resize(&window.master, 101, 33);
    window.type_in("while [ \"$(stty size)\" != '33 101' ]; do :; done; echo resized-$((1 + 1))\n");
    window.see("resized-2");
    window.type_in("echo begun-$((2 + 1)); sleep 1000\n");
    window.see("begun-3");
    window.type_in("\x03");
    window.type_in("echo alive-$((3 + 1))\n");
    window.see("alive-4");
    window.type_in("sleep 1000 &\njobs; kill %1; echo jobs-$((4 + 1))\n");
    window.see("jobs-5");
    assert!(window.seen().contains("Running"), "job control: {:?}", window.seen());
    window.type_in("exit 7\n");
    assert_eq!(window.end(), Some(7), "seen: {:?}", window.seen());
    assert!(window.is_cooked(), "the terminal is as it was");
}

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  containers:
  - {name: side, image: mainstay/client}
  - {name: main, image: mainstay/client, env: [{name: WHERE, value: inside}]}
---
apiVersion: v1
kind: Service
metadata: {name: box}
spec: {selector: {app: box}, ports: [{port: 80}]}
";

#[test]
fn a_shell_on_a_terminal_works_as_anywhere_and_gives_the_terminal_back() {
    let mut sandbox = Sandbox::start();
    work(&mut Window::open(&sandbox, &[]));
    sandbox.apply(POD);
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "pod/box", "--timeout=60s"]);
    work(&mut Window::open(&sandbox, &["--pod", "svc/box", "-c", "main"]));

    let mut window =
        Window::open(&sandbox, &["--pod", "box", "-c", "main", "--", "sh", "-c", "echo is-$WHERE; sleep 1000"]);
    window.see("is-inside");
    window.until_raw();
    let mut killed = Window::open(&sandbox, &["--", "sh", "-c", "echo node; sleep 1000"]);
    killed.see("node");
    killed.until_raw();
    // setsid is the program's parent: the signal goes to the process in the terminal's foreground.
    let group = rustix::termios::tcgetpgrp(&killed.master).expect("a foreground group");
    rustix::process::kill_process_group(group, rustix::process::Signal::TERM).expect("a signal");
    killed.end();
    assert!(killed.is_cooked(), "after SIGTERM, too");
    sandbox.kill_server();
    assert_eq!(window.end(), Some(1), "seen: {:?}", window.seen());
    assert!(window.is_cooked(), "and when the server is killed");
    assert!(window.seen().contains("the command was lost"), "{:?}", window.seen());
    sandbox.restart();

    let plain = sandbox.exec(&["sh", "-c", "test -t 0 || test -t 1 || echo no terminal"]);
    assert_eq!(String::from_utf8_lossy(&plain.stdout), "no terminal\n", "pipes stay pipes");
}
