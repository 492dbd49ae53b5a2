//! Services of every type by stock programs alone: `stock.sh` against a sandbox.

use crate::account;
use crate::sandbox::{Sandbox, text};

#[test]
fn every_type_and_an_even_spread_by_kubectl_curl_and_dig() {
    let sandbox = Sandbox::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/stock.sh");
    let output = sandbox.client("sh").arg(script).env("MAINSTAY", account::program()).output();
    let output = output.expect("sh runs");
    assert!(output.status.success(), "{}\nserver:\n{}", text(&output), sandbox.log());
    assert_eq!(text(&output).matches("ok   ").count(), 6, "every step spoke: {}", text(&output));
}
