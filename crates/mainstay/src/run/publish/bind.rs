//! Addresses and a number in, listening sockets of this thread's network out: at all of the addresses, or at none.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use super::limits;

/// A socket that clients come to.
#[derive(Debug)]
pub(super) enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// UDP.
    Udp(UdpSocket),
}

impl Socket {
    /// Where it listens.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }
}

/// Listens on one number at every address.
pub(super) fn at(addresses: &[IpAddr], udp: bool, number: u16) -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    let mut missing = None;
    for address in addresses {
        match one(SocketAddr::new(*address, number), udp) {
            Ok(socket) => sockets.push(socket),
            // A host without IPv6 has no ::1.
            Err(error) if is_absent(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

/// Listens on any number that is free at every address.
pub(super) fn anywhere(addresses: &[IpAddr], udp: bool) -> io::Result<Vec<Socket>> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..limits::FREE_PORTS_TRIED {
        let Some(first) = addresses.first() else { break };
        // The first socket is closed again: the number is then taken at all addresses in one way.
        let number = one(SocketAddr::new(*first, 0), udp)?.address()?.port();
        match at(addresses, udp, number) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            other => return other,
        }
    }
    Err(last)
}

/// Whether the host does not have the address at all.
pub(super) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn one(address: SocketAddr, udp: bool) -> io::Result<Socket> {
    if udp {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        return UdpSocket::from_std(socket).map(Socket::Udp);
    }
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Lets a restart follow at once on closed connections; a port on which somebody listens stays refused.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits::BACKLOG).map(Socket::Tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> Vec<IpAddr> {
        ["127.0.0.1", "::1"].map(|text| text.parse().unwrap()).to_vec()
    }

    #[tokio::test]
    async fn a_taken_number_is_refused_and_a_free_one_is_the_same_at_every_address() {
        for udp in [false, true] {
            let held = anywhere(&loopback(), udp).unwrap();
            let numbers: Vec<u16> = held.iter().map(|socket| socket.address().unwrap().port()).collect();
            assert!(numbers.iter().all(|number| *number == numbers[0] && *number != 0), "{numbers:?}");
            let refused = at(&loopback(), udp, numbers[0]).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
            drop(held);
            assert!(at(&loopback(), udp, numbers[0]).is_ok());
        }
    }

    #[tokio::test]
    async fn somebody_on_every_address_is_not_pushed_aside() {
        let theirs = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let refused = at(&loopback(), false, theirs.local_addr().unwrap().port()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn an_address_that_is_not_here_is_refused_unless_another_is() {
        let foreign: IpAddr = "2001:db8::7".parse().unwrap();
        assert!(is_absent(&at(&[foreign], false, 0).unwrap_err()));
        assert_eq!(at(&[loopback()[0], foreign], false, 0).unwrap().len(), 1);
    }
}
