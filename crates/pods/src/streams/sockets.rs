//! What listens: a network namespace in, its listening sockets out, read from the kernel's tables.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use compile::diagnose::facts;
use compile::snapshot::Protocol;
use contract::streams::Listening;
use kernel::namespace;

/// Largest table that is read.
const TABLE_BYTES: usize = 4 << 20;

/// The listening sockets of a network namespace.
pub(super) fn of(network: BorrowedFd<'_>) -> io::Result<Vec<Listening>> {
    let tables = namespace::within_net(network.as_fd(), || {
        // `/proc/net` is the network of the process; that of this thread is another.
        let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        Ok(["tcp", "tcp6", "udp", "udp6"].map(|name| (name.starts_with("udp"), read(name))))
    })?;
    let mut out = Vec::new();
    for (udp, text) in &tables {
        let text = &text[..text.floor_char_boundary(TABLE_BYTES)];
        let protocol = if *udp { Protocol::Udp } else { Protocol::Tcp };
        let sockets = facts::proc_net(protocol, text);
        out.extend(sockets.iter().map(|socket| Listening { udp: *udp, at: (socket.address, socket.port).into() }));
    }
    Ok(out)
}
