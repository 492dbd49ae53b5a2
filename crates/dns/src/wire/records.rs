//! A resolver's answer in, its records out: where their TTLs stand, and names without compression.

use super::query::lower;
use super::{HEADER, rtype, skip_name, u16_at, u32_at};

/// A checked answer of a resolver, without its OPT record.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// The message up to the OPT record.
    pub(crate) message: Vec<u8>,
    /// Where the TTLs stand.
    pub(crate) ttls: Vec<u32>,
    /// Seconds it may be kept; zero for not at all.
    pub(crate) keep: u32,
    /// Where the question ends.
    pub(crate) end: usize,
}

/// A record of the answer section.
pub(crate) struct Record<'a> {
    pub(crate) owner: Vec<u8>,
    pub(crate) kind: u16,
    pub(crate) ttl: u32,
    pub(crate) data: &'a [u8],
    /// Where the data starts in the message.
    pub(crate) at: usize,
}

impl Upstream {
    /// Checks that `message` is a whole answer to `key` (a lower-case question) under `id`.
    pub(crate) fn parse(mut message: Vec<u8>, id: u16, key: &[u8]) -> Option<Self> {
        let end = HEADER + key.len();
        if u16_at(&message, 0)? != id || message.get(2)? & 0xf8 != 0x80 || u16_at(&message, 4)? != 1 {
            return None;
        }
        if *lower(message.get(HEADER..end)?) != *key {
            return None;
        }
        let counts = [u16_at(&message, 6)?, u16_at(&message, 8)?, u16_at(&message, 10)?];
        let (mut ttls, mut lowest, mut negative) = (Vec::new(), None, None);
        let mut at = end;
        'sections: for (section, count) in counts.into_iter().enumerate() {
            for done in 0..count {
                let start = at;
                at = skip_name(&message, at)?;
                let (kind, ttl) = (u16_at(&message, at)?, u32_at(&message, at + 4)?);
                let data = at + 10;
                let next = data + usize::from(u16_at(&message, at + 8)?);
                if next > message.len() {
                    return None;
                }
                if kind == rtype::OPT && section == 2 {
                    // What follows OPT is dropped with it: additional records are a courtesy.
                    message.truncate(start);
                    message[10..12].copy_from_slice(&done.to_be_bytes());
                    break 'sections;
                }
                ttls.push(at as u32 + 4);
                lowest = Some(lowest.map_or(ttl, |lowest: u32| lowest.min(ttl)));
                if kind == rtype::SOA && section == 1 {
                    negative = Some(ttl.min(u32_at(&message, next.checked_sub(4)?)?));
                }
                at = next;
            }
        }
        let code = message[3] & 15;
        let keep = match (code, counts[0]) {
            (0, 1..) => lowest.unwrap_or(0).min(crate::limits::CACHE_TTL),
            // RFC 2308 5: only with an SOA record, for its lowest of TTL and minimum.
            (0 | 3, _) => negative.unwrap_or(0).min(crate::limits::CACHE_NEGATIVE_TTL),
            _ => 0,
        };
        Some(Self { message, ttls, keep, end })
    }

    /// Response code.
    pub(crate) fn code(&self) -> u8 {
        self.message[3] & 15
    }

    /// Whether the resolver cut it.
    pub(crate) fn truncated(&self) -> bool {
        self.message[2] & 2 != 0
    }

    /// Records of the answer section.
    pub(crate) fn answers(&self) -> Vec<Record<'_>> {
        let mut records = Vec::new();
        let mut at = self.end;
        for _ in 0..u16_at(&self.message, 6).unwrap_or(0) {
            let Some((record, next)) = self.record(at) else { break };
            records.push(record);
            at = next;
        }
        records
    }

    fn record(&self, at: usize) -> Option<(Record<'_>, usize)> {
        let owner = self.name(at)?;
        let at = skip_name(&self.message, at)?;
        let data = at + 10;
        let next = data + usize::from(u16_at(&self.message, at + 8)?);
        let (kind, ttl) = (u16_at(&self.message, at)?, u32_at(&self.message, at + 4)?);
        Some((Record { owner, kind, ttl, data: self.message.get(data..next)?, at: data }, next))
    }

    /// The name at `at` without compression. Pointers must lead backwards, so that every loop ends.
    pub(crate) fn name(&self, mut at: usize) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut bound = at + 1;
        loop {
            let length = usize::from(*self.message.get(at)?);
            match length {
                0 => {
                    name.push(0);
                    return Some(name);
                }
                1..64 => {
                    name.extend_from_slice(self.message.get(at..at + 1 + length)?);
                    at += 1 + length;
                    if name.len() > 254 {
                        return None;
                    }
                }
                192.. => {
                    let to = usize::from(u16_at(&self.message, at)? & 0x3fff);
                    if to + 1 >= bound {
                        return None;
                    }
                    bound = to + 1;
                    at = to;
                }
                _ => return None,
            }
        }
    }
}
