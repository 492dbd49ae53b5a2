//! The table as a whole: what others see of it, what a second process adopts, and what a wrong batch leaves.

use std::net::IpAddr;

use compile::nft::state::{Batch, Element, State};
use dataplane::nft::{Nft, encoded_len};
use dataplane::{Dataplane, Error};

use super::elements::*;
use super::topology::*;
use super::{at, scene, two_pods};

/// Everything that `nft` decodes of a namespace, without the numbers that the kernel hands out.
fn listing(node: &Node) -> serde_json::Value {
    let output = node.netns.run(|| std::process::Command::new("nft").args(["-j", "list", "ruleset"]).output());
    let output = output.unwrap_or_else(|error| panic!("run nft: {error}; install it: apt-get install nftables"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut listing: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    strip(&mut listing);
    listing
}

fn strip(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.remove("handle");
            fields.values_mut().for_each(strip);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
        _ => (),
    }
}

#[test]
fn other_tables_stay_and_removal_leaves_no_trace() {
    let node = Node::new();
    let foreign = "table inet other {\n set s {\n type ipv4_addr\n elements = { 192.0.2.1 }\n }\n \
                   chain c {\n type filter hook input priority 0\n ip saddr @s counter drop\n }\n }";
    let loaded = node.netns.run(|| std::process::Command::new("nft").arg(foreign).status());
    assert!(loaded.expect("run nft; install it: apt-get install nftables").success());
    let before = listing(&node);
    let mut nft = node.netns.run(|| Nft::open().unwrap());
    nft.remove().unwrap();
    nft.install().unwrap();
    nft.apply(&add(ranges())).unwrap();
    nft.apply(&add([front(at("10.96.0.10", 80), TCP, 1, CLUSTER_IP)])).unwrap();
    let items = listing(&node);
    let items = items["nftables"].as_array().unwrap();
    let count = |kind: &str| {
        let ours = |one: &&serde_json::Value| one[kind]["table"] == "mainstay";
        items.iter().filter(ours).count()
    };
    let rules = compile::nft::rules::ruleset(true);
    // One more chain with one rule says what is installed.
    assert_eq!(count("chain"), rules.chains.len() + 1, "an outside decoder sees every chain");
    assert_eq!(count("rule"), rules.chains.iter().map(|chain| chain.rules.len()).sum::<usize>() + 1);
    assert_eq!(count("set") + count("map"), rules.sets.len());
    let front4 = items.iter().find(|one| one["map"]["name"] == "front4").unwrap();
    assert!(front4.to_string().contains(r#"["10.96.0.10","tcp",80]"#), "{front4}");
    nft.install().unwrap();
    assert_eq!(nft.observe().unwrap(), Some(State::new()), "installing again empties the table");
    nft.remove().unwrap();
    nft.remove().unwrap();
    assert_eq!(listing(&node), before);
}

#[test]
fn what_was_applied_is_what_is_observed_and_a_wrong_batch_changes_nothing() {
    let mut scene = scene();
    let services = two_pods(&mut scene);
    let observed = scene.nft.observe().unwrap().unwrap();
    let mut second = scene.node.netns.run(|| Nft::open().unwrap());
    assert_eq!(second.observe().unwrap().unwrap(), observed, "another process adopts it");
    let mut expected = State::new();
    let mut put = |element: Element| _ = expected.entry(element.set).or_default().insert(element.key, element.value);
    ranges().into_iter().chain(services.iter().flat_map(Service::elements)).for_each(&mut put);
    for (set, elements) in &expected {
        for (key, value) in elements {
            assert_eq!(observed[set].get(key), Some(value), "{set:?}");
        }
    }
    let twice = add(services[0].elements());
    assert!(matches!(scene.nft.apply(&twice), Err(Error::Diverged(_))), "every element exists");
    let absent = Batch { delete: vec![Element { value: Box::default(), ..nodeport(true, 1, TCP, 1, 0) }], ..twice };
    let absent = Batch { add: add([nodeport_address(ip("192.0.2.1"))]).add, ..absent };
    assert!(matches!(scene.nft.apply(&absent), Err(Error::Diverged(_))));
    assert_eq!(scene.nft.observe().unwrap().unwrap(), observed);
    let other_version = scene.node.netns.run(|| Nft::open_with(false).unwrap().observe().unwrap());
    assert_eq!(other_version, None, "a table made by other rules is not adopted");
    // Ranges that touch, that reach the top of the address space, and lists longer than one message.
    let mut batch = add([range(true, "255.0.0.0", "0.0.0.0"), range(true, "10.245.0.0", "10.246.0.0")]);
    let many = (0..12_000u32).map(|n| nodeport_address(IpAddr::V4((0xc612_0000 + n).into())));
    batch.add.extend(many);
    let bytes: usize = batch.add.iter().map(encoded_len).sum();
    assert!(bytes > 150_000 && bytes <= scene.nft.batch_bytes_max(), "{bytes} of {}", scene.nft.batch_bytes_max());
    scene.nft.apply(&batch).unwrap();
    let mut larger = observed.clone();
    for element in &batch.add {
        larger.entry(element.set).or_default().insert(element.key.clone(), element.value.clone());
    }
    assert_eq!(scene.nft.observe().unwrap().unwrap(), larger);
    let delete = batch.add.drain(..).map(|one| Element { value: Box::default(), ..one }).collect();
    scene.nft.apply(&Batch { delete, ..Batch::default() }).unwrap();
    assert_eq!(scene.nft.observe().unwrap().unwrap(), observed);
}
