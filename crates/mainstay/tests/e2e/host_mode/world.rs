//! A host and its LAN: two network namespaces of the test's own, joined by a veth pair, in both families.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal};

use crate::account;
use crate::host::Host;
use crate::sandbox::{PATIENCE, pause, text};

/// The host's addresses on the LAN, and the LAN's.
pub(crate) const HOST: [&str; 2] = ["192.168.77.10", "fd77::10"];
pub(crate) const LAN: [&str; 2] = ["192.168.77.1", "fd77::1"];

/// A network namespace, kept by a process that sleeps in it.
pub(crate) struct Net(Child);

/// The two namespaces, a data directory and perhaps a server.
pub(crate) struct World {
    pub(crate) host: Net,
    pub(crate) lan: Net,
    pub(crate) directory: tempfile::TempDir,
    server: Option<Child>,
    others: Vec<Child>,
}

impl Net {
    pub(crate) fn new() -> Self {
        let mut command = Command::new("unshare");
        let child = command.args(["--net", "--mount", "--", "sleep", "infinity"]).stdin(Stdio::null()).spawn();
        let net = Self(child.expect("unshare must be installed (util-linux), and the tests run by root"));
        let own = std::fs::read_link("/proc/self/ns/net").expect("the own network namespace");
        let began = Instant::now();
        // Entered only once the program runs: before that the process may still be in our namespaces.
        let there = || {
            let theirs = std::fs::read_link(format!("/proc/{}/ns/net", net.pid())).ok();
            let name = std::fs::read_to_string(format!("/proc/{}/comm", net.pid())).unwrap_or_default();
            theirs.is_some_and(|theirs| theirs != own) && name.trim() == "sleep"
        };
        while !there() {
            assert!(began.elapsed() < PATIENCE, "no new network namespace");
            pause();
        }
        net
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// A command inside.
    pub(crate) fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid().to_string(), "--net", "--mount", "--"]).args(argv).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, argv: &[&str]) -> Output {
        self.command(argv).output().expect("nsenter must be installed (util-linux)")
    }

    /// Standard output of a command that must succeed.
    pub(crate) fn ok(&self, argv: &[&str]) -> String {
        let output = self.run(argv);
        assert!(output.status.success(), "{argv:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Several shell lines, each of which must succeed.
    pub(crate) fn script(&self, lines: &str) -> String {
        self.ok(&["sh", "-ec", lines])
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The two namespaces with addresses and default routes. The host forwards nothing yet, as hosts do.
fn joined() -> (Net, Net) {
    let (host, lan) = (Net::new(), Net::new());
    // Addresses that are still being checked for duplicates would look different a second later.
    for net in [&host, &lan] {
        net.script("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; ip link set lo up");
    }
    // Instances of others on this machine keep their files in /run as well.
    host.script("mount --make-rprivate /; mount -t tmpfs tmpfs /run");
    // A new namespace takes the setting of this machine.
    host.script("echo 0 > /proc/sys/net/ipv4/ip_forward");
    host.script(&format!("ip link add eth0 type veth peer name lan0 netns {}", lan.pid()));
    let [four, six] = HOST;
    host.script(&format!("ip addr add {four}/24 dev eth0; ip addr add {six}/64 dev eth0 nodad; ip link set eth0 up"));
    let [gateway, gateway6] = LAN;
    lan.script(&format!(
        "ip addr add {gateway}/24 dev lan0; ip addr add {gateway6}/64 dev lan0 nodad; ip link set lan0 up"
    ));
    host.script(&format!("ip route add default via {gateway}; ip -6 route add default via {gateway6}"));
    // The kernel tells the state of a link, and gives it an address of its own, a moment later.
    let began = Instant::now();
    let settled = || {
        let seen = host.ok(&["ip", "-o", "addr", "show", "eth0"]);
        host.ok(&["ip", "-o", "link", "show", "eth0"]).contains("state UP") && seen.contains("fe80:")
    };
    while !settled() {
        assert!(began.elapsed() < PATIENCE, "eth0 does not come up");
        pause();
    }
    (host, lan)
}

impl World {
    /// The two namespaces, joined.
    pub(crate) fn new() -> Self {
        let (host, lan) = joined();
        Self { host, lan, directory: account::directory(), server: None, others: Vec::new() }
    }

    /// Other namespaces on the same directory, under another boot id.
    pub(crate) fn reboot(&mut self) {
        (self.host, self.lan) = joined();
        let boot = self.path().join("boot_id");
        std::fs::write(&boot, "00000000-0000-4000-8000-000000000001\n").expect("a boot id can be written");
        self.host.ok(&["mount", "--bind", &boot.to_string_lossy(), "/proc/sys/kernel/random/boot_id"]);
    }

    /// Whether the server runs.
    pub(crate) fn runs(&self) -> bool {
        let Some(server) = &self.server else { return false };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `mainstay COMMAND ... --data-dir DIR` on the host.
    pub(crate) fn mainstay(&self, arguments: &[&str]) -> Command {
        let program = account::program();
        let program = program.to_str().expect("a path of text");
        let mut command = self.host.command(&[&[program][..], &arguments[..1]].concat());
        command.arg("--data-dir").arg(self.path()).args(&arguments[1..]).env_remove("KUBECONFIG");
        command
    }

    /// Starts the server and waits until it is ready.
    pub(crate) fn up(&mut self, flags: &[&str]) {
        let starts = self.starts();
        self.launch(flags, None);
        let began = Instant::now();
        while self.starts() <= starts {
            let ended =
                self.server.as_mut().and_then(|server| server.try_wait().expect("the server can be waited for"));
            assert!(ended.is_none(), "the server ended with {ended:?}:\n{}", self.log());
            assert!(began.elapsed() < PATIENCE, "not ready:\n{}", self.log());
            pause();
        }
    }

    /// Starts the server and waits for nothing; `kill_at` names the moment at which it kills itself.
    pub(crate) fn launch(&mut self, flags: &[&str], kill_at: Option<&str>) {
        let log = File::options().create(true).append(true).open(self.path().join("server.log"));
        let log = log.expect("the server's log can be written");
        let mut command = self.mainstay(&[&["up", "--host", "--yes", "--listen", "127.0.0.1:0"][..], flags].concat());
        let second = log.try_clone().expect("a second handle of the log");
        command.stdout(log).stderr(second);
        if let Some(moment) = kill_at {
            command.env("MAINSTAY_KILL_AT", moment);
        }
        self.server = Some(command.spawn().expect("mainstay up starts"));
    }

    /// Waits for the server's end; whether it was killed.
    pub(crate) fn ended_by_kill(&mut self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        let status = self.server.take().expect("a server").wait().expect("the server can be waited for");
        status.signal() == Some(Signal::KILL.as_raw())
    }

    fn starts(&self) -> usize {
        self.log().matches("export KUBECONFIG=").count()
    }

    /// What the server printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("server.log")).unwrap_or_default()
    }

    /// Sends the server a signal and waits for its end.
    pub(crate) fn stop(&mut self, signal: Signal) {
        let Some(mut server) = self.server.take() else { return };
        let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("the server can be signalled");
        server.wait().expect("the server can be waited for");
    }

    /// `mainstay down`.
    pub(crate) fn down(&mut self) -> Output {
        let output = self.mainstay(&["down"]).output().expect("mainstay down runs");
        if let Some(mut server) = self.server.take() {
            let _ = server.wait();
        }
        output
    }

    /// Stock kubectl on the host.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Output {
        let mut command = self.host.command(&[&["kubectl"][..], arguments].concat());
        command.env("KUBECONFIG", self.path().join("kubeconfig")).env("HOME", self.path());
        command.output().expect("kubectl must be installed: sh scripts/test.sh does it")
    }

    /// Standard output of a kubectl that must succeed.
    pub(crate) fn kubectl_ok(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(output.status.success(), "kubectl {arguments:?}: {}\nserver:\n{}", text(&output), self.log());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// `kubectl apply -f -`.
    pub(crate) fn apply(&self, manifest: &str) {
        let file = self.path().join("manifest.yaml");
        std::fs::write(&file, manifest).expect("the manifest can be written");
        self.kubectl_ok(&["apply", "-f", &file.to_string_lossy()]);
    }

    /// A number of `mainstay status`.
    pub(crate) fn status(&self, field: &str) -> u64 {
        let status: serde_json::Value =
            serde_json::from_str(&self.kubectl_ok(&["get", "--raw", "/mainstay/status"])).expect("the status is JSON");
        status[field].as_u64().unwrap_or_else(|| panic!("{field} is no number in {status}"))
    }

    /// `mainstay/echo` as a plain program in one of the namespaces, until the world ends.
    pub(crate) fn echo_in_lan(&mut self, port: u16) {
        let child = echo(&self.lan, port);
        self.others.push(child);
    }

    /// The same in a third namespace.
    pub(crate) fn echo_in(&mut self, net: &Net, port: u16) {
        let child = echo(net, port);
        self.others.push(child);
    }

    /// The same on the host.
    pub(crate) fn echo_on_host(&mut self, port: u16) {
        let child = echo(&self.host, port);
        self.others.push(child);
    }

    /// Waits until `look` says so.
    pub(crate) fn until(&self, what: &str, mut look: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !look(self) {
            assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}; server:\n{}", self.log());
            pause();
        }
    }

    /// Everything of the host that could have been touched.
    pub(crate) fn look(&self) -> Host {
        Host::look_in(self.host.pid())
    }

    /// `curl` from one of the namespaces.
    pub(crate) fn curl(&self, from: &Net, url: &str) -> Output {
        from.run(&["curl", "-sS", "-g", "--max-time", "5", url])
    }

    /// Waits until `curl` answers, and returns what.
    pub(crate) fn answer(&self, from: &Net, url: &str) -> String {
        let mut answer = String::new();
        self.until(&format!("{url} answers"), |world| {
            let output = world.curl(from, url);
            answer = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success()
        });
        answer
    }

    /// `curl` inside the pod `client`, until it answers.
    pub(crate) fn answer_to_pod(&self, url: &str) -> String {
        let mut answer = String::new();
        self.until(&format!("{url} answers to a pod"), |world| {
            let output = world.kubectl(&["exec", "client", "--", "curl", "-sS", "-g", "--max-time", "5", url]);
            answer = text(&output);
            output.status.success()
        });
        answer
    }
}

fn echo(net: &Net, port: u16) -> Child {
    let program = account::program();
    let program = program.to_str().expect("a path of text");
    let mut command = net.command(&[program, "guest", "echo", &port.to_string()]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("echo starts");
    let began = Instant::now();
    while !net.run(&["curl", "-s", "--max-time", "5", &format!("http://127.0.0.1:{port}/")]).status.success() {
        assert!(began.elapsed() < PATIENCE, "echo on port {port} does not answer");
        pause();
    }
    child
}

/// An address as part of a URL.
pub(crate) fn host_of(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.others {
            let _ = child.kill();
            let _ = child.wait();
        }
        let output = self.down();
        if !std::thread::panicking() {
            assert!(output.status.success(), "{}", text(&output));
        }
    }
}
