//! nf_tables requests of one transaction: all of them take effect at one instant, or none does.

use super::message::{REQUEST, Writer};
use super::socket::Fault;
use super::{Result, Socket};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM_NFTABLES: u16 = 10;
const DEL_SET: u16 = 11;
/// Netlink header and nfgenmsg of BEGIN and of END.
const ENVELOPE_BYTES: usize = 2 * 20;

/// `NFPROTO_INET`: rules for both families.
pub const INET: u8 = 1;

/// A transaction being built.
#[derive(Clone, Debug)]
pub struct Batch {
    writer: Writer,
    messages: usize,
}

impl Default for Batch {
    fn default() -> Self {
        let mut writer = Writer::new();
        writer.message(BATCH_BEGIN, REQUEST, &[0, 0, 0, SUBSYSTEM_NFTABLES as u8], |_| ());
        Self { writer, messages: 0 }
    }
}

impl Batch {
    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a request: an `NFT_MSG_*` type, netlink flags and attributes, for the inet family.
    pub fn push(&mut self, kind: u16, flags: u16, attributes: impl FnOnce(&mut Writer)) {
        self.push_of(INET, kind, flags, attributes);
    }

    /// The same for any family (`NFPROTO_*`).
    pub fn push_of(&mut self, family: u8, kind: u16, flags: u16, attributes: impl FnOnce(&mut Writer)) {
        self.writer.message(SUBSYSTEM_NFTABLES << 8 | kind, REQUEST | flags, &[family, 0, 0, 0], attributes);
        self.messages += 1;
    }

    /// Size of the datagram that [`Batch::commit`] will send.
    pub fn len(&self) -> usize {
        self.writer.len() + ENVELOPE_BYTES / 2
    }

    /// True if nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Commits; returns after the kernel's acknowledgement. A batch larger than one send gives
    /// [`super::Kind::TooLarge`] and changes nothing.
    pub fn commit(mut self, socket: &mut Socket, what: &str) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let fault = socket.fault(what);
        if fault == Some(Fault::Spoiled) {
            self.push(DEL_SET, 0, |w| {
                w.string(1, "no such table");
                w.string(2, "no such set");
            });
        }
        // The acknowledgement is asked of the last real request: kernels before 6.10 never acknowledge BATCH_END, and
        // acknowledgements are delivered only after the commit.
        self.writer.flag_last(super::message::ACK);
        self.writer.message(BATCH_END, REQUEST, &[0, 0, 0, SUBSYSTEM_NFTABLES as u8], |_| ());
        socket.commit(what, self.writer, fault)
    }
}
