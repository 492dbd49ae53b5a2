//! A sandbox of the built binary, driven from outside with stock programs, as a person would.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::account::{self, Account};

/// How long any single state is waited for. Only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running instance in a directory of its own; `down` when dropped.
pub(crate) struct Sandbox {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) server: Child,
    account: Account,
    /// Further flags of `mainstay up`.
    pub(crate) flags: &'static [&'static str],
}

impl Sandbox {
    /// Starts an instance and waits until it is ready.
    pub(crate) fn start() -> Self {
        Self::start_as(Account::Own)
    }

    /// Starts an instance with further flags.
    pub(crate) fn start_with(flags: &'static [&'static str]) -> Self {
        Self::begin(Account::Own, flags)
    }

    /// Starts an instance as somebody.
    pub(crate) fn start_as(account: Account) -> Self {
        Self::begin(account, &[])
    }

    fn begin(account: Account, flags: &'static [&'static str]) -> Self {
        let directory = account::directory();
        account.own(directory.path());
        let server = launch(&account, directory.path(), flags);
        let mut sandbox = Self { directory, server, account, flags };
        sandbox.wait_ready(0);
        sandbox
    }

    /// Starts the server again on the same directory with other flags.
    pub(crate) fn restart_with(&mut self, flags: &'static [&'static str]) {
        self.flags = flags;
        self.restart();
    }

    /// Starts the server again on the same directory.
    pub(crate) fn restart(&mut self) {
        let starts = self.starts();
        self.server = launch(&self.account, self.path(), self.flags);
        self.wait_ready(starts);
    }

    /// Kills the server and nothing else.
    pub(crate) fn kill_server(&mut self) {
        self.server.kill().expect("kill -9 of the server");
        let _ = self.server.wait();
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// How often the ready line was printed.
    fn starts(&self) -> usize {
        let line = format!("export KUBECONFIG={}", self.path().join("kubeconfig").display());
        self.log().matches(&line).count()
    }

    fn wait_ready(&mut self, starts: usize) {
        let began = Instant::now();
        while self.starts() <= starts {
            if let Some(status) = self.server.try_wait().expect("the server can be waited for") {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            assert!(began.elapsed() < PATIENCE, "not ready:\n{}", self.log());
            pause();
        }
    }

    /// What the server printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("server.log")).unwrap_or_default()
    }

    /// A stock program with this instance's kubeconfig.
    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.path().join("kubeconfig")).env("HOME", self.path()).stdin(Stdio::null());
        command
    }

    /// Stock kubectl against this instance.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Output {
        let output = self.client("kubectl").args(arguments).output();
        output.expect("kubectl must be installed: sh scripts/test.sh does it")
    }

    /// Standard output of a kubectl that must succeed.
    pub(crate) fn kubectl_ok(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(output.status.success(), "kubectl {arguments:?}: {}\nserver:\n{}", text(&output), self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What `mainstay status` is made of.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.kubectl_ok(&["get", "--raw", "/mainstay/status"])).expect("the status is JSON")
    }

    /// The node's own address: whom endpoints see when a client of the host is led to them.
    pub(crate) fn node_address(&self) -> String {
        self.kubectl_ok(&["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}"])
    }

    /// `kubectl apply -f -`.
    pub(crate) fn apply(&self, manifest: &str) {
        let file = self.path().join("manifest.yaml");
        std::fs::write(&file, manifest).expect("the manifest can be written");
        self.kubectl_ok(&["apply", "-f", &file.to_string_lossy()]);
    }

    /// A subcommand, as the user who runs the instance.
    pub(crate) fn mainstay(&self, arguments: &[&str]) -> Output {
        self.account.command().args(arguments).stdin(Stdio::null()).output().expect("mainstay runs")
    }

    /// A command in the node's network.
    pub(crate) fn exec(&self, argv: &[&str]) -> Output {
        let mut command = self.account.command();
        command.args(["exec", "--data-dir"]).arg(self.path()).arg("--").args(argv);
        command.stdin(Stdio::null()).output().expect("mainstay exec runs")
    }

    /// Standard output of a command in the node's network that must succeed.
    pub(crate) fn exec_ok(&self, argv: &[&str]) -> String {
        let output = self.exec(argv);
        assert!(output.status.success(), "exec {argv:?}: {}\nserver:\n{}", text(&output), self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The kernel's own dump of our table in the node's network, without counters.
    pub(crate) fn table(&self) -> String {
        self.exec_ok(&["nft", "-s", "list", "table", "inet", "mainstay"])
    }

    /// Waits until `look` says so.
    pub(crate) fn until(&self, what: &str, mut look: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !look(self) {
            assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}; server:\n{}", self.log());
            pause();
        }
    }

    /// `mainstay down`.
    pub(crate) fn down(&mut self) -> Output {
        let mut command = self.account.command();
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

/// Both outputs of a program.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Lets others run between two looks at a state; nothing depends on its length.
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

fn launch(account: &Account, directory: &Path, flags: &[&str]) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(directory.join("server.log"));
    let log = log.expect("the server's log can be written");
    let mut command = account.command();
    command.args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory).args(flags);
    let second = log.try_clone().expect("a second handle of the log");
    command.stdin(Stdio::null()).stdout(log).stderr(second).spawn().expect("mainstay up starts")
}
