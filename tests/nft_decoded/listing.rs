//! What `nft -j` prints -> sets, chains and rules as plain values, by nft's own description of its JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

/// Key (both ends of a range) and value of an element, as bytes.
pub(crate) type Elements = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a table holds.
#[derive(Default)]
pub(crate) struct Listing {
    pub(crate) counters: Vec<String>,
    /// Elements by set; those of verdict maps are in `verdicts`.
    pub(crate) sets: BTreeMap<String, Elements>,
    /// Interval, dynamic (its size), counting.
    pub(crate) shapes: BTreeMap<String, (bool, Option<u64>, bool)>,
    /// Key and verdict.
    pub(crate) verdicts: BTreeMap<String, Vec<(u32, String)>>,
    /// Type, hook, priority.
    pub(crate) chains: BTreeMap<String, Option<(String, String, i64)>>,
    /// What each rule of a chain names and does, sorted.
    pub(crate) rules: BTreeMap<String, Vec<Vec<String>>>,
}

impl Listing {
    pub(crate) fn read(json: &[u8]) -> Self {
        let all: Value = serde_json::from_slice(json).unwrap();
        let mut listing = Self::default();
        for item in all["nftables"].as_array().unwrap() {
            let (kind, held) = item.as_object().unwrap().iter().next().unwrap();
            let name = || held["name"].as_str().unwrap().to_owned();
            match kind.as_str() {
                "counter" => listing.counters.push(name()),
                "set" | "map" => listing.set(held),
                "chain" => {
                    let text = |field: &str| held[field].as_str().unwrap_or_default().to_owned();
                    let hook = held.get("hook").map(|_| (text("type"), text("hook"), held["prio"].as_i64().unwrap()));
                    assert!(hook.is_none() || held["policy"] == "accept");
                    listing.chains.insert(name(), hook);
                }
                "rule" => {
                    let mut tokens = Vec::new();
                    // The signature of the table is a rule with a comment and nothing else.
                    held["expr"].as_array().into_iter().flatten().for_each(|one| statement(one, &mut tokens));
                    tokens.sort();
                    listing.rules.entry(held["chain"].as_str().unwrap().to_owned()).or_default().push(tokens);
                }
                _ => (),
            }
        }
        listing
    }

    fn set(&mut self, held: &Value) {
        let name = held["name"].as_str().unwrap().to_owned();
        let flag = |wanted: &str| held["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == wanted));
        let size = flag("timeout").then(|| held["size"].as_u64().unwrap());
        self.shapes.insert(name.clone(), (flag("interval"), size, held.get("stmt").is_some()));
        let keys = types(&held["type"]);
        let values = types(&held["map"]);
        let mut elements = Elements::new();
        for element in held["elem"].as_array().into_iter().flatten() {
            let (key, value) = match element.as_array() {
                Some(pair) => (&pair[0], Some(&pair[1])),
                None => (element, None),
            };
            let key = key["elem"].get("val").unwrap_or(key);
            if values == ["verdict"] {
                let word = u32::from_ne_bytes(field("classid", key, false).0.try_into().unwrap());
                let mut tokens = Vec::new();
                statement(value.unwrap(), &mut tokens);
                self.verdicts.entry(name.clone()).or_default().push((word, tokens.remove(0)));
                continue;
            }
            let (mut first, last) = fields(&keys, key);
            if flag("interval") {
                first.extend(if keys.len() == 1 { after(&last) } else { last });
            }
            elements.insert(first, value.map(|value| fields(&values, value).0).unwrap_or_default());
        }
        if values != ["verdict"] {
            self.sets.insert(name, elements);
        }
    }
}

/// Names of types: a list for keys, joined by dots for values.
fn types(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
        Value::String(text) => text.split(" . ").map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// First and last bytes of a key or value.
fn fields(types: &[String], value: &Value) -> (Vec<u8>, Vec<u8>) {
    let parts = match value["concat"].as_array() {
        Some(parts) => parts.iter().collect(),
        None => vec![value],
    };
    assert_eq!(parts.len(), types.len(), "{types:?} {value}");
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for (kind, part) in types.iter().zip(&parts) {
        let (from, to) = field(kind, part, parts.len() > 1);
        first.extend(from);
        last.extend(to);
    }
    (first, last)
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// One field. nft shows a lone number in the order of its bytes in memory, and as a number inside a concatenation.
fn field(kind: &str, value: &Value, joined: bool) -> (Vec<u8>, Vec<u8>) {
    let number = |number: u32| if joined { number.to_ne_bytes().to_vec() } else { number.to_be_bytes().to_vec() };
    let one = match kind {
        "ipv4_addr" | "ipv6_addr" => return range(value),
        "inet_proto" => vec![match value.as_str().unwrap() {
            "tcp" => 6,
            "udp" => 17,
            "sctp" => 132,
            other => panic!("protocol {other}"),
        }],
        "inet_service" => (value.as_u64().unwrap() as u16).to_be_bytes().to_vec(),
        "mark" => number(value.as_u64().unwrap() as u32),
        "classid" => {
            let (major, minor) = match value.as_str().unwrap() {
                "none" => (0, 0),
                "root" => (0xffff, 0xffff),
                text => {
                    let (major, minor) = text.split_once(':').unwrap();
                    let part = |text: &str| if text.is_empty() { 0 } else { u32::from_str_radix(text, 16).unwrap() };
                    (part(major), part(minor))
                }
            };
            number(major << 16 | minor)
        }
        other => panic!("type {other}"),
    };
    (padded(one.clone()), padded(one))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

/// An address, a prefix or two ends.
fn range(value: &Value) -> (Vec<u8>, Vec<u8>) {
    let address = |value: &Value| octets(value.as_str().unwrap().parse().unwrap());
    if let Some(prefix) = value.get("prefix") {
        let first = address(&prefix["addr"]);
        let mut last = first.clone();
        for bit in prefix["len"].as_u64().unwrap() as usize..last.len() * 8 {
            last[bit / 8] |= 0x80 >> (bit % 8);
        }
        return (first, last);
    }
    if let Some(ends) = value["range"].as_array() {
        return (address(&ends[0]), address(&ends[1]));
    }
    (address(value), address(value))
}

/// The address after the last one; zeros at the top.
fn after(last: &[u8]) -> Vec<u8> {
    let mut out = last.to_vec();
    for byte in out.iter_mut().rev() {
        let (next, carry) = byte.overflowing_add(1);
        *byte = next;
        if !carry {
            break;
        }
    }
    out
}

/// What a statement names and does, as words.
fn statement(value: &Value, out: &mut Vec<String>) {
    match value {
        // nft 1.0.6 has no JSON for writes to a map: it prints the text.
        Value::String(text) if text.starts_with("update @") || text.starts_with("delete @") => {
            let mut words = text.split(' ');
            let (how, set) = (words.next().unwrap(), words.next().unwrap());
            let timeout = text.split(" timeout ").nth(1).and_then(|rest| rest.split(' ').next());
            out.push(format!("{how} {set} {}", timeout.map_or(0, seconds)));
        }
        Value::String(text) if text.starts_with('@') => out.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|one| statement(one, out)),
        Value::Object(fields) => {
            for (name, held) in fields {
                match name.as_str() {
                    "jump" | "goto" => out.push(format!("{name} {}", held["target"].as_str().unwrap())),
                    "accept" | "drop" | "return" | "notrack" => out.push(name.clone()),
                    "counter" if held.is_string() => out.push(format!("counter {}", held.as_str().unwrap())),
                    "reject" => out.push(format!(
                        "reject {} {}",
                        held["type"].as_str().unwrap(),
                        held["expr"].as_str().unwrap_or("")
                    )),
                    "masquerade" => out.push(format!("masquerade {}", held["flags"].as_str().unwrap_or_default())),
                    "numgen" => out.push(format!("{} {}", held["mode"].as_str().unwrap(), held["mod"])),
                    "fib" => out.push("fib".into()),
                    _ => {
                        if name == "dnat" {
                            out.push(format!("dnat {}", held["family"].as_str().unwrap()));
                        } else if name == "mangle" {
                            out.push(format!("set {}", held["key"]));
                        } else if name == "vmap" {
                            out.push("vmap".into());
                        }
                        statement(held, out);
                    }
                }
            }
        }
        _ => (),
    }
}

/// `3h1m` and the like.
fn seconds(text: &str) -> u64 {
    let (mut total, mut number) = (0, 0);
    for letter in text.chars() {
        match letter {
            '0'..='9' => number = number * 10 + u64::from(letter as u8 - b'0'),
            unit => {
                total += number
                    * match unit {
                        'd' => 86_400,
                        'h' => 3600,
                        'm' => 60,
                        _ => 1,
                    };
                number = 0;
            }
        }
    }
    total
}
