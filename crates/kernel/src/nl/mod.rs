//! Netlink: typed requests in, the kernel's answer (values, or an error that says what to do) out.
//!
//! A socket belongs to the network namespace of the thread that opened it and stays there; no call here takes a
//! namespace. Start reading at [`socket`].

pub mod batch;
pub mod conntrack;
mod error;
pub mod flow_bytes;
pub mod flow_log;
pub mod message;
pub mod nftables;
pub mod parse;
pub mod route;
pub mod rulesets;
pub mod sock_diag;
#[allow(unsafe_code, reason = "system calls; each block says why it is sound")]
pub mod socket;
pub mod trace;

pub use error::{Error, Kind, Result};
pub use socket::{Protocol, Socket, sent_bytes, writes};

/// Limits of this module, named in one place.
pub mod limits {
    /// Send buffer that we ask for; a process without CAP_NET_ADMIN in the first user namespace gets what
    /// `net.core.wmem_max` allows.
    pub const SEND_BUFFER_BYTES: usize = 64 << 20;
    /// Receive buffer that we ask for.
    pub const RECEIVE_BUFFER_BYTES: usize = 8 << 20;
    /// Largest datagram that the kernel sends us (dumps are cut at 32 KiB).
    pub const DATAGRAM_BYTES: usize = 64 << 10;
    /// A nested attribute's length is a u16; longer lists are cut into several messages below this.
    pub const LIST_BYTES: usize = 60_000;
    /// How often a dump is repeated when the kernel says that its content changed half way.
    pub const DUMP_ATTEMPTS: usize = 16;
    /// How many notices are taken at once: who sends them may never pause.
    pub const HEARD_DATAGRAMS: usize = 1024;
    /// No message that the kernel queues takes less of the receive buffer than this.
    pub const NOTICE_BYTES_MIN: usize = 256;
    /// How many reads in a row that find nothing new settle what a set holds, whatever the kernel counts.
    pub const IDLE_READS: usize = 4;
    /// Pause between reads of a set whose hash table the kernel is resizing.
    pub const RESIZE_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
}
