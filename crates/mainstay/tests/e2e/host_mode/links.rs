//! Hosts with more than one link, and routes that come and go: pods have a way out over each, and Services stay reachable.

use rustix::process::Signal;

use super::world::{HOST, Net, World};
use crate::sandbox::text;

const CLIENT: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: main, image: mainstay/client}]}
";

/// A second network beside the host, which leads nowhere else.
fn second(world: &World) -> Net {
    let far = Net::new();
    world.host.script(&format!("ip link add eth1 type veth peer name far0 netns {}", far.pid()));
    far.script("ip link set lo up; ip addr add 10.50.0.1/24 dev far0; ip link set far0 up");
    world.host.script("ip addr add 10.50.0.2/24 dev eth1; ip link set eth1 up");
    far
}

#[test]
fn pods_go_out_by_every_link_and_several_default_routes_are_one_host() {
    let mut world = World::new();
    let far = second(&world);
    world.echo_in(&far, 9000);
    world.echo_in_lan(9000);
    world.host.script(
        "ip route replace default nexthop via 192.168.77.1 dev eth0 weight 1 nexthop via 10.50.0.1 dev eth1 weight 1",
    );
    let planned = world.mainstay(&["up", "--host", "--dry-run"]).output().expect("mainstay up runs");
    for line in ["net/ipv4/conf/eth0/forwarding 0 -> 1", "net/ipv4/conf/eth1/forwarding 0 -> 1", HOST[0]] {
        assert!(text(&planned).contains(line), "no {line}: {}", text(&planned));
    }
    let before = world.look();
    world.up(&[]);
    let all = "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
    assert_eq!(world.kubectl_ok(&["get", "nodes", "-o", all]), HOST.join(" "));
    world.apply(CLIENT);
    world.kubectl_ok(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    assert!(world.answer_to_pod("http://10.50.0.1:9000/").contains("10.50.0.2"), "under the address of that link");
    world.answer_to_pod("http://192.168.77.1:9000/");
    let output = world.down();
    assert!(output.status.success(), "{}", text(&output));
    let left = world.look().changes_since(&before);
    assert!(left.is_empty(), "{left:#?}");
}

fn routed(world: &World) -> bool {
    world.host.ok(&["ip", "route", "show", "10.98.0.0/24"]).contains("dev lo")
}

#[test]
fn a_lost_route_to_services_returns_whether_the_server_runs_or_not() {
    let mut world = World::new();
    let before = world.look();
    world.up(&[]);
    world.apply(
        "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: more}\nspec: {cidrs: [10.98.0.0/24]}\n",
    );
    world.until("the added network has a route", routed);
    world.host.script("ip route del 10.98.0.0/24 dev lo");
    world.until("it returns", routed);
    // It was noted; a server that was killed before it made it leaves the same.
    world.stop(Signal::KILL);
    world.host.script("ip route del 10.98.0.0/24 dev lo");
    world.up(&[]);
    world.until("the next server makes it", routed);
    world.kubectl_ok(&["delete", "servicecidr", "more"]);
    world.until("a removed network has none", |world| !routed(world));
    let output = world.down();
    assert!(output.status.success(), "{}", text(&output));
    let left = world.look().changes_since(&before);
    assert!(left.is_empty(), "{left:#?}");
}
