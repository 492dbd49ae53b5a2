//! From whatever table there is to the fixed rules, without a packet that meets neither: what is missing is made beside what
//! is used, the rules of all chains change in one transaction, and what nothing leads to any more goes last.

use std::collections::BTreeSet;

use compile::nft::expr::{Chain, Contents, Ruleset, Set};
use compile::nft::rules::TABLE;
use kernel::nl::Socket;
use kernel::nl::batch::Batch;
use kernel::nl::nftables;
use kernel::nl::nftables::inspect::{self, Fixed};

use super::expression::write_rule;
use super::install;
use super::names::{Names, both, used};
use crate::Result;

/// A chain that nothing leads to; the comment of its one rule says what is installed.
pub(super) const ABOUT: &str = "about";

/// `NF_ACCEPT`.
const ACCEPT: u32 = 1;

/// What the table says of itself, or should: which rules, which form of data, and a number of all that is fixed.
pub(super) fn about(
    socket: &mut Socket,
    fixed: &Fixed,
    ruleset: &Ruleset,
    version: &str,
    data: &str,
) -> Result<String> {
    let mut print = Print::default();
    let Fixed { flags, chains, rules, sets, objects } = fixed;
    print.add(format!("{flags} {chains:?} {sets:?} {objects:?}").as_bytes());
    // The note itself does nothing.
    for rule in rules.iter().filter(|rule| rule.chain != ABOUT || !rule.expressions.is_empty()) {
        print.add(rule.chain.as_bytes());
        print.add(&rule.expressions);
    }
    for set in ruleset.sets.iter().filter(|set| matches!(set.contents, Contents::Verdicts(_))) {
        let there = both(&set.name).into_iter().filter(|name| sets.iter().any(|held| held.name == *name));
        for name in there {
            for (key, verdict) in inspect::verdicts(socket, TABLE, &name)? {
                print.add(&key);
                print.add(&verdict);
            }
        }
    }
    Ok(format!("{version} {data} print {:016x}", print.0))
}

/// What the table says of itself.
pub(super) fn note(fixed: &Fixed) -> Option<&str> {
    fixed.rules.iter().find(|rule| rule.chain == ABOUT)?.note.as_deref()
}

/// FNV-1a: tells changes from none; nobody attacks this.
struct Print(u64);

impl Default for Print {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Print {
    fn add(&mut self, bytes: &[u8]) {
        // The length keeps neighbours apart.
        for byte in bytes.iter().copied().chain(bytes.len().to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Sets with room for data of this form: which names they have, whether one of them holds data already, and the transaction
/// that makes the others.
pub(super) struct Room {
    pub(super) names: Names,
    pub(super) kept: bool,
    pub(super) make: Batch,
}

/// Plans the room for data beside what is there. Sets of the same form and shape keep what they hold.
pub(super) fn room(fixed: Option<&Fixed>, ruleset: &Ruleset, data: &str) -> Room {
    let (mut names, mut make, mut kept) = (Names::default(), Batch::new(), false);
    if fixed.is_none() {
        nftables::new_table(&mut make, TABLE, None);
    }
    let none = Fixed::default();
    let fixed = fixed.unwrap_or(&none);
    let used = used(fixed);
    let mut missing = Vec::new();
    for set in ruleset.sets.iter().filter(|set| !matches!(set.contents, Contents::Verdicts(_))) {
        let fits = |name: &String| fixed.sets.iter().any(|held| held.name == *name && same(held, set, data));
        let [first, second] = both(&set.name);
        let in_order = if used.contains(second.as_str()) { [second, first] } else { [first, second] };
        match in_order.into_iter().find(fits) {
            Some(name) => {
                kept = true;
                names.choose(&set.name, name);
            }
            None => {
                names.choose(&set.name, free(&mut make, fixed, &used, &set.name));
                missing.push(set);
            }
        }
    }
    for (set, id) in missing.into_iter().zip(1..) {
        let set = Set { name: names.of(&set.name).to_owned(), ..set.clone() };
        install::new_set(&mut make, &set, id, data);
    }
    Room { names, kept, make }
}

fn same(held: &inspect::Set, set: &Set, data: &str) -> bool {
    let shape = install::shape(set);
    held.note.as_deref() == Some(data)
        && (held.flags, held.key_len, held.value_len) == (shape.flags, shape.key_len, shape.value_len)
}

/// A name under which a set can be made; one that nothing leads to is freed for it.
fn free(batch: &mut Batch, fixed: &Fixed, used: &BTreeSet<&str>, set: &str) -> String {
    let taken = |name: &String| fixed.sets.iter().any(|held| held.name == *name);
    let [first, second] = both(set);
    if !taken(&first) {
        return first;
    }
    if !taken(&second) {
        return second;
    }
    let name = if used.contains(first.as_str()) { second } else { first };
    nftables::delete_set(batch, TABLE, &name);
    name
}

/// The transaction in which the rules change hands. Maps of verdicts are made anew under a free name, chosen in `names`:
/// packets that are under way still meet the old ones.
pub(super) fn take_over(fixed: &Fixed, ruleset: &Ruleset, names: &mut Names, data: &str) -> Batch {
    let mut batch = Batch::new();
    if fixed.flags != 0 {
        nftables::wake_table(&mut batch, TABLE);
    }
    if !fixed.rules.is_empty() {
        nftables::delete_rules(&mut batch, TABLE, None);
    }
    let wanted = |name: &str| ruleset.chains.iter().find(|chain| chain.name == name);
    for held in &fixed.chains {
        let stale = wanted(&held.name).map_or(held.hook.is_some(), |chain| !hooked(held, chain));
        if stale {
            nftables::delete_chain(&mut batch, TABLE, &held.name);
        }
    }
    for counter in ruleset.counters.iter().filter(|name| !fixed.objects.contains(name)) {
        nftables::new_counter(&mut batch, TABLE, counter);
    }
    for chain in &ruleset.chains {
        let held = fixed.chains.iter().find(|held| held.name == chain.name && hooked(held, chain));
        // A base chain that is there may have lost its policy.
        if held.is_none_or(|held| held.hook.is_some() && held.policy != Some(ACCEPT)) {
            install::new_chain(&mut batch, chain);
        }
    }
    if !fixed.chains.iter().any(|held| held.name == ABOUT && held.hook.is_none()) {
        nftables::new_chain(&mut batch, TABLE, ABOUT, None);
    }
    let in_use = used(fixed);
    for set in ruleset.sets.iter().filter(|set| matches!(set.contents, Contents::Verdicts(_))) {
        names.choose(&set.name, free(&mut batch, fixed, &in_use, &set.name));
    }
    let named = names.applied(ruleset);
    let verdicts = named.sets.iter().filter(|set| matches!(set.contents, Contents::Verdicts(_)));
    for (set, id) in verdicts.clone().zip(1..) {
        install::new_set(&mut batch, set, id, data);
    }
    verdicts.for_each(|set| install::fill(&mut batch, set));
    for chain in &named.chains {
        for rule in &chain.rules {
            nftables::new_rule(&mut batch, TABLE, &chain.name, |w| write_rule(w, rule));
        }
    }
    batch
}

fn hooked(held: &inspect::Chain, chain: &Chain) -> bool {
    let wanted = install::hook(chain).map(|hook| (hook.kind.to_owned(), hook.number, hook.priority));
    held.hook == wanted
}

/// The transaction that removes what nothing leads to any more: sets first, because maps of verdicts name chains.
pub(super) fn clean_up(fixed: &Fixed, ruleset: &Ruleset, names: &Names) -> Batch {
    let mut batch = Batch::new();
    let sets: BTreeSet<&str> = ruleset.sets.iter().map(|set| names.of(&set.name)).collect();
    for held in fixed.sets.iter().filter(|held| !sets.contains(held.name.as_str())) {
        nftables::delete_set(&mut batch, TABLE, &held.name);
    }
    let chains: BTreeSet<&str> = ruleset.chains.iter().map(|chain| chain.name.as_str()).chain([ABOUT]).collect();
    for held in fixed.chains.iter().filter(|held| !chains.contains(held.name.as_str())) {
        nftables::delete_chain(&mut batch, TABLE, &held.name);
    }
    batch
}
