//! Mutants of the rules: each way in which one thing in them can be wrong must be noticed by some packet.
//!
//! Every case is judged by the reference model and the documented layout of the words (`nft_mutants/judge.rs`), so that
//! the rules cannot excuse themselves.

#[path = "nft_mutants/corpus.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod corpus;

#[path = "nft_mutants/equivalent.rs"]
mod equivalent;

#[path = "nft_mutants/judge.rs"]
mod judge;

#[path = "nft_mutants/mutate.rs"]
mod mutate;

#[path = "property_nft/clusters.rs"]
mod clusters;

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

use std::collections::BTreeMap;

use compile::nft::interpret::Interpreter;
use compile::nft::rules::ruleset;

use self::corpus::corpus;
use self::equivalent::{EQUIVALENT, why};
use self::judge::{Allowed, judge, run};
use self::mutate::{Mutant, families_are_known, mutants, of_algorithms};

#[test]
fn every_mutant_of_the_rules_is_caught() {
    let rules = ruleset(false);
    let (sites, cases) = corpus();
    assert!(families_are_known(&rules));
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
    let idle: Vec<&str> = rules
        .chains
        .iter()
        .map(|chain| &*chain.name)
        .filter(|name| !through.contains_key(*name) && !of_algorithms(name))
        .collect();
    assert!(idle.is_empty(), "no case walks through {idle:?}");
    let all = mutants(&rules);
    let everywhere: Vec<usize> = (0..cases.len()).collect();
    let caught = |mutant: &Mutant, allowed: &mut Allowed| {
        let rules = mutant.apply(&rules);
        if !families_are_known(&rules) {
            return true;
        }
        let rules = Interpreter::new(rules);
        let concerned = mutant.chain.as_ref().and_then(|chain| through.get(chain)).unwrap_or(&everywhere);
        let judged = |at: &usize| judge(allowed, &sites, &cases[*at], &run(&rules, &sites, &cases[*at], false));
        concerned.iter().map(judged).any(|judged| judged.is_err())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut survivors, mut equivalent) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let (caught, all, mut allowed) = (&caught, &all, allowed.clone());
                scope.spawn(move || {
                    let own = all.iter().skip(worker).step_by(threads);
                    own.map(|mutant| (&*mutant.name, caught(mutant, &mut allowed))).collect::<Vec<_>>()
                })
            })
            .collect();
        for (name, caught) in workers.into_iter().flat_map(|worker| worker.join().expect("a worker ends")) {
            match (caught, why(name)) {
                (false, None) => survivors.push(name),
                (false, Some(_)) => equivalent.push(name),
                _ => (),
            }
        }
    });
    survivors.sort_unstable();
    let caught = all.len() - survivors.len() - equivalent.len();
    let (mutants, equivalents) = (all.len(), equivalent.len());
    println!(
        "{mutants} mutants, {caught} caught, {equivalents} equivalent; {} sites, {} cases",
        sites.len(),
        cases.len()
    );
    assert!(survivors.is_empty(), "{} not caught:\n{}", survivors.len(), survivors.join("\n"));
    let needed = |entry: &&(&str, &str, &str)| {
        !equivalent.iter().any(|name| name.starts_with(entry.0) && name.ends_with(entry.1))
    };
    let idle: Vec<_> = EQUIVALENT.iter().filter(needed).collect();
    assert!(idle.is_empty(), "excused, yet caught or no mutant: {idle:?}");
    assert!(mutants >= 5000 && equivalents <= 180, "{mutants} mutants, {equivalents} equivalent");
}
