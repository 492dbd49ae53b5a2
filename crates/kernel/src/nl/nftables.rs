//! nf_tables objects as requests in a [`Batch`], and dumps of what the kernel holds.
//!
//! Rules are opaque here: the caller writes the expressions. Attribute numbers are those of
//! `linux/netfilter/nf_tables.h`.

pub mod inspect;
pub mod monitor;

use std::collections::BTreeMap;

use super::batch::{Batch, INET};
use super::message::{CREATE, DUMP, EXCLUSIVE, Writer};
use super::{Result, Socket, limits, parse};

const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DEL_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const DEL_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DEL_RULE: u16 = 8;
const APPEND: u16 = super::message::APPEND;
const NEW_SET: u16 = 9;
const GET_SET: u16 = 10;
const DEL_SET: u16 = 11;
const NEW_SETELEM: u16 = 12;
const GET_SETELEM: u16 = 13;
const DEL_SETELEM: u16 = 14;
const NEW_OBJECT: u16 = 18;
const GET_OBJECT: u16 = 19;
const COUNTER: u32 = 1;

/// `NFT_SET_ELEM_INTERVAL_END`.
pub const INTERVAL_END: u32 = 1;

/// Where a base chain is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook<'a> {
    /// `filter` or `nat`.
    pub kind: &'a str,
    /// `NF_INET_*`.
    pub number: u32,
    /// Order among the chains of one hook.
    pub priority: i32,
}

/// What a set is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetShape<'a> {
    /// Name, unique in its table.
    pub name: &'a str,
    /// A number, unique in its batch.
    pub id: u32,
    /// `NFT_SET_*` flags.
    pub flags: u32,
    /// Type number that listing programs print the key with.
    pub key_type: u32,
    /// Bytes of a key.
    pub key_len: u32,
    /// Type number and bytes of the value; `NFT_DATA_VERDICT` as type for verdict maps.
    pub value: Option<(u32, u32)>,
    /// Bytes of each field of an interval concatenation.
    pub fields: &'a [u32],
    /// Largest number of elements (0: no bound).
    pub size: u32,
    /// Every element carries a packet and byte counter.
    pub counter: bool,
    /// Kept with the set, listed as its comment.
    pub note: Option<&'a str>,
}

/// Types under which `nft` looks for a comment in user data (libnftnl/udata.h).
const TABLE_COMMENT: u8 = 0;
const RULE_COMMENT: u8 = 0;
const SET_COMMENT: u8 = 7;

/// User data in the form that `nft list` prints as a comment: type, length, text, zero.
fn comment(kind: u8, note: &str) -> Vec<u8> {
    let note = note.as_bytes().get(..254).unwrap_or(note.as_bytes());
    let mut data = vec![kind, u8::try_from(note.len() + 1).unwrap_or(u8::MAX)];
    data.extend(note);
    data.push(0);
    data
}

/// The text of such user data.
fn comment_of(data: &[u8], kind: u8) -> Option<String> {
    (*data.first()? == kind).then(|| parse::text(data.get(2..).unwrap_or_default()))
}

/// One element of a set or map, as sent.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// Key bytes.
    pub key: &'a [u8],
    /// Last key of the range, in interval concatenations.
    pub key_end: Option<&'a [u8]>,
    /// What the key maps to.
    pub value: Value<'a>,
    /// Element flags.
    pub flags: u32,
}

/// What an element maps to.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Nothing: a set, or a deletion.
    Nothing,
    /// Bytes.
    Data(&'a [u8]),
    /// A verdict code and the chain it names.
    Verdict(i32, &'a str),
}

/// One element as the kernel holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Key bytes.
    pub key: Vec<u8>,
    /// Last key of the range, in interval concatenations.
    pub key_end: Option<Vec<u8>>,
    /// Value bytes; empty in sets.
    pub value: Vec<u8>,
    /// Element flags.
    pub flags: u32,
    /// Packets and bytes, if the set counts.
    pub counter: Option<(u64, u64)>,
}

/// Creates the table if it is absent; `note` is kept with it and read back by [`table_note`].
pub fn new_table(batch: &mut Batch, table: &str, note: Option<&str>) {
    batch.push(NEW_TABLE, CREATE, |w| {
        w.string(1, table);
        if let Some(note) = note {
            w.attribute(6, &comment(TABLE_COMMENT, note));
        }
    });
}

/// Deletes the table with everything in it.
pub fn delete_table(batch: &mut Batch, table: &str) {
    batch.push(DEL_TABLE, 0, |w| w.string(1, table));
}

/// Deletes somebody else's table of any family (`NFPROTO_*`) with everything in it.
pub fn delete_foreign_table(batch: &mut Batch, family: u8, table: &str) {
    batch.push_of(family, DEL_TABLE, 0, |w| w.string(1, table));
}

/// Wakes a table that was made dormant: its chains see packets again.
pub fn wake_table(batch: &mut Batch, table: &str) {
    batch.push(NEW_TABLE, 0, |w| {
        w.string(1, table);
        w.be32(2, 0);
    });
}

/// Deletes a chain, which must have no rules and no name that leads to it.
pub fn delete_chain(batch: &mut Batch, table: &str, name: &str) {
    batch.push(DEL_CHAIN, 0, |w| {
        w.string(1, table);
        w.string(3, name);
    });
}

/// Deletes every rule of a chain, or of all chains of the table; none is no error.
pub fn delete_rules(batch: &mut Batch, table: &str, chain: Option<&str>) {
    batch.push(DEL_RULE, 0, |w| {
        w.string(1, table);
        if let Some(chain) = chain {
            w.string(2, chain);
        }
    });
}

/// Deletes a set, to which no rule may refer.
pub fn delete_set(batch: &mut Batch, table: &str, name: &str) {
    batch.push(DEL_SET, 0, |w| {
        w.string(1, table);
        w.string(2, name);
    });
}

/// Appends a rule that does nothing but carry a comment.
pub fn new_note(batch: &mut Batch, table: &str, chain: &str, note: &str) {
    batch.push(NEW_RULE, CREATE | APPEND, |w| {
        w.string(1, table);
        w.string(2, chain);
        w.attribute(7, &comment(RULE_COMMENT, note));
    });
}

/// Creates a chain; a base chain accepts by policy.
pub fn new_chain(batch: &mut Batch, table: &str, name: &str, hook: Option<Hook<'_>>) {
    batch.push(NEW_CHAIN, CREATE, |w| {
        w.string(1, table);
        w.string(3, name);
        if let Some(hook) = hook {
            w.nest(4, |w| {
                w.be32(1, hook.number);
                w.be32(2, hook.priority as u32);
            });
            w.be32(5, 1);
            w.string(7, hook.kind);
        }
    });
}

/// Appends a rule; `expressions` writes `NFTA_LIST_ELEM` nests.
pub fn new_rule(batch: &mut Batch, table: &str, chain: &str, expressions: impl FnOnce(&mut Writer)) {
    batch.push(NEW_RULE, CREATE | APPEND, |w| {
        w.string(1, table);
        w.string(2, chain);
        w.nest(4, expressions);
    });
}

/// Creates a named counter.
pub fn new_counter(batch: &mut Batch, table: &str, name: &str) {
    batch.push(NEW_OBJECT, CREATE, |w| {
        w.string(1, table);
        w.string(2, name);
        w.be32(3, COUNTER);
        w.nest(4, |_| ());
    });
}

/// Creates a set or map.
pub fn new_set(batch: &mut Batch, table: &str, set: &SetShape<'_>) {
    batch.push(NEW_SET, CREATE, |w| {
        w.string(1, table);
        w.string(2, set.name);
        w.be32(3, set.flags);
        w.be32(4, set.key_type);
        w.be32(5, set.key_len);
        if let Some((kind, length)) = set.value {
            w.be32(6, kind);
            w.be32(7, length);
        }
        if set.size > 0 || !set.fields.is_empty() {
            w.nest(9, |w| {
                if set.size > 0 {
                    w.be32(1, set.size);
                }
                if !set.fields.is_empty() {
                    w.nest(2, |w| set.fields.iter().for_each(|length| w.nest(1, |w| w.be32(1, *length))));
                }
            });
        }
        w.be32(10, set.id);
        if let Some(note) = set.note {
            w.attribute(13, &comment(SET_COMMENT, note));
        }
        if set.counter {
            w.nest(17, |w| w.string(1, "counter"));
        }
    });
}

/// Adds elements (an existing key is an error), in as many messages as their size asks for.
pub fn add_elements<'a>(batch: &mut Batch, table: &str, set: &str, elements: impl IntoIterator<Item = Element<'a>>) {
    push_elements(batch, NEW_SETELEM, CREATE | EXCLUSIVE, (table, set), elements);
}

/// Deletes elements (an absent key is an error), in as many messages as their size asks for.
pub fn delete_elements<'a>(batch: &mut Batch, table: &str, set: &str, elements: impl IntoIterator<Item = Element<'a>>) {
    push_elements(batch, DEL_SETELEM, 0, (table, set), elements);
}

/// Size of one element inside its message.
pub fn element_len(element: &Element<'_>) -> usize {
    let data = |bytes: &[u8]| 4 + 4 + bytes.len().next_multiple_of(4);
    let value = match element.value {
        Value::Nothing => 0,
        Value::Data(bytes) => data(bytes),
        Value::Verdict(_, chain) => 4 + 4 + 8 + 4 + (chain.len() + 1).next_multiple_of(4),
    };
    let flags = if element.flags == 0 { 0 } else { 8 };
    4 + data(element.key) + element.key_end.map_or(0, data) + value + flags
}

/// Size of the message around elements of one set.
pub fn elements_message_len(table: &str, set: &str) -> usize {
    let string = |text: &str| 4 + (text.len() + 1).next_multiple_of(4);
    20 + string(table) + string(set) + 4
}

fn push_elements<'a>(
    batch: &mut Batch,
    kind: u16,
    flags: u16,
    (table, set): (&str, &str),
    elements: impl IntoIterator<Item = Element<'a>>,
) {
    let mut elements = elements.into_iter().peekable();
    while elements.peek().is_some() {
        batch.push(kind, flags, |w| {
            w.string(1, table);
            w.string(2, set);
            w.nest(3, |w| {
                let start = w.len();
                while let Some(element) =
                    elements.next_if(|e| w.len() == start || w.len() - start + element_len(e) <= limits::LIST_BYTES)
                {
                    w.nest(1, |w| write_element(w, &element));
                }
            });
        });
    }
}

fn write_element(w: &mut Writer, element: &Element<'_>) {
    w.nest(1, |w| w.attribute(1, element.key));
    match element.value {
        Value::Nothing => (),
        Value::Data(bytes) => w.nest(2, |w| w.attribute(1, bytes)),
        Value::Verdict(code, chain) => w.nest(2, |w| write_verdict(w, code, chain)),
    }
    if element.flags != 0 {
        w.be32(3, element.flags);
    }
    if let Some(end) = element.key_end {
        w.nest(10, |w| w.attribute(1, end));
    }
}

/// A verdict as data; `chain` is empty for verdicts that name none.
pub fn write_verdict(w: &mut Writer, code: i32, chain: &str) {
    w.nest(2, |w| {
        w.be32(1, code as u32);
        if !chain.is_empty() {
            w.string(2, chain);
        }
    });
}

/// The note that [`new_table`] stored; None if the table is absent, `Some(None)` if it carries no note.
pub fn table_note(socket: &mut Socket, table: &str) -> Result<Option<Option<String>>> {
    let message = Writer::request(SUBSYSTEM << 8 | GET_TABLE, 0, &[INET, 0, 0, 0], |w| w.string(1, table));
    let replies = match socket.query(&format!("read table inet {table}"), message) {
        Err(error) if error.not_found() => return Ok(None),
        other => other?,
    };
    let note = replies.iter().find_map(|reply| comment_of(parse::find(reply.payload.get(4..)?, 6)?, TABLE_COMMENT));
    Ok(Some(note))
}

/// Every element of a set, in order of key.
///
/// A dump of a hash table that is being resized (in the background, after many insertions) leaves elements out or lists
/// them twice, without any sign. So the reads are united until there are as many as the kernel counts, or, before
/// Linux 6.16, which does not tell its count, until a further read adds nothing.
pub fn elements(socket: &mut Socket, table: &str, set: &str) -> Result<Vec<Held>> {
    let mut united: BTreeMap<(Vec<u8>, u32), Held> = BTreeMap::new();
    let mut idle = 0;
    loop {
        let before = united.len();
        let read = elements_once(socket, table, set)?;
        united.extend(read.into_iter().map(|held| ((held.key.clone(), held.flags), held)));
        idle = if united.len() == before { idle + 1 } else { 0 };
        let enough = match element_count(socket, table, set)? {
            Some(count) => united.len() >= count as usize || idle >= limits::IDLE_READS,
            None => idle >= 1,
        };
        if enough {
            return Ok(united.into_values().collect());
        }
        std::thread::sleep(limits::RESIZE_PAUSE);
    }
}

/// How many elements the kernel counts in a set; None before Linux 6.16.
fn element_count(socket: &mut Socket, table: &str, set: &str) -> Result<Option<u32>> {
    let message = Writer::request(SUBSYSTEM << 8 | GET_SET, 0, &[INET, 0, 0, 0], |w| {
        w.string(1, table);
        w.string(2, set);
    });
    let replies = socket.query(&format!("read set {set} of table inet {table}"), message)?;
    Ok(replies.iter().find_map(|reply| parse::be32(parse::find(reply.payload.get(4..)?, 20)?)))
}

fn elements_once(socket: &mut Socket, table: &str, set: &str) -> Result<Vec<Held>> {
    let message = Writer::request(SUBSYSTEM << 8 | GET_SETELEM, DUMP, &[INET, 0, 0, 0], |w| {
        w.string(1, table);
        w.string(2, set);
    });
    let replies = socket.dump(&format!("read the elements of set {set} of table inet {table}"), message)?;
    let lists = replies.iter().filter_map(|reply| parse::find(reply.payload.get(4..)?, 3));
    Ok(lists.flat_map(parse::attributes).map(|(_, element)| held(element)).collect())
}

fn held(element: &[u8]) -> Held {
    let data = |value: &[u8]| parse::find(value, 1).map(<[u8]>::to_vec);
    let mut out = Held::default();
    for (kind, value) in parse::attributes(element) {
        match kind {
            1 => out.key = data(value).unwrap_or_default(),
            2 => out.value = data(value).unwrap_or_default(),
            3 => out.flags = parse::be32(value).unwrap_or(0),
            7 => out.counter = counter(parse::find(value, 2).unwrap_or_default()),
            10 => out.key_end = data(value),
            _ => (),
        }
    }
    out
}

/// (packets, bytes) of a counter's attributes.
fn counter(data: &[u8]) -> Option<(u64, u64)> {
    Some((parse::be64(parse::find(data, 2)?)?, parse::be64(parse::find(data, 1)?)?))
}

/// Packets and bytes of every named counter of a table, by name.
pub fn counters(socket: &mut Socket, table: &str) -> Result<Vec<(String, u64, u64)>> {
    let message = Writer::request(SUBSYSTEM << 8 | GET_OBJECT, DUMP, &[INET, 0, 0, 0], |w| {
        w.string(1, table);
        w.be32(3, COUNTER);
    });
    let replies = socket.dump(&format!("read counters of table inet {table}"), message)?;
    let one = |reply: &super::socket::Reply| {
        let attributes = reply.payload.get(4..)?;
        if parse::text(parse::find(attributes, 1)?) != table {
            return None;
        }
        let (packets, bytes) = counter(parse::find(attributes, 4)?)?;
        Some((parse::text(parse::find(attributes, 2)?), packets, bytes))
    };
    Ok(replies.iter().filter_map(one).collect())
}
