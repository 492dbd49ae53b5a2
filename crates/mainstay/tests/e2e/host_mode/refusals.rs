//! What host mode refuses, and what it says.

use std::process::{Output, Stdio};

use super::world::World;
use crate::account;
use crate::sandbox::text;

fn up(world: &World, flags: &[&str]) -> Output {
    let flags = [&["up", "--host", "--listen", "127.0.0.1:0"][..], flags].concat();
    world.mainstay(&flags).output().expect("mainstay up runs")
}

fn refused(world: &World, flags: &[&str], code: i32, words: &[&str]) {
    let before = world.look();
    let output = up(world, flags);
    assert_eq!(output.status.code(), Some(code), "{flags:?}: {}", text(&output));
    for word in words {
        assert!(text(&output).contains(word), "{flags:?} must say {word:?}: {}", text(&output));
    }
    let changed = world.look().changes_since(&before);
    assert!(changed.is_empty(), "{flags:?} changed the host: {changed:#?}");
}

#[test]
fn nothing_is_changed_before_somebody_agrees() {
    let world = World::new();
    let list = [
        "sysctl      net/ipv4/conf/eth0/forwarding 0 -> 1",
        "address     10.244.0.1 on lo",
        "route       10.96.0.0/16 over lo",
        "nftables    table inet mainstay",
        "192.168.77.10, fd77::10",
    ];
    refused(&world, &[], 3, &[&list[..], &["mainstay up --host --yes"]].concat());
    refused(&world, &["--dry-run"], 0, &list);
    assert!(!world.path().join("host").exists(), "nobody agreed, so nothing is remembered");
}

#[test]
fn wrong_flags_and_overlaps_are_refused() {
    let world = World::new();
    refused(&world, &["--sandbox"], 3, &["cannot be used with"]);
    refused(&world, &["--yes", "--nodeport-addresses", "192.168.77.10"], 1, &["no prefix length", "Give primary, all"]);
    refused(
        &world,
        &["--yes", "--pod-cidr", "192.168.0.0/16,fd00:10:244::/64"],
        1,
        &[
            "--pod-cidr 192.168.0.0/16 overlaps 192.168.77.",
            "These are free: --service-cidr 10.96.0.0/16,fd00:10:96::/112",
        ],
    );
    world.host.script("ip link add br-x type bridge; ip addr add 10.96.7.1/24 dev br-x; ip link set br-x up");
    refused(
        &world,
        &["--yes"],
        1,
        &["--service-cidr 10.96.0.0/16 overlaps", "br-x", "These are free: --service-cidr 10.196.0.0/16"],
    );
    let output = world.mainstay(&["up"]).output().expect("mainstay up runs");
    assert!(!output.status.success() && text(&output).contains("mainstay up --host"), "{}", text(&output));
    let ordinary = account::Account::ordinary();
    let output = ordinary.command().args(["up", "--host", "--yes", "--data-dir", "/tmp/ms-none"]).output();
    let output = output.expect("mainstay up runs");
    assert!(!output.status.success() && text(&output).contains("sudo mainstay up --host"), "{}", text(&output));
    assert!(!std::path::Path::new("/tmp/ms-none").exists());
}

#[test]
fn one_instance_per_network_namespace() {
    let mut world = World::new();
    world.up(&[]);
    let other = account::directory();
    let other_path = other.path().display().to_string();
    let second = |world: &World| {
        let program = account::program();
        let program = program.to_str().expect("a path of text");
        world.host.run(&[program, "up", "--host", "--yes", "--listen", "127.0.0.1:0", "--data-dir", &other_path])
    };
    let first = world.path().display().to_string();
    let refused = second(&world);
    assert!(!refused.status.success(), "{}", text(&refused));
    for word in ["another instance", &first, &format!("mainstay down --data-dir {first}")] {
        assert!(text(&refused).contains(word), "{word:?}: {}", text(&refused));
    }
    // Who lists instances takes none of their claims away.
    let listed = world.host.run(&[account::program().to_str().expect("a path of text"), "ls", "-o", "name"]);
    assert!(text(&listed).contains(&first), "{}", text(&listed));
    world.stop(rustix::process::Signal::KILL);
    let refused = second(&world);
    assert!(!refused.status.success() && text(&refused).contains("does not run"), "{}", text(&refused));
    let sandbox = world.mainstay(&["up", "--sandbox"]).output().expect("mainstay up runs");
    assert!(!sandbox.status.success() && text(&sandbox).contains("host mode"), "{}", text(&sandbox));
}

/// `mainstay up --host` on a terminal on which somebody types.
fn typed(world: &World, answer: &str) -> std::process::Child {
    use std::io::Write;
    let program = account::program();
    let line = format!("{} up --host --listen 127.0.0.1:0 --data-dir {}", program.display(), world.path().display());
    // util-linux' script gives a terminal.
    let mut command = world.host.command(&["script", "--quiet", "--return", "--command", &line, "/dev/null"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script must be installed");
    let mut input = child.stdin.take().expect("its standard input");
    input.write_all(answer.as_bytes()).expect("the answer can be typed");
    // Kept open: the end of the input would be the end of the terminal.
    child.stdin = Some(input);
    child
}

#[test]
fn a_typed_y_agrees_and_is_remembered() {
    let mut world = World::new();
    let refused = typed(&world, "n\n").wait_with_output().expect("script ends");
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    assert!(!world.path().join("host").exists());
    let mut agreed = typed(&world, "y\n");
    let ready =
        |world: &World| world.path().join("kubeconfig").exists() && world.kubectl(&["get", "svc"]).status.success();
    world.until("a typed y starts it", |world| ready(world));
    let output = world.down();
    assert!(output.status.success(), "{}", text(&output));
    agreed.wait().expect("script ends");
    let again = up(&world, &["--nodeport-addresses", "none"]);
    assert!(!text(&again).contains("nobody has agreed"), "it is asked once: {}", text(&again));
}
