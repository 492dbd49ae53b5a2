//! Volumes in real pods: what leads out of one, or from its place to the host, and whose files they are afterwards.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use pods::holder::message::{Exec, Part, Volume};
use pods::holder::security::Security;
use pods::sandbox::Mode;

use super::{Lab, SECRET};

pub(super) fn all(lab: &Lab<'_>) {
    parts(lab);
    parts_that_lead_out(lab);
    places(lab);
    owners(lab);
    shared_with_the_node(lab);
}

/// A volume of the node as a kubelet makes it.
fn volume(lab: &Lab<'_>, name: &str, target: &str) -> Volume {
    let source = lab.sandbox.directory().join("pods/volumes").join(name);
    fs::create_dir_all(&source).unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o777)).unwrap();
    Volume { source, target: PathBuf::from(target), owned: true, ..Volume::default() }
}

fn part(whole: Volume, path: &str) -> Volume {
    let part = Part { volume: whole.source, path: path.into() };
    Volume { source: PathBuf::new(), part: Some(part), ..whole }
}

fn with(lab: &Lab<'_>, script: &str, security: Security, volumes: Vec<Volume>) -> String {
    let mut spawn = lab.spawn(script, security);
    spawn.root.volumes = volumes;
    let (text, ended) = lab.run(spawn);
    assert_eq!(ended.code, 0, "{script}: {text}");
    text
}

fn refusal(lab: &Lab<'_>, volume: Volume) -> String {
    let mut spawn = lab.spawn("echo more >> /m/file; ls -l /m", Security::default());
    let pod = spawn.pod.clone();
    spawn.root.volumes = vec![volume];
    let error = lab.sandbox.client().spawn(spawn).unwrap_err();
    lab.sandbox.client().remove_pod(&pod).unwrap();
    error.to_string()
}

/// Owner, group and mode of a directory of the node and of what is in it.
fn look(path: &Path) -> Vec<(PathBuf, u32, u32, u32)> {
    let mut all: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.push(path.to_owned());
    all.sort();
    let told = |path: PathBuf| {
        let found = fs::symlink_metadata(&path).unwrap();
        (path, found.uid(), found.gid(), found.mode())
    };
    all.into_iter().map(told).collect()
}

fn parts(lab: &Lab<'_>) {
    let whole = || volume(lab, "parts", "/m");
    let someone = || Security { uid: 1000, gid: 1000, fs_group: Some(4000), ..Security::default() };
    // A missing part is made, open to the container's user.
    with(lab, "echo one > /m/file", someone(), vec![part(whole(), "a/b")]);
    assert_eq!(fs::read_to_string(whole().source.join("a/b/file")).unwrap(), "one\n");
    // A file is shown as a file, a link that stays inside is followed, and the rest is not shown.
    symlink("a", whole().source.join("link")).unwrap();
    let file = Volume { target: "/etc/passwd".into(), ..part(whole(), "link/b/file") };
    let fixed = Volume { read_only: true, ..part(whole(), "a") };
    let script = "cat /etc/passwd; ls /m; touch /m/x 2> /dev/null || echo fixed";
    assert_eq!(with(lab, script, someone(), vec![file, fixed]), "one\nb\nfixed");
    // Another volume is mounted inside the first.
    let inner = volume(lab, "inner", "/m/new/inner");
    with(lab, "echo two > /m/new/inner/file", someone(), vec![whole(), inner.clone()]);
    assert_eq!(fs::read_to_string(inner.source.join("file")).unwrap(), "two\n");
    assert_eq!(fs::read_dir(whole().source.join("new/inner")).unwrap().count(), 0);
}

fn parts_that_lead_out(lab: &Lab<'_>) {
    let whole = || volume(lab, "tree", "/m");
    let victim = lab.sandbox.directory().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file"), SECRET).unwrap();
    fs::set_permissions(victim.join("file"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("../../../victim", whole().source.join("up")).unwrap();
    symlink("/proc/self/cwd", whole().source.join("magic")).unwrap();
    // As an init container would.
    let script = format!("ln -s {} /m/absolute", victim.display());
    with(lab, &script, Security::default(), vec![whole()]);
    let before = look(&victim);
    for path in ["../../../victim", "up", "up/file", "up/new", "absolute", "absolute/file", "magic", "/etc"] {
        let error = refusal(lab, part(whole(), path));
        let told = ["leads out of its directory", "a link of /proc", "must not contain '..'"];
        assert!(told.iter().any(|told| error.contains(told)) && error.contains("subPath"), "{path}: {error}");
    }
    assert_eq!(look(&victim), before);
    assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), SECRET);
}

fn places(lab: &Lab<'_>) {
    // On the host /var/run is a link to /run, absolute on most.
    let name = format!("mainstay-place-{}", std::process::id());
    let up = format!("/../../../../tmp/{name}");
    for (at, inside) in [(format!("/var/run/{name}"), format!("/run/{name}")), (up, format!("/tmp/{name}"))] {
        let given = volume(lab, &format!("place-{}", at.len()), &at);
        with(lab, &format!("echo here > {inside}/file"), Security::default(), vec![given.clone()]);
        assert_eq!(fs::read_to_string(given.source.join("file")).unwrap(), "here\n", "{at}");
        assert!(!Path::new(&inside).exists(), "{inside} was made on the host");
    }
    // A link in one volume leads nowhere but into the container, whatever is mounted there.
    let links = volume(lab, "links", "/m");
    let outside = lab.sandbox.directory().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, links.source.join("host")).unwrap();
    symlink("/tmp", links.source.join("tmp")).unwrap();
    let second = |target: &str| volume(lab, "second", target);
    let text =
        with(lab, "echo > /tmp/in/x; ls -A /m/tmp/in", Security::default(), vec![links.clone(), second("/m/tmp/in")]);
    assert_eq!(text, "x");
    let mut spawn = lab.spawn("true", Security::default());
    spawn.root.volumes = vec![links, second("/m/host/in")];
    let _either_way = lab.sandbox.client().spawn(spawn);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    for root in ["/", "/tmp/.."] {
        assert!(refusal(lab, second(root)).contains("the container's root"), "{root}");
    }
    assert!(refusal(lab, second("/usr/mainstay-new")).contains("a mount path must exist there"));
    // A writable volume stays one under a read-only root, also where a link leads to its place.
    let fixed = Security { read_only_root: true, ..Security::default() };
    let script = "touch /run/y && ! touch /tmp/x 2> /dev/null";
    with(lab, script, fixed, vec![second("/var/run")]);
}

fn owners(lab: &Lab<'_>) {
    let host = Volume { owned: false, ..volume(lab, "host", "/m") };
    fs::write(host.source.join("file"), "x").unwrap();
    fs::set_permissions(host.source.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
    let before = look(&host.source);
    let security = || Security { uid: 1000, gid: 1000, fs_group: Some(4000), ..Security::default() };
    for shown in [host.clone(), Volume { read_only: true, ..host.clone() }, part(host.clone(), "file")] {
        with(lab, "test -e /m", security(), vec![shown]);
        assert_eq!(look(&host.source), before, "a path of the host stays whose it is");
    }
    let given = Volume { owned: true, ..host };
    with(lab, "cat /m/file && echo y >> /m/file", security(), vec![given.clone()]);
    assert_eq!(look(&given.source) != before, lab.many(), "a volume of the pod changes hands where there are several");
}

/// What every pod sees of the node is one file for all of them, and root of a pod with the node's users is its owner.
fn shared_with_the_node(lab: &Lab<'_>) {
    let host_users = Security { host_users: true, ..Security::default() };
    let program = format!("{}/{}", pods::holder::root::PROGRAMS, pods::holder::PROGRAM);
    let programs = pods::holder::root::PROGRAMS;
    for security in [Security::default(), host_users] {
        for (what, script) in [
            ("put programs beside ours", format!("touch {programs}/x || ln -s /bin/sh {programs}/y")),
            ("replace our programs", format!("rm {program} || mv {program} {programs}/z")),
            ("write into our programs", format!("test -w {program} || test -w {programs}")),
            ("change a device", "chmod 666 /dev/null || chown 0:0 /dev/zero || touch /dev/full".to_owned()),
            ("change a device that masks a file", "chmod 666 /proc/keys || chmod 666 /proc/kcore".to_owned()),
        ] {
            let (text, ended) = lab.run(lab.spawn(&script, security.clone()));
            assert_ne!(ended.code, 0, "a pod could {what} (host users {}): {text}", security.host_users);
        }
        let used = "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 1 /dev/urandom | wc -c && \
                    ! echo x 2> /dev/null > /dev/full";
        assert_eq!(lab.says(used, security), "4\n1");
    }
    let bin = lab.sandbox.directory().join("run/bin");
    let on_node = |script: String| {
        let null = fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        let argv = vec!["sh".into(), "-c".into(), script];
        let exec = Exec { container: None, argv, ..Exec::default() };
        lab.sandbox.client().exec(exec, &[null.as_fd(), null.as_fd(), null.as_fd()]).unwrap().wait().unwrap()
    };
    assert_eq!(on_node(format!("test -x {}/{}", bin.display(), pods::holder::PROGRAM)), 0);
    assert_ne!(on_node(format!("touch {}/x", bin.display())), 0, "a command on the node could add programs");
    if lab.sandbox.mode() == Mode::Host {
        // The control: with a writable mount of its own the same script does something.
        let all = Security::privileged();
        lab.says("chmod 666 /dev/null", all);
    }
}
