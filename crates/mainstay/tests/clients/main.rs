//! Client libraries as their users install them, against a sandbox: kube-rs with a controller, Python's kubernetes and
//! kr8s, Node's @kubernetes/client-node. The last two come from their registries, pinned, into the build directory.

#[path = "../e2e/account.rs"]
#[allow(dead_code, reason = "shared with the tests in e2e, which use more of it")]
mod account;
mod kube_rs;
#[path = "../e2e/sandbox.rs"]
#[allow(dead_code, reason = "shared with the tests in e2e, which use more of it")]
mod sandbox;

use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::{Sandbox, text};

/// What each script prints when that part worked.
const PARTS: [&str; 9] = ["create", "list", "watch", "patch", "apply", "logs", "exec", "port-forward", "delete"];

#[test]
fn python_kubernetes() {
    python("kubernetes_client.py");
}

#[test]
fn python_kr8s() {
    python("kr8s_client.py");
}

#[test]
fn node_client() {
    let directory = built().join("node");
    std::fs::create_dir_all(&directory).expect("a directory for node's packages");
    for file in ["package.json", "package-lock.json", "client.mjs"] {
        std::fs::copy(here().join("node").join(file), directory.join(file)).expect("the script can be copied");
    }
    let packages = directory.join("node_modules/.package-lock.json");
    if newer(&here().join("node/package-lock.json"), &packages) {
        succeed(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&directory), "nodejs and npm");
    }
    let sandbox = prepared();
    let output = sandbox.client("node").arg("client.mjs").current_dir(&directory).output();
    judge(&sandbox, &output.expect("node must be installed: sh scripts/test.sh does it"));
}

fn python(script: &str) {
    let environment = environment();
    let sandbox = prepared();
    let output = sandbox
        .client(&environment.join("bin/python").to_string_lossy())
        .arg(here().join("python").join(script))
        .output();
    judge(&sandbox, &output.expect("the environment's python runs"));
}

/// The Python environment with the pinned packages; made once for both scripts.
fn environment() -> PathBuf {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|poison| poison.into_inner());
    let (requirements, directory) = (here().join("python/requirements.txt"), built().join("python"));
    let done = directory.join("done");
    if newer(&requirements, &done) {
        let _ = std::fs::remove_dir_all(&directory);
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&directory), "python3 and python3-venv");
        let pip = directory.join("bin/pip");
        succeed(Command::new(pip).args(["install", "--quiet", "--requirement"]).arg(requirements), "a way to PyPI");
        std::fs::write(done, "").expect("the environment can be marked as done");
    }
    directory
}

/// A sandbox with a pod that echoes, ready.
fn prepared() -> Sandbox {
    let sandbox = Sandbox::start();
    sandbox.apply(
        "apiVersion: v1
kind: Pod
metadata: { name: echo, labels: { app: echo } }
spec:
  containers: [{ name: echo, image: mainstay/echo, ports: [{ containerPort: 8080 }] }]
  terminationGracePeriodSeconds: 1
",
    );
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "pod/echo", "--timeout=60s"]);
    sandbox
}

fn judge(sandbox: &Sandbox, output: &std::process::Output) {
    let text = text(output);
    assert!(output.status.success(), "{text}\nserver:\n{}", sandbox.log());
    for part in PARTS {
        assert!(text.lines().any(|line| line == format!("ok {part}")), "no \"ok {part}\" in:\n{text}");
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Where packages are kept between runs: beside the built program.
fn built() -> PathBuf {
    account::program().parent().expect("the program is in a directory").join("clients")
}

fn newer(source: &Path, made: &Path) -> bool {
    let time = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    time(made) < time(source) || time(made).is_none()
}

fn succeed(command: &mut Command, needs: &str) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: needs {needs}: sh scripts/test.sh"));
    assert!(output.status.success(), "{command:?} needs {needs}:\n{}", text(&output));
}
