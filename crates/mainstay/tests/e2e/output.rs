//! What becomes of the program when nobody reads what it says: a closed pipe is no error, a full disk is one, and a server
//! goes on without its standard error.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use crate::account;
use crate::sandbox::{PATIENCE, Sandbox, pause, text};

/// Everything that prints, with the code of its end: what needs no instance, then what needs one.
const ALONE: [(&str, i32); 9] = [
    ("ls", 0),
    ("explain --list", 0),
    ("explain MS1004", 0),
    ("explain MS0101", 0),
    ("version", 0),
    ("man", 0),
    ("completions bash", 0),
    ("--help", 0),
    ("up --help", 0),
];
const WITH: [(&str, i32); 13] = [
    ("status", 0),
    ("status -o json", 0),
    ("doctor", 0),
    ("doctor -o json", 0),
    ("doctor dns", 0),
    ("explain kube-system/kube-dns", 0),
    ("dump nft", 0),
    ("dump zone", 0),
    ("image ls", 0),
    ("store check", 0),
    ("logs server", 0),
    ("wait svc/kube-dns -n kube-system", 0),
    ("apply -f DIR/quiet.yaml", 0),
];

/// Runs `mainstay` with its standard output led elsewhere; its end.
fn run(line: &str, sandbox: Option<&Sandbox>, stdout: Stdio) -> Output {
    let mut command = Command::new(account::program());
    let directory = sandbox.map(|sandbox| sandbox.path().display().to_string()).unwrap_or_default();
    command.args(line.split(' ').map(|word| word.replace("DIR", &directory)));
    if sandbox.is_some() {
        command.args(["--data-dir", &directory]);
    }
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    command.spawn().expect("mainstay runs").wait_with_output().expect("it ends")
}

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("/dev/full is there").into()
}

#[test]
fn a_closed_pipe_is_no_error_and_a_full_disk_is_one() {
    let sandbox = Sandbox::start();
    let quiet = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: quiet}\n";
    std::fs::write(sandbox.path().join("quiet.yaml"), quiet).expect("a file");
    let all = ALONE.map(|row| (row, None)).into_iter().chain(WITH.map(|row| (row, Some(&sandbox))));
    for ((line, code), sandbox) in all {
        let unread = run(line, sandbox, closed());
        assert_eq!(unread.status.code(), Some(code), "{line}: {}", text(&unread));
        assert!(!text(&unread).contains("panicked") && !text(&unread).contains("cannot write"), "{}", text(&unread));
        let lost = run(line, sandbox, full());
        assert_eq!(lost.status.code(), Some(1), "{line}: {}", text(&lost));
        let said = text(&lost);
        assert!(said.contains("mainstay: cannot write to standard output: No space left"), "{line}: {said}");
        assert!(said.contains("mainstay ... >FILE"), "{line} says what to type: {said}");
    }
}

/// Waits until a program has ended; its code.
fn end(child: &mut Child) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return status.code();
        }
        assert!(began.elapsed() < PATIENCE, "it does not end");
        pause();
    }
}

#[test]
fn exec_in_a_pod_ends_with_its_reader() {
    let sandbox = Sandbox::start();
    sandbox.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: client}\nspec: {containers: [{name: a, image: mainstay/client}]}\n",
    );
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    let exec = |script: &str| {
        let mut command = Command::new(account::program());
        command.args(["exec", "--pod", "client", "--data-dir"]).arg(sandbox.path()).args(["--", "sh", "-c", script]);
        command.stdin(Stdio::null());
        command
    };
    let mut yes = exec("yes").stdout(Stdio::piped()).spawn().expect("mainstay runs");
    let mut line = String::new();
    BufReader::new(yes.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!((line.as_str(), end(&mut yes)), ("y\n", Some(0)));
    let mut complains = exec("yes >&2").stderr(closed()).stdout(Stdio::null()).spawn().expect("mainstay runs");
    assert_eq!(end(&mut complains), Some(0), "standard error is read no more");
    let ended = exec("echo said; exit 7").stdout(closed()).output().expect("mainstay runs");
    assert_eq!(ended.status.code(), Some(7), "a command that ends by itself has its own code: {}", text(&ended));
    let lost = exec("echo said").stdout(full()).output().expect("mainstay runs");
    assert!(lost.status.code() == Some(1) && text(&lost).contains("cannot write"), "{}", text(&lost));
}

#[test]
fn a_server_goes_on_without_its_standard_error() {
    let directory = account::directory();
    let mut up = Command::new(account::program());
    up.args(["up", "--sandbox", "-v", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory.path());
    let mut server = up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(server.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    // As `2>&1 | head -1` does: everything after the first phase is written nowhere.
    assert!(lines.next().is_some(), "it says something");
    drop(lines);
    let instance = |arguments: &[&str]| {
        let mut command = Command::new(account::program());
        command.args(arguments).arg("--data-dir").arg(directory.path()).stdin(Stdio::null());
        command.output().expect("mainstay runs")
    };
    let until = |what: &str, look: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !look() {
            assert!(began.elapsed() < PATIENCE, "{what}: {}", text(&instance(&["status"])));
            pause();
        }
    };
    until("it is ready", &|| instance(&["status"]).status.success());
    let node = directory.path().join("node.yaml");
    let manifest =
        "apiVersion: v1\nkind: Service\nmetadata: {name: late}\nspec: {type: NodePort, ports: [{port: 80}]}\n";
    std::fs::write(&node, manifest).expect("a file");
    let applied = instance(&["apply", "-f", &node.to_string_lossy()]);
    assert!(applied.status.success(), "{}", text(&applied));
    until("a new node port is published", &|| text(&instance(&["status"])).contains("default/late NodePort "));
    assert!(text(&instance(&["status"])).contains("problems    none"), "{}", text(&instance(&["status"])));
    let down = instance(&["down"]);
    assert!(down.status.success() && end(&mut server) == Some(0), "{}", text(&down));
}

#[test]
fn a_log_in_a_file_has_no_colours() {
    let sandbox = Sandbox::start_with(&["-vv"]);
    sandbox.until("something is logged", |sandbox| sandbox.log().contains("DEBUG"));
    assert!(!sandbox.log().contains('\x1b'), "{}", sandbox.log());
}

#[test]
fn a_demo_that_nobody_watches_leaves_nothing() {
    let place = account::directory();
    let mut demo = Command::new(account::program());
    demo.arg("demo").env("TMPDIR", place.path()).stdin(Stdio::null()).stdout(closed()).stderr(closed());
    let mut demo = demo.spawn().expect("the demo starts");
    let began = Instant::now();
    let code = loop {
        if let Some(status) = demo.try_wait().expect("it can be waited for") {
            break status.code();
        }
        assert!(began.elapsed() < 4 * PATIENCE, "it does not end");
        pause();
    };
    // On a busy machine a step may not be seen to work; what counts here is that it went on to its end.
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
    assert_eq!(std::fs::read_dir(place.path()).expect("a directory").count(), 0, "its directory is gone");
}
