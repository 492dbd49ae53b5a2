//! The fixed part of one table as the kernel holds it: chains, rules, sets and counters out of its dumps, as bytes that
//! stay the same as long as nobody changes anything.

use super::super::batch::INET;
use super::super::message::{DUMP, Writer};
use super::super::socket::Reply;
use super::super::{Result, Socket, parse};
use super::{GET_OBJECT, GET_SET, GET_SETELEM, GET_TABLE, RULE_COMMENT, SET_COMMENT, SUBSYSTEM, comment_of};

const GET_CHAIN: u16 = 4;
const GET_RULE: u16 = 7;
/// Expressions whose dump tells how often they were met.
const COUNTING: [&str; 3] = ["counter", "quota", "last"];

/// What a table is made of, besides its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// `NFT_TABLE_F_*`; 1 is dormant.
    pub flags: u32,
    /// In order of creation.
    pub chains: Vec<Chain>,
    /// Chain by chain, in order.
    pub rules: Vec<Rule>,
    /// In order of creation.
    pub sets: Vec<Set>,
    /// Names of counters and other objects.
    pub objects: Vec<String>,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Kind, hook number and priority of a base chain.
    pub hook: Option<(String, u32, i32)>,
    /// `NF_ACCEPT` (1) or `NF_DROP` (0) of a base chain.
    pub policy: Option<u32>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its chain.
    pub chain: String,
    /// Its expressions as dumped, without what they count.
    pub expressions: Vec<u8>,
    /// Sets that it reads or writes.
    pub sets: Vec<String>,
    /// Its comment.
    pub note: Option<String>,
}

/// A set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// `NFT_SET_*`.
    pub flags: u32,
    /// Bytes of a key.
    pub key_len: u32,
    /// Bytes of a value; 0 in sets.
    pub value_len: u32,
    /// Largest number of elements, 0 for no bound.
    pub size: u32,
    /// Its comment.
    pub note: Option<String>,
}

/// Reads it; none if there is no such table.
pub fn fixed(socket: &mut Socket, table: &str) -> Result<Option<Fixed>> {
    let one = Writer::request(SUBSYSTEM << 8 | GET_TABLE, 0, &[INET, 0, 0, 0], |w| w.string(1, table));
    let replies = match socket.query(&format!("read table inet {table}"), one) {
        Err(error) if error.not_found() => return Ok(None),
        other => other?,
    };
    let flags = replies.iter().find_map(|reply| parse::be32(parse::find(reply.payload.get(4..)?, 2)?)).unwrap_or(0);
    let mut dump = |kind: u16, what: &str| {
        let message = Writer::request(SUBSYSTEM << 8 | kind, DUMP, &[INET, 0, 0, 0], |w| w.string(1, table));
        socket.dump(&format!("list the {what} of table inet {table}"), message)
    };
    let (chains, rules) = (dump(GET_CHAIN, "chains")?, dump(GET_RULE, "rules")?);
    let (sets, objects) = (dump(GET_SET, "sets")?, dump(GET_OBJECT, "objects")?);
    let mine = |reply: &&Reply| {
        let of = reply.payload.get(4..).and_then(|attributes| parse::find(attributes, 1)).map(parse::text);
        of.as_deref() == Some(table)
    };
    let attributes = |reply: &Reply| reply.payload.get(4..).unwrap_or_default().to_vec();
    Ok(Some(Fixed {
        flags,
        chains: chains.iter().filter(mine).filter_map(|reply| chain(&attributes(reply))).collect(),
        rules: rules.iter().filter(mine).filter_map(|reply| rule(&attributes(reply))).collect(),
        sets: sets.iter().filter(mine).filter_map(|reply| set(&attributes(reply))).collect(),
        objects: objects
            .iter()
            .filter(mine)
            .filter_map(|r| parse::find(r.payload.get(4..)?, 2).map(parse::text))
            .collect(),
    }))
}

/// Elements of a map of verdicts, each as its key and its value as dumped, in order of key.
pub fn verdicts(socket: &mut Socket, table: &str, set: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let message = Writer::request(SUBSYSTEM << 8 | GET_SETELEM, DUMP, &[INET, 0, 0, 0], |w| {
        w.string(1, table);
        w.string(2, set);
    });
    let replies = socket.dump(&format!("read the elements of set {set} of table inet {table}"), message)?;
    let lists = replies.iter().filter_map(|reply| parse::find(reply.payload.get(4..)?, 3));
    let one = |element: &[u8]| {
        Some((parse::find(parse::find(element, 1)?, 1)?.to_vec(), parse::find(element, 2).unwrap_or_default().to_vec()))
    };
    let mut all: Vec<_> = lists.flat_map(parse::attributes).filter_map(|(_, element)| one(element)).collect();
    all.sort();
    Ok(all)
}

fn chain(attributes: &[u8]) -> Option<Chain> {
    let number = |data: &[u8], kind| parse::find(data, kind).and_then(parse::be32);
    let hook = parse::find(attributes, 4).and_then(|nest| {
        let kind = parse::find(attributes, 7).map(parse::text).unwrap_or_default();
        Some((kind, number(nest, 1)?, number(nest, 2)? as i32))
    });
    Some(Chain { name: parse::text(parse::find(attributes, 3)?), hook, policy: number(attributes, 5) })
}

fn rule(attributes: &[u8]) -> Option<Rule> {
    let list = parse::find(attributes, 4).unwrap_or_default();
    let mut out = Rule {
        chain: parse::text(parse::find(attributes, 2)?),
        expressions: Vec::new(),
        sets: Vec::new(),
        note: parse::find(attributes, 7).and_then(|data| comment_of(data, RULE_COMMENT)),
    };
    for (_, expression) in parse::attributes(list) {
        let name = parse::find(expression, 1).map(parse::text).unwrap_or_default();
        // Set names are the first attribute of both.
        if matches!(name.as_str(), "lookup" | "dynset") {
            out.sets.extend(parse::find(expression, 2).and_then(|data| parse::find(data, 1)).map(parse::text));
        }
        let counts = COUNTING.contains(&name.as_str());
        out.expressions.extend(if counts { name.as_bytes() } else { expression });
        out.expressions.push(b'\n');
    }
    Some(out)
}

fn set(attributes: &[u8]) -> Option<Set> {
    let number = |kind| parse::find(attributes, kind).and_then(parse::be32).unwrap_or(0);
    let size = parse::find(attributes, 9).and_then(|nest| parse::find(nest, 1)).and_then(parse::be32);
    Some(Set {
        name: parse::text(parse::find(attributes, 2)?),
        flags: number(3),
        key_len: number(5),
        value_len: number(7),
        size: size.unwrap_or(0),
        note: parse::find(attributes, 13).and_then(|data| comment_of(data, SET_COMMENT)),
    })
}
