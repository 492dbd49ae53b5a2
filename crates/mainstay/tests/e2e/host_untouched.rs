//! A thousand Services come and go and the kernel holds what it held before; the sandbox ends and the host is as it was.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use crate::account::Account;
use crate::host::Host;
use crate::processes::Ours;
use crate::sandbox::{Sandbox, text};

const SERVICES: u32 = 1000;
const ENDPOINTS: u32 = 3;
/// Manifests are applied by several clients at once, as from a pipeline.
const FILES: u32 = 4;

fn endpoint(service: u32, number: u32) -> String {
    let index = service * ENDPOINTS + number;
    format!("10.200.{}.{}", index / 250, index % 250 + 1)
}

/// Services `from..to` without selectors, each with a slice.
fn manifest(from: u32, to: u32) -> String {
    let mut text = String::new();
    for service in from..to {
        let endpoints = (0..ENDPOINTS).map(|number| format!("{{ addresses: [{}] }}", endpoint(service, number)));
        let endpoints = endpoints.collect::<Vec<_>>().join(", ");
        let written = write!(
            text,
            "---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{ name: many-{service} }}\n\
             spec: {{ ports: [{{ port: 80, targetPort: 8080 }}] }}\n\
             ---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata: {{ name: many-{service}-a, labels: {{ kubernetes.io/service-name: many-{service} }} }}\n\
             ports: [{{ port: 8080 }}]\nendpoints: [{endpoints}]\n"
        );
        written.expect("strings can be written to");
    }
    text
}

/// Runs `kubectl VERB -f` on every file at once.
fn everywhere(sandbox: &Sandbox, verb: &[&str], files: &[String]) {
    std::thread::scope(|scope| {
        for file in files {
            scope.spawn(move || sandbox.kubectl_ok(&[verb, &["-f", file]].concat()));
        }
    });
}

fn addresses(sandbox: &Sandbox) -> BTreeSet<String> {
    let path = "jsonpath={range .items[*]}{.spec.clusterIP}{\"\\n\"}{end}";
    sandbox.kubectl_ok(&["get", "services", "-A", "-o", path]).lines().map(str::to_owned).collect()
}

/// The words of a dump, so that an address is not found inside a longer one.
fn words(table: &str) -> BTreeSet<&str> {
    table.split(|letter: char| !(letter.is_ascii_hexdigit() || letter == '.' || letter == ':')).collect()
}

fn come_and_go(sandbox: &Sandbox) {
    let before = sandbox.table();
    let fixed = addresses(sandbox);
    let files: Vec<String> = (0..FILES)
        .map(|index| {
            let path = sandbox.path().join(format!("many-{index}.yaml"));
            let share = SERVICES / FILES;
            std::fs::write(&path, manifest(index * share, (index + 1) * share)).expect("the manifest can be written");
            path.display().to_string()
        })
        .collect();
    everywhere(sandbox, &["apply"], &files);
    let given: BTreeSet<String> = addresses(sandbox).difference(&fixed).cloned().collect();
    assert_eq!(given.len(), SERVICES as usize, "every Service has an address of its own");
    let endpoints = (0..SERVICES).flat_map(|service| (0..ENDPOINTS).map(move |number| endpoint(service, number)));
    let expected: BTreeSet<String> = given.into_iter().chain(endpoints).collect();
    sandbox.until("the kernel knows every address", |sandbox| {
        let table = sandbox.table();
        let words = words(&table);
        expected.iter().all(|address| words.contains(address.as_str()))
    });
    everywhere(sandbox, &["delete", "--wait=false"], &files);
    sandbox.until("the kernel's dump is the one of before", |sandbox| sandbox.table() == before);
}

fn leaves_nothing(account: Account, stop: impl Fn(&mut Sandbox)) {
    let before = Host::look();
    for what in ["link", "address", "mount", "sysctl"] {
        assert!(before.count(what) > 0, "no {what} of the host was found: the comparison would hold nothing");
    }
    let mut sandbox = Sandbox::start_as(account);
    sandbox.apply(include_str!("../../src/cli/demo/types.yaml"));
    sandbox.kubectl_ok(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    let during = Host::look().changes_since(&before);
    assert!(during.is_empty(), "a running sandbox shows on the host: {during:#?}");
    come_and_go(&sandbox);
    let ours = Ours::of(sandbox.path());
    let noted = std::fs::read_to_string(sandbox.path().join("cgroups")).unwrap_or_default();
    let groups: Vec<PathBuf> = noted.lines().map(PathBuf::from).collect();
    assert!(!groups.is_empty(), "control groups are noted before they are tried");
    let (processes, networks) = ours.count();
    assert!(processes >= 6 && networks >= 5, "server, holder, four pods and their networks were found: {ours:?}");
    stop(&mut sandbox);
    assert_eq!(ours.left(), Vec::<String>::new(), "processes are left");
    let left: Vec<&PathBuf> = groups.iter().filter(|group| group.exists()).collect();
    assert!(left.is_empty(), "control groups are left: {left:?}");
    let after = Host::look().changes_since(&before);
    assert!(after.is_empty(), "the host is not what it was: {after:#?}");
}

#[test]
fn nothing_is_left_by_root() {
    leaves_nothing(Account::Own, |sandbox| {
        let pid = i32::try_from(sandbox.server.id()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM to the server");
        let status = sandbox.server.wait().expect("the server can be waited for");
        assert!(status.success(), "SIGTERM ends in order: {status}\n{}", sandbox.log());
    });
}

#[test]
fn nothing_is_left_by_an_ordinary_user() {
    leaves_nothing(Account::ordinary(), |sandbox| {
        let output = sandbox.down();
        assert!(output.status.success(), "{}", text(&output));
    });
}
