//! Connections to and from pods by stock kubectl: `streams.sh` against a sandbox, over WebSockets and over SPDY.

use std::process::Output;

use crate::sandbox::{Sandbox, text};

fn run(sandbox: &Sandbox, websockets: &str) -> Output {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/streams.sh");
    let mut command = sandbox.client("sh");
    command.arg(script).env("SCRATCH", scratch.path());
    for protocol in ["KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS"] {
        command.env(protocol, websockets);
    }
    command.output().expect("sh runs")
}

fn story(websockets: &str) {
    let sandbox = Sandbox::start();
    let output = run(&sandbox, websockets);
    assert!(output.status.success(), "{}\nserver:\n{}", text(&output), sandbox.log());
    assert_eq!(text(&output).matches("ok   ").count(), 8, "every step spoke: {}", text(&output));
}

#[test]
fn exec_attach_port_forward_cp_and_logs_over_websockets() {
    story("true");
}

#[test]
fn exec_attach_port_forward_and_cp_over_spdy() {
    story("false");
}
