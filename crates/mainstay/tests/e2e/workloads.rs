//! StatefulSets, DaemonSets, Jobs and every `kubectl rollout` command by stock programs alone: `workloads.sh` against a
//! sandbox.

use crate::account;
use crate::sandbox::{Sandbox, text};

/// Runs one part of the script; every step of it must have spoken.
fn part(name: &str, steps: usize) {
    let sandbox = Sandbox::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/workloads.sh");
    let output = sandbox.client("sh").arg(script).arg(name).env("MAINSTAY", account::program()).output();
    let output = output.expect("sh runs");
    assert!(output.status.success(), "{}\nserver:\n{}", text(&output), sandbox.log());
    assert_eq!(text(&output).matches("ok   ").count(), steps, "every step spoke: {}", text(&output));
}

#[test]
fn pods_of_a_stateful_set_keep_their_names_and_are_found_by_them() {
    part("stateful_set", 7);
}

#[test]
fn a_daemon_set_runs_on_every_node_and_rolls_back_and_forth() {
    part("daemon_set", 3);
}

#[test]
fn jobs_complete_fail_and_clean_up() {
    part("jobs", 7);
}

#[test]
fn a_deployment_is_rolled_paused_and_undone() {
    part("deployment", 5);
}
