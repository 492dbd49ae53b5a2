//! The demo: exit 0 with every step seen to work, as root and as an ordinary user; exit 1 without a dataplane.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

fn demo(command: &mut Command, arguments: &[&str]) -> Output {
    command.arg("demo").args(arguments).env("TMPDIR", "/tmp").output().expect("the demo runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_step_is_seen_to_work() {
    let output = demo(&mut Command::new(common::program()), &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("every one seen to work"), "{}", text(&output));
}

#[test]
fn without_a_dataplane_it_fails_and_says_where_to_look() {
    let output = demo(&mut Command::new(common::program()), &["--dataplane", "memory"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for expected in ["FAIL", "ClusterIP", "expected:", "seen:", "look at:", "were not seen to work"] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
}

#[test]
fn an_ordinary_user_needs_nothing_more() {
    let directory = common::directory();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("a readable directory");
    let program = directory.path().join("mainstay");
    std::fs::copy(common::program(), &program).expect("the binary can be copied");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--"]).arg(&program);
    let output = demo(command.env("HOME", "/nonexistent"), &[]);
    assert!(output.status.success(), "{}", text(&output));
}
