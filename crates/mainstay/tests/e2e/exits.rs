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
const NONSENSE: [&str; 32] = [
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
    "down --nonsense",
    "status -o nonsense",
    "explain",
    "explain MS9999 --data-dir DIR",
    "explain a/b/c/d --data-dir DIR",
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
        ("doctor --data-dir DIR -n nobody", 0, "0 problems"),
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
    let passed = sandbox.exec(&["sh", "-c", "exit 7"]);
    assert_eq!(passed.status.code(), Some(7), "the command's own code");
}
