//! Exit codes for scripts: every subcommand against no instance, against a command line that makes no sense, and against a
//! running instance.

use std::process::{Command, Stdio};

use crate::account;
use crate::sandbox::{Sandbox, text};

/// Every subcommand that needs an instance.
const CLIENTS: [&str; 17] = [
    "status --data-dir DIR",
    "explain svc/web --data-dir DIR",
    "doctor --data-dir DIR",
    "doctor dns --data-dir DIR",
    "image ls --data-dir DIR",
    "image alias a=mainstay/echo --data-dir DIR",
    "dump zone --data-dir DIR",
    "dump nft --data-dir DIR",
    "apply -f DIR/../x.yaml --data-dir DIR",
    "wait --all --data-dir DIR",
    "wait svc/web --data-dir DIR",
    "logs --data-dir DIR",
    "logs dns --data-dir DIR",
    "logs pod/web --data-dir DIR",
    "exec --data-dir DIR -- true",
    "exec --pod web --data-dir DIR -- true",
    "status --kubeconfig DIR/kubeconfig",
];
/// Command lines that make no sense.
const NONSENSE: [&str; 41] = [
    "",
    "nonsense",
    "up",
    "up --nonsense",
    "up --sandbox --listen nowhere",
    "up --sandbox --service-cidr 10.96.0.0/31 --data-dir DIR",
    "up --sandbox --node-name A_b --data-dir DIR",
    "up --sandbox --cluster-domain -x --data-dir DIR",
    "up --sandbox --lb-pool x --data-dir DIR",
    "up --sandbox --wait=soon --data-dir DIR",
    "up --sandbox --detach --service-cidr 10.96.0.0/31 --data-dir DIR",
    "up --sandbox --dry-run --data-dir DIR",
    "up --sandbox --yes --data-dir DIR",
    "up --sandbox --fix-forward --data-dir DIR",
    "up --sandbox --nodeport-addresses all --data-dir DIR",
    "up --sandbox --wait soon --data-dir DIR",
    "down --nonsense",
    "status -o nonsense",
    "explain",
    "explain MS9999 --data-dir DIR",
    "explain a/b/c/d --data-dir DIR",
    "explain deploy/web --data-dir DIR",
    "open deploy/web --data-dir DIR",
    "open svc/web --timeout soon --data-dir DIR",
    "bench floors --samples 0",
    "doctor nonsense",
    "image",
    "image alias",
    "dump",
    "dump nonsense",
    "apply",
    "wait",
    "wait --all svc/web",
    "wait svc/web --timeout soon",
    "logs --tail x",
    "logs server -p --data-dir DIR",
    "logs a/b/c/d --data-dir DIR",
    "exec --container x -- true",
    "exec --pod a/b/c/d --data-dir DIR -- true",
    "demo --nonsense",
    "bench",
];

/// Runs `mainstay` with arguments in which DIR stands for a data directory; exit code and everything said.
fn run(arguments: &str, directory: &std::path::Path) -> (Option<i32>, String) {
    let mut command = Command::new(account::program());
    for word in arguments.split(' ').filter(|word| !word.is_empty()) {
        command.arg(word.replace("DIR", &directory.display().to_string()));
    }
    let output = command.env("HOME", directory).stdin(Stdio::null()).output().expect("mainstay runs");
    (output.status.code(), text(&output))
}

#[test]
fn without_an_instance_every_client_says_so_with_4_and_nonsense_is_3() {
    let home = account::directory();
    let manifest = home.path().join("x.yaml");
    std::fs::write(&manifest, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n").expect("a file can be written");
    let missing = home.path().join("none");
    for arguments in CLIENTS {
        std::fs::create_dir_all(&missing).expect("a directory");
        std::fs::remove_dir(&missing).expect("it stays empty");
        // `DIR/..` needs the directory; everything else must not make it.
        if arguments.contains("/../") {
            std::fs::create_dir(&missing).expect("a directory");
        }
        let (code, said) = run(arguments, &missing);
        assert_eq!(code, Some(4), "{arguments}: {said}");
        assert!(
            said.starts_with("mainstay: ") && said.trim_end().contains('\n'),
            "{arguments} says what to type: {said}"
        );
    }
    for arguments in NONSENSE {
        let (code, said) = run(arguments, &missing);
        assert_eq!(code, Some(3), "{arguments}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    assert!(!missing.exists(), "nonsense leaves nothing");
    for arguments in
        ["--help", "--version", "up --help", "wait --help", "explain MS1001", "explain --list", "down --data-dir DIR"]
    {
        let (code, said) = run(arguments, &missing);
        assert_eq!(code, Some(0), "{arguments}: {said}");
        let codes = said.contains("5 time-out") || !arguments.contains("--help");
        assert!(codes, "{arguments} names the exit codes: {said}");
    }
}

#[test]
fn with_an_instance_codes_say_what_was_found() {
    let sandbox = Sandbox::start();
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: lone}\nspec: {selector: {app: lone}, ports: [{port: 80}]}\n";
    sandbox.apply(service);
    let refused = sandbox.path().join("refused.yaml");
    std::fs::write(&refused, service.replace("port: 80", "port: 0").replace("lone", "bad"))
        .expect("a file can be written");
    for (arguments, expected, says) in [
        ("status --data-dir DIR", 0, "revision"),
        ("doctor --data-dir DIR -n default", 2, "MS1001"),
        ("doctor --data-dir DIR -n nobody", 1, "kubectl get namespaces"),
        ("wait --all --data-dir DIR -n nobody", 1, "kubectl get namespaces"),
        ("wait foo/bar --data-dir DIR", 1, "there is no namespace \"foo\""),
        ("explain foo/bar --data-dir DIR", 1, "there is no namespace \"foo\""),
        ("open foo/bar --data-dir DIR", 1, "there is no namespace \"foo\""),
        ("explain svc/lone --from nope --data-dir DIR", 1, "kubectl get pods -n default"),
        ("image alias mainstay/echo=mainstay/client --data-dir DIR", 1, "keeps its meaning"),
        ("image alias reg.io/my-app:1=mainstay/echo --data-dir DIR", 0, "reg.io/my-app:1 now means mainstay/echo"),
        ("image unalias my-app --data-dir DIR", 1, "mainstay image ls --data-dir "),
        ("image unalias reg.io/my-app:1 --data-dir DIR", 0, "means nothing any more"),
        ("image unalias reg.io/my-app:1 --data-dir DIR", 1, "is no other name"),
        ("apply -f DIR/manifest.yaml -n nons --data-dir DIR", 1, "kubectl create namespace nons"),
        ("apply -f DIR/manifest.yaml -n kube-system --data-dir DIR", 0, "service/lone created"),
        ("explain svc/lone --data-dir DIR", 2, "MS1001"),
        ("explain svc/none --data-dir DIR", 1, "kubectl get services"),
        ("wait svc/lone --timeout 200ms --data-dir DIR", 5, "none of the 0 pods that it selects is ready"),
        ("wait svc/none --timeout 0 --data-dir DIR", 5, "it does not exist"),
        ("wait svc/kube-dns -n kube-system --data-dir DIR", 0, "it works"),
        ("wait --all --data-dir DIR", 0, "work"),
        ("apply -f DIR/refused.yaml --data-dir DIR", 1, "spec.ports[0].port"),
        ("apply -f DIR/manifest.yaml --data-dir DIR", 0, "service/lone configured"),
        ("apply -f DIR/manifest.yaml --data-dir DIR", 0, "service/lone unchanged"),
        ("logs dns --data-dir DIR", 0, ""),
        ("logs pod/none --data-dir DIR", 1, "kubectl get pods -n default"),
        ("logs svc/lone --data-dir DIR", 1, "has no pods"),
        ("exec --pod svc/lone --data-dir DIR -- true", 1, "no ready pod"),
        ("exec --data-dir DIR -- /no/such", 1, "command -v"),
        ("exec --data-dir DIR -- false", 1, ""),
        ("exec --data-dir DIR -- true", 0, ""),
        ("dump nft --data-dir DIR", 0, "service_cidrs4 10.96.0.0"),
    ] {
        let (code, said) = run(arguments, sandbox.path());
        assert_eq!(code, Some(expected), "{arguments}: {said}\nserver:\n{}", sandbox.log());
        assert!(said.contains(says), "{arguments}: {said}");
    }
    assert_of_another_user(&sandbox);
    let passed = sandbox.exec(&["sh", "-c", "exit 7"]);
    assert_eq!(passed.status.code(), Some(7), "the command's own code");
}

/// An instance of root is not one that is down: an ordinary user is told whose it is and what to type.
fn assert_of_another_user(sandbox: &Sandbox) {
    let other = account::Account::ordinary();
    for line in ["status", "exec", "doctor", "status -o json"] {
        let mut command = other.command();
        command.args(line.split(' ')).arg("--data-dir").arg(sandbox.path()).args((line == "exec").then_some("--"));
        command.args((line == "exec").then_some("true")).stdin(Stdio::null());
        let output = command.output().expect("mainstay runs");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        let next = format!("sudo mainstay {line} --data-dir {}", sandbox.path().display());
        assert!(said.contains("belongs to root") && (said.contains(&next) || line.contains("json")), "{line}: {said}");
    }
}
