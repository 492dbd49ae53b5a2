//! What the store holds is checked, saved, restored, refused and renewed by the commands that a person types; a full disk
//! costs writes and nothing else.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::account::{self, program};
use crate::sandbox::{PATIENCE, Sandbox, pause, text};

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {type: NodePort, ports: [{port: 80}]}\n";

/// `mainstay store ...` on a directory.
fn store(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.arg("store").args(arguments).arg("--data-dir").arg(directory);
    command.stdin(Stdio::null()).output().expect("mainstay store runs")
}

/// One that must end with this code; what it printed.
fn store_ends(directory: &Path, arguments: &[&str], code: i32) -> String {
    let output = store(directory, arguments);
    assert_eq!(output.status.code(), Some(code), "store {arguments:?}: {}", text(&output));
    text(&output)
}

fn make(sandbox: &Sandbox, name: &str) -> (String, u64) {
    sandbox.apply(&SERVICE.replace("NAME", name));
    let json = sandbox.kubectl_ok(&["get", "service", name, "-o", "json"]);
    let object: Value = serde_json::from_str(&json).expect("kubectl prints JSON");
    let revision = object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
    (object["spec"]["clusterIP"].as_str().expect("an address").to_owned(), revision.expect("a revision"))
}

#[test]
fn what_was_saved_comes_back_and_old_watches_are_told_to_list() {
    let mut sandbox = Sandbox::start();
    let directory = sandbox.path().to_owned();
    let (address, _) = make(&sandbox, "ham");
    let checked = store_ends(&directory, &["check"], 0);
    assert!(checked.contains("nothing: every page, object and allocation"), "{checked}");
    let save: PathBuf = directory.join("save");
    let save = save.to_str().expect("a path").to_owned();
    let saved = store_ends(&directory, &["save", &save, "--with-keys"], 0);
    assert!(saved.contains("with keys: keep it secret"), "{saved}");
    let header = std::fs::read_to_string(&save).expect("the save is text at its beginning");
    assert!(header.starts_with("{\"mainstaySave\":1,\"version\":\""), "{}", header.lines().next().unwrap_or_default());

    sandbox.kubectl_ok(&["delete", "service", "ham"]);
    let (_, late) = make(&sandbox, "eggs");
    let refused = store_ends(&directory, &["restore", &save, "--force"], 1);
    assert!(refused.contains("while a server runs") && refused.contains("mainstay down"), "{refused}");
    sandbox.down();
    let refused = store_ends(&directory, &["restore", &save], 1);
    assert!(refused.contains("holds a store already") && refused.contains("--force"), "{refused}");
    let restored = store_ends(&directory, &["restore", &save, "--force"], 0);
    assert!(restored.contains("the old store is in"), "{restored}");
    store_ends(&directory, &["check"], 0);

    sandbox.restart();
    let back = sandbox.kubectl_ok(&["get", "service", "ham", "-o", "jsonpath={.spec.clusterIP}"]);
    assert_eq!(back, address);
    assert!(!sandbox.kubectl(&["get", "service", "eggs"]).status.success(), "made after the save");
    let watch = format!("/api/v1/services?watch=1&timeoutSeconds=5&resourceVersion={late}");
    let told = text(&sandbox.kubectl(&["get", "--raw", &watch]));
    assert!(told.contains("410") || told.contains("Expired") || told.contains("too old resource version"), "{told}");
    let (other, now) = make(&sandbox, "bacon");
    assert!(now > late && other != address, "{now} after {late}; {other} beside {address}");
}

#[test]
fn damage_and_newer_formats_are_refused_with_what_to_do() {
    let mut sandbox = Sandbox::start();
    make(&sandbox, "ham");
    sandbox.down();
    let directory = sandbox.path().to_owned();
    store_ends(&directory, &["check"], 0);
    let whole = store_ends(&directory, &["compact"], 0);
    assert!(whole.contains("bytes before"), "{whole}");

    std::fs::write(directory.join("format"), r#"{"format":9,"version":"7.1.0"}"#).expect("writable");
    let refused = text(&start_output(&directory));
    assert!(refused.contains("made by mainstay 7.1.0 in format 9") && refused.contains("Install"), "{refused}");
    store_ends(&directory, &["check"], 1);
    std::fs::remove_file(directory.join("format")).expect("removable");

    let file = directory.join("store/store.redb");
    let mut bytes = std::fs::read(&file).expect("readable");
    let at = bytes.windows(9).rposition(|window| window == b"clusterIP").expect("a Service is in it");
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).expect("writable");
    let found = store_ends(&directory, &["check"], 2);
    assert!(found.contains("damaged") && found.contains("mainstay store restore"), "{found}");
    let refused = text(&start_output(&directory));
    assert!(refused.contains("damaged") && refused.contains("store restore"), "{refused}");
    assert!(std::fs::read(&file).expect("readable") == bytes, "nothing touched the damaged file");
}

/// A start that must fail.
fn start_output(directory: &Path) -> Output {
    let mut command = Command::new(program());
    command.args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory);
    let output = command.stdin(Stdio::null()).output().expect("mainstay up runs");
    assert!(!output.status.success(), "{}", text(&output));
    output
}

/// A server started in a special way; gone when dropped.
struct Server {
    directory: tempfile::TempDir,
    process: Child,
}

impl Server {
    /// `prepare` is a line of shell that runs before the server, in a mount namespace of its own.
    fn start(prepare: &str, variable: (&str, &str)) -> Self {
        let directory = account::directory();
        let path = directory.path().to_str().expect("a path").to_owned();
        let log = std::fs::File::create(directory.path().join("server.log")).expect("a log");
        let script = format!(
            "set -e; cd {path}; mkdir -p store; {prepare}\nexec {} up --sandbox --listen 127.0.0.1:0 --data-dir {path}",
            program().display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).env(variable.0, variable.1);
        let second = log.try_clone().expect("a second handle");
        let process =
            command.stdin(Stdio::null()).stdout(log).stderr(second).spawn().expect("unshare must be installed");
        let server = Self { directory, process };
        server.until("ready", || server.log().contains("export KUBECONFIG="));
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("server.log")).unwrap_or_default()
    }

    fn until(&self, what: &str, look: impl Fn() -> bool) {
        let began = Instant::now();
        while !look() {
            assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}; server:\n{}", self.log());
            pause();
        }
    }

    fn kubectl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", self.directory.path().join("kubeconfig")).env("HOME", self.directory.path());
        command.args(arguments).stdin(Stdio::null()).output().expect("kubectl must be installed")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut command = Command::new(program());
        let _ = command.args(["down", "--data-dir"]).arg(self.directory.path()).output();
        let _ = self.process.wait();
    }
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else_until_there_is_space() {
    let server = Server::start("mount -t tmpfs -o size=12m none store", ("MAINSTAY_LOG", "warn"));
    let made = |name: &str| server.kubectl(&["create", "configmap", name, "--from-literal=a=b"]);
    assert!(made("before").status.success());
    // The server's mount is seen through its process.
    let filler = format!("/proc/{}/root{}/store/filler", server.process.id(), server.directory.path().display());
    let full = std::fs::write(&filler, vec![0_u8; 16 << 20]).expect_err("the disk is small");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    let large = format!("--from-literal=a={}", "x".repeat(100_000));
    let mut refused = String::new();
    // Free pages inside the file may take a few writes more.
    for number in 0..200 {
        let output = server.kubectl(&["create", "configmap", &format!("more-{number}"), &large]);
        if !output.status.success() {
            refused = text(&output);
            break;
        }
    }
    assert!(refused.contains("the store cannot write") && refused.contains("free some on the disk"), "{refused}");
    assert!(server.kubectl(&["get", "configmap", "before"]).status.success(), "reads go on");
    let status = text(&server.kubectl(&["get", "--raw", "/mainstay/status"]));
    assert!(status.contains("the store cannot write"), "{status}");

    std::fs::remove_file(&filler).expect("removable");
    server.until("writes go on", || made("after").status.success());
    let status = text(&server.kubectl(&["get", "--raw", "/mainstay/status"]));
    assert!(!status.contains("the store cannot write"), "{status}");
    let names = text(&server.kubectl(&["get", "configmap", "-o", "name"]));
    assert!(names.contains("configmap/before") && names.contains("configmap/after"), "{names}");
    let checked = store_ends(server.directory.path(), &["check"], 0);
    assert!(checked.contains("nothing"), "{checked}");
}

#[test]
fn certificates_are_renewed_while_the_server_runs() {
    let server = Server::start("true", ("MAINSTAY_CERTIFICATE_SECONDS", "15"));
    let kubeconfig = || std::fs::read_to_string(server.directory.path().join("kubeconfig")).unwrap_or_default();
    let certificate = || std::fs::read_to_string(server.directory.path().join("pki/server.crt")).unwrap_or_default();
    let (first, shown) = (kubeconfig(), certificate());
    server.until("the kubeconfig is written anew", || kubeconfig() != first && certificate() != shown);
    server.until("kubectl works with it", || server.kubectl(&["get", "nodes"]).status.success());
    let address = kubeconfig();
    let address = address.split("server: https://").nth(1).and_then(|rest| rest.lines().next()).expect("an address");
    let shows = || {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-showcerts", "-connect", address.trim()]).stdin(Stdio::null());
        text(&command.output().expect("openssl must be installed"))
    };
    server.until("the server shows the new certificate", || {
        certificate().lines().nth(2).is_some_and(|line| shows().contains(line))
    });
}
