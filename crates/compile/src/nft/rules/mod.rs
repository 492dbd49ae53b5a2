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

use super::expr::{Chain, Expression, Rule, Ruleset};
use crate::service_table::{Config, MarkBit};

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

/// The same rules for a kernel that cannot log to groups: who ends UDP flows then walks all flows.
pub fn without_flow_log(mut ruleset: Ruleset) -> Ruleset {
    let logs = |rule: &Rule| rule.iter().any(|one| matches!(one, Expression::LogFlow { .. }));
    ruleset.chains.iter_mut().for_each(|chain| chain.rules.retain(|rule| !logs(rule)));
    ruleset
}

/// A note that changes whenever the rules change; kept with the table in the kernel, so that a restart knows whether
/// the rules it finds are its own.
pub fn version(ruleset: &Ruleset) -> String {
    format!("mainstay rules {:016x}", number(&super::text::ruleset(ruleset)))
}

/// A note that changes whenever data of another ruleset would mean something else: the sets and maps with what they hold
/// by design, and where the words have which bits. Data of the same form stays when rules change.
pub fn data_version(ruleset: &Ruleset) -> String {
    use bits::{
        F_CLUSTER_IP, F_LOCAL, F_MASQUERADE, F_RANGES, PICK_DROP, PICK_FIRST, PICK_REFUSE, SERVICE, SET, TAG, W_LOCAL,
        W_PICK, W_TIMEOUT, W_TIMEOUT_SHIFT,
    };
    let words = [
        [TAG, SERVICE, SET, W_LOCAL, W_PICK, W_TIMEOUT, W_TIMEOUT_SHIFT],
        [F_CLUSTER_IP, F_LOCAL, F_MASQUERADE, F_RANGES, PICK_DROP, PICK_FIRST, PICK_REFUSE],
    ];
    let sets = Ruleset { sets: ruleset.sets.clone(), ..Ruleset::default() };
    format!("data {:016x}", number(&format!("{}{words:?}", super::text::ruleset(&sets))))
}

/// FNV-1a: 64 bits tell revisions of our own text apart; nobody attacks this.
fn number(text: &str) -> u64 {
    let next = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, next)
}
