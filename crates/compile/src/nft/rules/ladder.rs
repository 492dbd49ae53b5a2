//! The two ladders: chains that choose among n endpoints, and classes of affinity timeout.

use super::super::expr::{Chain, Expression, Rule, Verdict};
use super::bits::{PICK_DROP, PICK_FIRST, PICK_REFUSE, PICK_SPECIAL, SET, W_TIMEOUT_SHIFT};
use super::step::{R0, R1, chain, give, keep, map, priority, set_priority};

/// Seconds of each timeout class; class number = index + 1, class 0 means no affinity.
pub const TIMEOUTS: [u32; 31] = [
    1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10800,
    14400, 18000, 21600, 28800, 36000, 43200, 86400,
];
/// The largest number of endpoints that can be chosen among.
pub const PICK_CLASSES_MAX: u32 = 4096;
/// Up to here every count has a chain of its own.
const EXACT: u32 = 32;
/// How often a draw that hits no slot is drawn again; the bias left over is below 0.2^DRAWS.
const DRAWS: usize = 6;

/// Endpoint counts that have a chain; pick class = index + 2.
pub fn pick_classes() -> Vec<u32> {
    let mut classes: Vec<u32> = (1..=EXACT).collect();
    let mut step = EXACT;
    while step < PICK_CLASSES_MAX {
        classes.extend([step * 5 / 4, step * 3 / 2, step * 7 / 4, step * 2]);
        step *= 2;
    }
    classes
}

/// Name of the chain that remembers for this many seconds.
pub(super) fn sticky_name(timeout: u32) -> String {
    format!("sticky_{timeout}")
}

pub(super) fn chains() -> Vec<Chain> {
    let classes = pick_classes();
    let below = std::iter::once(1).chain(classes.iter().copied());
    classes.iter().zip(below).map(|(class, below)| pick(*class, below)).collect()
}

/// Up to [`EXACT`] one draw hits a slot. Above, a class serves every count from the class below to its own: a draw
/// beyond the last slot is drawn again, and the last draw takes a slot that surely exists.
fn pick(class: u32, below: u32) -> Chain {
    let name = format!("pick_{class}");
    if class <= EXACT {
        return chain(name, vec![draw(class)]);
    }
    let mut rules = vec![draw(class); DRAWS];
    rules.push(draw(below));
    chain(name, rules)
}

fn draw(modulus: u32) -> Rule {
    vec![
        priority(R0),
        keep(R0, SET),
        Expression::Random { modulus, to: R1 },
        map("slots", R0, R0),
        set_priority(R0),
        give(Verdict::Return),
    ]
}

/// Pick class -> chain.
pub(super) fn by_pick() -> Vec<(u32, Verdict)> {
    let goto = |chain: &str| Verdict::Goto(chain.into());
    let mut verdicts = vec![(PICK_REFUSE, goto("no_endpoint")), (PICK_DROP, goto("drop_local"))];
    verdicts.push((PICK_SPECIAL, Verdict::Jump("special".into())));
    let jumps = pick_classes().into_iter().zip(PICK_FIRST..);
    verdicts.extend(jumps.map(|(count, class)| (class, Verdict::Jump(format!("pick_{count}")))));
    verdicts
}

/// Timeout class, in place, -> chain.
pub(super) fn by_timeout() -> Vec<(u32, Verdict)> {
    let classes = TIMEOUTS.iter().zip(1u32..);
    classes.map(|(timeout, class)| (class << W_TIMEOUT_SHIFT, Verdict::Goto(sticky_name(*timeout)))).collect()
}
