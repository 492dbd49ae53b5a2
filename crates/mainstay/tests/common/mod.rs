//! A sandbox of the built binary, driven from outside with stock programs, as a person would.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long any single state is waited for. Only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running instance in a directory of its own; `down` when dropped.
pub struct Sandbox {
    pub directory: tempfile::TempDir,
    pub server: Child,
}

/// The built binary.
pub fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_mainstay").into()
}

/// A directory with a path short enough for sockets.
pub fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("ms-").tempdir_in("/tmp").expect("a temporary directory in /tmp")
}

impl Sandbox {
    /// Starts an instance and waits until its API is ready.
    pub fn start(extra: &[&str]) -> Self {
        let directory = directory();
        let server = launch(directory.path(), extra);
        let mut sandbox = Self { directory, server };
        sandbox.wait_ready();
        sandbox
    }

    /// Starts the server again on the same directory.
    pub fn restart(&mut self, extra: &[&str]) {
        self.server = launch(self.path(), extra);
        self.wait_ready();
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn wait_ready(&mut self) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.server.try_wait().expect("the server can be waited for") {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            let this_server = std::fs::read_to_string(self.path().join("instance.json"))
                .is_ok_and(|text| text.contains(&format!("\"pid\": {}", self.server.id())));
            if this_server && self.kubectl(&["get", "--raw", "/readyz"]).status.success() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "not ready:\n{}", self.log());
            std::thread::yield_now();
        }
    }

    /// What the server printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("server.log")).unwrap_or_default()
    }

    /// Stock kubectl against this instance.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        Command::new("kubectl")
            .env("KUBECONFIG", self.path().join("kubeconfig"))
            .env("HOME", self.path())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("kubectl must be installed: sh scripts/test.sh does it")
    }

    /// Standard output of a kubectl that must succeed.
    pub fn kubectl_ok(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments:?}: {out}{err}\nserver:\n{}", self.log());
        out.into_owned()
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, manifest: &str) {
        let file = self.path().join("manifest.yaml");
        std::fs::write(&file, manifest).expect("the manifest can be written");
        self.kubectl_ok(&["apply", "-f", &file.to_string_lossy()]);
    }

    /// A command in the node's network.
    pub fn exec(&self, argv: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.args(["exec", "--data-dir"]).arg(self.path()).arg("--").args(argv);
        command.stdin(Stdio::null()).output().expect("mainstay exec runs")
    }

    /// Waits until `look` says so.
    pub fn until(&self, what: &str, mut look: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !look(self) {
            assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}; server:\n{}", self.log());
            std::thread::yield_now();
        }
    }

    /// `mainstay down`.
    pub fn down(&mut self) -> Output {
        let mut command = Command::new(program());
        let output = command.args(["down", "--data-dir"]).arg(self.path()).output().expect("mainstay down runs");
        let _ = self.server.wait();
        output
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.down();
    }
}

fn launch(directory: &Path, extra: &[&str]) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(directory.join("server.log"));
    let log = log.expect("the server's log can be written");
    let mut command = Command::new(program());
    command.args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory).args(extra);
    let second = log.try_clone().expect("a second handle of the log");
    command.stdin(Stdio::null()).stdout(log).stderr(second).spawn().expect("mainstay up starts")
}
