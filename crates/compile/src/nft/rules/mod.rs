//! The fixed ruleset: every Service is data, so these rules never change while Mainstay runs.
//!
//! A packet that opens a flow walks three words in skb->priority: destination -> F (frontend) -> W (endpoint set) -> E
//! (endpoint) -> address. Chains dispatch on bits of those words. A lookup sees the generation of its own instant, so
//! a packet that straddles a commit can meet a word whose target is just gone: its chain then simply ends, and the
//! base chain looks the packet up again ([`hooks`]).

pub(in crate::nft) mod balance;
pub(in crate::nft) mod bits;
mod choose;
#[cfg(test)]
mod cost;
mod frontend;
mod hooks;
mod ladder;
mod rejects;
mod sets;
mod step;
#[cfg(test)]
mod tests;

pub use ladder::{PICK_CLASSES_MAX, TIMEOUTS, pick_classes};
pub use rejects::REJECTS;
pub use sets::{ALL_SETS, describe};

use super::expr::{Chain, Ruleset};
use crate::service_table::{Config, MarkBit};

/// Name of our table, family inet.
pub const TABLE: &str = "mainstay";
/// Counts connections refused: no endpoint, or an unknown Service address or port.
pub const REFUSED: &str = "refused";
/// Counts connections dropped: policy Local without a local endpoint.
pub const DROPPED_LOCAL: &str = "dropped_local";
/// Counts connections dropped: outside loadBalancerSourceRanges.
pub const DROPPED_RANGES: &str = "dropped_ranges";
/// Counts TCP packets dropped: connection tracking does not know what they belong to.
pub const DROPPED_INVALID: &str = "dropped_invalid";
/// Counts packets that met a commit half way and were looked up again.
pub const RETRIED: &str = "retried";
/// Counts packets dropped because the data is inconsistent.
pub const UNSETTLED: &str = "unsettled";

/// What of the rules is chosen once per node.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Frontends and endpoints count their connections.
    pub counters: bool,
    /// Bit of the conntrack mark that asks for masquerade.
    pub mark: MarkBit,
    /// Drop TCP packets that connection tracking calls invalid.
    pub drop_invalid: bool,
}

/// The usual rules, with or without `counters`.
impl From<bool> for Options {
    fn from(counters: bool) -> Self {
        Config::default().rules(counters)
    }
}

/// The whole ruleset.
pub fn ruleset(options: impl Into<Options>) -> Ruleset {
    let options = options.into();
    let names = [REFUSED, DROPPED_LOCAL, DROPPED_RANGES, DROPPED_INVALID, RETRIED, UNSETTLED];
    let mark = options.mark.mask();
    let mut chains: Vec<Chain> = Vec::new();
    chains.extend(hooks::chains(mark, options.drop_invalid));
    chains.extend(frontend::chains(mark));
    chains.extend(choose::chains(mark));
    chains.extend(ladder::chains());
    chains.extend(balance::chains());
    chains.extend(rejects::chains());
    Ruleset { counters: names.map(String::from).into(), sets: sets::all(options.counters), chains }
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
