//! The ruleset is closed (every name resolves), its ladders cover every count, and its keys fit their sets.

use std::collections::{BTreeMap, BTreeSet};

use super::super::expr::{Contents, Expression, Family, Meta, Payload, Rule, Set, Verdict};
use super::*;

fn target(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
        _ => None,
    }
}

#[test]
fn every_chain_set_and_counter_that_a_rule_names_exists_and_every_chain_is_reached() {
    let rules = ruleset(true);
    let chains: BTreeSet<&str> = rules.chains.iter().map(|chain| chain.name.as_str()).collect();
    assert_eq!(chains.len(), rules.chains.len(), "chain names are unique");
    let sets: BTreeSet<&str> = rules.sets.iter().map(|set| set.name.as_str()).collect();
    assert_eq!(sets.len(), rules.sets.len(), "set names are unique");
    let mut reached: BTreeSet<&str> =
        rules.chains.iter().filter(|chain| chain.hook.is_some()).map(|chain| chain.name.as_str()).collect();
    let mut used = BTreeSet::new();
    for expression in rules.chains.iter().flat_map(|chain| chain.rules.iter().flatten()) {
        match expression {
            Expression::Verdict(verdict) => reached.extend(target(verdict)),
            Expression::InSet { set, .. } => _ = used.insert(set.as_str()),
            Expression::Map { map, .. }
            | Expression::VerdictMap { map, .. }
            | Expression::Tally { set: map, .. }
            | Expression::Write { map, .. } => {
                used.insert(map.as_str());
            }
            Expression::Counter(name) => assert!(rules.counters.contains(name), "counter {name}"),
            _ => (),
        }
    }
    for set in &rules.sets {
        if let Contents::Verdicts(verdicts) = &set.contents {
            reached.extend(verdicts.iter().filter_map(|(_, verdict)| target(verdict)));
        }
    }
    assert_eq!(reached, chains, "targets and chains are the same names");
    assert_eq!(used, sets, "sets that rules use and sets that exist are the same names");
}

/// Bytes of every register that the rule wrote before the expression at `end`.
fn written(rule: &Rule, end: usize, sets: &BTreeMap<&str, &Set>) -> [bool; 16] {
    let mut known = [false; 16];
    let mut mark = |first: u8, bytes: usize| {
        for at in 0..bytes.div_ceil(4) {
            known[usize::from(first) + at] = true;
        }
    };
    for expression in &rule[..end] {
        match expression {
            Expression::Payload(Payload::Source(Family::V6) | Payload::Destination(Family::V6), to)
            | Expression::Meta(Meta::InputInterface, to) => mark(to.0, 16),
            Expression::Payload(_, to) | Expression::Meta(_, to) | Expression::Ct(_, to) => mark(to.0, 4),
            Expression::Bitwise { to, .. }
            | Expression::Random { to, .. }
            | Expression::InTurn { to, .. }
            | Expression::Hash { to, .. }
            | Expression::SourceIsLocal(to) => {
                mark(to.0, 4);
            }
            Expression::Map { map, to, .. } => {
                let Contents::Data(fields) = &sets[map.as_str()].contents else { panic!("{map} holds no data") };
                mark(to.0, fields.iter().map(|field| field.padded()).sum());
            }
            _ => (),
        }
    }
    known
}

#[test]
fn keys_are_whole_before_they_are_looked_up() {
    let rules = ruleset(false);
    let sets: BTreeMap<&str, &Set> = rules.sets.iter().map(|set| (set.name.as_str(), set)).collect();
    let mut lookups = 0;
    for rule in rules.chains.iter().flat_map(|chain| &chain.rules) {
        for (at, expression) in rule.iter().enumerate() {
            let (name, key) = match expression {
                Expression::InSet { set: name, key, .. }
                | Expression::Map { map: name, key, .. }
                | Expression::VerdictMap { map: name, key }
                | Expression::Tally { set: name, key, .. }
                | Expression::Write { map: name, key, .. } => (name, key),
                _ => continue,
            };
            let known = written(rule, at, &sets);
            let registers = sets[name.as_str()].key_len() / 4;
            let parts = &known[usize::from(key.0)..usize::from(key.0) + registers];
            assert!(parts.iter().all(|known| *known), "a key of {name} is read before it is written");
            lookups += 1;
        }
    }
    assert!(lookups > 100, "{lookups}");
}

/// Chains that both families walk must ask for the family before they read an address.
#[test]
fn addresses_are_read_only_where_the_family_is_known() {
    for chain in ruleset(true).chains {
        let known = chain.name.ends_with('4') || chain.name.ends_with('6');
        for rule in &chain.rules {
            let asks = rule.iter().any(|e| matches!(e, Expression::Meta(Meta::Family, _)));
            let reads = rule.iter().any(|e| {
                matches!(e, Expression::Payload(Payload::Source(_) | Payload::Destination(_), _))
                    || matches!(e, Expression::Dnat { .. })
            });
            assert!(!reads || asks || known, "{}: {rule:?}", chain.name);
        }
    }
}

#[test]
fn the_ladder_reaches_every_count_with_a_class_whose_last_draw_always_hits() {
    let classes = pick_classes();
    assert_eq!(classes.first(), Some(&1));
    assert_eq!(classes.last(), Some(&PICK_CLASSES_MAX));
    assert!(classes.is_sorted());
    assert!(classes.len() + 2 <= 64, "the class has six bits");
    for count in 1..=PICK_CLASSES_MAX {
        let class = classes.iter().position(|class| *class >= count).unwrap();
        if count > 32 {
            // The last draw is below the class before, every slot of which must exist; six draws miss rarely.
            assert!(classes[class - 1] < count);
            assert!(f64::from(classes[class] - count) / f64::from(classes[class]) < 0.2, "{count}");
        } else {
            assert_eq!(classes[class], count, "up to 32 the draw is exact");
        }
    }
    assert!(TIMEOUTS.is_sorted());
    assert_eq!(TIMEOUTS.len(), 31, "class 0 means no affinity and the class has five bits");
}

#[test]
fn the_version_follows_the_rules() {
    let rules = ruleset(true);
    assert_eq!(version(&rules), version(&ruleset(true)), "same input, same text");
    assert_ne!(version(&rules), version(&ruleset(false)), "counters are part of the rules");
    let mut changed = rules.clone();
    changed.chains[0].rules.pop();
    assert_ne!(version(&changed), version(&rules));
    assert!(version(&rules).len() < 128, "fits the table's user data");
}
