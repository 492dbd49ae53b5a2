//! W of pick class 63 -> E by what `special` says of the set: a hash of the client, or whose turn it is.
//!
//! Both read `slots`, as the random draw does. A table has an endpoint in every slot. A ring is a power of four long
//! and may have holes, so that six sizes serve every count; whose turn it is counts a rule, a *lane*, that one set has
//! to itself.

use super::super::expr::{Chain, Expression, Family, Payload, Register, Rule, Verdict};
use super::bits::{CHOSEN, SET};
use super::step::{
    BOTH, R0, R1, chain, equals, give, keep, map, only, priority, rule, set_priority, source, verdict_map, width, word,
};
use crate::balance::HashOn;

/// Slots of a hash table. One size for all counts: with another one nearly every client would move.
pub(in crate::nft) const TABLE: u32 = 4096;
/// Slots of a ring, by class.
pub(in crate::nft) const RINGS: [u32; 6] = [4, 16, 64, 256, 1024, 4096];
/// How many sets may have a ring of each class at a time.
pub(in crate::nft) const LANES: [u8; 6] = [32, 32, 32, 16, 8, 4];
/// How often a ring is advanced for one connection: as many holes may follow one another, less one.
pub(in crate::nft) const TURNS: usize = 8;
/// The same on all nodes, so that all choose alike.
const SEED: u32 = 0x6d73_7479;

/// Code of the first ring; below are tables.
const FIRST_RING: u32 = 16;

/// The code of a table.
pub(in crate::nft) fn table_code(on: HashOn) -> u32 {
    match on {
        HashOn::ClientIp => 1,
        HashOn::Connection => 2,
    }
}

/// The code of a ring.
pub(in crate::nft) fn ring_code(class: u8, lane: u8) -> u32 {
    let before: u32 = LANES.iter().take(class.into()).map(|lanes| u32::from(*lanes)).sum();
    FIRST_RING + before + u32::from(lane)
}

/// Class and lane of the ring whose code is in a word of `special`.
pub(in crate::nft) fn ring_of(word: u32) -> Option<(u8, u8)> {
    let mut left = (word & CHOSEN).checked_sub(FIRST_RING)?;
    for (class, lanes) in (0..).zip(LANES) {
        match u8::try_from(left) {
            Ok(lane) if lane < lanes => return Some((class, lane)),
            _ => left = left.checked_sub(lanes.into())?,
        }
    }
    None
}

pub(super) fn chains() -> Vec<Chain> {
    let mut chains = vec![special()];
    chains.extend(HASHED.map(by_hash));
    chains.extend(rings().map(|(_, slots, lane)| in_turn(slots, lane)));
    chains
}

/// Code -> chain.
pub(super) fn by_algorithm() -> Vec<(u32, Verdict)> {
    let tables = HASHED.into_iter().map(|on| (table_code(on), Verdict::Jump(table_name(on).into())));
    tables.chain(rings().map(|(word, slots, lane)| (word, Verdict::Jump(ring_name(slots, lane))))).collect()
}

const HASHED: [HashOn; 2] = [HashOn::ClientIp, HashOn::Connection];

fn rings() -> impl Iterator<Item = (u32, u32, u8)> {
    let classes = RINGS.into_iter().zip(LANES).zip(0..);
    classes.flat_map(|((slots, lanes), class)| (0..lanes).map(move |lane| (ring_code(class, lane), slots, lane)))
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

/// The scratch word is the set first, then the set with a code, then E. Where no slot was found it is the set again,
/// and a set that is gone meanwhile leaves a word that names no endpoint: the packet is looked up again.
fn special() -> Chain {
    let attempt = || {
        let open = [priority(R0), Expression::Bitwise { from: R0, to: R1, mask: CHOSEN, xor: 0 }, equals(R1, word(0))];
        // By way of the scratch word: nft 1.0.6 ends with a failed assertion where a map's value is looked up.
        let code = [map("special", R0, R1), set_priority(R1), priority(R0), keep(R0, CHOSEN)];
        rule([&open, &code, &[verdict_map("algorithm", R0)]])
    };
    let differs = Expression::Compare { from: R0, equal: false, value: word(0) };
    let chosen = vec![priority(R0), keep(R0, CHOSEN), differs, give(Verdict::Return)];
    let mut rules = vec![to_set(), attempt(), chosen];
    rules.extend((1..TURNS).map(|_| attempt()));
    chain("special", rules)
}

fn to_set() -> Rule {
    vec![priority(R0), keep(R0, SET), set_priority(R0)]
}

/// Slot number in R1: to the endpoint there.
fn to_slot() -> [Expression; 5] {
    [priority(R0), keep(R0, SET), map("slots", R0, R0), set_priority(R0), give(Verdict::Return)]
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
        let hash = [Expression::Hash { from: KEY, bytes, seed: SEED, modulus: TABLE, to: R1 }];
        rule([&only(family), &key, &hash, &to_slot()])
    };
    let [four, six] = BOTH.map(hashed);
    chain(table_name(on), vec![four, six, to_set()])
}

fn in_turn(slots: u32, lane: u8) -> Chain {
    let turn = [Expression::InTurn { modulus: slots, to: R1 }];
    chain(ring_name(slots, lane), vec![rule([&turn, &to_slot()]), to_set()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_rings_apart_and_fit_beside_a_set() {
        let mut codes: Vec<u32> = by_algorithm().into_iter().map(|(code, _)| code).collect();
        codes.sort_unstable();
        assert!(codes.windows(2).all(|two| two[0] < two[1]), "no code twice");
        assert!(codes.first() > Some(&0) && codes.last() <= Some(&CHOSEN), "{codes:?}");
        for (code, slots, lane) in rings() {
            let (class, own) = ring_of(0xd234_5800 | code).unwrap();
            assert_eq!((RINGS[usize::from(class)], own), (slots, lane));
        }
        let end = codes.last().unwrap() + 1;
        assert_eq!([0, 1, 2, 15, end].map(ring_of), [None; 5]);
    }
}
