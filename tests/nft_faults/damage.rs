//! Damage by others in a real kernel: heard by notice, put back with nothing else written, and found by the next start too.

use std::time::Instant;

use compile::snapshot::Changes;

use super::kernel_data::meaning;
use super::node::{PATIENCE, again, found, keeper, nft, watched};
use super::topology::Netns;
use super::world::World;

/// What `nft` is told, a word that the notice must have, and whether the rules must be put in place anew.
const DAMAGES: [(&[&str], &str, bool); 13] = [
    (&["flush ruleset"], "deleted the table", true),
    (&["delete table inet mainstay"], "deleted the table", true),
    (&["flush chain inet mainstay translate"], "deleted a rule of chain translate", true),
    (&["flush table inet mainstay"], "deleted a rule of chain", true),
    (&["insert rule inet mainstay services4 drop"], "added a rule to chain services4", true),
    (&["add rule inet mainstay about drop"], "added a rule to chain about", true),
    (
        &["add chain inet mainstay wall { type filter hook forward priority 0; policy drop; }"],
        "added or changed chain wall",
        true,
    ),
    (&["add chain inet mainstay prerouting { policy drop; }"], "added or changed chain prerouting", true),
    (&["add table inet mainstay { flags dormant; }"], "changed the table", true),
    (&["flush map inet mainstay PICK"], "deleted an element of pick", true),
    (&["add set inet mainstay mine { type ipv4_addr; }"], "added set mine", true),
    (&["flush map inet mainstay front4"], "deleted an element of front4", false),
    (&["add element inet mainstay service_cidrs4 { 203.0.113.0/24 }"], "added an element to service_cidrs4", false),
];

#[test]
fn damage_is_heard_and_repaired_and_found_at_the_next_start() {
    let netns = Netns::new();
    let mut world = World::default();
    world.begin();
    let (snapshot, _) = world.builder.publish(world.revision);
    let (mut first, heard) = watched(&netns, |_| {});
    assert!(first.program(&snapshot, &Changes::default()).unwrap().switched);
    let whole = first.wanted();
    assert_eq!(found(&netns).unwrap().as_ref(), Some(&whole));
    // Maps of verdicts change their names whenever the rules change hands.
    let damage = |command: &[&str]| {
        let second = nft(&netns, &["list", "maps"]).contains("map pick_2");
        let command: Vec<String> =
            command.iter().map(|word| word.replace("PICK", if second { "pick_2" } else { "pick" })).collect();
        nft(&netns, &command.iter().map(String::as_str).collect::<Vec<_>>());
    };
    for (command, word, rules) in DAMAGES {
        damage(command);
        let began = Instant::now();
        let foreign = heard.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{command:?} was not heard: {error}"));
        assert!(foreign.to_string().contains(word), "{command:?}: {foreign}");
        assert_eq!(foreign.by.as_ref().map(|(_, name)| name.as_str()), Some("nft"), "{foreign}");
        assert_ne!(found(&netns).unwrap(), Some(first.wanted()), "{command:?} changes something");
        let done = again(&mut first, &snapshot);
        println!("{command:?}: {foreign}; repaired {:?} after it was done", began.elapsed());
        assert_eq!(done.switched, rules, "{command:?}");
        assert_eq!(found(&netns).unwrap(), Some(first.wanted()), "{command:?} is repaired");
        assert_eq!(meaning(&first.wanted()), meaning(&whole));
        // The same once more, while nobody listens.
        damage(command);
        let mut second = keeper(&netns, |_| {});
        let done = second.program(&snapshot, &Changes::default()).unwrap();
        assert_eq!(done.switched, rules, "{command:?} at a start");
        assert_eq!(found(&netns).unwrap(), Some(second.wanted()), "{command:?} is repaired at a start");
        assert_eq!(meaning(&second.wanted()), meaning(&whole));
        // The first one hears of the damage and of the second one's repair.
        while let Ok(_more) = heard.try_recv() {}
        again(&mut first, &snapshot);
    }
}

#[test]
fn damaged_rules_are_put_back_without_the_data() {
    let netns = Netns::new();
    let mut world = World::default();
    world.begin();
    let (snapshot, _) = world.builder.publish(world.revision);
    let mut first = keeper(&netns, |_| {});
    first.program(&snapshot, &Changes::default()).unwrap();
    nft(&netns, &["flush chain inet mainstay prerouting"]);
    let done = again(&mut first, &snapshot);
    assert_eq!((done.switched, done.batches), (true, 0), "no element is written");
    let before = kernel::nl::writes();
    let mut second = keeper(&netns, |_| {});
    let done = second.program(&snapshot, &Changes::default()).unwrap();
    assert_eq!((done.switched, done.batches), (false, 0), "nothing changed, nothing is written");
    // Other tests of this process write as well, so the count itself says nothing here; tests/nft_restart does.
    assert!(kernel::nl::writes() >= before);
}

#[test]
fn one_flipped_flag_in_one_rule_is_found() {
    let netns = Netns::new();
    let mut world = World::default();
    world.begin();
    let (snapshot, _) = world.builder.publish(world.revision);
    let mut first = keeper(&netns, |_| {});
    first.program(&snapshot, &Changes::default()).unwrap();
    // The same rules with one test turned round.
    let mut flipped = compile::nft::rules::ruleset(true);
    let lookup = flipped.chains.iter_mut().flat_map(|chain| &mut chain.rules).flatten().find_map(|one| match one {
        compile::nft::expr::Expression::InSet { inverted, .. } => Some(inverted),
        _ => None,
    });
    let lookup = lookup.expect("a rule asks a set");
    *lookup = !*lookup;
    let other = netns.run(|| dataplane::nft::Nft::open_ruleset(flipped).unwrap());
    let mut other = dataplane::keeper::Keeper::new(super::world::config(), Box::new(other));
    assert!(other.program(&snapshot, &Changes::default()).unwrap().switched);
    assert_eq!(found(&netns).unwrap(), None, "the first one's rules are not there");
    assert!(again(&mut first, &snapshot).switched);
    assert_eq!(found(&netns).unwrap(), Some(first.wanted()));
}
