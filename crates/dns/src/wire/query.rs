//! A packet from a client in, its one question out, or the reason why there is none.

use super::{HEADER, rcode, rtype, skip_name, u16_at, u32_at};

/// A question; borrows the packet, so that nothing is copied but the lower-case name.
pub(crate) struct Query<'a> {
    /// The packet.
    pub(crate) packet: &'a [u8],
    /// Where the question ends.
    pub(crate) end: usize,
    /// Type asked for.
    pub(crate) rtype: u16,
    /// Class asked for.
    pub(crate) class: u16,
    /// EDNS, if the client speaks it.
    pub(crate) edns: Option<Edns>,
    name: [u8; 256],
    length: usize,
}

/// The client's OPT record.
#[derive(Clone, Copy)]
pub(crate) struct Edns {
    /// Largest UDP answer it takes.
    pub(crate) size: usize,
    /// Version.
    pub(crate) version: u8,
}

/// What to do with a packet that holds no question for us.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    /// Say nothing: not a query, or not even a header.
    Drop,
    /// Answer with this code and no question.
    Code(u8),
}

impl<'a> Query<'a> {
    /// Parses a packet.
    pub(crate) fn parse(packet: &'a [u8]) -> Result<Self, Refusal> {
        if packet.len() < HEADER || packet[2] & 0x80 != 0 {
            return Err(Refusal::Drop);
        }
        if packet[2] & 0x78 != 0 {
            return Err(Refusal::Code(rcode::NOTIMP));
        }
        Self::parse_body(packet).ok_or(Refusal::Code(rcode::FORMERR))
    }

    fn parse_body(packet: &'a [u8]) -> Option<Self> {
        if u16_at(packet, 4)? != 1 {
            return None;
        }
        let mut query = Self { packet, end: 0, rtype: 0, class: 0, edns: None, name: [0; 256], length: 0 };
        let at = query.read_name()?;
        query.rtype = u16_at(packet, at)?;
        query.class = u16_at(packet, at + 2)?;
        query.end = at + 4;
        let before = usize::from(u16_at(packet, 6)?) + usize::from(u16_at(packet, 8)?);
        let all = before + usize::from(u16_at(packet, 10)?);
        let mut at = query.end;
        for record in 0..all {
            let owner = at;
            at = skip_name(packet, at)?;
            if u16_at(packet, at)? == rtype::OPT {
                if record < before || packet[owner] != 0 || query.edns.is_some() {
                    return None;
                }
                let version = (u32_at(packet, at + 4)? >> 16) as u8;
                query.edns = Some(Edns { size: usize::from(u16_at(packet, at + 2)?), version });
            }
            at += 10 + usize::from(u16_at(packet, at + 8)?);
            if at > packet.len() {
                return None;
            }
        }
        (at == packet.len()).then_some(query)
    }

    /// Reads the name into its lower-case text form. A byte that cannot stand in a name of ours (a dot within a label, a
    /// control or a non-ASCII byte) becomes NUL, which no zone has.
    fn read_name(&mut self) -> Option<usize> {
        let mut at = HEADER;
        loop {
            let length = usize::from(*self.packet.get(at)?);
            if length == 0 {
                return Some(at + 1);
            }
            let label = self.packet.get(at + 1..at + 1 + length)?;
            if length >= 64 || at + 1 + length - HEADER > 254 {
                return None;
            }
            if self.length > 0 {
                self.name[self.length] = b'.';
                self.length += 1;
            }
            for byte in label {
                let plain = byte.is_ascii_graphic() && *byte != b'.';
                self.name[self.length] = if plain { byte.to_ascii_lowercase() } else { 0 };
                self.length += 1;
            }
            at += 1 + length;
        }
    }

    /// The name in lower case, without final dot.
    pub(crate) fn name(&self) -> &str {
        std::str::from_utf8(&self.name[..self.length]).unwrap_or("\0")
    }

    /// The question as it was asked, in its own case.
    pub(crate) fn question(&self) -> &'a [u8] {
        &self.packet[HEADER..self.end]
    }

    /// What makes two questions equal: name in lower case, type, class.
    pub(crate) fn key(&self) -> Box<[u8]> {
        lower(self.question())
    }
}

/// A question section with its name in lower case: length bytes are below 64, so that only letters change; type and
/// class stay as they are.
pub(crate) fn lower(question: &[u8]) -> Box<[u8]> {
    let mut key: Box<[u8]> = question.into();
    let name = key.len().saturating_sub(4);
    key[..name].make_ascii_lowercase();
    key
}
