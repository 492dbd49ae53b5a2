//! W of pick class 63 -> E by what `special` says of the set: a hash of the client, or whose turn it is.
//!
//! Both read `slots`, as the random draw does. A table has an endpoint in every slot. A ring is a power of four long and
//! may have holes, so that six sizes serve every count; its count is one of a rule, a *lane*, that one set has to itself.

use super::super::expr::{Chain, Expression, Family, Payload, Register, Rule, Verdict};
use super::bits::{BY_HASH, CHOSEN, IN_TURN, SET};
use super::step::{
    BOTH, R0, R1, chain, equals, give, keep, map, only, priority, rule, set_priority, source, verdict_map, width, word,
};
use crate::balance::HashOn;

/// Slots of a hash table. One size for all counts: with another one nearly every client would move.
pub(in crate::nft) const TABLE: u32 = 4096;
/// Slots of a ring, by class.
pub(in crate::nft) const RINGS: [u32; 6] = [4, 16, 64, 256, 1024, 4096];
/// How many sets may have a ring of each class at a time.
pub(in crate::nft) const LANES: [u8; 6] = [128, 128, 128, 32, 16, 8];
/// How often a ring is advanced for one connection: as many holes may follow one another, less one.
pub(in crate::nft) const TURNS: usize = 8;
/// The same on all nodes, so that all choose alike.
const SEED: u32 = 0x6d73_7479;

/// The word of a table in `special`.
pub(in crate::nft) fn table_word(on: HashOn) -> u32 {
    BY_HASH | u32::from(on == HashOn::Connection)
}

/// The word of a ring in `special`.
pub(in crate::nft) fn ring_word(class: u8, lane: u8) -> u32 {
    IN_TURN | u32::from(class) << 8 | u32::from(lane)
}

/// Class and lane of a ring's word.
pub(in crate::nft) fn ring_of(word: u32) -> Option<(u8, u8)> {
    let [lane, class, ..] = word.to_le_bytes();
    let known = LANES.get(usize::from(class)).is_some_and(|lanes| lane < *lanes);
    (word & !0xffff == IN_TURN && known).then_some((class, lane))
}

pub(super) fn chains() -> Vec<Chain> {
    let mut chains = vec![special()];
    chains.extend(HASHED.map(by_hash));
    chains.extend(rings().map(|(_, slots, lane)| in_turn(slots, lane)));
    chains
}

/// Word -> chain.
pub(super) fn by_algorithm() -> Vec<(u32, Verdict)> {
    let tables = HASHED.into_iter().map(|on| (table_word(on), Verdict::Jump(table_name(on).into())));
    tables.chain(rings().map(|(word, slots, lane)| (word, Verdict::Jump(ring_name(slots, lane))))).collect()
}

const HASHED: [HashOn; 2] = [HashOn::ClientIp, HashOn::Connection];

fn rings() -> impl Iterator<Item = (u32, u32, u8)> {
    let classes = RINGS.into_iter().zip(LANES).zip(0..);
    classes.flat_map(|((slots, lanes), class)| (0..lanes).map(move |lane| (ring_word(class, lane), slots, lane)))
}

fn table_name(on: HashOn) -> &'static str {
    match on {
        HashOn::ClientIp => "hash_client",
        HashOn::Connection => "hash_connection",
    }
}

fn ring_name(slots: u32, lane: u8) -> String {
    format!("ring_{slots}_{lane}")
}

/// The scratch word is the set first, then E, which differs from it in [`CHOSEN`]. A set that is gone meanwhile leaves
/// a word that names no endpoint, and the packet is looked up again.
fn special() -> Chain {
    let set = vec![priority(R0), keep(R0, SET), set_priority(R0)];
    let attempt = || {
        let open = [priority(R0), Expression::Bitwise { from: R0, to: R1, mask: CHOSEN, xor: 0 }, equals(R1, word(0))];
        rule([&open, &[map("special", R0, R1), verdict_map("algorithm", R1)]])
    };
    let differs = Expression::Compare { from: R0, equal: false, value: word(0) };
    let chosen = vec![priority(R0), keep(R0, CHOSEN), differs, give(Verdict::Return)];
    let mut rules = vec![set, attempt(), chosen];
    rules.extend((1..TURNS).map(|_| attempt()));
    chain("special", rules)
}

/// Set in R0, slot number in R1: to the endpoint there.
fn to_slot() -> [Expression; 3] {
    [map("slots", R0, R0), set_priority(R0), give(Verdict::Return)]
}

fn by_hash(on: HashOn) -> Chain {
    const KEY: Register = Register(4);
    let hashed = |family: Family| -> Rule {
        let port = Register(KEY.0 + width(family));
        let (ports, end) = match on {
            HashOn::ClientIp => (None, port.0),
            HashOn::Connection => (Some(Expression::Payload(Payload::SourcePort, port)), port.0 + 1),
        };
        let mut key = vec![source(family, KEY)];
        key.extend(ports);
        let bytes = (end - KEY.0) * 4;
        let hash = Expression::Hash { from: KEY, bytes, seed: SEED, modulus: TABLE, to: R1 };
        // By way of the scratch word, because nft 1.0.6 ends with a failed assertion where a hash is part of a key.
        let slot = [hash, priority(R0), set_priority(R1), priority(R1)];
        rule([&only(family), &key, &slot, &to_slot()])
    };
    chain(table_name(on), BOTH.map(hashed).into())
}

fn in_turn(slots: u32, lane: u8) -> Chain {
    let turn = [priority(R0), Expression::InTurn { modulus: slots, to: R1 }];
    chain(ring_name(slots, lane), vec![rule([&turn, &to_slot()])])
}
