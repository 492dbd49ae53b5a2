//! A real sandbox, as root and as an ordinary user: started, used, its supervisor killed, adopted, ended.
//!
//! The test's own executable plays every part (supervisor, holder, echo server in a pod), as the real one does. A host
//! that forbids namespaces fails this test: that is the finding, not a reason to skip.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pods::holder::message::{Exec, Root, Spawn};
use pods::sandbox::{Mode, Sandbox};
use pods::{holder, network};

const ADDRESSES: [&str; 2] = ["10.244.0.2", "fd00:10:244::2"];
const ORDINARY: u32 = 1001;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(role) if role == holder::ROLE => {
            // As the allocator of the real program does.
            rustix::thread::disable_transparent_huge_pages(true).unwrap();
            holder::main(&arguments[2..]);
        }
        Some("echo") => echo(&arguments[2]),
        Some("supervise") => supervise(Path::new(&arguments[2])),
        Some("down") => assert!(Sandbox::kill(Path::new(&arguments[2])).unwrap()),
        _ => {
            for user in [0, ORDINARY] {
                println!("test sandbox as uid {user} ...");
                scenario(user);
                println!("test sandbox as uid {user} ... ok");
            }
        }
    }
}

/// Runs the whole story with this executable as `user`.
fn scenario(user: u32) {
    assert_eq!(rustix::process::geteuid().as_raw(), 0, "run this test as root: it covers root and an ordinary user");
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(user), Some(user)).unwrap();
    let program = home.path().join("program");
    fs::copy("/proc/self/exe", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let directory =
        home.path().join("a data directory whose name is longer than the 108 bytes that a socket address has room for");
    let run = |role: &str| play(&program, user, role, &directory);

    let mut first = run("supervise");
    let (story, holder) = told(&mut first);
    assert_eq!(story, "fresh", "a new directory has no holder");
    let second = run("supervise");
    let refused = second.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("another mainstay runs on"), "{text}");

    first.kill().unwrap();
    first.wait().unwrap();
    assert!(alive(holder), "the holder must outlive a killed supervisor");
    let mut third = run("supervise");
    let (story, same) = told(&mut third);
    assert_eq!((story.as_str(), same), ("adopted", holder), "the second supervisor must adopt the first holder");
    let members = members(holder);
    assert!(members.len() >= 2, "the holder and its pod: {members:?}");

    assert!(run("down").wait().unwrap().success());
    third.kill().unwrap();
    third.wait().unwrap();
    for pid in members {
        assert!(!alive(pid), "process {pid} of the sandbox survived its end");
    }
    assert!(!directory.join("holder.sock").exists());
}

fn play(program: &Path, user: u32, role: &str, directory: &Path) -> Child {
    let mut command = Command::new("setpriv");
    let id = user.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(program).arg(role).arg(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a supervisor reports once everything has been seen to work: its story and the holder's process.
fn told(supervisor: &mut Child) -> (String, i32) {
    let mut line = String::new();
    BufReader::new(supervisor.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let Some((story, holder)) = line.trim().split_once(' ') else {
        let mut text = String::new();
        supervisor.stderr.as_mut().unwrap().read_to_string(&mut text).unwrap();
        panic!("the supervisor failed: {text}");
    };
    (story.to_owned(), holder.parse().unwrap())
}

fn alive(pid: i32) -> bool {
    kernel::process::start_time(pid).is_some()
}

/// The processes of a sandbox: descendants of its holder.
fn members(holder: i32) -> Vec<i32> {
    let mut found = vec![holder];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().map(|child| child.parse::<i32>().unwrap()));
        next += 1;
    }
    found
}

/// The supervisor's part: start or adopt, make sure the pod runs, look at it from inside and from the node, report, wait.
fn supervise(directory: &Path) {
    let sandbox = match Sandbox::start_or_adopt(directory, &["curl"], Mode::Sandbox) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    let client = sandbox.client();
    let netns = client.pod_netns("uid-1").unwrap();
    let addresses = ADDRESSES.map(|address| address.parse::<IpAddr>().unwrap());
    network::connect(sandbox.netns(), netns.as_fd(), "uid-1", &addresses, &[]).unwrap();
    let logs = directory.join("pods");
    let resolv = directory.join("resolv.conf");
    fs::write(&resolv, "nameserver 10.96.0.10\n").unwrap();
    client.spawn(spawn(&logs, &resolv, directory)).unwrap();
    for address in addresses {
        let answer = kernel::namespace::within_net(sandbox.netns(), || {
            let mut answer = String::new();
            connect(address)?.read_to_string(&mut answer)?;
            Ok(answer)
        });
        assert_eq!(answer.unwrap(), "echo of uid-1", "{address}");
    }
    let script = "set -e; hostname; cat /etc/resolv.conf; test -x /run/mainstay/bin/curl; echo x > /tmp/x; \
                  if echo x 2>/dev/null > /usr/x; then echo writable; fi; ls -A /root; ls -A /home; test -c /dev/null; \
                  test \"$(ls /proc | grep -c '^[0-9]')\" -lt 9; grep THP /proc/self/status; \
                  grep CapEff /proc/self/status; exit 7";
    let (code, text) = run_beside(&sandbox, script);
    assert_eq!(code, 7, "{text}");
    assert!(text.starts_with("web-0\nnameserver 10.96.0.10\nTHP_enabled:\t1\nCapEff:"), "{text}");
    let capabilities = u64::from_str_radix(text.trim().rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(
        capabilities & (1 << 12 | 1 << 21 | 1 << 19 | 1 << 13),
        0,
        "NET_ADMIN, SYS_ADMIN, PTRACE, NET_RAW: {text}"
    );
    let refused = client.spawn(Spawn {
        argv: vec!["/no/such".into()],
        container: "bad".into(),
        ..spawn(&logs, &resolv, directory)
    });
    assert!(refused.unwrap_err().to_string().contains("exec: \"/no/such\""));
    exits_are_kept(&sandbox, &logs, &resolv, directory);
    let story = if sandbox.adopted() { "adopted" } else { "fresh" };
    println!("{story} {}", client.peer_pid().unwrap());
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0; 1]);
}

fn spawn(logs: &Path, resolv: &Path, hide: &Path) -> Spawn {
    let program = format!("{}/{}", holder::root::PROGRAMS, holder::PROGRAM);
    Spawn {
        pod: "uid-1".into(),
        container: "web".into(),
        argv: vec![program, "echo".into(), "uid-1".into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        hostname: "web-0".into(),
        log: logs.join("web.log"),
        root: Root {
            files: vec![("/etc/resolv.conf".into(), resolv.to_owned())],
            hide: vec![PathBuf::from(hide)],
            volumes: Vec::new(),
        },
        ..Spawn::default()
    }
}

/// A container that ends while nobody looks is still known with its code and its output.
fn exits_are_kept(sandbox: &Sandbox, logs: &Path, resolv: &Path, hide: &Path) {
    let (wake, woken) = std::sync::mpsc::channel();
    sandbox.client().subscribe(move || wake.send(()).unwrap_or(()), || ()).unwrap();
    let log = logs.join("job.log");
    let job = Spawn {
        container: "job".into(),
        argv: ["sh", "-c", "echo out; echo err >&2; printf unended; exit 3"].map(String::from).into(),
        log: log.clone(),
        ..spawn(logs, resolv, hide)
    };
    let _ = fs::remove_file(&log);
    sandbox.client().spawn(job).unwrap();
    woken.recv().unwrap();
    let known = sandbox.client().containers().unwrap();
    let job = known.iter().find(|record| record.container == "job").unwrap();
    assert_eq!(job.ended.unwrap().code, 3);
    let text = fs::read_to_string(&log).unwrap();
    let mut lines: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["stderr F err", "stdout F out", "stdout P unended"]);
}

fn run_beside(sandbox: &Sandbox, script: &str) -> (i32, String) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let exec = Exec {
        container: Some(("uid-1".into(), "web".into())),
        argv: ["sh", "-c", script].map(String::from).into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        ..Exec::default()
    };
    let session = sandbox.client().exec(exec, &[null.as_fd(), write.as_fd(), write.as_fd()]).unwrap();
    drop(write);
    let mut text = String::new();
    fs::File::from(read).read_to_string(&mut text).unwrap();
    (session.wait().unwrap(), text)
}

/// Connects, again while the server is starting (bounded by its start, not by a clock).
fn connect(address: IpAddr) -> std::io::Result<TcpStream> {
    loop {
        match TcpStream::connect((address, 80)) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => std::thread::yield_now(),
            other => return other,
        }
    }
}

fn echo(name: &str) {
    let listener = TcpListener::bind("[::]:80").unwrap();
    for connection in listener.incoming() {
        write!(connection.unwrap(), "echo of {name}").unwrap();
    }
}
