//! Limits that hold: containers in real control groups, used up, killed and taken away.
//!
//! Needs control groups that root may write (version 1, 2 or both mounted) and fails where there are none: then limits do
//! not hold, which is what an ordinary user's sandbox must say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use pods::cgroup::Limits;
use pods::holder;
use pods::holder::message::{Ended, Root, Spawn};
use pods::sandbox::{Mode, Sandbox};

const ORDINARY: u32 = 1001;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(role) if role == holder::ROLE => holder::main(&arguments[2..]),
        Some("without") => return without(Path::new(&arguments[2])),
        _ => {}
    }
    assert_eq!(rustix::process::geteuid().as_raw(), 0, "run this test as root: only root may make control groups");
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("data");
    let sandbox = Sandbox::start_or_adopt(&directory, &[], Mode::Sandbox).unwrap();
    let groups = recorded(&directory);
    let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attempt(&sandbox, &groups)));
    assert!(Sandbox::kill(&directory).unwrap());
    tried.unwrap_or_else(|_| std::process::exit(1));
    for group in groups {
        assert!(!group.exists(), "{} is left", group.display());
    }
    assert!(!directory.join("cgroups").exists());
    println!("test limits hold and their groups are taken away ... ok");
    as_ordinary_user();
    println!("test an ordinary user is told that limits do not hold ... ok");
}

fn recorded(directory: &Path) -> Vec<PathBuf> {
    fs::read_to_string(directory.join("cgroups")).unwrap_or_default().lines().map(PathBuf::from).collect()
}

fn attempt(sandbox: &Sandbox, groups: &[PathBuf]) {
    let how = sandbox.abilities().limits.clone();
    assert!(how.is_some(), "no control groups: {}", sandbox.abilities().no_limits);
    assert!(!groups.is_empty() && groups.iter().all(|group| group.is_dir()), "{groups:?}");
    let limits = Limits { memory: Some(32 << 20), cpu: Some(250), cpu_request: Some(100) };
    let (_, eater) =
        run(sandbox, "eater", "exec awk 'BEGIN { s = \"0123456789abcdef\"; while (1) s = s s }'", limits.clone());
    assert_eq!((eater.code, eater.oom), (137, true), "killed because its memory ran out");
    let (_, child) = run(sandbox, "child", "head -c 200m /dev/zero | tail -c 200m >/dev/null; exit $?", limits.clone());
    assert!(child.oom && child.code == 137, "the same for a child: {child:?}");
    let (_, modest) = run(sandbox, "modest", "head -c 1m /dev/zero | tail -c 1m >/dev/null", limits.clone());
    assert_eq!((modest.code, modest.oom), (0, false));
    let (_, killed) = run(sandbox, "killed", "kill -9 $$", limits.clone());
    assert!(!killed.oom, "killed, but not for memory: {killed:?}");
    // Every process of a container is in its groups from its very first instruction, and none is in two pods'.
    let (own, _) = run(sandbox, "where", "cat /proc/self/cgroup; sh -c 'cat /proc/self/cgroup'", limits);
    let pods: Vec<_> = own.lines().filter(|line| line.contains("/mainstay/")).collect();
    assert!(!pods.is_empty() && pods.iter().all(|line| line.ends_with("/podwhere/c")), "{own}");
    values(sandbox, groups);
    for group in groups {
        let left: Vec<_> = fs::read_dir(group).unwrap().flatten().filter(|entry| entry.path().is_dir()).collect();
        assert!(left.is_empty(), "groups of removed pods: {left:?}");
    }
}

/// The kernel was told the numbers of the manifest.
fn values(sandbox: &Sandbox, groups: &[PathBuf]) {
    let limits = Limits { memory: Some(48 << 20), cpu: Some(1500), cpu_request: Some(250) };
    let spawn = spawn(sandbox, "sleeper", "exec sleep 1000", limits);
    sandbox.client().spawn(spawn).unwrap();
    let read = |file: &str| {
        let found = groups.iter().find_map(|group| fs::read_to_string(group.join("podsleeper/c").join(file)).ok());
        found.map(|text| text.trim().to_owned())
    };
    let either = |one: &str, two: &str| read(one).or_else(|| read(two)).unwrap();
    assert_eq!(either("memory.limit_in_bytes", "memory.max"), (48 << 20).to_string());
    assert!(["150000", "150000 100000"].contains(&either("cpu.cfs_quota_us", "cpu.max").as_str()));
    assert!(["256", "10"].contains(&either("cpu.shares", "cpu.weight").as_str()));
    assert_eq!(read("pids.max").unwrap(), "4096");
    assert_eq!(read("cgroup.procs").unwrap().lines().count(), 1);
    let (wake, woken) = mpsc::channel();
    sandbox.client().subscribe(move || wake.send(()).unwrap_or(()), || ()).unwrap();
    sandbox.client().remove_pod("sleeper").unwrap();
    // Its end is reaped; the group goes with it.
    while groups.iter().any(|group| group.join("podsleeper").exists()) {
        let _ = woken.recv_timeout(std::time::Duration::from_millis(20));
        sandbox.client().containers().unwrap();
    }
}

fn spawn(sandbox: &Sandbox, pod: &str, script: &str, limits: Limits) -> Spawn {
    sandbox.client().pod_netns(pod).unwrap();
    Spawn {
        pod: pod.into(),
        container: "c".into(),
        argv: ["sh", "-c", script].map(String::from).into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        hostname: pod.into(),
        log: sandbox.directory().join("pods").join(format!("{pod}.log")),
        root: Root { hide: vec![sandbox.directory().to_owned()], ..Root::default() },
        limits,
        ..Spawn::default()
    }
}

fn run(sandbox: &Sandbox, pod: &str, script: &str, limits: Limits) -> (String, Ended) {
    let spawn = spawn(sandbox, pod, script, limits);
    let log = spawn.log.clone();
    let (wake, woken) = mpsc::channel();
    sandbox.client().subscribe(move || wake.send(()).unwrap_or(()), || ()).unwrap();
    sandbox.client().spawn(spawn).unwrap();
    let ended = loop {
        let known = sandbox.client().containers().unwrap();
        match known.iter().find(|record| record.pod == pod).and_then(|record| record.ended) {
            Some(ended) => break ended,
            None => woken.recv().unwrap(),
        }
    };
    sandbox.client().remove_pod(pod).unwrap();
    let text = fs::read_to_string(log).unwrap();
    (text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(|line| format!("{line}\n")).collect(), ended)
}

fn as_ordinary_user() {
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(ORDINARY), Some(ORDINARY)).unwrap();
    let program = home.path().join("program");
    fs::copy("/proc/self/exe", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let id = ORDINARY.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(&program).arg("without");
    assert!(command.arg(home.path().join("data")).stdin(Stdio::null()).status().unwrap().success());
}

/// Where no groups can be made, containers run all the same and the reason is known.
fn without(directory: &Path) {
    let sandbox = Sandbox::start_or_adopt(directory, &[], Mode::Sandbox).unwrap();
    let limits = Limits { memory: Some(32 << 20), ..Limits::default() };
    let (text, ended) = run(&sandbox, "free", "echo runs", limits);
    let abilities = sandbox.abilities().clone();
    assert!(Sandbox::kill(directory).unwrap());
    assert_eq!((text.as_str(), ended.code), ("runs\n", 0));
    assert!(abilities.limits.is_none() && abilities.no_limits.contains("Delegate=yes"), "{}", abilities.no_limits);
}
