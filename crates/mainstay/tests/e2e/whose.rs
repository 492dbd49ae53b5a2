//! Flags, environment and copied files in; the one instance that a command means, and no other, out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::account;

/// Instances in one directory; all are stopped when dropped.
struct Place(TempDir);

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(account::program());
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command.env_remove("MAINSTAY_DATA_DIR").env_remove("KUBECONFIG");
        command
    }

    /// Runs the program here; what it said.
    fn says(&self, arguments: &[&str], code: i32) -> String {
        self.seen(self.command(arguments), code)
    }

    fn seen(&self, mut command: Command, code: i32) -> String {
        let Output { status, stdout, stderr } = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(code), "{command:?} said {said}");
        said
    }

    fn up(&self, name: &str, more: &[&str]) {
        let start = ["up", "--sandbox", "--detach", "--listen", "127.0.0.1:0", "--data-dir", name];
        self.says(&[&start, more].concat(), 0);
    }

    fn kubectl(&self, kubeconfig: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.path(kubeconfig)).args(arguments);
        self.seen(command, 0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.0.path()).into_iter().flatten().flatten() {
            if entry.path().join("store").is_dir() {
                let _ended = self.command(&["down", "--data-dir"]).arg(entry.path()).output();
            }
        }
    }
}

const THEIRS: &str = "apiVersion: v1\nkind: Config\ncurrent-context: prod\nclusters:\n- name: prod\n  cluster: {server: \
                      'https://192.0.2.1'}\ncontexts:\n- name: prod\n  context: {cluster: prod, user: admin}\nusers:\n\
                      - name: admin\n  user: {token: secret}\n";

#[test]
fn a_shared_kubeconfig_keeps_what_is_theirs_and_flags_beat_the_environment() {
    let place = Place(account::directory());
    std::fs::write(place.path("shared"), THEIRS).expect("a file can be written");
    place.up("one", &["--kubeconfig", "shared"]);
    place.up("two", &[]);
    assert_eq!(place.kubectl("shared", &["config", "get-contexts", "-o", "name"]), "mainstay\nprod\n");
    assert!(place.kubectl("shared", &["get", "services"]).contains("kubernetes"));
    let token = place.kubectl("shared", &["config", "view", "--raw", "-o", "jsonpath={.users[?(@.name=='admin')]}"]);
    assert!(token.contains("secret"), "{token}");

    let said = place.says(&["down", "--kubeconfig", "shared", "--data-dir", "two"], 3);
    assert!(said.contains("cannot be used with"), "{said}");
    let mut down = place.command(&["down", "--kubeconfig", "shared"]);
    down.env("MAINSTAY_DATA_DIR", place.path("two"));
    let said = place.seen(down, 0);
    assert!(said.contains("one are gone"), "the flag counts: {said}");
    let mut status = place.command(&["status"]);
    status.env("KUBECONFIG", place.path("two/kubeconfig"));
    let said = place.seen(status, 0);
    assert!(said.contains(&*place.path("two").to_string_lossy()), "what kubectl talks to is meant: {said}");

    std::fs::write(place.path("notes"), "shopping list\n").expect("a file can be written");
    let said = place.says(&["up", "--sandbox", "--listen", "127.0.0.1:0", "--kubeconfig", "notes"], 3);
    assert!(said.contains("is no kubeconfig"), "{said}");
    assert_eq!(std::fs::read_to_string(place.path("notes")).expect("it is there"), "shopping list\n");
}

#[test]
fn a_copy_of_a_running_instance_is_not_the_instance() {
    let place = Place(account::directory());
    place.up("one", &[]);
    let copied = Command::new("cp").arg("-a").args([place.path("one"), place.path("copy")]).status();
    assert!(copied.expect("cp runs").success());
    for arguments in [&["down"][..], &["up", "--sandbox", "--listen", "127.0.0.1:0"]] {
        let said = place.says(&[arguments, &["--data-dir", "copy"]].concat(), 1);
        assert!(said.contains("is a copy of") && said.contains("store restore"), "{arguments:?}: {said}");
    }
    assert!(place.kubectl("one/kubeconfig", &["get", "nodes"]).contains("Ready"), "the original goes on");
    place.says(&["down", "--data-dir", "one"], 0);
    std::fs::remove_dir_all(place.path("copy")).expect("a copy can be removed");
}

#[test]
fn the_node_keeps_its_name_when_the_host_gets_another() {
    let place = Place(account::directory());
    place.up("one", &["--node-name", "first"]);
    place.says(&["down", "--data-dir", "one"], 0);
    let mut renamed = Command::new("unshare");
    let program = account::program();
    renamed.args(["--uts", "sh", "-c", "hostname newbox && exec \"$@\"", "sh"]).arg(&program);
    renamed.args(["up", "--sandbox", "--detach", "--listen", "127.0.0.1:0", "--data-dir", "one"]);
    renamed.current_dir(place.0.path()).env_remove("MAINSTAY_DATA_DIR").stdin(Stdio::null());
    place.seen(renamed, 0);
    let nodes = place.kubectl("one/kubeconfig", &["get", "nodes", "-o", "name"]);
    assert_eq!(nodes, "node/first\n");
    place.says(&["down", "--data-dir", "one"], 0);
    let start = ["up", "--sandbox", "--listen", "127.0.0.1:0", "--data-dir", "one", "--node-name", "second"];
    let said = place.says(&start, 1);
    assert!(said.contains("is called first, not second"), "{said}");
    assert!(Path::new(&place.path("one/store")).is_dir());
}
