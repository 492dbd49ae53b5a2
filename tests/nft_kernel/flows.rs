//! UDP flows under change: after a revision is confirmed, no datagram of a sender that never stops reaches an endpoint
//! that left; all other flows stay, entry by entry.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use dataplane::nft::Flow;
use serde_json::json;

use super::at;
use super::cluster::Cluster;
use super::elements::UDP;
use super::sender::{Receiver, Sender, until};
use super::topology::*;

const VIPS: [&str; 2] = ["10.96.0.20", "fd00:96::20"];
const OTHER_VIPS: [&str; 2] = ["10.96.0.21", "fd00:96::21"];

/// A cluster with three pods that receive, a pod that sends, and an outside host that sends.
struct Scene {
    cluster: Cluster,
    hosts: Vec<Host>,
    received: Vec<Receiver>,
    client: Host,
    outside: Host,
}

fn scene(indexed: bool) -> Scene {
    let cluster = Cluster::new(indexed);
    let node = &cluster.node;
    let pod = |n: u32| node.attach(&format!("pod{n}"), &format!("10.244.0.{n}"), &format!("fd00:244::{n}"));
    let hosts: Vec<Host> = (2..5).map(pod).collect();
    let client = pod(9);
    let outside = node.attach("out", "192.0.2.9", "fd00:bad::9");
    node.default_route("out", &outside);
    let received = hosts.iter().map(|host| Receiver::start(&host.netns)).collect();
    Scene { cluster, hosts, received, client, outside }
}

impl Scene {
    fn own(&self, endpoint: usize, v4: bool) -> SocketAddr {
        let host = &self.hosts[endpoint];
        SocketAddr::new(if v4 { host.four } else { host.six }, 8080)
    }

    fn udp(&mut self) -> Vec<Flow> {
        let flows = self.cluster.nft.flows().unwrap();
        flows.into_iter().filter(|flow| flow.original.protocol == UDP).collect()
    }

    /// Waits until the endpoint hears the sender.
    fn hears(&self, endpoint: usize, sender: &Sender) {
        let mark = sender.mark();
        until("the endpoint hears the sender", || self.received[endpoint].highest() >= mark + 20);
    }
}

/// Sends from everywhere to the targets at once (each receiver notes the highest number of all, so one sender at a time is
/// judged), makes the change, and asserts that nothing sent after it reaches endpoint 0 but what `then` says does arrive.
fn nothing_reaches_the_old(
    indexed: bool,
    targets: &[SocketAddr],
    before: impl Fn(&mut Scene),
    change: impl Fn(&mut Scene),
    arrives_at: Option<usize>,
) {
    for from in ["pod", "outside", "node"] {
        for target in targets {
            let mut scene = scene(indexed);
            before(&mut scene);
            scene.cluster.step();
            let netns = match from {
                "pod" => &scene.client.netns,
                "outside" => &scene.outside.netns,
                _ => &scene.cluster.node.netns,
            };
            let sender = Sender::start(netns, *target);
            scene.hears(0, &sender);
            change(&mut scene);
            let walks = scene.cluster.nft.flow_figures().walks;
            scene.cluster.step();
            let mark = sender.mark();
            let walked = scene.cluster.nft.flow_figures().walks > walks;
            assert_eq!(walked, !indexed, "with an index no table is walked");
            match arrives_at {
                Some(endpoint) => scene.hears(endpoint, &sender),
                None => until("the sender is refused", || sender.refused() > mark + 20),
            }
            sender.go_on();
            drop(sender);
            let highest = scene.received[0].settle(&scene.client.netns, scene.own(0, target.is_ipv4()));
            assert!(highest < mark, "{from} to {target}: {highest} reached the old endpoint, confirmed before {mark}");
        }
    }
}

fn vips(port: u16) -> Vec<SocketAddr> {
    VIPS.map(|vip| at(vip, port)).into()
}

fn one_endpoint(scene: &mut Scene) {
    scene.cluster.service("s", VIPS, &json!({}));
    scene.cluster.endpoints("s", &[&scene.hosts[0]]);
}

fn node_port(number: u16) -> serde_json::Value {
    json!({ "type": "NodePort", "ports": [{ "port": 80, "protocol": "UDP", "nodePort": number }] })
}

fn with_node_port(scene: &mut Scene) {
    scene.cluster.service("s", VIPS, &node_port(30_080));
    scene.cluster.endpoints("s", &[&scene.hosts[0]]);
}

const NODE_PORTS: [&str; 2] = ["10.244.0.1:30080", "[fd00:244::1]:30080"];

fn node_ports() -> Vec<SocketAddr> {
    NODE_PORTS.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_removed_endpoint_gets_nothing_more() {
    for indexed in [true, false] {
        let change = |scene: &mut Scene| scene.cluster.endpoints("s", &[&scene.hosts[1]]);
        nothing_reaches_the_old(indexed, &vips(80), one_endpoint, change, Some(1));
    }
}

#[test]
fn a_removed_endpoint_gets_nothing_more_through_a_node_port() {
    let change = |scene: &mut Scene| scene.cluster.endpoints("s", &[&scene.hosts[1]]);
    nothing_reaches_the_old(true, &node_ports(), with_node_port, change, Some(1));
}

#[test]
fn a_deleted_services_endpoint_gets_nothing_more() {
    nothing_reaches_the_old(true, &vips(80), one_endpoint, |scene| scene.cluster.delete("s"), None);
}

#[test]
fn a_node_port_that_is_given_up_leads_nowhere_though_the_endpoint_stays() {
    for indexed in [true, false] {
        let change = |scene: &mut Scene| scene.cluster.service("s", VIPS, &json!({}));
        nothing_reaches_the_old(indexed, &node_ports(), with_node_port, change, None);
    }
}

#[test]
fn a_reused_cluster_ip_leads_to_its_new_service() {
    let change = |scene: &mut Scene| {
        scene.cluster.delete("s");
        scene.cluster.service("successor", VIPS, &json!({}));
        scene.cluster.endpoints("successor", &[&scene.hosts[1]]);
    };
    nothing_reaches_the_old(true, &vips(80), one_endpoint, change, Some(1));
}

#[test]
fn a_sender_is_refused_at_zero_endpoints_and_served_again_after() {
    for target in [vips(80), node_ports()].concat() {
        let mut scene = scene(true);
        with_node_port(&mut scene);
        scene.cluster.step();
        let sender = Sender::start(&scene.client.netns, target);
        scene.hears(0, &sender);
        scene.cluster.endpoints("s", &[]);
        scene.cluster.step();
        let mark = sender.mark();
        until("the sender is refused", || sender.refused() > mark + 20);
        let highest = scene.received[0].settle(&scene.client.netns, scene.own(0, target.is_ipv4()));
        assert!(highest < mark, "{target}: {highest} reached the old endpoint, confirmed before {mark}");
        scene.cluster.endpoints("s", &[&scene.hosts[1]]);
        scene.cluster.step();
        scene.hears(1, &sender);
        assert!(scene.received[0].highest() < mark);
    }
}

#[test]
fn a_new_node_port_serves_a_sender_that_sent_there_all_along() {
    for indexed in [true, false] {
        for target in node_ports() {
            let mut scene = scene(indexed);
            scene.cluster.service("s", VIPS, &json!({}));
            scene.cluster.endpoints("s", &[&scene.hosts[0]]);
            scene.cluster.step();
            let sender = Sender::start(&scene.client.netns, target);
            until("nobody is there", || sender.refused() > 20);
            assert!(scene.udp().iter().any(|flow| flow.original.destination == target.ip()), "an untranslated flow");
            scene.cluster.service("s", VIPS, &node_port(30_080));
            scene.cluster.step();
            scene.hears(0, &sender);
        }
    }
}

#[test]
fn a_pods_address_given_again_is_not_reached_through_its_former_service() {
    for target in vips(80) {
        let mut scene = scene(true);
        one_endpoint(&mut scene);
        scene.cluster.step();
        let sender = Sender::start(&scene.client.netns, target);
        scene.hears(0, &sender);
        // The pod goes, and its address is at once that of an endpoint of another Service.
        scene.cluster.endpoints("s", &[&scene.hosts[1]]);
        scene.cluster.service("other", OTHER_VIPS, &json!({}));
        scene.cluster.endpoints("other", &[&scene.hosts[0]]);
        scene.cluster.step();
        let mark = sender.mark();
        scene.hears(1, &sender);
        let highest = scene.received[0].settle(&scene.client.netns, scene.own(0, target.is_ipv4()));
        assert!(highest < mark, "{target}: {highest} after {mark}");
        let other = if target.is_ipv4() { OTHER_VIPS[0] } else { OTHER_VIPS[1] };
        let second = Sender::start(&scene.client.netns, at(other, 80));
        scene.hears(0, &second);
    }
}

/// Senders to a Service of three endpoints until each has some, and the flows then.
fn spread(scene: &mut Scene) -> Vec<Sender> {
    scene.cluster.service("s", VIPS, &node_port(30_080));
    scene.cluster.endpoints("s", &scene.hosts.iter().collect::<Vec<_>>());
    scene.cluster.service("other", OTHER_VIPS, &json!({}));
    scene.cluster.endpoints("other", &scene.hosts.iter().collect::<Vec<_>>());
    scene.cluster.step();
    let mut senders = Vec::new();
    for vip in [vips(80), OTHER_VIPS.map(|vip| at(vip, 80)).into(), node_ports()].concat() {
        for _ in 0..6 {
            senders.push(Sender::start(&scene.client.netns, vip));
        }
    }
    senders.iter().for_each(Sender::go_on);
    senders
}

/// Flows by the kernel's id: good to see that one stayed. A flow made anew may get the id of the one before it, if the
/// same memory is used, so that one ended is seen by where flows lead.
fn ids(flows: &[Flow], with: impl Fn(&Flow) -> bool) -> BTreeSet<u32> {
    flows.iter().filter(|flow| with(flow)).map(|flow| flow.id).collect()
}

#[test]
fn only_the_flows_of_the_endpoint_that_left_that_service_end() {
    for indexed in [true, false] {
        let mut scene = scene(indexed);
        let senders = spread(&mut scene);
        let before = scene.udp();
        let old = [true, false].map(|v4| scene.own(0, v4).ip());
        let other = |flow: &Flow| OTHER_VIPS.map(ip).contains(&flow.original.destination);
        scene.cluster.endpoints("s", &[&scene.hosts[1], &scene.hosts[2]]);
        scene.cluster.step();
        let gone = |flow: &Flow| !other(flow) && old.contains(&flow.reply.source);
        let after = scene.udp();
        let kept = ids(&before, |flow| !gone(flow));
        assert!(kept.len() > 10 && kept.is_subset(&ids(&after, |_| true)));
        assert_eq!(ids(&after, gone), [].into());
        assert_eq!(scene.cluster.nft.flow_figures().ended, ids(&before, gone).len() as u64);
        drop(senders);
    }
}

#[test]
fn policies_and_termination_end_no_flow() {
    let mut scene = scene(true);
    let senders = spread(&mut scene);
    let before = ids(&scene.udp(), |_| true);
    let mut local = node_port(30_080);
    local["externalTrafficPolicy"] = json!("Local");
    local["internalTrafficPolicy"] = json!("Local");
    scene.cluster.service("s", VIPS, &local);
    scene.cluster.step();
    let terminating = json!({ "ready": false, "serving": true, "terminating": true });
    let hosts: Vec<&Host> = scene.hosts.iter().collect();
    scene.cluster.endpoints_that_are("s", &hosts, &terminating);
    scene.cluster.step();
    assert!(before.is_subset(&ids(&scene.udp(), |_| true)));
    assert_eq!(scene.cluster.nft.flow_figures().ended, 0);
    drop(senders);
}

#[test]
fn a_restart_ends_nothing_when_nothing_changed_and_exactly_what_changed_when_something_did() {
    for indexed in [true, false] {
        let mut scene = scene(indexed);
        let senders = spread(&mut scene);
        let before = scene.udp();
        scene.cluster.restart(indexed);
        assert_eq!(scene.cluster.step(), [], "nothing to write");
        assert!(ids(&before, |_| true).is_subset(&ids(&scene.udp(), |_| true)));
        assert_eq!(scene.cluster.nft.flow_figures().ended, 0);

        let before = scene.udp();
        let old = [true, false].map(|v4| scene.own(0, v4).ip());
        let gone = |flow: &Flow| {
            let to = flow.original.destination;
            OTHER_VIPS.map(ip).contains(&to) || old.contains(&flow.reply.source)
        };
        scene.cluster.endpoints("s", &[&scene.hosts[1], &scene.hosts[2]]);
        scene.cluster.delete("other");
        scene.cluster.restart(indexed);
        scene.cluster.step();
        let after = scene.udp();
        assert!(ids(&before, |flow| !gone(flow)).is_subset(&ids(&after, |_| true)));
        assert_eq!(ids(&after, gone), [].into());
        drop(senders);
    }
}

#[test]
fn flows_of_a_process_killed_between_commit_and_flush_end_at_the_next_start() {
    let mut scene = scene(true);
    let senders = spread(&mut scene);
    scene.cluster.endpoints("s", &[&scene.hosts[1], &scene.hosts[2]]);
    // The kill: what was committed is in the kernel, what should have followed is lost.
    for mut batch in scene.cluster.plan().batches {
        batch.flush.clear();
        dataplane::Dataplane::apply(&mut scene.cluster.nft, &batch).unwrap();
    }
    let old = [true, false].map(|v4| scene.own(0, v4).ip());
    let gone =
        |flow: &Flow| !OTHER_VIPS.map(ip).contains(&flow.original.destination) && old.contains(&flow.reply.source);
    let before = scene.udp();
    assert!(!ids(&before, gone).is_empty());
    scene.cluster.restart(true);
    let after = scene.udp();
    assert!(ids(&before, |flow| !gone(flow)).is_subset(&ids(&after, |_| true)));
    assert_eq!(ids(&after, gone), [].into());
    drop(senders);
}

#[test]
fn flows_whose_mark_belongs_to_somebody_else_end_by_where_they_lead() {
    for indexed in [true, false] {
        let mut scene = scene(indexed);
        let mark = "table inet other { chain c { type filter hook prerouting priority -150; ct mark set 0x80; }; }";
        let loaded = scene.cluster.node.netns.run(|| std::process::Command::new("nft").arg(mark).status());
        assert!(loaded.expect("run nft; install it: apt-get install nftables").success());
        let senders = spread(&mut scene);
        let before = scene.udp();
        assert!(before.iter().all(|flow| flow.mark & 0x40_0000 == 0), "none carries an identity");
        scene.cluster.endpoints("s", &[&scene.hosts[1], &scene.hosts[2]]);
        scene.cluster.step();
        let old = [true, false].map(|v4| scene.own(0, v4).ip());
        let gone =
            |flow: &Flow| !OTHER_VIPS.map(ip).contains(&flow.original.destination) && old.contains(&flow.reply.source);
        let after = scene.udp();
        assert!(!ids(&before, gone).is_empty());
        assert_eq!(ids(&after, gone), [].into());
        assert!(ids(&before, |flow| !gone(flow)).is_subset(&ids(&after, |_| true)));
        drop(senders);
    }
}
