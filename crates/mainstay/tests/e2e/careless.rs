//! What careless people do: starts that cannot work say why in one line and leave nothing, images get other names, commands
//! crash, Services are deleted while their pods change.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::account;
use crate::sandbox::{Sandbox, text};

/// `mainstay up` with arguments that it must refuse with an exit code; what it said.
fn refused(data_dir: &Path, extra: &[&str], code: i32) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir).args(extra);
    let output = command.stdin(Stdio::null()).output().expect("mainstay runs");
    assert_eq!(output.status.code(), Some(code), "{extra:?}: {}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn a_start_that_cannot_work_says_why_and_what_to_type_and_leaves_nothing() {
    let home = account::directory();
    let new = home.path().join("new");
    let file = home.path().join("broken.yaml");
    std::fs::write(&file, "kind: [").expect("a file can be written");
    let broken = file.display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").to_string();
    for (extra, code, expected) in [
        (&["-f", "/no/such.yaml"][..], 1, "cannot use /no/such.yaml: No such file or directory"),
        (&["-f", &broken], 1, "the manifest is not YAML at line 1"),
        (&["--listen", &port], 1, "the address is in use"),
        (&["--service-cidr", "10.96.0.0/31"], 3, "only 2 addresses"),
        (&["--node-name", "A_b"], 3, "cannot be the name of a node"),
    ] {
        // The last --listen would be a second one: give it alone.
        let said = if extra[0] == "--listen" { refused_listening(&new, &port) } else { refused(&new, extra, code) };
        assert!(said.contains(expected), "expected {expected:?} in {said:?}");
        assert!(!new.exists(), "{extra:?} left {}", new.display());
    }
    let said = refused(Path::new("/dev/null/x"), &[], 1);
    assert!(said.starts_with("mainstay: cannot make the data directory /dev/null/x: Not a directory"), "{said}");
    assert!(said.trim_end().ends_with("--data-dir DIR"), "the advice comes last: {said}");
    assert_eq!(said.matches("os error").count(), 1, "the cause is said once: {said}");
}

fn refused_listening(data_dir: &Path, address: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(["up", "--sandbox", "--listen", address, "--data-dir"]).arg(data_dir);
    let output = command.stdin(Stdio::null()).output().expect("mainstay runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const NAMED: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: named, labels: {app: named}}
spec:
  containers:
  - name: main
    image: registry.example/my-app-image:1.2
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 3600}
---
apiVersion: v1
kind: Pod
metadata: {name: crash}
spec: {containers: [{name: main, image: mainstay/host, command: [sh, -c, exit 7]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: strange}
spec: {containers: [{name: main, image: 'strange:1'}]}
";

fn alias(sandbox: &Sandbox, alias: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    let output = command.args(["image", "alias", alias, "--data-dir"]).arg(sandbox.path()).output();
    let output = output.expect("mainstay runs");
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn images_get_other_names_and_what_is_wrong_with_a_pod_is_seen() {
    let sandbox = Sandbox::start();
    let mut second = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    second.args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--data-dir"]).arg(sandbox.path());
    let output = second.stdin(Stdio::null()).output().expect("mainstay runs");
    assert!(text(&output).contains("its lock is held"), "{}", text(&output));
    alias(&sandbox, "registry.example/my-app-image=mainstay/echo");
    sandbox.apply(NAMED);
    // A period of an hour: ready at once only because a refused first probe is tried again soon.
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "pod/named", "--timeout=60s"]);
    let events = sandbox.kubectl_ok(&["get", "events", "--field-selector", "reason=Unhealthy", "-o", "name"]);
    assert_eq!(events, "", "a process that is just starting is not unhealthy");
    sandbox.until("the crashes", |sandbox| sandbox.kubectl_ok(&["get", "pod", "crash"]).contains("CrashLoopBackOff"));
    let path = "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].lastState.terminated.exitCode}";
    assert_eq!(sandbox.kubectl_ok(&["get", "pod", "crash", "-o", path]), "1 7");
    sandbox.until("the reason", |sandbox| {
        let events = sandbox.kubectl_ok(&["get", "events", "--field-selector", "involvedObject.name=strange"]);
        events.contains("mainstay image alias strange=mainstay/echo")
    });
    alias(&sandbox, "strange=mainstay/echo");
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "pod/strange", "--timeout=60s"]);
    sandbox.kubectl_ok(&["delete", "pods", "--all"]);
    assert_eq!(sandbox.kubectl_ok(&["get", "pods", "-o", "name"]), "");
    assert!(!sandbox.log().contains("panicked"), "{}", sandbox.log());
}
