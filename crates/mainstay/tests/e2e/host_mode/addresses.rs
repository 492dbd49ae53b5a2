//! Node ports follow the host's addresses: a lease that changes, a link that comes late, ranges that were asked for.

use super::world::{HOST, World};

const MANIFEST: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: main, image: mainstay/echo, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: ports}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
";

fn internal(world: &World) -> String {
    let all = "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
    world.kubectl_ok(&["get", "nodes", "-o", all])
}

fn start(world: &mut World, flags: &[&str]) {
    world.up(flags);
    world.apply(MANIFEST);
    world.kubectl_ok(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
}

#[test]
fn node_ports_follow_the_address_of_the_default_route() {
    let mut world = World::new();
    // No cable yet: the node knows itself only.
    world.host.script("ip link set eth0 down");
    start(&mut world, &[]);
    assert_eq!(internal(&world), "10.244.0.1 fd00:10:244::1");
    world.host.script(
        "ip link set eth0 up; ip addr replace fd77::10/64 dev eth0 nodad; ip route replace default via 192.168.77.1; \
         ip -6 route replace default via fd77::1",
    );
    world.until("the node has the host's addresses", |world| internal(world) == HOST.join(" "));
    world.answer(&world.lan, "http://192.168.77.10:30080/");
    // A new lease.
    world.host.script("ip addr add 192.168.77.20/24 dev eth0; ip addr del 192.168.77.10/24 dev eth0");
    world.host.script("ip addr replace 192.168.77.20/24 dev eth0; ip route replace default via 192.168.77.1");
    world.until("the node has the new address", |world| internal(world).starts_with("192.168.77.20"));
    world.answer(&world.lan, "http://192.168.77.20:30080/");
    // Somebody starts and ends a program that forwards (Docker, a hotspot): the link goes on forwarding for pods.
    world.host.script("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/ip_forward");
    world.until("the link forwards again", |world| {
        world.host.ok(&["cat", "/proc/sys/net/ipv4/conf/eth0/forwarding"]).trim() == "1"
    });
    world.answer(&world.lan, "http://192.168.77.20:30080/");
    // An address that is not the primary one serves no node port.
    world.host.script("ip addr add 192.168.77.30/24 dev eth0; ip addr add 192.168.77.40/24 dev eth0");
    // What comes after it is followed, so it was seen.
    world.host.script("ip route replace default via 192.168.77.1 src 192.168.77.40");
    world.answer(&world.lan, "http://192.168.77.40:30080/");
    let refused = world.curl(&world.lan, "http://192.168.77.30:30080/");
    assert_eq!(refused.status.code(), Some(7), "refused: {}", crate::sandbox::text(&refused));
}

#[test]
fn asked_for_ranges_choose_the_addresses() {
    let mut world = World::new();
    world.host.script("ip addr add 192.168.77.30/24 dev eth0; ip addr add 172.31.7.1/24 dev eth0");
    world.lan.script("ip route add 172.31.7.1/32 dev lan0");
    start(&mut world, &["--nodeport-addresses", "172.31.0.0/16,192.168.77.30/32"]);
    for address in ["172.31.7.1", "192.168.77.30"] {
        world.answer(&world.lan, &format!("http://{address}:30080/"));
    }
    let refused = world.curl(&world.lan, "http://192.168.77.10:30080/");
    assert_eq!(
        refused.status.code(),
        Some(7),
        "the primary address was not asked for: {}",
        crate::sandbox::text(&refused)
    );
    assert_eq!(internal(&world), HOST.join(" "), "the node's own addresses stay");
}
