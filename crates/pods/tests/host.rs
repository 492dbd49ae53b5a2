//! Pods of a host: their holder is killed at any moment, the next one takes them over with every line, end and input.
//!
//! Runs in a network and mount namespace of its own, with this executable in every part.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kernel::process;
use pods::holder::message::{ContainerRecord, Root, Spawn, VERSION, Volume};
use pods::sandbox::{Mode, Sandbox};
use pods::{holder, network};
use rustix::process::Signal;

const KILLS: u64 = 25;
/// Only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(role) if role == holder::ROLE => {
            // A holder of another release, where the test says so.
            let version = fs::read_to_string(Path::new(&arguments[2]).join("protocol")).ok();
            holder::speak(version.map_or(VERSION, |version| version.parse().unwrap()), &arguments[2..])
        }
        Some("story") => story(),
        _ => {
            let program = std::env::current_exe().unwrap();
            let error = Command::new("unshare").args(["--net", "--mount"]).arg(program).arg("story").exec();
            panic!("unshare: {error}");
        }
    }
}

fn story() {
    // As on a host that systemd has started: mounts travel.
    assert!(Command::new("mount").args(["--make-rshared", "/"]).status().unwrap().success());
    for (name, test) in [
        ("no line is lost or doubled, and nothing restarts", lines as fn(&Path)),
        ("ends are known", ends),
        ("inputs and terminals go on", inputs),
        ("a pod without a process gets its network again", networks),
        ("everything dies but the pods", everything),
        ("a boot later", boot),
        ("a file system that comes and goes", comes_and_goes),
        ("what cannot be taken over is ended", lost),
        ("a file that cannot be read", unread),
        ("a start that meets a dead file system keeps nobody waiting", slow),
        ("another release", release),
        ("another release of a sandbox", sandbox),
    ] {
        println!("test {name} ...");
        let home = tempfile::tempdir().unwrap();
        test(home.path());
        Sandbox::kill(home.path()).unwrap();
        let left = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!left.contains(&*home.path().to_string_lossy()), "mounts show on the host: {left}");
        println!("test {name} ... ok");
    }
}

fn start(home: &Path) -> Sandbox {
    Sandbox::start_or_adopt(home, &[], Mode::Host).unwrap()
}

fn spawn(home: &Path, pod: &str, script: &str) -> Spawn {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    fs::create_dir_all(home.join("pods")).unwrap();
    Spawn {
        pod: pod.into(),
        container: "main".into(),
        argv: texts(&["/bin/sh", "-c", script]),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        hostname: "web-0".into(),
        log: home.join(format!("pods/{pod}.log")),
        root: Root { hide: vec![home.to_owned()], ..Root::default() },
        ..Spawn::default()
    }
}

/// Starts a script in a pod of its own.
fn run(sandbox: &Sandbox, spawn: Spawn) {
    sandbox.client().pod_netns(&spawn.pod).unwrap();
    sandbox.client().spawn(spawn).unwrap();
}

fn kill_holder(sandbox: &Sandbox) {
    kill(sandbox.client().peer_pid().unwrap());
}

fn kill(pid: i32) {
    let pidfd = process::open(pid).unwrap();
    process::signal(pidfd.as_fd(), Signal::KILL.as_raw()).unwrap();
    assert!(process::wait_end(pidfd.as_fd(), 60_000).unwrap());
}

fn record(sandbox: &Sandbox, pod: &str) -> Option<ContainerRecord> {
    sandbox.client().containers().unwrap().into_iter().find(|record| record.pod == pod)
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: never");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn ended(sandbox: &Sandbox, pod: &str) -> (i32, bool) {
    let end = until("the container ends", || record(sandbox, pod)?.ended);
    (end.code, end.unknown)
}

/// The texts of a log, and of the part that was rotated away. A line that came in parts (`P`) is one line.
fn log(home: &Path, pod: &str) -> Vec<String> {
    let files = ["log.old", "log"].map(|end| fs::File::open(home.join(format!("pods/{pod}.{end}"))));
    let (mut lines, mut goes_on) = (Vec::<String>::new(), false);
    for line in files.into_iter().flatten().flat_map(|file| BufReader::new(file).lines()) {
        let line = line.unwrap();
        let (tag, text) = line.splitn(3, ' ').nth(2).and_then(|rest| rest.split_once(' ')).unwrap_or_default();
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => last.push_str(text),
            None => lines.push(text.to_owned()),
        }
        goes_on = tag == "P";
    }
    lines
}

fn lines(home: &Path) {
    let sandbox = start(home);
    let script =
        "trap go=0 TERM; go=1 i=0; while [ $go = 1 ]; do echo $i; i=$((i+1)); done; printf \"end $i\"; sleep 123456";
    run(&sandbox, spawn(home, "writer", script));
    let first = record(&sandbox, "writer").unwrap();
    for kills in 1..=KILLS {
        let before = log(home, "writer").len();
        kill_holder(&sandbox);
        assert_eq!(record(&sandbox, "writer").unwrap(), first, "the same run");
        assert_eq!(sandbox.client().replaced(), kills);
        until("the next holder goes on", || (log(home, "writer").len() != before).then_some(()));
    }
    sandbox.client().signal("writer", "main", Signal::TERM.as_raw()).unwrap();
    // Half a line is nobody's loss, either: it is in the pipe when the container ends.
    until("its sleep begins", sleeping);
    sandbox.client().signal("writer", "main", Signal::KILL.as_raw()).unwrap();
    assert_eq!(ended(&sandbox, "writer"), (137, false));
    let mut lines = log(home, "writer");
    let end = lines.pop().unwrap();
    let numbers: Vec<usize> = lines.iter().map(|line| line.parse().unwrap()).collect();
    let torn: Vec<_> = numbers.windows(2).filter(|pair| pair[0] + 1 != pair[1]).collect();
    assert!(torn.is_empty(), "lines are lost or doubled after {KILLS} kills: {torn:?}");
    assert_eq!(end, format!("end {}", numbers.last().unwrap() + 1));
    let left: Vec<PathBuf> = fs::read_dir(home.join("pods")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.to_string_lossy().contains(".log")), "what carried the output stays: {left:?}");
}

/// Whether the script in the pod has come to its end.
fn sleeping() -> Option<()> {
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let mut all = all;
    all.any(|line| line == b"sleep\x00123456\x00").then_some(())
}

fn ends(home: &Path) {
    let sandbox = start(home);
    run(&sandbox, spawn(home, "term", "trap 'exit 9' TERM; echo up; while :; do sleep 1000 & wait; done"));
    run(&sandbox, spawn(home, "killed", "sleep 1000"));
    until("the trap is set", || (log(home, "term") == ["up"]).then_some(()));
    kill_holder(&sandbox);
    sandbox.client().signal("term", "main", Signal::TERM.as_raw()).unwrap();
    sandbox.client().signal("killed", "main", Signal::KILL.as_raw()).unwrap();
    assert_eq!(ended(&sandbox, "term"), (9, false), "not the new holder's child, and yet its code is known");
    assert_eq!(ended(&sandbox, "killed"), (137, false));
    kill_holder(&sandbox);
    assert_eq!(ended(&sandbox, "term"), (9, false), "an end that was told stays told");
    // Asked for again, as by a supervisor whose answer was lost: the run is over.
    sandbox.client().spawn(spawn(home, "term", "exit 1")).unwrap();
    assert_eq!(ended(&sandbox, "term"), (9, false));
    let again = Spawn { attempt: 1, ..spawn(home, "term", "exit 3") };
    run(&sandbox, again);
    assert_eq!(ended(&sandbox, "term"), (3, false));
    sandbox.client().remove_pod("term").unwrap();
    kill_holder(&sandbox);
    assert!(record(&sandbox, "term").is_none(), "a removed pod stays removed");
}

fn inputs(home: &Path) {
    let sandbox = start(home);
    let echo = "while read line; do echo got $line; done; echo over";
    run(&sandbox, Spawn { stdin: true, ..spawn(home, "pipe", echo) });
    run(&sandbox, Spawn { stdin: true, tty: true, ..spawn(home, "tty", &format!("stty -echo; echo up; {echo}")) });
    run(&sandbox, Spawn { stdin: true, stdin_once: true, ..spawn(home, "once", echo) });
    until("the terminal is set", || log(home, "tty").contains(&"up".to_owned()).then_some(()));
    for round in 0..3 {
        kill_holder(&sandbox);
        for (pod, end) in [("pipe", ""), ("tty", "\r")] {
            let (mut read, write) = std::io::pipe().unwrap();
            let (_other, error) = std::io::pipe().unwrap();
            let input = sandbox.client().attach(pod, "main", true, [write.as_fd(), error.as_fd()]).unwrap();
            drop(write);
            let mut input = fs::File::from(input.expect("its input is kept"));
            input.write_all(format!("{round}\n").as_bytes()).unwrap();
            let expected = format!("got {round}{end}\n");
            let mut answer = vec![0; expected.len()];
            read.read_exact(&mut answer).unwrap();
            assert_eq!(String::from_utf8_lossy(&answer), expected, "{pod}");
        }
    }
    assert!(record(&sandbox, "tty").unwrap().ended.is_none() && record(&sandbox, "pipe").unwrap().ended.is_none());
    assert_eq!(ended(&sandbox, "once"), (0, false), "an input that is to be read to its end ends with its holder");
    // What it says in the moment without a holder is lost with it when it ends in that moment, too.
    assert!(log(home, "once").iter().all(|line| line == "over"));
}

fn networks(home: &Path) {
    let sandbox = start(home);
    let addresses = ["10.244.0.2".parse().unwrap(), "fd00:10:244::2".parse().unwrap()];
    let connect = |pod: &str| {
        let netns = sandbox.client().pod_netns(pod).unwrap();
        network::connect(sandbox.netns(), netns.as_fd(), pod, &addresses, &[]).unwrap();
        netns
    };
    drop(connect("runs"));
    sandbox.client().spawn(spawn(home, "runs", "sleep 1000")).unwrap();
    let before = link_index("runs");
    kill_holder(&sandbox);
    assert_eq!(sandbox.client().pods().unwrap(), ["runs"], "found through its process");
    drop(connect("runs"));
    assert_eq!(link_index("runs"), before, "and left as it was");
    // The other pod's holder dies before its container starts: the network is made anew under the same name.
    sandbox.client().remove_pod("runs").unwrap();
    for _ in 0..3 {
        drop(connect("empty"));
        kill_holder(&sandbox);
        let failed = sandbox.client().spawn(spawn(home, "empty", "true")).unwrap_err();
        assert!(failed.to_string().contains("no network namespace"), "{failed}");
    }
    drop(connect("empty"));
    sandbox.client().spawn(spawn(home, "empty", "cat /sys/class/net/eth0/operstate")).unwrap();
    assert_eq!(ended(&sandbox, "empty"), (0, false));
    assert_eq!(log(home, "empty"), ["up"]);
}

/// `/sys` shows the network namespace of whoever mounted it, so the kernel is asked.
fn link_index(pod: &str) -> Option<u32> {
    let mut netlink = kernel::nl::route::Rtnetlink::open().unwrap();
    netlink.link(&network::interface_of(pod)).unwrap().map(|link| link.index)
}

fn first_process(home: &Path, pod: &str) -> i32 {
    let file = home.join(format!("holder/{pod}_main.json"));
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    i32::try_from(kept["pid"].as_i64().unwrap()).unwrap()
}

fn everything(home: &Path) {
    let sandbox = start(home);
    run(&sandbox, spawn(home, "lives", "echo up; sleep 1000"));
    run(&sandbox, spawn(home, "dies", "echo up; sleep 1000"));
    let pid = |pod: &str| first_process(home, pod);
    let before = record(&sandbox, "lives").unwrap();
    let holder = sandbox.client().peer_pid().unwrap();
    drop(sandbox);
    kill(holder);
    kill(pid("dies"));
    let sandbox = start(home);
    assert_ne!(sandbox.client().peer_pid().unwrap(), holder);
    assert_eq!(record(&sandbox, "lives").unwrap(), before);
    let (code, _) = ended(&sandbox, "dies");
    assert_eq!(code, 137);
    // A program with a changed protocol replaces the holder and nothing else; see the test of an upgrade in e2e.
    let lives = pid("lives");
    drop(sandbox);
    assert!(Sandbox::kill(home).unwrap());
    assert!(process::start_time(lives).is_none(), "`down` ends pods, too");
    assert!(!Sandbox::kill(home).unwrap());
}

fn boot(home: &Path) {
    let sandbox = start(home);
    run(&sandbox, spawn(home, "old", "echo up; sleep 1000"));
    until("it writes", || (log(home, "old") == ["up"]).then_some(()));
    let file = home.join("holder/old_main.json");
    let text = fs::read_to_string(&file).unwrap();
    Sandbox::kill(home).unwrap();
    drop(sandbox);
    // As after a power cut: the record is of another boot, and some process may have its number.
    let mut kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    kept["boot"] = "another".into();
    kept["pid"] = std::process::id().into();
    kept["start_time"] = process::start_time(i32::try_from(std::process::id()).unwrap()).into();
    fs::write(&file, kept.to_string()).unwrap();
    fs::write(home.join("holder/torn_main.json"), "{\"record\": ").unwrap();
    let sandbox = start(home);
    assert_eq!(ended(&sandbox, "old"), (137, true), "nobody saw its end");
    assert_eq!(log(home, "old"), ["up"], "its log stays");
    // Nothing but its end is left of the pod: what asks for its network gets a new one.
    assert_eq!(sandbox.client().pods().unwrap(), ["old"]);
}

fn comes_and_goes(home: &Path) {
    let sandbox = start(home);
    run(&sandbox, spawn(home, "before", "sleep 1000"));
    let disk = home.join("disk");
    fs::create_dir(&disk).unwrap();
    kernel::mount::tmpfs(&disk, "777", 1 << 20).unwrap();
    fs::write(disk.join("there"), "").unwrap();
    let mounts = |pid: i32| fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let shows = |pid: i32| mounts(pid).contains(&format!("{} ", disk.display()));
    let holder = sandbox.client().peer_pid().unwrap();
    assert!(shows(holder), "mounted after the holder began: {}", mounts(holder));
    assert!(!mounts(first_process(home, "before")).contains("/disk"), "a pod keeps what it began with");
    let volume = Volume { source: disk.clone(), target: "/disk".into(), read_only: false, ..Volume::default() };
    let mut uses = spawn(home, "uses", "test -e /disk/there && echo more > /disk/more");
    uses.root.volumes = vec![volume];
    run(&sandbox, uses);
    assert_eq!(ended(&sandbox, "uses"), (0, false));
    assert!(disk.join("more").exists(), "it wrote to the file system, not to the directory beneath");
    sandbox.client().remove_pod("uses").unwrap();
    rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::empty()).unwrap();
    assert!(!shows(holder), "unmounted from the holder, too: {}", mounts(holder));
}

fn lost(home: &Path) {
    let sandbox = start(home);
    let logs = home.join("pods/logs");
    fs::create_dir_all(&logs).unwrap();
    run(&sandbox, Spawn { log: logs.join("0.log"), ..spawn(home, "lost", "sleep 1000") });
    run(&sandbox, spawn(home, "other", "sleep 1000"));
    let (first, other) = (first_process(home, "lost"), record(&sandbox, "other"));
    fs::remove_dir_all(&logs).unwrap();
    kill_holder(&sandbox);
    assert_eq!(ended(&sandbox, "lost"), (137, true), "its output has nowhere to go, so it was ended");
    assert!(process::start_time(first).is_none(), "and does not run on unknown");
    assert_eq!(record(&sandbox, "other"), other);
    run(&sandbox, Spawn { attempt: 1, ..spawn(home, "lost", "exit 3") });
    assert_eq!(ended(&sandbox, "lost"), (3, false));
}

fn unread(home: &Path) {
    let sandbox = start(home);
    assert!(sandbox.abilities().limits.is_some(), "without control groups a torn file names no process");
    let spoil = |pod: &str, torn: bool| {
        let (file, process) = (home.join(format!("holder/{pod}_main.json")), first_process(home, pod));
        let mut kept: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        // As another release might have written it.
        kept["spawn"] = serde_json::Value::Null;
        fs::write(&file, if torn { "{\"record\": ".to_owned() } else { kept.to_string() }).unwrap();
        process
    };
    for (pod, torn) in [("torn", true), ("other", false)] {
        run(&sandbox, spawn(home, pod, "sleep 1000"));
        let first = spoil(pod, torn);
        kill_holder(&sandbox);
        assert!(record(&sandbox, pod).is_none());
        assert!(process::start_time(first).is_none(), "{pod}: it does not run on unknown");
        run(&sandbox, spawn(home, pod, "exit 3"));
        assert_eq!(ended(&sandbox, pod), (3, false));
    }
    let processes = [("down", true), ("down-other", false)].map(|(pod, torn)| {
        run(&sandbox, spawn(home, pod, "sleep 1000"));
        spoil(pod, torn)
    });
    assert!(Sandbox::kill(home).unwrap());
    assert!(processes.iter().all(|pid| process::start_time(*pid).is_none()), "`down` leaves none running");
}

fn slow(home: &Path) {
    let sandbox = start(home);
    let dead = home.join("dead");
    fs::create_dir(&dead).unwrap();
    // A file system whose program never answers.
    let device = fs::File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", std::os::fd::AsRawFd::as_raw_fd(&device));
    let options = std::ffi::CString::new(options).unwrap();
    rustix::mount::mount("dead", &dead, "fuse", rustix::mount::MountFlags::empty(), options.as_c_str()).unwrap();
    let client = sandbox.client();
    client.pod_netns("slow").unwrap();
    let mut spawned = spawn(home, "slow", "true");
    spawned.root.volumes =
        vec![Volume { source: dead.clone(), target: "/data".into(), read_only: false, ..Volume::default() }];
    std::thread::scope(|scope| {
        let starts = [spawned.clone(), spawned].map(|spawned| scope.spawn(|| client.spawn(spawned)));
        let file = home.join("holder/slow_main.json");
        until("the start is under way", || file.exists().then_some(()));
        run(&sandbox, spawn(home, "quick", "exit 4"));
        assert_eq!(ended(&sandbox, "quick"), (4, false), "another pod does not wait");
        assert!(client.pods().unwrap().contains(&"slow".to_owned()) && record(&sandbox, "slow").is_none());
        client.remove_pod("slow").unwrap();
        for start in starts {
            let error = start.join().unwrap().unwrap_err().to_string();
            assert!(error.contains("was removed") || error.contains("no network namespace"), "{error}");
        }
        until("its process has ended", || (!file.exists()).then_some(()));
    });
    rustix::mount::unmount(&dead, rustix::mount::UnmountFlags::DETACH).unwrap();
}

fn release(home: &Path) {
    let sandbox = start(home);
    run(&sandbox, spawn(home, "lives", "echo up; sleep 1000"));
    let before = record(&sandbox, "lives").unwrap();
    fs::write(home.join("protocol"), "7").unwrap();
    kill_holder(&sandbox);
    assert_eq!(record(&sandbox, "lives").unwrap(), before, "the same protocol is not asked for while a server runs");
    let other = sandbox.client().peer_pid().unwrap();
    drop(sandbox);
    fs::remove_file(home.join("protocol")).unwrap();
    let sandbox = start(home);
    assert_ne!(sandbox.client().peer_pid().unwrap(), other, "a holder of another protocol is replaced");
    assert!(sandbox.adopted());
    assert_eq!(record(&sandbox, "lives").unwrap(), before, "and its pods go on");
}

fn sandbox(home: &Path) {
    fs::create_dir_all(home).unwrap();
    fs::write(home.join("protocol"), "7").unwrap();
    let Err(error) = Sandbox::start_or_adopt(home, &[], Mode::Sandbox) else { panic!("another protocol is refused") };
    let text = error.to_string();
    assert!(text.contains("speaks protocol 7") && text.contains("mainstay down"), "{text}");
    let Err(error) = Sandbox::start_or_adopt(home, &[], Mode::Host) else { panic!("another mode is refused") };
    let text = error.to_string();
    assert!(text.contains("run in sandbox mode, not in host mode") && text.contains("mainstay down"), "{text}");
}
