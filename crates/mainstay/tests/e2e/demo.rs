//! The demo: exit 0 with every step seen to work, as root and as an ordinary user; exit 1 without a dataplane.

use std::process::Output;

use crate::account::Account;
use crate::sandbox::text;

fn demo(account: &Account, arguments: &[&str]) -> Output {
    account.command().arg("demo").args(arguments).env("TMPDIR", "/tmp").output().expect("the demo runs")
}

#[test]
fn every_step_is_seen_to_work() {
    let output = demo(&Account::Own, &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("every one seen to work"), "{}", text(&output));
}

#[test]
fn an_ordinary_user_needs_nothing_more() {
    let output = demo(&Account::ordinary(), &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("every one seen to work"), "{}", text(&output));
}

#[test]
fn without_a_dataplane_it_fails_and_says_where_to_look() {
    let output = demo(&Account::Own, &["--dataplane", "memory"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for expected in ["FAIL", "ClusterIP", "expected:", "seen:", "look at:", "were not seen to work"] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
}
