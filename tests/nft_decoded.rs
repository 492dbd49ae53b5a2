//! The kernel's state as somebody else decodes it: `nft -j list table`, read here by the documented layout of the words
//! and compared with the ruleset and the data that were meant.

#[path = "nft_decoded/listing.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod listing;

#[path = "property_nft/clusters.rs"]
mod clusters;

#[allow(dead_code, reason = "the module is shared with nft_kernel")]
#[allow(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
#[path = "nft_kernel/topology.rs"]
mod topology;

#[allow(dead_code, reason = "the module is shared with property_nft")]
#[path = "property_nft/world.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod world;

use std::collections::BTreeMap;

use compile::nft::Programmer;
use compile::nft::expr::{Contents, Expression, Family, HookPoint, MapWrite, Reject, Rule, Ruleset, Verdict};
use compile::nft::rules::{describe, ruleset};
use compile::nft::state::State;
use compile::snapshot::Changes;
use dataplane::Dataplane;
use dataplane::nft::{Nft, encoded_len};

use self::listing::{Elements, Listing};
use self::topology::Netns;
use self::world::World;

/// Installs our rules, programs a cluster with every policy, and lets `nft` list it.
fn listed() -> (Listing, State) {
    let netns = Netns::new();
    let mut nft = netns.run(|| Nft::open().unwrap_or_else(|error| panic!("{error}")));
    nft.install().unwrap_or_else(|error| panic!("{error}"));
    let mut world = World { plain: true, ..World::default() };
    world.begin();
    clusters::pods(&mut world);
    for (index, affinity) in [(0, None), (1, Some(10_800)), (2, None)] {
        let ranges: &[&str] = if index == 0 { &clusters::RANGES } else { &[] };
        let service = clusters::service(index, "Local", "Cluster", affinity, ranges);
        world.put("services", "d", &format!("s{index}"), &service);
        clusters::slices(&mut world, index, clusters::ENDPOINTS[index]);
    }
    let (snapshot, _) = world.builder.publish(world.revision);
    let mut programmer = Programmer::new(world::config());
    for batch in programmer.plan(&snapshot, &Changes::default(), usize::MAX, &encoded_len).batches {
        nft.apply(&batch).unwrap_or_else(|error| panic!("{error}"));
    }
    let list = || std::process::Command::new("nft").args(["-j", "list", "table", "inet", "mainstay"]).output();
    let output =
        netns.run(list).unwrap_or_else(|error| panic!("run nft: {error}; install it: apt-get install nftables"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (Listing::read(&output.stdout), programmer.state())
}

#[test]
fn nft_decodes_every_element_that_was_programmed() {
    let (listing, state) = listed();
    let mut compared = 0;
    for (name, elements) in &state {
        let set = describe(*name).name;
        let expected: Elements = elements.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        assert_eq!(listing.sets[&set], expected, "set {set}");
        compared += expected.len();
    }
    let listed: usize = listing.sets.values().map(BTreeMap::len).sum();
    assert_eq!(listed, compared, "nft sees no other element");
    assert!(state.len() >= 20 && compared >= 300, "{} sets, {compared} elements", state.len());
    println!("{} sets, {compared} elements", state.len());
}

#[test]
fn nft_decodes_every_chain_set_and_rule_that_was_installed() {
    let (listing, _) = listed();
    let rules = ruleset(true);
    assert_eq!(listing.counters, rules.counters);
    compare_sets(&listing, &rules);
    let chains: BTreeMap<_, _> = rules
        .chains
        .iter()
        .map(|chain| {
            let hook = chain.hook.map(|hook| {
                let point = match hook.point {
                    HookPoint::Prerouting => "prerouting",
                    HookPoint::Input => "input",
                    HookPoint::Forward => "forward",
                    HookPoint::Output => "output",
                    HookPoint::Postrouting => "postrouting",
                };
                ((if hook.nat { "nat" } else { "filter" }).to_owned(), point.to_owned(), i64::from(hook.priority))
            });
            (chain.name.clone(), hook)
        })
        .collect();
    let mut chains = chains;
    // The table's signature; nothing leads there.
    chains.insert("about".to_owned(), None);
    assert_eq!(listing.chains, chains);
    let mut compared = 0;
    for chain in &rules.chains {
        let listed = listing.rules.get(&chain.name).cloned().unwrap_or_default();
        assert_eq!(listed.len(), chain.rules.len(), "rules of chain {}", chain.name);
        for (rule, listed) in chain.rules.iter().zip(listed) {
            // nft 1.0.6 prints hashes, turns and counted elements in ways of its own.
            let own = |one: &Expression| {
                matches!(one, Expression::Hash { .. } | Expression::InTurn { .. } | Expression::Tally { .. })
            };
            if !rule.iter().any(own) {
                assert_eq!(listed, tokens(rule), "chain {}", chain.name);
                compared += 1;
            }
        }
    }
    println!("{} chains, {} sets, {compared} rules", chains.len(), rules.sets.len());
}

fn compare_sets(listing: &Listing, rules: &Ruleset) {
    assert_eq!(listing.shapes.len(), rules.sets.len());
    for set in &rules.sets {
        let shape = (set.interval, set.dynamic.map(u64::from), set.counter);
        assert_eq!(listing.shapes[&set.name], shape, "set {}", set.name);
        let Contents::Verdicts(verdicts) = &set.contents else { continue };
        let mut expected: Vec<(u32, String)> = verdicts.iter().map(|(key, to)| (*key, verdict(to))).collect();
        let mut listed = listing.verdicts[&set.name].clone();
        expected.sort();
        listed.sort();
        assert_eq!(listed, expected, "verdicts of {}", set.name);
    }
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".into(),
        Verdict::Drop => "drop".into(),
        Verdict::Return => "return".into(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
    }
}

/// What a rule names and does, in the words of the listing, sorted.
fn tokens(rule: &Rule) -> Vec<String> {
    let mut out = Vec::new();
    for (at, one) in rule.iter().enumerate() {
        match one {
            // nft leaves out a map whose value nobody reads: only that there is one was asked.
            Expression::Map { .. } if matches!(rule.get(at + 1), Some(Expression::Verdict(_))) => (),
            Expression::InSet { set, .. } | Expression::Map { map: set, .. } => out.push(format!("@{set}")),
            Expression::VerdictMap { map, .. } => out.extend(["vmap".into(), format!("@{map}")]),
            Expression::Random { modulus, .. } => out.push(format!("random {modulus}")),
            Expression::Write { map, how, .. } => out.push(match how {
                MapWrite::Update { timeout } => format!("update @{map} {timeout}"),
                MapWrite::Delete => format!("delete @{map} 0"),
            }),
            Expression::SetPriority(_) => out.push(r#"set {"meta":{"key":"priority"}}"#.into()),
            Expression::SetCtMark(_) => out.push(r#"set {"ct":{"key":"mark"}}"#.into()),
            Expression::SourceIsLocal(_) => out.push("fib".into()),
            Expression::Dnat { family: Family::V4, .. } => out.push("dnat ip".into()),
            Expression::Dnat { family: Family::V6, .. } => out.push("dnat ip6".into()),
            Expression::Masquerade => out.push("masquerade fully-random".into()),
            Expression::Reject(Reject::TcpReset) => out.push("reject tcp reset ".into()),
            Expression::Reject(Reject::PortUnreachable) => out.push("reject icmpx port-unreachable".into()),
            Expression::Counter(name) => out.push(format!("counter {name}")),
            Expression::NoTrack => out.push("notrack".into()),
            Expression::Verdict(to) => out.push(verdict(to)),
            _ => (),
        }
    }
    out.sort();
    out
}
