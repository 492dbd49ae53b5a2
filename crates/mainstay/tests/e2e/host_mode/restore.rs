//! `mainstay down` and the host: equal to before, except for what others changed meanwhile; also after a reboot.

use rustix::process::Signal;

use super::world::World;
use crate::processes::Ours;
use crate::sandbox::text;

const MANIFEST: &str = include_str!("../../../src/cli/demo/types.yaml");

fn with_pods(world: &mut World, flags: &[&str]) {
    world.up(flags);
    world.apply(MANIFEST);
    world.kubectl_ok(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    world.kubectl_ok(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
}

fn pool_address(world: &World) -> String {
    let path = "jsonpath={.status.loadBalancer.ingress[0].ip}";
    world.kubectl_ok(&["get", "service", "my-clusterip-service", "-o", path])
}

#[test]
fn down_leaves_the_host_as_it_was() {
    let mut world = World::new();
    let before = world.look();
    with_pods(&mut world, &["--lb-pool", "10.99.0.0/24"]);
    let during = world.look().changes_since(&before);
    for word in ["+ link:", "+ address:", "+ route:", "+ nft: table inet mainstay", "+ sysctl: "] {
        assert!(during.iter().any(|line| line.starts_with(word)), "no {word}: {during:#?}");
    }
    world.kubectl_ok(&["patch", "service", "my-clusterip-service", "-p", "{\"spec\": {\"type\": \"LoadBalancer\"}}"]);
    world.until("the Service has an address of the pool", |world| pool_address(world).starts_with("10.99.0."));
    let url = format!("http://{}/", pool_address(&world));
    assert!(world.answer(&world.host, &url).contains("my-app-"), "addresses of pools are local to the host");
    let ours = Ours::on_host(world.path(), world.host.pid());
    let output = world.down();
    assert!(output.status.success() && text(&output).contains("as it was"), "{}", text(&output));
    let left = world.look().changes_since(&before);
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(ours.left(), Vec::<String>::new(), "processes are left");
    let again = world.down();
    assert!(again.status.success() && text(&again).contains("nothing runs"), "{}", text(&again));
    // Agreed once, and the objects are still there.
    world.up(&["--lb-pool", "10.99.0.0/24"]);
    world.kubectl_ok(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
}

#[test]
fn what_others_rely_on_by_now_is_left_alone() {
    let mut world = World::new();
    world.up(&[]);
    // As Docker does when it starts.
    world.host.script("echo 1 > /proc/sys/net/ipv4/ip_forward");
    let output = world.down();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("left alone") && text(&output).contains("ip_forward"), "{}", text(&output));
    assert_eq!(world.host.ok(&["cat", "/proc/sys/net/ipv4/conf/eth0/forwarding"]).trim(), "1");
}

#[test]
fn a_reboot_brings_addresses_rules_and_pods_back() {
    let mut world = World::new();
    with_pods(&mut world, &[]);
    let ours = Ours::on_host(world.path(), world.host.pid());
    world.stop(Signal::KILL);
    assert!(ours.kill() > 0);
    world.until("every process has ended", |_| ours.left().is_empty());
    // The kernel forgets: other namespaces, another boot id.
    world.reboot();
    let before = world.look();
    world.up(&[]);
    world.kubectl_ok(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    let address = world.kubectl_ok(&["get", "svc", "my-clusterip-service", "-o", "jsonpath={.spec.clusterIP}"]);
    assert!(world.answer(&world.host, &format!("http://{address}/")).contains("my-app-"));
    let output = world.down();
    assert!(output.status.success(), "{}", text(&output));
    let left = world.look().changes_since(&before);
    assert!(left.is_empty(), "{left:#?}");
}
