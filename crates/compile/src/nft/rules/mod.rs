//! The fixed ruleset: every Service is data, so these rules never change while Mainstay runs.
//!
//! A packet that opens a flow walks three words in skb->priority: destination -> F (frontend) -> W (endpoint set) -> E
//! (endpoint) -> address. Chains dispatch on bits of those words. A lookup sees the generation of its own instant, so
//! a packet that straddles a commit can meet a word whose target is just gone: its chain then simply ends, and the
//! base chain looks the packet up again ([`hooks`]).

pub(in crate::nft) mod bits;
mod choose;
mod frontend;
mod hooks;
mod ladder;
mod sets;
mod step;
#[cfg(test)]
mod tests;

pub use ladder::{PICK_CLASSES_MAX, TIMEOUTS, pick_classes};
pub use sets::{ALL_SETS, describe};

use super::expr::{Chain, Expression, Rule, Ruleset};

/// Name of our table, family inet.
pub const TABLE: &str = "mainstay";
/// The log group that hears of every UDP flow that we translate: "MS" in ASCII, out of the way of hand-written rules.
pub const FLOW_LOG_GROUP: u16 = 0x4d53;
/// Counts connections refused: no endpoint, or an unknown Service address or port.
pub const REFUSED: &str = "refused";
/// Counts connections dropped: policy Local without a local endpoint.
pub const DROPPED_LOCAL: &str = "dropped_local";
/// Counts connections dropped: outside loadBalancerSourceRanges.
pub const DROPPED_RANGES: &str = "dropped_ranges";
/// Counts packets that met a commit half way and were looked up again.
pub const RETRIED: &str = "retried";
/// Counts packets dropped because the data is inconsistent.
pub const UNSETTLED: &str = "unsettled";

/// The whole ruleset; with `counters`, frontends and endpoints count their connections.
pub fn ruleset(counters: bool) -> Ruleset {
    let names = [REFUSED, DROPPED_LOCAL, DROPPED_RANGES, RETRIED, UNSETTLED];
    let mut chains: Vec<Chain> = Vec::new();
    chains.extend(hooks::chains());
    chains.extend(frontend::chains());
    chains.extend(choose::chains());
    chains.extend(ladder::chains());
    Ruleset { counters: names.map(String::from).into(), sets: sets::all(counters), chains }
}

/// The same rules for a kernel that cannot log to groups: who ends UDP flows then walks all flows.
pub fn without_flow_log(mut ruleset: Ruleset) -> Ruleset {
    let logs = |rule: &Rule| rule.iter().any(|one| matches!(one, Expression::LogFlow { .. }));
    ruleset.chains.iter_mut().for_each(|chain| chain.rules.retain(|rule| !logs(rule)));
    ruleset
}

/// A note that changes whenever the rules change; kept with the table in the kernel, so that a restart knows whether
/// the rules it finds are its own.
pub fn version(ruleset: &Ruleset) -> String {
    // FNV-1a: 64 bits tell revisions of our own text apart; nobody attacks this.
    let text = super::text::ruleset(ruleset);
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("mainstay rules {hash:016x}")
}
