//! Hosts that refuse namespaces: each cause is made for real around one process, and the message must name it with the
//! lines that help. What is made here ends with that process; the host's own settings are not touched.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::account::{self, Account};
use crate::sandbox::text;

/// Runs a script of the shell as root in which `$UP` starts an instance as an ordinary user and `$BIN` is the program.
fn run(script: &str) -> (Output, tempfile::TempDir) {
    let account = Account::ordinary();
    let home = account::directory();
    account.own(home.path());
    let program = account.program();
    let up =
        format!("{} up --sandbox --listen 127.0.0.1:0 --data-dir {}/data", program.display(), home.path().display());
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("BIN", &program).env("UP", up).env("HOME", home.path());
    // Not whatever the tests' own user has first in its path: an ordinary user must be able to run it.
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    let output = command.stdin(Stdio::null()).output().expect("sh runs");
    (output, home)
}

/// Wants a refusal with exit code 1 whose first line has the cause and whose next lines have the help.
fn refused(script: &str, cause: &str, help: &str) {
    let (output, home) = run(script);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{script}: {said}");
    let refusal =
        said.lines().skip_while(|line| !line.starts_with("mainstay: cannot start a sandbox: ")).collect::<Vec<_>>();
    let (first, rest) = refusal.split_first().unwrap_or_else(|| panic!("{script}: no refusal: {said}"));
    assert!(first.contains(cause) && first.ends_with("[MS0104]"), "{script}: {said}");
    assert!(rest.join("\n").contains(help), "{script}: {said}");
    assert!(!home.path().join("data/holder.sock").exists() || !alive(home.path()), "{script}: nothing runs");
}

/// Whether a holder answers.
fn alive(home: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(home.join("data/holder.sock")).is_ok()
}

/// As an ordinary user without a right.
const PLAIN: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all --";

#[test]
fn a_limit_of_zero_is_named() {
    // In a user namespace of its own, so that this host keeps its limit; without rights there, as an ordinary user is.
    let script = "chown 0:0 $HOME; exec unshare --user --map-root-user sh -c 'echo 0 >/proc/sys/user/max_user_namespaces && \
                  exec setpriv --inh-caps=-all --bounding-set=-all -- $UP'";
    refused(script, "user.max_user_namespaces is 0.", "sudo sysctl -w user.max_user_namespaces=15000");
}

#[test]
fn a_user_without_a_number_is_told() {
    refused(&format!("{PLAIN} unshare --user $UP"), "has no number in this user namespace", "/proc/self/uid_map");
}

#[test]
fn a_chroot_is_named() {
    let script = "set -e; root=$HOME/root; mkdir -p $root/proc $root/dev; \
                  for file in $BIN $(ldd $BIN | grep -o '/[^ ]*'); do mkdir -p $root${file%/*}; cp -L $file $root$file; done; \
                  mkdir -p $root$HOME; chown 65534:65534 $root$HOME; exec unshare --mount sh -c \"mount --bind /proc $root/proc && \
                  mount --bind /dev $root/dev && exec chroot --userspec=65534:65534 $root $UP\"";
    refused(script, "the program runs in a chroot", "systemd-nspawn -D DIR");
}

/// Refuses clone and clone3 as Docker's default filter does, then becomes the program. Classic BPF, as in seccomp(2).
const FILTER: &str = r#"
import ctypes, os, struct, sys
arch, clone, clone3 = {"x86_64": (0xC000003E, 56, 435), "aarch64": (0xC00000B7, 220, 435)}[os.uname().machine]
NEWUSER, ALLOW, ERRNO = 0x10000000, 0x7FFF0000, 0x00050000
code = [(0x20, 0, 0, 4), (0x15, 0, 6, arch), (0x20, 0, 0, 0), (0x15, 3, 0, clone3), (0x15, 0, 3, clone),
        (0x20, 0, 0, 16), (0x45, 2, 1, NEWUSER), (0x06, 0, 0, ERRNO | 38), (0x06, 0, 0, ALLOW), (0x06, 0, 0, ERRNO | 1)]
packed = b"".join(struct.pack("HBBI", *one) for one in code)
buffer = ctypes.create_string_buffer(packed)
program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execvp(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn a_seccomp_filter_is_named() {
    let script = format!("exec {PLAIN} python3 -c '{FILTER}' $UP");
    refused(&script, "seccomp filter forbids them", "--security-opt seccomp=unconfined");
}

#[test]
fn in_a_container_that_hides_proc_the_right_options_are_named() {
    // What container programs do to /proc, with the file by which podman's containers are known.
    let script = "exec unshare --mount --pid --fork sh -c 'mount -t tmpfs none /run && : >/run/.containerenv && \
                  mount -t proc proc /proc && mount --bind /dev/null /proc/cpuinfo && exec setpriv --bounding-set=-sys_admin -- $UP'";
    refused(
        script,
        "the container hides parts of /proc",
        "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL",
    );
}
