//! 3.4, second half: loadBalancerSourceRanges, row by row, and five thousand of them.

use std::collections::BTreeSet;
use std::time::Instant;

use compile::service_table::Config;
use serde_json::{Value, json};

use super::world::*;
use crate::elements::{TCP, UDP};
use crate::topology::ip;

const ALL: [(&str, Seen); 3] = [("a", Seen::Node), ("b", Seen::Node), ("c", Seen::Node)];

fn balanced(ranges: &[&str]) -> Value {
    let status = ingress(VIP);
    json!({ "type": "LoadBalancer", "externalIPs": EXTERNAL, "status": status, "loadBalancerSourceRanges": ranges })
}

/// Also corner 20 of section 7: pods need their range listed, node ports are not restricted, blanks do not matter.
#[test]
fn ranges_restrict_load_balancer_addresses_and_nothing_else_and_others_are_dropped() {
    let mut world = World::new();
    world.web(balanced(&["  198.51.100.0/24 ", "fd00:c11e::/64"]));
    world.three();
    world.reaches(Who::Out, VIP, 80, &ALL);
    for who in [Who::A, Who::C, Who::Node] {
        world.dropped(who, VIP, 80, "dropped_ranges");
    }
    world.reaches(Who::A, NODE, 30080, &ALL);
    world.reaches(Who::A, EXTERNAL, 80, &ALL);
    world.reaches(Who::A, CLUSTER, 80, &[("a", Seen::Node), ("b", Seen::Client), ("c", Seen::Client)]);
    world.web(balanced(&["10.244.0.0/24", "fd00:244::/64"]));
    world.reaches(Who::A, VIP, 80, &ALL);
    world.dropped(Who::C, VIP, 80, "dropped_ranges");
    world.dropped(Who::Out, VIP, 80, "dropped_ranges");
    // Outsiders are dropped even where there is nobody to refuse them.
    world.endpoints(&[]);
    world.dropped(Who::Out, VIP, 80, "dropped_ranges");
    world.refused(Who::A, VIP, 80);
}

#[test]
fn everything_as_a_range_allows_everybody_of_its_family() {
    let mut world = World::new();
    world.web(balanced(&["192.0.2.0/24", "fd00:bad::/64", "0.0.0.0/0"]));
    world.three();
    world.reaches(Who::Out, [VIP[0]; 2], 80, &ALL);
    world.dropped(Who::Out, [VIP[1]; 2], 80, "dropped_ranges");
    world.web(balanced(&["192.0.2.0/24", "::/0", "fd00:bad::/64"]));
    world.reaches(Who::Out, [VIP[1]; 2], 80, &ALL);
    world.dropped(Who::Out, [VIP[0]; 2], 80, "dropped_ranges");
}

#[test]
fn ranges_of_one_family_leave_the_address_of_the_other_open() {
    let mut world = World::new();
    world.web(balanced(&["192.0.2.0/24"]));
    world.three();
    world.dropped(Who::Out, [VIP[0]; 2], 80, "dropped_ranges");
    world.reaches(Who::Out, [VIP[1]; 2], 80, &ALL);
}

#[test]
fn a_range_that_cannot_be_read_opens_nothing_and_is_told() {
    let mut world = World::new();
    world.web(balanced(&["198.51.100.0/33"]));
    world.three();
    world.dropped(Who::Out, VIP, 80, "dropped_ranges");
    assert!(world.problems().iter().any(|why| why.contains("198.51.100.0/33")), "{:?}", world.problems());
}

/// The address is local to the node, as load balancers' own agents make it: what the node sends there carries it as
/// source.
#[test]
fn a_node_in_a_range_reaches_its_own_load_balancer_address() {
    let mut world = World::with(Config { node_port_addresses: Vec::new(), ..config() });
    let own = ["203.0.113.5", "fd00:b::5"];
    own.iter().for_each(|address| world.node.local_address(ip(address)));
    world.three();
    let status = ingress(own);
    let with_own =
        |ranges: [&str; 2]| json!({ "type": "LoadBalancer", "status": status, "loadBalancerSourceRanges": ranges });
    world.web(with_own(["198.51.100.0/24", "fd00:c11e::/64"]));
    world.dropped(Who::Node, own, 80, "dropped_ranges");
    world.web(with_own(["192.0.2.1/32", "fd00:bad::1/128"]));
    for address in own {
        for protocol in [TCP, UDP] {
            let target = std::net::SocketAddr::new(ip(address), 80);
            let ask = || (0..40).map(|_| crate::ask(protocol, target).unwrap().name).collect::<BTreeSet<_>>();
            assert_eq!(world.node.netns.run(ask), ["a", "b", "c"].map(String::from).into(), "{target}");
        }
    }
    world.dropped(Who::Out, own, 80, "dropped_ranges");
}

/// Ranges that do not touch: every other /24 and /64 of wider networks.
fn many(count: u32, last: &str) -> Vec<String> {
    let four = (0..count).map(|n| format!("{}/24", std::net::Ipv4Addr::from(0x1400_0000 + n * 512)));
    let six = (0..count).map(|n| format!("2001:db8:{n:x}::/64"));
    four.chain(six).chain([last.to_owned()]).collect()
}

#[test]
fn five_thousand_ranges_in_each_family_admit_and_drop_rightly_and_one_more_is_one_change() {
    const COUNT: u32 = 5_000;
    let mut world = World::new();
    world.three();
    let ports =
        [("t", "TCP"), ("u", "UDP")].map(|(name, protocol)| json!({ "name": name, "protocol": protocol, "port": 80 }));
    let put = |world: &mut World, ranges: Vec<String>| {
        let status = ingress(VIP);
        let ranges =
            json!({ "loadBalancerSourceRanges": ranges, "type": "LoadBalancer", "ports": ports, "status": status });
        world.web(ranges);
    };
    put(&mut world, vec!["192.0.2.0/24".into(), "fd00:bad::/64".into()]);
    let began = Instant::now();
    put(&mut world, many(COUNT, "2001:db9::/64"));
    println!(
        "{COUNT} ranges x 2 families x 2 ports added in {:?}, of which the kernel {:?}",
        began.elapsed(),
        world.kernel_took
    );
    world.dropped(Who::Out, VIP, 80, "dropped_ranges");
    world.dropped(Who::A, VIP, 80, "dropped_ranges");
    let mut admitted = many(COUNT, "fd00:c11e::/64");
    admitted.push("198.51.100.0/24".into());
    let began = Instant::now();
    put(&mut world, admitted);
    println!(
        "two ranges more, one less, among {COUNT}: {:?}, of which the kernel {:?}",
        began.elapsed(),
        world.kernel_took
    );
    world.reaches(Who::Out, VIP, 80, &ALL);
    world.dropped(Who::A, VIP, 80, "dropped_ranges");
    // A Service without ranges is met as ever.
    world.reaches(Who::A, CLUSTER, 80, &[("a", Seen::Node), ("b", Seen::Client), ("c", Seen::Client)]);
}
