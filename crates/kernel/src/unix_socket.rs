//! Unix SEQPACKET sockets: whole messages with descriptors in and out, and the identity of the peer.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::Timeout;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// Most descriptors in one message.
pub const DESCRIPTORS_MAX: usize = 8;

/// A socket bound to `directory/name` that does not listen yet, so that connecting means "the owner is ready".
pub fn bind(directory: &Path, name: &str) -> io::Result<OwnedFd> {
    let socket = socket()?;
    let opened = File::open(directory)?;
    rustix::net::bind(&socket, &address(&opened, name)?)?;
    Ok(socket)
}

/// Two ends of one connection.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(Into::into)
}

/// Starts to accept connections.
pub fn listen(socket: BorrowedFd<'_>) -> io::Result<()> {
    rustix::net::listen(socket, 64).map_err(Into::into)
}

/// Accepts one connection.
pub fn accept(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    rustix::net::accept_with(socket, SocketFlags::CLOEXEC).map_err(Into::into)
}

/// Connects to `directory/name`. Nothing on the connection waits longer than `longest`; see [`set_patience`].
pub fn connect(directory: &Path, name: &str, longest: Duration) -> io::Result<OwnedFd> {
    let socket = socket()?;
    rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(longest))?;
    set_patience(socket.as_fd(), Some(longest))?;
    let opened = File::open(directory)?;
    rustix::net::connect(&socket, &address(&opened, name)?)?;
    Ok(socket)
}

/// Lets [`receive`] end with `WouldBlock` when nothing has come for so long; without, it waits for ever.
pub fn set_patience(socket: BorrowedFd<'_>, longest: Option<Duration>) -> io::Result<()> {
    rustix::net::sockopt::set_socket_timeout(socket, Timeout::Recv, longest).map_err(Into::into)
}

/// Ends both directions of a connection, which wakes a thread that waits in [`receive`].
pub fn shutdown(socket: BorrowedFd<'_>) {
    // A connection that has already ended cannot be shut down; that is what was wanted.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// Process id of the peer in the caller's pid namespace: of the process that called `listen`, or that connected.
pub fn peer_pid(socket: BorrowedFd<'_>) -> io::Result<i32> {
    Ok(rustix::net::sockopt::socket_peercred(socket)?.pid.as_raw_nonzero().get())
}

/// Sends one message with descriptors.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], descriptors: &[BorrowedFd<'_>], flags: Wait) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let flags = match flags {
        Wait::Block => SendFlags::NOSIGNAL,
        Wait::Never => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    };
    rustix::net::sendmsg(socket, &[IoSlice::new(message)], &mut control, flags)?;
    Ok(())
}

/// Whether a send waits for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Waits.
    Block,
    /// Fails at once.
    Never,
}

/// Receives one message of at most `buffer.len()` bytes; zero bytes mean that the peer is gone.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => continue,
            other => break other?,
        }
    };
    if received.flags.contains(rustix::net::ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message longer than the limit"));
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((received.bytes, descriptors))
}

fn socket() -> io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(Into::into)
}

/// The address of a socket file by way of its opened directory: `sun_path` holds 108 bytes, a data directory may be
/// longer.
fn address(directory: &File, name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_fd().as_raw_fd()))?)
}
