//! Names of sets as the rules know them -> names in the kernel: while two rulesets live side by side, a set of the next one
//! has a second name.

use std::collections::{BTreeMap, BTreeSet};

use compile::nft::expr::{Expression, Ruleset};
use kernel::nl::nftables::inspect::Fixed;

/// What is appended to a name that is in use.
const SECOND: &str = "_2";

/// Which of its two names each set has; without entry the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    /// The names that the rules in the kernel use.
    pub(super) fn in_use(fixed: &Fixed, ruleset: &Ruleset) -> Self {
        let used = used(fixed);
        let mut names = Self::default();
        for set in &ruleset.sets {
            if let Some(name) = both(&set.name).into_iter().find(|name| used.contains(name.as_str())) {
                names.choose(&set.name, name);
            }
        }
        names
    }

    /// The name in the kernel.
    pub(super) fn of<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).map_or(name, |second| second)
    }

    /// Gives a set one of its names.
    pub(super) fn choose(&mut self, set: &str, name: String) {
        if name == set {
            self.0.remove(set);
        } else {
            self.0.insert(set.to_owned(), name);
        }
    }

    /// The ruleset with these names in it.
    pub(super) fn applied(&self, ruleset: &Ruleset) -> Ruleset {
        let mut ruleset = ruleset.clone();
        ruleset.sets.iter_mut().for_each(|set| set.name = self.of(&set.name).to_owned());
        let rules = ruleset.chains.iter_mut().flat_map(|chain| &mut chain.rules);
        for expression in rules.flatten() {
            match expression {
                Expression::InSet { set: name, .. }
                | Expression::Map { map: name, .. }
                | Expression::VerdictMap { map: name, .. }
                | Expression::Write { map: name, .. }
                | Expression::Tally { set: name, .. } => *name = self.of(name).to_owned(),
                _ => {}
            }
        }
        ruleset
    }
}

/// Both names of a set, its own first.
pub(super) fn both(set: &str) -> [String; 2] {
    [set.to_owned(), format!("{set}{SECOND}")]
}

/// Sets that rules in the kernel refer to.
pub(super) fn used(fixed: &Fixed) -> BTreeSet<&str> {
    fixed.rules.iter().flat_map(|rule| &rule.sets).map(String::as_str).collect()
}
