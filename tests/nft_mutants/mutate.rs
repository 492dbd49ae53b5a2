//! The ruleset -> every way in which one thing in it can be wrong.

use compile::nft::expr::{
    Contents, Ct, Expression, Family, MapWrite, Meta, Payload, Register, Reject, Rule, Ruleset, Set, Verdict,
};

/// One thing that is wrong.
pub(crate) struct Mutant {
    /// Chain, rule, expression and what was done to it.
    pub(crate) name: String,
    /// The chain whose packets can notice; none if any packet can.
    pub(crate) chain: Option<String>,
    change: Change,
}

/// What is said of a call that comes back, or does not.
const CALL: &str = "goto for jump or jump for goto";

/// Whether every rule that reads an address knows its family: elsewhere it would read other bytes of the packet. No
/// rule of ours may rely on what those are.
pub(crate) fn families_are_known(rules: &Ruleset) -> bool {
    let number = |family| if family == Family::V4 { 2_u8 } else { 10 };
    let digit = |family| if family == Family::V4 { '4' } else { '6' };
    rules.chains.iter().all(|chain| {
        chain.rules.iter().all(|rule| {
            let asked = rule.windows(2).find_map(|two| match two {
                [Expression::Meta(Meta::Family, _), Expression::Compare { equal: true, value, .. }] => value.first(),
                _ => None,
            });
            rule.iter().all(|one| match one {
                Expression::Payload(Payload::Source(family) | Payload::Destination(family), _)
                | Expression::Dnat { family, .. } => {
                    chain.name.ends_with(digit(*family)) || asked == Some(&number(*family))
                }
                _ => true,
            })
        })
    })
}

enum Change {
    /// The rule at this place becomes these.
    Rules { chain: usize, at: usize, instead: Vec<Rule> },
    /// Two rules change places.
    Swap { chain: usize, at: usize },
    /// A base chain is hooked no more.
    Unhook { chain: usize },
    /// An entry of a verdict map becomes another, or none.
    Entry { set: usize, at: usize, instead: Option<(u32, Verdict)> },
}

impl Mutant {
    /// The rules with it.
    pub(crate) fn apply(&self, rules: &Ruleset) -> Ruleset {
        let mut rules = rules.clone();
        match &self.change {
            Change::Rules { chain, at, instead } => {
                rules.chains[*chain].rules.splice(*at..=*at, instead.iter().cloned());
            }
            Change::Swap { chain, at } => rules.chains[*chain].rules.swap(*at, at + 1),
            Change::Unhook { chain } => rules.chains[*chain].hook = None,
            Change::Entry { set, at, instead } => {
                if let Contents::Verdicts(entries) = &mut rules.sets[*set].contents {
                    entries.splice(*at..=*at, instead.iter().cloned());
                }
            }
        }
        rules
    }
}

/// Chains that choose by an algorithm other than chance. What they choose is tested by those who wrote them.
pub(crate) fn of_algorithms(chain: &str) -> bool {
    chain == "special" || ["hash_", "ring_"].iter().any(|prefix| chain.starts_with(prefix))
}

/// All of them, in order of the rules.
pub(crate) fn mutants(rules: &Ruleset) -> Vec<Mutant> {
    let mut all = Vec::new();
    for (chain, held) in rules.chains.iter().enumerate().filter(|(_, held)| !of_algorithms(&held.name)) {
        let name = &held.name;
        if held.hook.is_some() {
            all.push(Mutant { name: format!("{name}: not hooked"), chain: None, change: Change::Unhook { chain } });
        }
        for (at, rule) in held.rules.iter().enumerate() {
            // What is counted in elements changes nothing for any packet.
            if rule.iter().any(|one| matches!(one, Expression::Tally { .. })) {
                continue;
            }
            let mut add = |what: &str, change| {
                all.push(Mutant { name: format!("{name} {at}{what}"), chain: Some(name.clone()), change });
            };
            add(": rule gone", Change::Rules { chain, at, instead: Vec::new() });
            if held.rules.get(at + 1).is_some_and(|next| next != rule) {
                add(": after the next", Change::Swap { chain, at });
            }
            // After the last rule of a chain there is nothing to come back to: jump and goto are the same.
            let last = at + 1 == held.rules.len() && held.hook.is_none();
            for (step, expression) in rule.iter().enumerate() {
                for (what, instead) in expressions(rules, expression) {
                    if last
                        && (what == CALL
                            || matches!(expression, Expression::Verdict(Verdict::Return)) && instead.is_empty())
                    {
                        continue;
                    }
                    let mut changed = rule.clone();
                    changed.splice(step..=step, instead);
                    add(&format!(".{step}: {what}"), Change::Rules { chain, at, instead: vec![changed] });
                }
            }
        }
    }
    for (set, held) in rules.sets.iter().enumerate() {
        let Contents::Verdicts(entries) = &held.contents else { continue };
        if held.name == "algorithm" {
            continue;
        }
        let chain = user(rules, &held.name);
        let special = |to: &Verdict| matches!(to, Verdict::Jump(chain) if of_algorithms(chain));
        for (at, (key, verdict)) in entries.iter().enumerate().filter(|(_, (_, to))| !special(to)) {
            let mut add = |what: &str, instead| {
                let name = format!("@{} {key:#x}: {what}", held.name);
                all.push(Mutant { name, chain: chain.clone(), change: Change::Entry { set, at, instead } });
            };
            add("entry gone", None);
            let (_, next) = &entries[(at + 1) % entries.len()];
            if next != verdict {
                add("verdict of the next", Some((*key, next.clone())));
            }
            // Those maps are asked last of all in their chain, so that jump and goto are the same.
            if let Some(other) = other_call(verdict).filter(|_| !held.name.starts_with("by_flags")) {
                add(CALL, Some((*key, other)));
            }
        }
    }
    all
}

/// The only chain that looks a map up; none if several do.
fn user(rules: &Ruleset, map: &str) -> Option<String> {
    let uses =
        |rule: &Rule| rule.iter().any(|one| matches!(one, Expression::VerdictMap { map: name, .. } if name == map));
    let mut users = rules.chains.iter().filter(|chain| chain.rules.iter().any(uses));
    let first = users.next()?;
    users.next().is_none().then(|| first.name.clone())
}

fn other_call(verdict: &Verdict) -> Option<Verdict> {
    match verdict {
        Verdict::Jump(chain) => Some(Verdict::Goto(chain.clone())),
        Verdict::Goto(chain) => Some(Verdict::Jump(chain.clone())),
        _ => None,
    }
}

type Mutation = (String, Vec<Expression>);

/// What can be wrong with one expression, as what stands in its place.
#[expect(clippy::too_many_lines, reason = "an arm for each expression, so that none is forgotten")]
fn expressions(rules: &Ruleset, one: &Expression) -> Vec<Mutation> {
    let gone = || ("gone".to_owned(), Vec::new());
    let to = |what: &str, expression| (what.to_owned(), vec![expression]);
    match one {
        Expression::Payload(field, register) => payloads(*field)
            .into_iter()
            .map(|other| to(&format!("{other:?}"), Expression::Payload(other, *register)))
            .collect(),
        Expression::Meta(what, register) => {
            let other = match what {
                Meta::Priority | Meta::Family | Meta::InputInterface => Meta::Protocol,
                Meta::Protocol => Meta::Family,
            };
            vec![to(&format!("{other:?}"), Expression::Meta(other, *register))]
        }
        Expression::Ct(what, register) => {
            let others = [Ct::State, Ct::Status, Ct::Mark].into_iter().filter(|other| other != what);
            others.map(|other| to(&format!("{other:?}"), Expression::Ct(other, *register))).collect()
        }
        Expression::LogFlow { group } => vec![gone(), to("another group", Expression::LogFlow { group: group + 1 })],
        Expression::SetPriority(_) | Expression::SetCtMark(_) | Expression::NoTrack | Expression::Masquerade => {
            vec![gone()]
        }
        Expression::Bitwise { from, to: into, mask, xor } => bits(*mask, *xor)
            .into_iter()
            .map(|(what, mask, xor)| to(&what, Expression::Bitwise { from: *from, to: *into, mask, xor }))
            .collect(),
        Expression::Compare { from, equal, value } => {
            let mut other = value.clone();
            other[0] ^= 1;
            vec![
                to("flipped", Expression::Compare { from: *from, equal: !equal, value: value.clone() }),
                to("another value", Expression::Compare { from: *from, equal: *equal, value: other }),
                gone(),
            ]
        }
        Expression::InSet { set, key, inverted } => {
            let mut all =
                vec![to("flipped", Expression::InSet { set: set.clone(), key: *key, inverted: !inverted }), gone()];
            all.extend(alike(rules, set).map(|other| {
                to(&format!("@{other}"), Expression::InSet { set: other.clone(), key: *key, inverted: *inverted })
            }));
            all
        }
        Expression::Map { map, key, to: into } => alike(rules, map)
            .map(|other| to(&format!("@{other}"), Expression::Map { map: other.clone(), key: *key, to: *into }))
            .collect(),
        Expression::VerdictMap { .. } => vec![gone()],
        Expression::Random { modulus, to: into } => [modulus + 1, modulus - 1]
            .into_iter()
            .filter(|modulus| *modulus > 0)
            .map(|modulus| to(&format!("of {modulus}"), Expression::Random { modulus, to: *into }))
            .collect(),
        Expression::Write { map, how, key, value } => {
            let write = |map: &str, how| Expression::Write { map: map.to_owned(), how, key: *key, value: *value };
            let mut all = vec![gone()];
            match how {
                MapWrite::Update { timeout } => {
                    all.push(to("deletes", write(map, MapWrite::Delete)));
                    all.push(to("a second longer", write(map, MapWrite::Update { timeout: timeout + 1 })));
                }
                MapWrite::Delete => all.push(to("updates", write(map, MapWrite::Update { timeout: 60 }))),
            }
            all.extend(alike(rules, map).map(|other| to(&format!("@{other}"), write(&other, *how))));
            all
        }
        Expression::SourceIsLocal(_) => vec![gone()],
        Expression::InTurn { .. } | Expression::Hash { .. } | Expression::Tally { .. } => Vec::new(),
        Expression::Dnat { family, address, port } => {
            let other = if *family == Family::V4 { Family::V6 } else { Family::V4 };
            vec![
                gone(),
                to("another family", Expression::Dnat { family: other, address: *address, port: *port }),
                to("another port", Expression::Dnat { family: *family, address: *address, port: Register(0) }),
            ]
        }
        Expression::Reject(how) => {
            let other = if *how == Reject::TcpReset { Reject::PortUnreachable } else { Reject::TcpReset };
            vec![gone(), to("another way", Expression::Reject(other))]
        }
        Expression::Counter(name) => {
            let at = rules.counters.iter().position(|counter| counter == name).unwrap_or_default();
            let other = rules.counters[(at + 1) % rules.counters.len()].clone();
            vec![gone(), to("another counter", Expression::Counter(other))]
        }
        Expression::Verdict(verdict) => verdicts(rules, verdict),
    }
}

fn payloads(field: Payload) -> Vec<Payload> {
    match field {
        Payload::Source(family) => vec![Payload::Destination(family), Payload::Source(other(family))],
        Payload::Destination(family) => vec![Payload::Source(family), Payload::Destination(other(family))],
        Payload::SourcePort => vec![Payload::DestinationPort],
        Payload::DestinationPort => vec![Payload::SourcePort],
    }
}

fn other(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

/// The bits at the edges of a mask, one at a time, and what is set afterwards.
fn bits(mask: u32, xor: u32) -> Vec<(String, u32, u32)> {
    let mut flips: Vec<u32> = Vec::new();
    if mask != 0 {
        let (low, high) = (mask.trailing_zeros(), 31 - mask.leading_zeros());
        flips.extend([low, high]);
        flips.extend(low.checked_sub(1));
        flips.extend((high < 31).then_some(high + 1));
    }
    flips.dedup();
    let mut all: Vec<_> = flips.into_iter().map(|bit| (format!("mask bit {bit}"), mask ^ 1 << bit, xor)).collect();
    if xor == 0 {
        all.push(("sets bit 0".to_owned(), mask, 1));
    } else {
        all.push(("sets nothing".to_owned(), mask, 0));
    }
    all
}

/// Sets and maps whose elements look the same.
fn alike(rules: &Ruleset, name: &str) -> impl Iterator<Item = String> {
    let own = rules.sets.iter().find(|set| set.name == name).cloned();
    let same = move |set: &&Set| {
        own.as_ref().is_some_and(|own| {
            (set.name != own.name, &set.key, &set.contents, set.dynamic) == (true, &own.key, &own.contents, own.dynamic)
        })
    };
    let found: Vec<String> = rules.sets.iter().filter(same).map(|set| set.name.clone()).collect();
    found.into_iter()
}

fn verdicts(rules: &Ruleset, verdict: &Verdict) -> Vec<Mutation> {
    let to = |what: String, verdict| (what, vec![Expression::Verdict(verdict)]);
    let mut all = vec![("gone".to_owned(), Vec::new())];
    match verdict {
        Verdict::Accept => all.push(to("drop".into(), Verdict::Drop)),
        Verdict::Drop => all.push(to("accept".into(), Verdict::Accept)),
        Verdict::Return => all.extend([Verdict::Accept, Verdict::Drop].map(|other| to(format!("{other:?}"), other))),
        Verdict::Jump(chain) | Verdict::Goto(chain) => {
            if let Some(other) = other_call(verdict) {
                all.push(to(CALL.into(), other));
            }
            for other in neighbours(rules, chain) {
                let target = match verdict {
                    Verdict::Jump(_) => Verdict::Jump(other.clone()),
                    _ => Verdict::Goto(other.clone()),
                };
                all.push(to(format!("to {other}"), target));
            }
        }
    }
    all
}

/// Chains that one could name by mistake: cluster for local, with or without masquerade, the other family.
fn neighbours(rules: &Ruleset, chain: &str) -> Vec<String> {
    let swapped = |a: &str, b: &str| {
        if chain.contains(a) { chain.replace(a, b) } else { chain.replace(b, a) }
    };
    let mut names = vec![
        swapped("cluster", "local"),
        chain.replace("masq_", ""),
        format!("masq_{chain}"),
        swapped("_query", "_answer"),
        swapped("_ranges", "_local"),
        chain.replace('4', "6"),
        chain.replace('6', "4"),
        chain.replace("identify_masq", "identify"),
        chain.replace("identify", "identify_masq"),
    ];
    names.sort();
    names.dedup();
    names.retain(|name| name != chain && rules.chains.iter().any(|chain| chain.name == *name));
    names
}
