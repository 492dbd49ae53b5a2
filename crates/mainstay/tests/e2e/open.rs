//! `mainstay open`, `status` and `ls` as a person and a script meet them: what they print and how they end.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::account;
use crate::sandbox::{Sandbox, text};

const MANIFEST: &str = include_str!("publish.yaml");

/// A subcommand with this instance's directory.
fn command(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = Command::new(account::program());
    command.args(arguments).stdin(Stdio::null());
    if arguments.first() != Some(&"ls") {
        command.arg("--data-dir").arg(sandbox.path());
    }
    command
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    command(sandbox, arguments).output().expect("mainstay runs")
}

/// Standard output of a run that ends with a code.
fn ends(sandbox: &Sandbox, arguments: &[&str], code: i32) -> String {
    let output = run(sandbox, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}\nserver:\n{}", text(&output), sandbox.log());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn curl(url: &str) -> String {
    let output = Command::new("curl").args(["-sg", "--max-time", "5", url]).output();
    let output = output.expect("curl must be installed: sh scripts/setup.sh test does it");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A background `open` and the URL that it printed.
fn held_open(sandbox: &Sandbox, arguments: &[&str]) -> (Child, String) {
    let mut child = command(sandbox, arguments).stdout(Stdio::piped()).spawn().expect("mainstay runs");
    let mut line = String::new();
    let output = child.stdout.take().expect("its output is a pipe");
    BufReader::new(output).read_line(&mut line).expect("it prints a line");
    (child, line.trim().to_owned())
}

fn interrupt(mut child: Child) -> Option<i32> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("not zero");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it can be interrupted");
    child.wait().expect("it ends").code()
}

#[test]
fn open_waits_prints_a_url_that_answers_and_explains_what_does_not() {
    let sandbox = Sandbox::start();
    // Nothing is waited for here: `open` does that.
    sandbox.apply(MANIFEST);
    for service in ["svc/node", "default/balanced"] {
        let url = ends(&sandbox, &["open", service], 0);
        assert!(url.starts_with("http://127.0.0.1") && url.lines().count() == 1, "{url}");
        assert!(curl(url.trim()).contains("\"pod\":\"echo\""), "{url}");
    }
    let udp = ends(&sandbox, &["open", "svc/node", "--port", "udp"], 0);
    assert!(udp.starts_with("127.0.0.1:"), "UDP has no scheme: {udp}");

    // A cluster address gets a port while `open` runs.
    let (child, url) = held_open(&sandbox, &["open", "svc/inside"]);
    assert!(curl(&url).contains("\"pod\":\"echo\""), "{url}");
    assert_eq!(interrupt(child), Some(0));
    sandbox.until("the port is closed again", |_| curl(&url).is_empty());
    let (child, url) = held_open(&sandbox, &["open", "kube-system/kube-dns"]);
    let (host, port) = url.split_once(':').expect("HOST:PORT");
    let name = "inside.default.svc.cluster.local";
    let dig = Command::new("dig").args(["+short", &format!("@{host}"), "-p", port, name]).output();
    let answer = String::from_utf8_lossy(&dig.expect("dig must be installed").stdout).into_owned();
    let address = sandbox.kubectl_ok(&["get", "svc", "inside", "-o", "jsonpath={.spec.clusterIP}"]);
    assert_eq!(answer.trim(), address);
    assert_eq!(interrupt(child), Some(0));
    let line = ends(&sandbox, &["open", "svc/inside", "--print"], 0);
    assert_eq!(line, "kubectl port-forward -n default service/inside 8080:80\n");

    let url = ends(&sandbox, &["open", "svc/node", "--print"], 0);
    assert!(curl(url.trim()).contains("\"pod\":\"echo\""), "a published port needs no kubectl: {url}");
    let url = ends(&sandbox, &["open", "svc/inside", "--once", "--timeout", "20s"], 0);
    assert!(curl(url.trim()).contains("\"pod\":\"echo\""), "the port outlives the program for a moment: {url}");

    // What is wrong is said, with its own codes.
    sandbox.kubectl_ok(&["create", "service", "clusterip", "lost", "--tcp=80:80"]);
    let wrong = text(&run(&sandbox, &["open", "svc/lost"]));
    assert!(wrong.contains("MS1001 problem default/lost spec.selector") && wrong.contains("fix: "), "{wrong}");
    ends(&sandbox, &["open", "svc/lost", "--timeout", "0"], 2);
    ends(&sandbox, &["open", "svc/none"], 1);
    ends(&sandbox, &["open", "svc/node", "--port", "none"], 1);
    ends(&sandbox, &["open", "pod/echo"], 3);
    ends(&sandbox, &["open", "a/b/c/d"], 3);
    let headless = ["create", "service", "clusterip", "heads", "--tcp=8080:8080", "--clusterip=None"];
    sandbox.kubectl_ok(&headless);
    let selector = "{\"spec\":{\"selector\":{\"app\":\"echo\"}}}";
    sandbox.kubectl_ok(&["patch", "service", "heads", "--type=merge", "-p", selector]);
    let heads = run(&sandbox, &["open", "svc/heads"]);
    assert!(text(&heads).contains("is headless") && text(&heads).contains("kubectl port-forward"), "{}", text(&heads));
}

#[test]
fn a_browser_is_started_only_on_a_desktop_and_a_terminal() {
    let sandbox = Sandbox::start();
    sandbox.apply(MANIFEST);
    let opened = sandbox.path().join("opened");
    let opener = sandbox.path().join("xdg-open");
    std::fs::write(&opener, format!("#!/bin/sh\necho \"$1\" >>{}\n", opened.display())).expect("a program");
    std::fs::set_permissions(&opener, PermissionsExt::from_mode(0o755)).expect("it can be run");
    let path = format!("{}:{}", sandbox.path().display(), std::env::var("PATH").expect("a PATH"));
    let with = |mut command: Command, display: &str| {
        let output = command.env("PATH", &path).env("DISPLAY", display).env_remove("WAYLAND_DISPLAY").output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    let line = |more: &str| {
        let program = account::program();
        format!("{} open svc/node {more} --data-dir {}", program.display(), sandbox.path().display())
    };
    let terminal = |more: &str| {
        let mut command = Command::new("script");
        command.args(["-qec", &line(more), "/dev/null"]).stdin(Stdio::null());
        command
    };
    with(command(&sandbox, &["open", "svc/node"]), ":9");
    with(terminal(""), "");
    with(terminal("--no-browser"), ":9");
    assert!(!opened.exists(), "no browser without a terminal, without a desktop, or when told not to");
    let said = with(terminal(""), ":9");
    sandbox.until("the browser was started", |_| opened.exists());
    let url = std::fs::read_to_string(&opened).expect("it was told a URL");
    assert!(url.starts_with("http://127.0.0.1:") && said.contains(url.trim()), "{url} in {said}");
}

#[test]
fn status_and_ls_follow_an_instance_through_its_life() {
    let mut sandbox = Sandbox::start();
    sandbox.apply(MANIFEST);
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/echo", "pod/bulk"]);
    let directory = sandbox.path().display().to_string();
    let listed = |sandbox: &Sandbox| {
        let all: Value = serde_json::from_str(&ends(sandbox, &["ls", "-o", "json"], 0)).expect("ls prints JSON");
        let mut all = all["instances"].as_array().cloned().unwrap_or_default().into_iter();
        all.find(|one| one["dataDir"] == directory.as_str()).unwrap_or_default()
    };
    let text_of = |sandbox: &Sandbox, code| ends(sandbox, &["status"], code);
    sandbox.until("every pod is ready", |sandbox| sandbox.status()["pods"]["notReady"] == 0);
    let page = text_of(&sandbox, 0);
    for part in ["mode        sandbox, up ", "version     server ", "default/node NodePort ", "problems    none"] {
        assert!(page.contains(part), "{part} in:\n{page}");
    }
    let status: Value = serde_json::from_str(&ends(&sandbox, &["status", "-o", "json"], 0)).expect("JSON");
    assert_eq!((&status["state"], &status["pid"]), (&"running".into(), &sandbox.server.id().into()));
    let one = listed(&sandbox);
    assert_eq!((&one["state"], &one["holder"]["pods"]), (&"running".into(), &2.into()), "{one}");
    assert!(ends(&sandbox, &["ls", "-o", "name"], 0).lines().any(|line| line == directory));
    assert!(ends(&sandbox, &["ls"], 0).starts_with("DIRECTORY"));

    // A pod that never becomes ready is a finding.
    let sick = "apiVersion: v1\nkind: Pod\nmetadata: { name: sick }\nspec:\n  terminationGracePeriodSeconds: 1\n  containers: \
                [{ name: main, image: mainstay/echo, readinessProbe: { tcpSocket: { port: 1 } } }]\n";
    sandbox.apply(sick);
    sandbox.until("it is seen", |sandbox| sandbox.status()["pods"]["notReady"] == 1);
    assert!(text_of(&sandbox, 2).contains("1 not ready: default/sick"));

    // Without its server the pods go on, and the page says how to go on.
    sandbox.kill_server();
    let page = text_of(&sandbox, 4);
    assert!(page.contains("keeps pods, addresses and rules"), "{page}");
    assert!(page.contains(&format!("start       mainstay up --sandbox --data-dir {directory}")), "{page}");
    assert_eq!(listed(&sandbox)["state"], "pods-only");
    ends(&sandbox, &["open", "svc/node"], 4);
    sandbox.down();
    assert_eq!(listed(&sandbox)["state"], "stopped");
    assert!(text_of(&sandbox, 4).contains("not running"));
    ends(&sandbox, &["down", "--delete-data"], 0);
    assert_eq!(listed(&sandbox), Value::Null, "what is gone is listed no more");
}

#[test]
fn instances_of_other_users_are_not_listed() {
    let theirs = Sandbox::start_as(account::Account::ordinary());
    let directory = theirs.path().display().to_string();
    let mine = ends(&theirs, &["ls", "-o", "name"], 0);
    assert!(!mine.lines().any(|line| line == directory), "root lists its own: {mine}");
    let listed = theirs.mainstay(&["ls", "-o", "name"]);
    assert!(text(&listed).lines().any(|line| line == directory), "found by its holder alone: {}", text(&listed));
}
