//! What users do to Services, and the Services list of the conformance tests: `services.sh` against a sandbox.

use crate::account;
use crate::sandbox::{Sandbox, text};

#[test]
fn every_change_of_a_service_by_kubectl_curl_and_dig() {
    let sandbox = Sandbox::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/services.sh");
    let output = sandbox.client("sh").arg(script).env("MAINSTAY", account::program()).output();
    let output = output.expect("sh runs");
    assert!(output.status.success(), "{}\nserver:\n{}", text(&output), sandbox.log());
    assert_eq!(text(&output).matches("ok   ").count(), 14, "every step spoke: {}", text(&output));
}
