//! Builds netlink messages: headers, attributes and nesting, in one growing buffer.

/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub const ACK: u16 = 0x4;
/// `NLM_F_DUMP` (ROOT and MATCH).
pub const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub const APPEND: u16 = 0x800;

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;

/// One or more netlink messages back to back.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    last: usize,
    count: u32,
}

impl Writer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// One message: type, flags, the family's fixed header, and attributes.
    pub fn request(kind: u16, flags: u16, fixed: &[u8], attributes: impl FnOnce(&mut Writer)) -> Self {
        let mut writer = Self::new();
        writer.message(kind, REQUEST | flags, fixed, attributes);
        writer
    }

    /// Appends a message; its sequence number is its index, made absolute by the socket.
    pub fn message(&mut self, kind: u16, flags: u16, fixed: &[u8], attributes: impl FnOnce(&mut Writer)) {
        let start = self.bytes.len();
        self.last = start;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(fixed);
        self.pad();
        attributes(self);
        self.pad();
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.count += 1;
    }

    /// Sets further flags on the message appended last.
    pub fn flag_last(&mut self, flags: u16) {
        if self.count > 0 {
            let at = self.last + 6;
            let old = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
            self.bytes[at..at + 2].copy_from_slice(&(old | flags).to_ne_bytes());
        }
    }

    /// One attribute. `value` must be shorter than 64 KiB, as the wire format demands.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        debug_assert!(value.len() <= usize::from(u16::MAX) - 4, "attribute of {} bytes", value.len());
        let length = (value.len() + 4) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    /// A string with its closing zero.
    pub fn string(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    /// A u32 in network order, as nf_tables and conntrack want it.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// A u64 in network order.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// A u32 in host order, as rtnetlink wants it.
    pub fn host32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// An attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, attributes: impl FnOnce(&mut Writer)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        attributes(self);
        let length = self.bytes.len() - start;
        debug_assert!(length <= usize::from(u16::MAX), "nested attribute of {length} bytes");
        self.bytes[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
    }

    /// Bytes that are no attribute (the fixed header inside a nested link description).
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    /// Size of everything appended.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True if nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Number of messages.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The bytes as appended (sequence numbers are still relative).
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds `first` to every message's sequence number and hands out the bytes.
    pub(crate) fn into_sequenced(mut self, first: u32) -> Vec<u8> {
        let mut at = 0;
        let mut index = 0u32;
        while at + HEADER <= self.bytes.len() {
            let length =
                u32::from_ne_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]]);
            self.bytes[at + 8..at + 12].copy_from_slice(&first.wrapping_add(index).to_ne_bytes());
            index += 1;
            at += length as usize;
        }
        self.bytes
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_flags_and_sequence_numbers_are_where_the_kernel_reads_them() {
        let mut writer = Writer::new();
        writer.message(7, REQUEST, &[1, 2, 3, 4], |w| w.nest(3, |w| w.string(1, "abc")));
        writer.message(8, REQUEST, &[], |_| ());
        writer.flag_last(ACK);
        assert_eq!(writer.count(), 2);
        let bytes = writer.into_sequenced(100);
        assert_eq!(&bytes[..4], &(16u32 + 4 + 4 + 8).to_ne_bytes());
        assert_eq!(&bytes[8..12], &100u32.to_ne_bytes());
        assert_eq!(&bytes[20..24], &[12, 0, 3, 0x80], "nested flag and length");
        assert_eq!(&bytes[24..32], &[8, 0, 1, 0, b'a', b'b', b'c', 0]);
        assert_eq!(&bytes[36..40], &[8, 0, 5, 0], "type 8, REQUEST | ACK");
        assert_eq!(&bytes[40..44], &101u32.to_ne_bytes());
    }
}
