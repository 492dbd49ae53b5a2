//! Every command that the articles name or a cluster's user types, by stock kubectl: `commands.sh` against a sandbox.

use crate::account;
use crate::sandbox::{Sandbox, text};

#[test]
fn every_command_of_a_stock_kubectl_is_answered() {
    let sandbox = Sandbox::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/commands.sh");
    let output = sandbox.client("sh").arg(script).env("MAINSTAY", account::program()).output();
    let output = output.expect("sh runs");
    assert!(output.status.success(), "{}\nserver:\n{}", text(&output), sandbox.log());
    assert_eq!(text(&output).matches("ok   ").count(), 12, "every step spoke: {}", text(&output));
}
