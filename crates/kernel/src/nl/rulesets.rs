//! Everybody's nf_tables objects, read only: tables, chains and rules of all families out of the kernel's dumps.

use std::net::IpAddr;

use super::message::{DUMP, Writer};
use super::{Result, Socket, parse};

const SUBSYSTEM: u16 = 10;
const GET_TABLE: u16 = 1;
const GET_CHAIN: u16 = 4;
const GET_RULE: u16 = 7;
const GET_SETELEM: u16 = 13;
const GET_GENERATION: u16 = 16;
/// `NFT_PAYLOAD_NETWORK_HEADER`.
const NETWORK_HEADER: u32 = 1;

/// `NFPROTO_INET`.
pub const INET: u8 = 1;
/// `NFPROTO_IPV4`.
pub const IP: u8 = 2;
/// `NFPROTO_IPV6`.
pub const IP6: u8 = 10;

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table {
    /// `NFPROTO_*`.
    pub family: u8,
    /// Name, unique in its family.
    pub name: String,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Where it is.
    pub table: Table,
    /// Name, unique in its table.
    pub name: String,
    /// `NF_INET_*` and priority of a base chain.
    pub hook: Option<(u32, i32)>,
    /// A base chain that drops what no rule decides.
    pub drops: bool,
}

/// A rule, as far as others may look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it is.
    pub table: Table,
    /// Its chain.
    pub chain: String,
    /// Its number in the table.
    pub handle: u64,
    /// Names of its expressions, in order.
    pub expressions: Vec<String>,
    /// The destination that it compares with, and how many bits of it, if it is one address or network.
    pub destination: Option<(IpAddr, u8)>,
    /// The set in which it looks the destination up.
    pub destination_set: Option<String>,
}

/// Number of the rules' generation: it changes with every commit of anybody in this namespace.
pub fn generation(socket: &mut Socket) -> Result<u32> {
    let message = Writer::request(SUBSYSTEM << 8 | GET_GENERATION, 0, &[0; 4], |_| ());
    let replies = socket.query("read the generation of nf_tables", message)?;
    Ok(replies.iter().find_map(|reply| parse::be32(parse::find(reply.payload.get(4..)?, 1)?)).unwrap_or(0))
}

/// Every table of every family.
pub fn tables(socket: &mut Socket) -> Result<Vec<Table>> {
    let replies = all(socket, "list tables of nf_tables", GET_TABLE)?;
    let table = |payload: &[u8]| {
        Some(Table { family: *payload.first()?, name: parse::text(parse::find(payload.get(4..)?, 1)?) })
    };
    Ok(replies.iter().filter_map(|reply| table(&reply.payload)).collect())
}

/// Every chain of every family.
pub fn chains(socket: &mut Socket) -> Result<Vec<Chain>> {
    let replies = all(socket, "list chains of nf_tables", GET_CHAIN)?;
    Ok(replies.iter().filter_map(|reply| chain(&reply.payload)).collect())
}

/// Every rule of every family.
pub fn rules(socket: &mut Socket) -> Result<Vec<Rule>> {
    let replies = all(socket, "list rules of nf_tables", GET_RULE)?;
    Ok(replies.iter().filter_map(|reply| rule(&reply.payload)).collect())
}

/// How many rules a table has; an absent one has none. Unlike [`rules`] it is hardly disturbed by those who change others.
pub fn count_rules(socket: &mut Socket, table: &Table) -> Result<usize> {
    let message =
        Writer::request(SUBSYSTEM << 8 | GET_RULE, DUMP, &[table.family, 0, 0, 0], |w| w.string(1, &table.name));
    let replies = match socket.dump(&format!("count the rules of table {}", table.name), message) {
        Err(error) if error.not_found() => return Ok(0),
        other => other?,
    };
    let is_it = |rule: &Rule| rule.table == *table;
    Ok(replies.iter().filter_map(|reply| rule(&reply.payload)).filter(is_it).count())
}

/// Keys of a set or map of any family; an absent one has none.
pub fn keys(socket: &mut Socket, table: &Table, set: &str) -> Result<Vec<Vec<u8>>> {
    let message = Writer::request(SUBSYSTEM << 8 | GET_SETELEM, DUMP, &[table.family, 0, 0, 0], |w| {
        w.string(1, &table.name);
        w.string(2, set);
    });
    let replies = match socket.dump(&format!("read the elements of set {set} of table {}", table.name), message) {
        Err(error) if error.not_found() => return Ok(Vec::new()),
        other => other?,
    };
    let lists = replies.iter().filter_map(|reply| parse::find(reply.payload.get(4..)?, 3));
    let key = |element: &[u8]| parse::find(parse::find(element, 1)?, 1).map(<[u8]>::to_vec);
    Ok(lists.flat_map(parse::attributes).filter_map(|(_, element)| key(element)).collect())
}

fn all(socket: &mut Socket, what: &str, kind: u16) -> Result<Vec<super::socket::Reply>> {
    socket.dump(what, Writer::request(SUBSYSTEM << 8 | kind, DUMP, &[0; 4], |_| ()))
}

fn chain(payload: &[u8]) -> Option<Chain> {
    let attributes = payload.get(4..)?;
    let text = |kind| parse::find(attributes, kind).map(parse::text);
    let hook = parse::find(attributes, 4).and_then(|nest| Some((number(nest, 1)?, number(nest, 2)? as i32)));
    Some(Chain {
        table: Table { family: *payload.first()?, name: text(1)? },
        name: text(3)?,
        drops: hook.is_some() && number(attributes, 5) == Some(0),
        hook,
    })
}

fn rule(payload: &[u8]) -> Option<Rule> {
    let attributes = payload.get(4..)?;
    let text = |kind| parse::find(attributes, kind).map(parse::text);
    let list = parse::find(attributes, 4).unwrap_or_default();
    let expressions: Vec<(String, &[u8])> = parse::attributes(list)
        .filter_map(|(_, one)| Some((parse::text(parse::find(one, 1)?), parse::find(one, 2).unwrap_or_default())))
        .collect();
    Some(Rule {
        table: Table { family: *payload.first()?, name: text(1)? },
        chain: text(2)?,
        handle: parse::find(attributes, 3).and_then(parse::be64)?,
        destination: destination(&expressions),
        destination_set: destination_set(&expressions),
        expressions: expressions.into_iter().map(|(name, _)| name).collect(),
    })
}

fn number(data: &[u8], kind: u16) -> Option<u32> {
    parse::find(data, kind).and_then(parse::be32)
}

/// Which expression reads the destination address, or its first bytes.
fn reads_destination(expressions: &[(String, &[u8])]) -> Option<usize> {
    expressions.iter().position(|(name, data)| {
        name == "payload" && number(data, 2) == Some(NETWORK_HEADER) && matches!(number(data, 3), Some(16 | 24))
    })
}

fn destination_set(expressions: &[(String, &[u8])]) -> Option<String> {
    let (name, lookup) = expressions.get(reads_destination(expressions)? + 1)?;
    (name == "lookup").then(|| parse::find(lookup, 1).map(parse::text))?
}

/// The expression that reads the destination, and the comparison after it.
fn destination(expressions: &[(String, &[u8])]) -> Option<(IpAddr, u8)> {
    let at = reads_destination(expressions)?;
    let payload = expressions.get(at)?.1;
    let width = if number(payload, 3)? == 16 { 4 } else { 16 };
    let mut rest = expressions.get(at + 1..)?.iter();
    let mut bits = number(payload, 4)? * 8;
    let mut next = rest.next()?;
    if next.0 == "bitwise" {
        let mask = parse::find(parse::find(next.1, 4)?, 1)?;
        bits = mask.iter().map(|byte| byte.count_ones()).sum();
        next = rest.next()?;
    }
    // NFT_CMP_EQ only.
    if next.0 != "cmp" || number(next.1, 2)? != 0 {
        return None;
    }
    let mut bytes = parse::find(parse::find(next.1, 3)?, 1)?.to_vec();
    bytes.resize(width, 0);
    Some((parse::address(&bytes)?, u8::try_from(bits).ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::Protocol;
    use super::super::batch::Batch;
    use super::super::nftables::{Hook, new_chain, new_table};
    use super::*;
    use crate::namespace;

    #[test]
    fn chains_of_others_are_listed_with_their_hooks_and_the_generation_moves() {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                namespace::new_net()
                    .unwrap_or_else(|error| panic!("{error}: run the tests as root or in unshare -Urn"));
                let mut socket = Socket::open(Protocol::Netfilter).unwrap();
                let before = generation(&mut socket).unwrap();
                let mut batch = Batch::new();
                new_table(&mut batch, "theirs", None);
                new_chain(&mut batch, "theirs", "pass", Some(Hook { kind: "filter", number: 2, priority: -5 }));
                new_chain(&mut batch, "theirs", "side", None);
                batch.commit(&mut socket, "make a table").unwrap();
                assert_ne!(generation(&mut socket).unwrap(), before);
                let table = Table { family: INET, name: "theirs".into() };
                assert_eq!(tables(&mut socket).unwrap(), std::slice::from_ref(&table));
                let chains = chains(&mut socket).unwrap();
                assert_eq!((chains[0].hook, chains[0].drops), (Some((2, -5)), false));
                assert_eq!((chains[1].name.as_str(), chains[1].hook), ("side", None));
                assert!(rules(&mut socket).unwrap().is_empty());
                let mut batch = Batch::new();
                super::super::nftables::new_rule(&mut batch, "theirs", "side", |_| ());
                batch.commit(&mut socket, "make a rule").unwrap();
                assert_eq!(count_rules(&mut socket, &table).unwrap(), 1);
                assert_eq!(count_rules(&mut socket, &Table { name: "none".into(), ..table.clone() }).unwrap(), 0);
                assert!(keys(&mut socket, &table, "none").unwrap().is_empty());
            });
            thread.join().unwrap();
        });
    }

    #[test]
    fn a_compared_destination_is_read_whole_or_by_its_first_bytes() {
        let expression = |fill: &dyn Fn(&mut Writer)| {
            let mut writer = Writer::new();
            fill(&mut writer);
            writer.bytes().to_vec()
        };
        let payload = |length| {
            expression(&|w| {
                w.be32(2, NETWORK_HEADER);
                w.be32(3, 16);
                w.be32(4, length);
            })
        };
        let compare = |bytes: &[u8]| {
            expression(&|w| {
                w.be32(2, 0);
                w.nest(3, |w| w.attribute(1, bytes));
            })
        };
        for (length, bytes, expected) in
            [(4, &[10, 96, 0, 1][..], ("10.96.0.1", 32)), (2, &[10, 96], ("10.96.0.0", 16))]
        {
            let (payload, compare) = (payload(length), compare(bytes));
            let rule = [("payload".to_owned(), &payload[..]), ("cmp".to_owned(), &compare[..])];
            assert_eq!(destination(&rule), Some((expected.0.parse().unwrap(), expected.1)));
        }
        assert_eq!(destination(&[("counter".to_owned(), &[])]), None);
    }
}
