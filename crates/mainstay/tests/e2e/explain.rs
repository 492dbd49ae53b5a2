//! The traps of the articles and what is said about them: `explain.sh` against a sandbox.

use crate::account;
use crate::sandbox::{Sandbox, text};

#[test]
fn traps_are_told_shown_explained_and_healed_by_the_pasted_fix() {
    let sandbox = Sandbox::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/explain.sh");
    let output = sandbox.client("sh").arg(script).env("MAINSTAY", account::program()).output();
    let output = output.expect("sh runs");
    assert!(output.status.success(), "{}\nserver:\n{}", text(&output), sandbox.log());
    assert_eq!(text(&output).matches("ok   ").count(), 14, "every step spoke: {}", text(&output));
    assert!(!sandbox.log().contains("panicked"), "{}", sandbox.log());
}
