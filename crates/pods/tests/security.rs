//! What pods may do, tried in real ones: as root (each pod has users of its own) and as an ordinary user (who has one id).
//! Every row is something a pod must not reach, or something it must be able to do; a script in the pod tries it.
//!
//! The test's own executable is supervisor, holder and program. It needs namespaces and fails without.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pods::holder;
use pods::holder::message::{Ended, Exec, Root, Spawn, Volume};
use pods::holder::security::{KEPT, Security};
use pods::sandbox::{Mode, Sandbox};

#[path = "security/mounts.rs"]
mod mounts;

const ORDINARY: u32 = 1001;
const SECRET: &str = "nobody in a pod may read this";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(role) if role == holder::ROLE => holder::main(&arguments[2..]),
        Some("bind") => bind(),
        Some("try") => attempt(Path::new(&arguments[2]), Mode::Sandbox),
        Some("try-host") => attempt(Path::new(&arguments[2]), Mode::Host),
        _ => {
            assert_eq!(
                rustix::process::geteuid().as_raw(),
                0,
                "run this test as root: it covers root and an ordinary user"
            );
            for (user, role) in [(0, "try"), (ORDINARY, "try"), (0, "try-host")] {
                run_as(user, role);
            }
        }
    }
}

/// Runs the attempts as `user`, by this executable. What is the host's network here is one made for it.
fn run_as(user: u32, role: &str) {
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(user), Some(user)).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = home.path().join("program");
    fs::copy("/proc/self/exe", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let id = user.to_string();
    let mut command = Command::new(if role == "try" { "setpriv" } else { "unshare" });
    if role == "try" {
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
    } else {
        command.args(["--net", "--mount", "--"]);
    }
    let done = command.arg(&program).arg(role).arg(home.path().join("data")).stdin(Stdio::null()).status().unwrap();
    assert!(done.success(), "{role} as uid {user}");
    println!("test security: {role} as uid {user} ... ok");
}

/// A sandbox and the containers that are started in it one after another.
struct Lab<'a> {
    sandbox: &'a Sandbox,
    count: std::cell::Cell<u32>,
}

fn attempt(directory: &Path, mode: Mode) {
    let sandbox = Sandbox::start_or_adopt(directory, &[], mode).unwrap();
    fs::write(directory.join("kubeconfig"), SECRET).unwrap();
    let lab = Lab { sandbox: &sandbox, count: Default::default() };
    let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        no_way_out(&lab);
        users(&lab);
        ports_and_pings(&lab);
        files(&lab);
        mounts::all(&lab);
        rights(&lab);
        beside(&lab);
        stopped(&lab);
    }));
    assert!(Sandbox::kill(directory).unwrap());
    assert!(tried.is_ok());
}

impl Lab<'_> {
    fn many(&self) -> bool {
        self.sandbox.abilities().users
    }

    fn spawn(&self, script: &str, security: Security) -> Spawn {
        let number = self.count.get();
        self.count.set(number + 1);
        let pod = format!("pod-{number}");
        self.sandbox.client().pod_netns(&pod).unwrap();
        Spawn {
            argv: ["sh", "-c", script].map(String::from).into(),
            env: vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())],
            hostname: pod.clone(),
            container: "c".into(),
            log: self.sandbox.directory().join("pods").join(format!("{pod}.log")),
            root: Root { hide: vec![self.sandbox.directory().to_owned()], ..Root::default() },
            security,
            pod,
            ..Spawn::default()
        }
    }

    /// Runs a script to its end: what it printed and how it ended.
    fn run(&self, spawn: Spawn) -> (String, Ended) {
        let (pod, log) = (spawn.pod.clone(), spawn.log.clone());
        let (wake, woken) = std::sync::mpsc::channel();
        self.sandbox.client().subscribe(move || wake.send(()).unwrap_or(()), || ()).unwrap();
        self.sandbox.client().spawn(spawn).unwrap();
        let ended = loop {
            let known = self.sandbox.client().containers().unwrap();
            match known.iter().find(|record| record.pod == pod).and_then(|record| record.ended) {
                Some(ended) => break ended,
                None => woken.recv().unwrap(),
            }
        };
        self.sandbox.client().remove_pod(&pod).unwrap();
        let text = fs::read_to_string(log).unwrap();
        let lines = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
        (lines.collect::<Vec<_>>().join("\n"), ended)
    }

    fn says(&self, script: &str, security: Security) -> String {
        let (text, ended) = self.run(self.spawn(script, security));
        assert_eq!(ended.code, 0, "{script}: {text}");
        text
    }

    /// The script must fail, in every way a pod may be started without being given more rights.
    fn refused(&self, what: &str, script: &str) -> Vec<String> {
        let someone = Security { uid: 65_532, gid: 65_532, ..Security::default() };
        let unconfined = Security { seccomp: false, no_new_privileges: false, ..Security::default() };
        let mut could = Vec::new();
        for security in [Security::default(), someone, unconfined] {
            let (text, ended) = self.run(self.spawn(script, security.clone()));
            if ended.code == 0 {
                could.push(format!("a pod could {what} (uid {}, seccomp {}): {text}", security.uid, security.seccomp));
            }
        }
        could
    }
}

fn no_way_out(lab: &Lab<'_>) {
    let holder = lab.sandbox.client().peer_pid().unwrap();
    let data = lab.sandbox.directory().display().to_string();
    assert!(Path::new(&format!("/proc/{holder}")).exists() && Path::new(&data).join("holder.sock").exists());
    lab.says(
        "for each in nsenter ip nft mount unshare mknod; do command -v $each || exit 1; done",
        Security::default(),
    );
    let rows = [
        ("enter the network namespace of a process", Does::Always, "nsenter -t 1 -n true".to_owned()),
        ("enter a network namespace by name", Does::Always, "nsenter --net=/proc/1/ns/net true".to_owned()),
        ("make links", Does::Always, "ip link add x type veth".to_owned()),
        ("change links", Does::Always, "ip link set lo down".to_owned()),
        ("mount", Does::Always, "mount -t tmpfs none /mnt".to_owned()),
        ("make the read-only host writable", Does::Always, "mount -o remount,rw,bind /usr".to_owned()),
        ("edit packet filters", Does::Always, "nft add table inet x".to_owned()),
        ("have a namespace of its own to mount in", Does::Always, "unshare -Urm mount -t tmpfs none /usr".to_owned()),
        ("have a network of its own to filter", Does::Always, "unshare -n nft add table inet x".to_owned()),
        ("have users and a network of its own", Does::Always, "unshare -Urn nft add table inet x".to_owned()),
        (
            "see the processes of others",
            Does::Unknown,
            format!(
                "test -d /proc/{holder} || cat /proc/[0-9]*/comm | grep holder || test $(ls -d /proc/[0-9]* | wc -l) -gt 6"
            ),
        ),
        ("signal the holder", Does::Unknown, format!("kill -0 {holder}")),
        (
            "read the data directory",
            Does::Unknown,
            format!("grep -r nobody {data} || ls {data}/pods || ls {data}/kubeconfig"),
        ),
        (
            "reach the holder's socket",
            Does::Unknown,
            format!("test -e {data}/holder.sock || grep holder.sock /proc/net/unix"),
        ),
        ("write settings of its network", Does::Always, "echo 1 > /proc/sys/net/ipv4/ip_forward".to_owned()),
        ("write kernel settings", Does::Unknown, "echo 1 > /proc/sys/kernel/sysrq".to_owned()),
        ("trigger sysrq", Does::Unknown, "echo h > /proc/sysrq-trigger".to_owned()),
        ("read kernel memory", Does::Unknown, "test -s /proc/kcore || head -c 1 /proc/kcore | grep -q .".to_owned()),
        ("see keys and timers", Does::Unknown, "grep -q . /proc/keys || grep -q . /proc/timer_list".to_owned()),
        ("see firmware", Does::Unknown, "ls -A /sys/firmware | grep -q .".to_owned()),
        ("write to /sys", Does::Unknown, "mkdir /sys/fs/cgroup/x || echo 1 > /sys/kernel/mm/ksm/run".to_owned()),
        ("see cgroups of the node", Does::Unknown, "ls /sys/fs/cgroup/*/tasks".to_owned()),
        ("see raw devices", Does::Unknown, "ls /dev/mem || ls /dev/kmsg".to_owned()),
        ("make raw devices", Does::AsRoot, "mknod /tmp/x b 8 0".to_owned()),
        ("write to the host's files", Does::Unknown, "touch /etc/x || touch /usr/x || touch /var/x".to_owned()),
        ("read what only root may", Does::AsRoot, "cat /etc/shadow".to_owned()),
        ("look into root's home", Does::Unknown, "ls -A /root | grep -v '^\\.$' | grep -q .".to_owned()),
        (
            "find sockets of daemons",
            Does::Unknown,
            "ls /run/docker.sock || ls /var/run/docker.sock || ls /run/dbus".to_owned(),
        ),
    ];
    let could: Vec<_> = rows.iter().flat_map(|(what, _, script)| lab.refused(what, script)).collect();
    assert!(could.is_empty(), "{}", could.join("\n"));
    for (what, does, script) in &rows {
        if *does == Does::Always || *does == Does::AsRoot && lab.sandbox.mode() == Mode::Host {
            let (text, ended) = lab.run(lab.spawn(script, Security::privileged()));
            assert_eq!(ended.code, 0, "nobody can {what}, so its refusal says nothing: {text}");
        }
    }
}

/// The control of a row: whether a privileged pod can do it, so that a refusal is one of Mainstay's and not of a missing
/// program or a script that is wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// It can.
    Always,
    /// It can where root of the holder is the host's.
    AsRoot,
    /// It would change the node, or depends on what this kernel has.
    Unknown,
}

fn users(lab: &Lab<'_>) {
    let ids = "id -u; id -g; id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '; grep CapEff /proc/self/status";
    assert!(lab.says(ids, Security::default()).starts_with("0\n0\n"));
    let someone = Security { uid: 1000, gid: 2000, groups: vec![3000], fs_group: Some(4000), ..Security::default() };
    let text = lab.says(ids, someone.clone());
    let groups = if lab.many() { "2000 3000 4000" } else { "2000" };
    assert!(text.starts_with(&format!("1000\n2000\n{groups} ")), "{text}");
    assert!(text.ends_with("CapEff:\t0000000000000000"), "another user has no capability: {text}");
    let large = Security { uid: 1_000_650_000, gid: 1_000_650_000, ..Security::default() };
    assert_eq!(lab.says("id -u", large), "1000650000");
    let own = lab.says("cat /proc/self/uid_map", Security::default());
    let outside = own.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap();
    assert_eq!(outside > 0x6fff_ffff, lab.many(), "root in a pod is nobody outside: {own}");
    if lab.many() {
        assert_eq!(lab.says("setpriv --reuid 33 --regid 33 --clear-groups id -u", Security::default()), "33");
    }
}

fn ports_and_pings(lab: &Lab<'_>) {
    for uid in [0, 65_532] {
        let security = Security { uid, gid: uid, ..Security::default() };
        let mut spawn = lab.spawn("", security.clone());
        spawn.argv = vec![format!("{}/{}", holder::root::PROGRAMS, holder::PROGRAM), "bind".into()];
        let (text, ended) = lab.run(spawn);
        assert_eq!((text.as_str(), ended.code), ("bound :80", 0), "as {uid}");
        let none = Security { capabilities: 0, ..security };
        lab.says("grep '^CapBnd:.0*$' /proc/self/status", none);
    }
}

fn files(lab: &Lab<'_>) {
    let volumes = lab.sandbox.directory().join("pods/volumes");
    let volume = |name: &str, target: &str, read_only| {
        let source = volumes.join(name);
        fs::create_dir_all(&source).unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(source.join("given"), "x").unwrap();
        Volume { source, target: PathBuf::from(target), read_only, owned: true, ..Volume::default() }
    };
    let someone = Security { uid: 1000, gid: 1000, fs_group: Some(4000), read_only_root: true, ..Security::default() };
    let mut spawn = lab.spawn(
        "for at in / /tmp /run /root /home /var/tmp /etc /usr; do touch $at/x 2>/dev/null && echo wrote $at; done; \
         touch /data/x && echo data; touch /fixed/x || echo fixed; echo more >> /data/given && echo given; \
         echo shm > /dev/shm/x && echo > /dev/null && echo dev; echo again > /dev/stdout; \
         stat -c %g /data /data/x /data/given | tr '\\n' ' '",
        someone,
    );
    spawn.root.volumes = vec![volume("data", "/data", false), volume("fixed", "/fixed", true)];
    let (text, ended) = lab.run(spawn);
    let group = if lab.many() { "4000 4000 4000 " } else { "1000 1000 1000 " };
    let expected = format!("data\nfixed\ngiven\ndev\nagain\n{group}");
    let told: Vec<_> = text.lines().filter(|line| !line.contains("cannot touch")).collect();
    assert_eq!((told.join("\n"), ended.code), (expected, 0), "{text}");
    let writable = lab.says("for at in /tmp /run /root /home; do touch $at/x && echo $at; done", Security::default());
    assert_eq!(writable, "/tmp\n/run\n/root\n/home");
}

fn rights(lab: &Lab<'_>) {
    let status = "grep -E '^(NoNewPrivs|Seccomp|CapBnd):' /proc/self/status | tr '\\n' ' '";
    let kept = format!("CapBnd:\t{KEPT:016x} NoNewPrivs:\t1 Seccomp:\t2");
    assert!(lab.says(status, Security::default()).starts_with(&kept));
    let open = Security { no_new_privileges: false, seccomp: false, ..Security::default() };
    assert!(lab.says(status, open).contains("NoNewPrivs:\t0 Seccomp:\t0"));
    // Network rights count over the pod's own network, where the manifest asks for them.
    let admin =
        Security { capabilities: KEPT | 1 << 12, no_new_privileges: false, host_users: true, ..Security::default() };
    lab.says("ip link set lo down && ip link set lo up", admin);
    let all = Security::privileged();
    lab.says("mount -t tmpfs none /mnt && grep -q Seccomp:.0 /proc/self/status && ls /dev/tty0 /dev/null", all);
    let set = Security { sysctls: vec![("net.ipv4.tcp_syncookies".into(), "0".into())], ..Security::default() };
    assert_eq!(lab.says("cat /proc/sys/net/ipv4/tcp_syncookies", set), "0");
    let wrong = Security { sysctls: vec![("net.ipv4.no_such".into(), "0".into())], ..Security::default() };
    let error = lab.sandbox.client().spawn(lab.spawn("true", wrong)).unwrap_err();
    assert!(error.to_string().contains("sysctl net.ipv4.no_such=0"), "{error}");
}

/// A command beside a container has the container's users and rights, not the holder's.
fn beside(lab: &Lab<'_>) {
    let security = Security { uid: 1000, gid: 1000, capabilities: 0, ..Security::default() };
    let spawn = lab.spawn("exec sleep 1000", security);
    let pod = spawn.pod.clone();
    lab.sandbox.client().spawn(spawn).unwrap();
    let script = "id -u; grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; readlink /proc/self/ns/user; \
                  readlink /proc/1/ns/user; echo named > /dev/stdout; mount -t tmpfs none /mnt || echo no mount";
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let exec = Exec {
        container: Some((pod.clone(), "c".into())),
        argv: ["sh", "-c", script].map(String::from).into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        ..Exec::default()
    };
    let session = lab.sandbox.client().exec(exec, &[null.as_fd(), write.as_fd(), write.as_fd()]).unwrap();
    drop(write);
    let mut text = String::new();
    fs::File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(session.wait().unwrap(), 0, "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..4], ["1000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"], "{text}");
    assert_eq!(lines[4], lines[5], "the container's own user namespace: {text}");
    assert!(lines.contains(&"named") && lines.contains(&"no mount"), "{text}");
    lab.sandbox.client().remove_pod(&pod).unwrap();
}

/// A container's root may stop whatever comes beside it. Whoever asked for that is told, and nobody else waits.
fn stopped(lab: &Lab<'_>) {
    let client = lab.sandbox.client();
    let hostile = lab.spawn("while :; do kill -s STOP -- -1; done 2> /dev/null", Security::default());
    let calm = lab.spawn("exec sleep 1000", Security::default());
    let pods = [hostile.pod.clone(), calm.pod.clone()];
    client.spawn(hostile).unwrap();
    client.spawn(calm).unwrap();
    let null = fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let run = |pod: &str| {
        let exec = Exec {
            container: Some((pod.to_owned(), "c".into())),
            argv: vec!["true".into()],
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            ..Exec::default()
        };
        client.exec(exec, &[null.as_fd(), null.as_fd(), null.as_fd()])
    };
    // Now and then one comes through, and is stopped as soon as it runs.
    let met = (0..1000).find_map(|_| {
        std::thread::scope(|scope| {
            let start = scope.spawn(|| run(&pods[0]));
            while !start.is_finished() {
                assert_eq!(run(&pods[1]).unwrap().wait().unwrap(), 0, "another pod's command does not wait");
                assert!(client.runs(&pods[1]).unwrap());
            }
            start.join().unwrap().err()
        })
    });
    let text = met.expect("no command was ever stopped on its way").to_string();
    assert!(text.contains("did not come to its program within") && text.contains("kubectl delete pod"), "{text}");
    pods.iter().for_each(|pod| client.remove_pod(pod).unwrap());
}

/// In a pod: binds a port that elsewhere only root may, and opens a socket for pings.
fn bind() {
    use rustix::net::{AddressFamily, SocketType, ipproto};
    let _listener = std::net::TcpListener::bind("0.0.0.0:80").unwrap();
    rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP)).unwrap();
    println!("bound :80");
}
