//! TCP sockets of this namespace as the kernel sees them: who listens, what waits to be accepted, what is half open.

use std::net::{IpAddr, SocketAddr};

use super::message::{DUMP, Writer};
use super::{Result, Socket, parse};

const BY_FAMILY: u16 = 20;
const TCP: u8 = 6;
const SYN_RECEIVED: u8 = 3;
const LISTEN: u8 = 10;

/// One TCP socket that listens, or one that waits for the last packet of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// Its own end.
    pub local: SocketAddr,
    /// The other end; unspecified for listeners.
    pub remote: SocketAddr,
    /// Listeners: connections that nobody accepted yet.
    pub waiting: u32,
    /// True for listeners, false for half-open connections.
    pub listening: bool,
}

/// Every listener and every half-open connection, both families; `socket` speaks [`super::Protocol::SockDiag`].
pub fn listeners_and_half_open(socket: &mut Socket) -> Result<Vec<TcpSocket>> {
    let mut out = Vec::new();
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        // struct inet_diag_req_v2: family, protocol, extensions, padding, a mask of states, an empty socket identity.
        let mut fixed = [0; 56];
        fixed[..2].copy_from_slice(&[family, TCP]);
        fixed[4..8].copy_from_slice(&(1u32 << SYN_RECEIVED | 1 << LISTEN).to_ne_bytes());
        let replies = socket.dump("list TCP sockets", Writer::request(BY_FAMILY, DUMP, &fixed, |_| ()))?;
        out.extend(replies.iter().filter_map(|reply| tcp_socket(&reply.payload)));
    }
    Ok(out)
}

/// struct inet_diag_msg: family, state, timer, retransmissions, identity (ports, addresses, ..), expiry, receive queue.
fn tcp_socket(payload: &[u8]) -> Option<TcpSocket> {
    let width = if i32::from(*payload.first()?) == libc::AF_INET { 4 } else { 16 };
    let end = |port: usize, address: usize| -> Option<SocketAddr> {
        let address: IpAddr = parse::address(payload.get(address..address + width)?)?;
        Some(SocketAddr::new(address, parse::be16(payload.get(port..)?)?))
    };
    let listening = *payload.get(1)? == LISTEN;
    let queue = parse::host32(payload.get(56..)?)?;
    Some(TcpSocket { local: end(4, 8)?, remote: end(6, 24)?, waiting: if listening { queue } else { 0 }, listening })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::super::Protocol;
    use super::*;

    #[test]
    fn a_connection_that_nobody_accepted_is_seen_waiting() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let local = listener.local_addr().unwrap();
            let mut socket = Socket::open(Protocol::SockDiag).unwrap();
            let mut waiting = || {
                let all = listeners_and_half_open(&mut socket).unwrap();
                all.iter().find(|one| one.listening && one.local == local).unwrap().waiting
            };
            assert_eq!(waiting(), 0);
            let _client = TcpStream::connect(local).unwrap();
            assert_eq!(waiting(), 1);
            let _accepted = listener.accept().unwrap();
            assert_eq!(waiting(), 0);
        }
    }
}
