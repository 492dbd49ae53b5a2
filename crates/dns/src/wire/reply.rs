//! Records in, an answer packet out, within the size that the client takes.

use std::net::IpAddr;

use super::query::Query;
use super::{HEADER, IN, rtype, u16_at};

/// An answer under construction. A record that does not fit leaves no trace but the truncation mark.
pub(crate) struct Reply<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    /// Room kept for the OPT record.
    opt: Option<usize>,
    counts: [u16; 3],
    truncated: bool,
    edns_error: Option<&'static str>,
}

/// Section of a message.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Section {
    Answer = 0,
    Authority = 1,
    Additional = 2,
}

/// The owner of a record: the name that stands at this offset already.
#[derive(Clone, Copy)]
pub(crate) struct Owner(pub(crate) usize);

impl<'a> Reply<'a> {
    /// Starts an answer to `query` in `out`, which is cleared, of at most `limit` bytes.
    pub(crate) fn new(out: &'a mut Vec<u8>, query: &Query<'_>, limit: usize) -> Self {
        out.clear();
        out.extend_from_slice(&query.packet[..2]);
        // QR, and RD as in the query; RA: we forward.
        out.extend_from_slice(&[0x80 | query.packet[2] & 1, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(query.question());
        let opt = query.edns.map(|_| 11);
        Self { out, limit, opt, counts: [0; 3], truncated: false, edns_error: None }
    }

    /// Marks the answer as ours.
    pub(crate) fn authoritative(&mut self) {
        self.out[2] |= 4;
    }

    /// Adds an extended error text (RFC 8914, code 0 "other") if the client speaks EDNS.
    pub(crate) fn explain(&mut self, text: &'static str) {
        if self.opt.is_some() && self.edns_error.is_none() {
            self.opt = Some(11 + 6 + text.len());
            self.edns_error = Some(text);
        }
    }

    /// Whether a record did not fit.
    pub(crate) fn truncated(&self) -> bool {
        self.truncated
    }

    /// Where the next record's name will start.
    pub(crate) fn position(&self) -> usize {
        self.out.len()
    }

    /// Adds a record whose data `data` writes; false if it does not fit. Records of the additional section that do not
    /// fit are left out without a mark (RFC 2181 9).
    pub(crate) fn record(
        &mut self,
        section: Section,
        owner: Owner,
        kind: u16,
        ttl: u32,
        data: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let start = self.out.len();
        let Owner(at) = owner;
        self.out.extend_from_slice(&(0xc000 | at as u16).to_be_bytes());
        self.rest(section, start, kind, ttl, data)
    }

    /// The same with an owner name written out in full.
    pub(crate) fn record_named(
        &mut self,
        section: Section,
        owner: &[u8],
        kind: u16,
        ttl: u32,
        data: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let start = self.out.len();
        self.out.extend_from_slice(owner);
        self.rest(section, start, kind, ttl, data)
    }

    fn rest(&mut self, section: Section, start: usize, kind: u16, ttl: u32, data: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&IN.to_be_bytes());
        self.out.extend_from_slice(&ttl.to_be_bytes());
        self.out.extend_from_slice(&[0, 0]);
        let at = self.out.len();
        data(self.out);
        let length = (self.out.len() - at) as u16;
        self.out[at - 2..at].copy_from_slice(&length.to_be_bytes());
        if self.out.len() + self.opt.unwrap_or(0) > self.limit {
            self.out.truncate(start);
            self.truncated |= section != Section::Additional;
            return false;
        }
        self.counts[section as usize] += 1;
        true
    }

    /// Adds an address record.
    pub(crate) fn address(&mut self, section: Section, owner: Owner, ttl: u32, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.record(section, owner, rtype::A, ttl, |out| out.extend_from_slice(&v4.octets())),
            IpAddr::V6(v6) => self.record(section, owner, rtype::AAAA, ttl, |out| out.extend_from_slice(&v6.octets())),
        }
    }

    /// Finishes with `code`. `mark` sets TC if something was left out (UDP; over TCP there is nothing more to get).
    pub(crate) fn finish(mut self, code: u16, mark: bool) {
        if let Some(room) = self.opt {
            let size = crate::limits::UDP_ANSWER as u16;
            self.out.extend_from_slice(&[0, 0, rtype::OPT as u8]);
            self.out.extend_from_slice(&size.to_be_bytes());
            self.out.extend_from_slice(&[(code >> 4) as u8, 0, 0, 0]);
            self.out.extend_from_slice(&((room - 11) as u16).to_be_bytes());
            if let Some(text) = self.edns_error {
                self.out.extend_from_slice(&[0, 15]);
                self.out.extend_from_slice(&(text.len() as u16 + 2).to_be_bytes());
                self.out.extend_from_slice(&[0, 0]);
                self.out.extend_from_slice(text.as_bytes());
            }
            self.counts[2] += 1;
        }
        self.out[3] |= code as u8 & 15;
        if self.truncated && mark {
            self.out[2] |= 2;
        }
        for (section, count) in self.counts.iter().enumerate() {
            self.out[6 + 2 * section..8 + 2 * section].copy_from_slice(&count.to_be_bytes());
        }
    }
}

/// A resolver's answer handed on.
impl Reply<'_> {
    /// Copies the records of a checked answer to the same question, whose TTLs stand at `ttls`, `age` seconds later.
    /// Offsets stay what they were, so that its compression stays valid.
    pub(crate) fn copy(&mut self, message: &[u8], ttls: &[u32], age: u32) {
        let records = message.get(self.out.len()..).unwrap_or_default();
        self.out.extend_from_slice(records);
        for (section, count) in self.counts.iter_mut().enumerate() {
            *count = u16_at(message, HEADER - 6 + 2 * section).unwrap_or(0);
        }
        for at in ttls.iter().map(|at| *at as usize) {
            if let Some(ttl) = self.out.get_mut(at..at + 4) {
                let left = u32::from_be_bytes([ttl[0], ttl[1], ttl[2], ttl[3]]).saturating_sub(age);
                ttl.copy_from_slice(&left.to_be_bytes());
            }
        }
    }

    /// Finishes without any record: the client must ask over TCP.
    pub(crate) fn cut(mut self, code: u16) {
        self.truncated = true;
        self.finish(code, true);
    }
}

/// Writes a name given as text; false (and nothing written) if it is not a name.
pub(crate) fn write_name(out: &mut Vec<u8>, name: &str) -> bool {
    let start = out.len();
    for label in name.split('.').filter(|_| !name.is_empty()) {
        if label.is_empty() || label.len() > 63 || out.len() - start + label.len() > 253 {
            out.truncate(start);
            return false;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    true
}

/// An answer without question to a packet that could not be read: its id, opcode and RD with `code`.
pub(crate) fn refuse(out: &mut Vec<u8>, packet: &[u8], code: u8) {
    out.clear();
    out.extend_from_slice(&packet[..2]);
    out.extend_from_slice(&[0x80 | packet[2] & 0x79, 0x80 | code, 0, 0, 0, 0, 0, 0, 0, 0]);
}
