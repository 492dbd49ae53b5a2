//! The fixed ruleset -> one transaction that makes the table.

use compile::nft::expr::{Chain, Contents, Field, HookPoint, Ruleset, Set};
use compile::nft::rules::TABLE;
use kernel::nl::batch::Batch;
use kernel::nl::nftables::{self, Element, Hook, SetShape, Value};

use super::expression::{verdict, write_rule};
use super::switch::ABOUT;

/// `NFT_SET_*` flags.
const INTERVAL: u32 = 0x4;
const MAP: u32 = 0x8;
const TIMEOUT: u32 = 0x10;
const EVALUATED: u32 = 0x20;
const CONCATENATION: u32 = 0x80;
/// `NFT_DATA_VERDICT`.
const VERDICT: u32 = 0xffff_ff00;

/// Writes the table, with `data` as comment of its sets; `replaces` says that one of that name exists and goes in the same
/// transaction.
pub(super) fn write(ruleset: &Ruleset, data: &str, replaces: bool) -> Batch {
    let mut batch = Batch::new();
    if replaces {
        // Creating first makes the deletion succeed even if somebody removed the table in the meantime.
        nftables::new_table(&mut batch, TABLE, None);
        nftables::delete_table(&mut batch, TABLE);
    }
    nftables::new_table(&mut batch, TABLE, None);
    for counter in &ruleset.counters {
        nftables::new_counter(&mut batch, TABLE, counter);
    }
    // Chains refer to one another and to sets, verdict maps to chains: names first, contents after.
    for chain in &ruleset.chains {
        new_chain(&mut batch, chain);
    }
    nftables::new_chain(&mut batch, TABLE, ABOUT, None);
    for (set, id) in ruleset.sets.iter().zip(1..) {
        new_set(&mut batch, set, id, data);
    }
    for set in &ruleset.sets {
        fill(&mut batch, set);
    }
    for chain in &ruleset.chains {
        for rule in &chain.rules {
            nftables::new_rule(&mut batch, TABLE, &chain.name, |w| write_rule(w, rule));
        }
    }
    batch
}

/// Where a chain is attached.
pub(super) fn hook(chain: &Chain) -> Option<Hook<'static>> {
    chain.hook.map(|hook| Hook {
        kind: if hook.nat { "nat" } else { "filter" },
        // NF_INET_PRE_ROUTING and so on.
        number: match hook.point {
            HookPoint::Prerouting => 0,
            HookPoint::Input => 1,
            HookPoint::Forward => 2,
            HookPoint::Output => 3,
            HookPoint::Postrouting => 4,
        },
        priority: hook.priority,
    })
}

/// Makes a chain; one that is there gets its policy.
pub(super) fn new_chain(batch: &mut Batch, chain: &Chain) {
    nftables::new_chain(batch, TABLE, &chain.name, hook(chain));
}

/// Numbers by which the kernel knows what a set is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) flags: u32,
    pub(super) key_len: u32,
    pub(super) value_len: u32,
    value_type: Option<u32>,
}

/// What a set is like.
pub(super) fn shape(set: &Set) -> Shape {
    let concatenated = set.interval && set.key.len() > 1;
    let (map, value_type, value_len) = match &set.contents {
        Contents::Members => (0, None, 0),
        Contents::Data(fields) => {
            (MAP, Some(display_type(fields)), bytes(fields.iter().map(|field| field.padded()).sum()))
        }
        Contents::Verdicts(_) => (MAP, Some(VERDICT), 0),
    };
    let flags = map
        | if set.interval { INTERVAL } else { 0 }
        | if concatenated { CONCATENATION } else { 0 }
        | if set.dynamic.is_some() { TIMEOUT | EVALUATED } else { 0 };
    Shape { flags, key_len: bytes(set.key_len()), value_len, value_type }
}

/// Makes a set; `id` is unique in its transaction, `note` becomes its comment.
pub(super) fn new_set(batch: &mut Batch, set: &Set, id: u32, note: &str) {
    let concatenated = set.interval && set.key.len() > 1;
    let fields: Vec<u32> =
        if concatenated { set.key.iter().map(|field| bytes(field.bytes())).collect() } else { Vec::new() };
    let Shape { flags, key_len, value_len, value_type } = shape(set);
    let shape = SetShape {
        name: &set.name,
        id,
        flags,
        key_type: display_type(&set.key),
        key_len,
        value: value_type.map(|kind| (kind, value_len)),
        fields: &fields,
        size: set.dynamic.unwrap_or(0),
        counter: set.counter,
        note: Some(note),
    };
    nftables::new_set(batch, TABLE, &shape);
}

/// Fills a map of verdicts.
pub(super) fn fill(batch: &mut Batch, set: &Set) {
    let Contents::Verdicts(verdicts) = &set.contents else { return };
    let keys: Vec<[u8; 4]> = verdicts.iter().map(|(key, _)| key.to_ne_bytes()).collect();
    let elements = keys.iter().zip(verdicts).map(|(key, (_, to))| {
        let (code, chain) = verdict(to);
        Element { key, key_end: None, value: Value::Verdict(code, chain), flags: 0 }
    });
    nftables::add_elements(batch, TABLE, &set.name, elements);
}

/// The type number that `nft list` shows fields with; six bits per field of a concatenation.
fn display_type(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |number, field| {
        let one = match field {
            Field::Ipv4 => 7,
            Field::Ipv6 => 8,
            Field::Protocol => 12,
            Field::Port => 13,
            Field::Mark => 19,
            // Printed as a traffic class, the type of `meta priority`.
            Field::Word => 23,
            Field::Interface => 41,
        };
        number << 6 | one
    })
}

fn bytes(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
