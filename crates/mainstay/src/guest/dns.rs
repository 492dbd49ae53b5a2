//! DNS messages for the built-in dig: a question in, bytes out; bytes in, records as text out.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A record as dig prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) ttl: u32,
    pub(super) kind: u16,
    pub(super) data: String,
}

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: u16,
    pub(super) flags: u16,
    pub(super) question: String,
    pub(super) sections: [Vec<Record>; 3],
}

/// Types by name.
const KINDS: [(&str, u16); 10] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("ANY", 255),
];
/// Names of response codes.
const CODES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
/// Compression pointers followed for one name; more is a loop.
const JUMPS: usize = 64;

pub(super) fn kind_number(name: &str) -> Option<u16> {
    let upper = name.to_ascii_uppercase();
    KINDS.iter().find(|(known, _)| *known == upper).map(|(_, number)| *number)
}

pub(super) fn kind_name(number: u16) -> String {
    KINDS
        .iter()
        .find(|(_, known)| *known == number)
        .map_or_else(|| format!("TYPE{number}"), |(name, _)| (*name).to_owned())
}

impl Answer {
    pub(super) fn code(&self) -> &'static str {
        CODES.get(usize::from(self.flags & 15)).copied().unwrap_or("RESERVED")
    }

    pub(super) fn truncated(&self) -> bool {
        self.flags & 0x200 != 0
    }
}

/// A query for one name with EDNS; none if the name is not one.
pub(super) fn query(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut out = id.to_be_bytes().to_vec();
    out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.').filter(|_| !name.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        out.push(length);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    // OPT: root, type 41, 1232 bytes over UDP.
    out.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    (name.len() < 254).then_some(out)
}

/// Reads a response; none if it is malformed.
pub(super) fn read(bytes: &[u8]) -> Option<Answer> {
    let number = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let mut answer = Answer { id: number(0)?, flags: number(2)?, ..Answer::default() };
    let mut at = 12;
    for _ in 0..number(4)? {
        let (name, after) = name_at(bytes, at)?;
        answer.question = format!("{name}\t\tIN\t{}", kind_name(number(after)?));
        at = after + 4;
    }
    for (section, count) in [number(6)?, number(8)?, number(10)?].into_iter().enumerate() {
        for _ in 0..count {
            let (name, after) = name_at(bytes, at)?;
            let (kind, length) = (number(after)?, usize::from(number(after + 8)?));
            let ttl = u32::from(number(after + 4)?) << 16 | u32::from(number(after + 6)?);
            at = after + 10 + length;
            let data = bytes.get(after + 10..at)?;
            if kind != 41 {
                let data = data_text(bytes, after + 10, data, kind)?;
                answer.sections[section].push(Record { name, ttl, kind, data });
            }
        }
    }
    Some(answer)
}

fn data_text(message: &[u8], at: usize, data: &[u8], kind: u16) -> Option<String> {
    let number = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
    let name = |offset: usize| name_at(message, at + offset).map(|(name, _)| name);
    Some(match kind {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).to_string(),
        28 => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string(),
        2 | 5 | 12 => name(0)?,
        15 => format!("{} {}", number(0)?, name(2)?),
        33 => format!("{} {} {} {}", number(0)?, number(2)?, number(4)?, name(6)?),
        6 => {
            let (server, after) = name_at(message, at)?;
            let (mailbox, after) = name_at(message, after)?;
            let words = message.get(after..after + 20)?.chunks_exact(4);
            let words = words.map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]).to_string());
            format!("{server} {mailbox} {}", words.collect::<Vec<_>>().join(" "))
        }
        16 => {
            let (mut rest, mut texts) = (data, Vec::new());
            while let Some((length, after)) = rest.split_first() {
                let text = after.get(..usize::from(*length))?;
                texts.push(format!("\"{}\"", String::from_utf8_lossy(text)));
                rest = &after[usize::from(*length)..];
            }
            texts.join(" ")
        }
        _ => data.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// The name at a place, and the place after it.
fn name_at(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut name, mut after) = (String::new(), None);
    for _ in 0..JUMPS + 128 {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => {
                let name = if name.is_empty() { ".".to_owned() } else { name };
                return Some((name, after.unwrap_or(at + 1)));
            }
            1..64 => {
                name += &String::from_utf8_lossy(bytes.get(at + 1..at + 1 + length)?);
                name.push('.');
                at += 1 + length;
            }
            192.. => {
                after = after.or(Some(at + 2));
                at = (length & 63) << 8 | usize::from(*bytes.get(at + 1)?);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_response_is_read() {
        let mut bytes = query(7, "web.ns.svc.cluster.local", 33).unwrap();
        bytes[2..12].copy_from_slice(&[0x85, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
        bytes.truncate(bytes.len() - 11);
        bytes.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 5, 0, 8, 0, 0, 0, 100, 0, 80, 0xc0, 12]);
        let answer = read(&bytes).unwrap();
        assert_eq!((answer.id, answer.code()), (7, "NOERROR"));
        assert_eq!(answer.question, "web.ns.svc.cluster.local.\t\tIN\tSRV");
        let (name, data) = ("web.ns.svc.cluster.local.".to_owned(), "0 100 80 web.ns.svc.cluster.local.".to_owned());
        assert_eq!(answer.sections[0], [Record { name, ttl: 5, kind: 33, data }]);
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn loops_and_long_labels_are_refused() {
        let mut bytes = vec![0; 12];
        bytes[5] = 1;
        bytes.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(read(&bytes), None);
        assert_eq!(query(1, &"x".repeat(64), 1), None);
        assert_eq!(query(1, "a..b", 1), None);
    }
}
