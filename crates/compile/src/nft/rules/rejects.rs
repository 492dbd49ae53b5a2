//! Connections that go nowhere -> counted per Service port, in elements that the rules make themselves.

use super::super::expr::{Chain, Expression, Rule};
use super::bits::{NO_ENDPOINT, SERVICE};
use super::step::{R0, add_bits, chain, goto, keep, priority};

/// Name of the set: Service word with the reason in its low bits, each with a counter.
pub const REJECTS: &str = "rejects";
/// Service ports with a reason that are counted at a time; what is beyond is refused uncounted.
pub(super) const REJECTS_MAX: u32 = 65_536;
/// An element that nothing met for so long goes; who reads more often misses nothing.
const KEPT: u32 = 3_600;

pub(super) fn chains() -> Vec<Chain> {
    vec![chain("no_endpoint", vec![tally(NO_ENDPOINT), vec![goto("refuse")]])]
}

/// Counts for the Service that F or W names. A rule of its own, because a full set ends it.
pub(super) fn tally(why: u32) -> Rule {
    let count = Expression::Tally { set: REJECTS.into(), key: R0, timeout: KEPT };
    vec![priority(R0), keep(R0, SERVICE), add_bits(R0, why), count]
}
