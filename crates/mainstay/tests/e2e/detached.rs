//! An instance in the background: started, waited for, given manifests in every form, read and stopped by scripts.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::account;
use crate::sandbox::text;

/// A directory in which an instance runs; stopped when dropped.
struct Background(tempfile::TempDir);

impl Background {
    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `mainstay` with a subcommand's arguments and this directory.
    fn run(&self, arguments: &[&str]) -> Output {
        self.fed(arguments, "")
    }

    /// The same with something on standard input.
    fn fed(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(account::program());
        command.args([arguments[0], "--data-dir"]).arg(self.path().join("data")).args(&arguments[1..]);
        command.current_dir(self.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("mainstay runs");
        // A program that reads nothing may have ended already.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        child.wait_with_output().expect("mainstay ends")
    }

    /// Runs it and wants an exit code and a text.
    fn says(&self, arguments: &[&str], code: i32, expected: &str) -> String {
        let output = self.run(arguments);
        self.check(&output, &arguments.join(" "), code, expected)
    }

    fn check(&self, output: &Output, what: &str, code: i32, expected: &str) -> String {
        let said = text(output);
        let log = std::fs::read_to_string(self.path().join("data/server.log")).unwrap_or_default();
        assert_eq!(output.status.code(), Some(code), "{what}: {said}\nlog:\n{log}");
        assert!(said.contains(expected), "{what}: expected {expected:?} in {said}\nlog:\n{log}");
        said
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}

const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: mainstay/echo, readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";

const UP: [&str; 5] = ["up", "--sandbox", "--listen", "127.0.0.1:0", "--detach"];

fn up<'a>(more: &[&'a str]) -> Vec<&'a str> {
    UP.iter().chain(more).copied().collect()
}

fn config(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n")
}

/// Serves a text to everybody who asks; its URL.
fn serve(body: String) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/web.yaml", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    url
}

#[test]
fn an_instance_in_the_background_is_started_fed_read_and_stopped() {
    let background = Background(account::directory());
    let file = |name: &str, text: &str| {
        let path = background.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file can be written");
    };
    file("app/1.yaml", WEB);
    file("app/2.json", "{\n\t\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"tabs\"}}");
    file("app/README.md", "not: [a manifest");
    file("app/deep/3.yml", &config("deep"));
    // Ready means that everything of -f works: the pods are ready and the node has applied the Service.
    let said = background.says(&up(&["--wait", "-f", "app", "-R", "-f", "-"]), 1, "standard input holds no object");
    assert!(said.contains("did not start") && !background.path().join("data").exists(), "nothing is left: {said}");
    let output = background.fed(&up(&["--wait", "-R", "-f", "app", "-f", "-"]), &config("typed"));
    let said = background.check(&output, "up --detach --wait", 0, "export KUBECONFIG=");
    assert!(said.starts_with("ready in "), "{said}");
    background.says(&["exec", "--", "curl", "-sf", "http://web.default"], 0, "\"path\"");
    background.says(&UP, 1, "mainstay down --data-dir");
    background.says(&["wait", "svc/web", "deploy/web"], 0, "all 2 work");

    for (arguments, lines) in [
        (
            &["apply", "-R", "-f", "app"][..],
            &["deployment.apps/web unchanged", "configmap/tabs unchanged", "configmap/deep unchanged"][..],
        ),
        (&["apply", "-f", &serve(config("fetched"))], &["configmap/fetched created"]),
    ] {
        let said = background.says(arguments, 0, "");
        lines.iter().for_each(|line| assert!(said.contains(line), "{line}: {said}"));
    }
    let output = background.fed(&["apply", "-f", "-"], &config("typed").replace("a: b", "a: c"));
    background.check(&output, "apply -f -", 0, "configmap/typed configured");
    file("bad.yaml", &format!("{}---\n{}---\nkind: Service\nx: [\n", config("one"), config("two")));
    background.says(
        &["apply", "-f", "bad.yaml"],
        1,
        "cannot use bad.yaml, document 3: the manifest is not YAML at line ",
    );
    file("bad.yaml", &format!("{}---\n{}", config("one"), WEB.replace("port: 80,", "port: 0,")));
    let said = background.says(&["apply", "-f", "bad.yaml"], 1, "bad.yaml, document 3 (line ");
    assert!(
        said.contains("configmap/one created") && said.contains("spec.ports[0].port"),
        "the others are applied: {said}"
    );

    background.says(&["logs"], 0, "ready in ");
    background.says(&["logs", "server", "--tail", "1"], 0, "");
    let said = background.says(&["logs", "deploy/web", "--tail", "2"], 0, "[web-");
    assert!(said.lines().all(|line| line.starts_with("[web-") && line.contains(" app] ")), "{said}");
    background.says(&["logs", "dns"], 0, "");
    background.says(&["exec", "--pod", "deploy/web", "--", "hostname"], 0, "web-");
    background.says(&["down"], 0, "stopped");
    background.says(&["down"], 0, "nothing runs");
    background.says(&["down", "--delete-data"], 0, "deleted");
}

#[test]
fn a_start_in_the_background_that_fails_says_why() {
    let background = Background(account::directory());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").to_string();
    let said = background.says(&["up", "--sandbox", "--detach", "--listen", &port], 1, "the address is in use");
    assert!(said.contains("the instance did not start (exit status: 1)"), "{said}");
    assert!(!background.path().join("data").exists(), "nothing is left");

    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: lost}\nspec: {containers: [{name: a, image: 'none:1'}]}\n";
    std::fs::write(background.path().join("lost.yaml"), pod).expect("a file can be written");
    let said = background.says(&up(&["--wait=500ms", "-f", "lost.yaml"]), 5, "pod default/lost: it is not Ready");
    assert!(said.contains("The instance runs: ready in"), "{said}");
    background.says(&["wait", "svc/kube-dns", "-n", "kube-system"], 0, "it works");
}

/// A user of its own: `down --all` as root, or as the user of other tests, would stop instances that are not ours.
const SOMEBODY: u32 = 45_454;

#[test]
fn all_instances_of_a_user_are_stopped_together() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let home = account::directory();
    std::fs::copy(account::program(), home.path().join("mainstay")).expect("the binary can be copied");
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).expect("a readable directory");
    chown(home.path(), Some(SOMEBODY), Some(SOMEBODY)).expect("root can give directories away");
    let run = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args([
            &format!("--reuid={SOMEBODY}"),
            &format!("--regid={SOMEBODY}"),
            "--clear-groups",
            "--inh-caps=-all",
        ]);
        command.arg("--").arg(home.path().join("mainstay")).args(arguments).current_dir("/");
        command.env_remove("XDG_RUNTIME_DIR").env_remove("XDG_STATE_HOME").env_remove("MAINSTAY_DATA_DIR");
        let output = command.env("HOME", home.path()).stdin(Stdio::null()).output().expect("setpriv runs");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        text(&output)
    };
    assert_eq!(run(&["down", "--all"]), "nothing runs\n");
    let places = ["one", "two"].map(|name| home.path().join(name).display().to_string());
    for place in &places {
        run(&["up", "--sandbox", "--listen", "127.0.0.1:0", "--detach", "--data-dir", place]);
    }
    let said = run(&["down", "--all"]);
    places.iter().for_each(|place| assert!(said.contains(&format!("rules of {place} are gone")), "{said}"));
    assert_eq!(run(&["down", "--all"]), "nothing runs\n");
    let said = run(&["down", "--all", "--delete-data"]);
    places
        .iter()
        .for_each(|place| assert!(said.contains(&format!("deleted {place}")) && !Path::new(place).exists(), "{said}"));
}
