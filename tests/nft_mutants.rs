//! Mutants of the rules: each way in which one thing in them can be wrong must be noticed by some packet.
//!
//! Every case is judged by the reference model and the documented layout of the words (`nft_mutants/judge.rs`), so that
//! the rules cannot excuse themselves.

#[path = "nft_mutants/corpus.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod corpus;

#[path = "nft_mutants/judge.rs"]
mod judge;

#[path = "nft_mutants/mutate.rs"]
mod mutate;

#[allow(dead_code, reason = "the module is shared with property_nft")]
#[path = "property_nft/reference.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod reference;

#[allow(dead_code, reason = "the module is shared with nft_packets")]
#[path = "property_nft/words.rs"]
mod words;

#[allow(dead_code, reason = "the module is shared with property_nft")]
#[path = "property_nft/world.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use compile::nft::interpret::Interpreter;
use compile::nft::rules::ruleset;

use self::corpus::corpus;
use self::judge::{Allowed, judge, run};
use self::mutate::{Mutant, mutants};

/// Mutants that change nothing that anybody could see, and why.
const EQUIVALENT: &[(&str, &str)] = &[];

fn excused(mutant: &Mutant) -> bool {
    EQUIVALENT.iter().any(|(name, _)| *name == mutant.name)
}

#[test]
fn every_mutant_of_the_rules_is_caught() {
    let rules = ruleset(false);
    let (sites, cases) = corpus();
    let original = Interpreter::new(rules.clone());
    let mut allowed = Allowed::default();
    // Which cases walk through a chain: no others can notice what is wrong in it.
    let mut through: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, case) in cases.iter().enumerate() {
        let seen = run(&original, &sites, case, true);
        if let Err(why) = judge(&mut allowed, &sites, case, &seen) {
            panic!("{}: {why}\n{case:?}\n{:?}", sites[case.site].name, seen.outcome);
        }
        for chain in seen.chains {
            through.entry(chain).or_default().push(at);
        }
    }
    let idle: Vec<&str> = rules.chains.iter().map(|chain| &*chain.name).filter(|name| !through.contains_key(*name)).collect();
    assert!(idle.is_empty(), "no case walks through {idle:?}");
    println!("{} sites, {} cases", sites.len(), cases.len());
    let everywhere: Vec<usize> = (0..cases.len()).collect();
    let all = mutants(&rules);
    let mut survivors = Vec::new();
    let mut wrong = BTreeSet::new();
    let mut runs = 0_usize;
    let began = std::time::Instant::now();
    for (n, mutant) in all.iter().enumerate() {
        if n % 200 == 0 { println!("{n} of {} {runs} runs {:?} {}", all.len(), began.elapsed(), survivors.len()); }
        let rules = Interpreter::new(mutant.apply(&rules));
        let concerned = mutant.chain.as_ref().and_then(|chain| through.get(chain)).unwrap_or(&everywhere);
        let caught = concerned.iter().any(|at| {
            runs += 1;
            let case = &cases[*at];
            judge(&mut allowed, &sites, case, &run(&rules, &sites, case, false)).is_err()
        });
        match (caught, excused(mutant)) {
            (false, false) => survivors.push(&*mutant.name),
            (true, true) => _ = wrong.insert(&*mutant.name),
            _ => (),
        }
    }
    println!(
        "{} mutants, {} caught, {} equivalent; {} sites, {} cases, {runs} runs",
        all.len(),
        all.len() - EQUIVALENT.len() - survivors.len(),
        EQUIVALENT.len(),
        sites.len(),
        cases.len()
    );
    assert!(survivors.is_empty(), "{} not caught:\n{}", survivors.len(), survivors.join("\n"));
    assert!(wrong.is_empty(), "excused, yet caught: {wrong:?}");
    let unknown: Vec<_> = EQUIVALENT.iter().filter(|(name, _)| !all.iter().any(|mutant| mutant.name == *name)).collect();
    assert!(unknown.is_empty(), "excused, yet no mutant: {unknown:?}");
    assert!(all.len() >= 3000, "{} mutants", all.len());
}
