//! Addresses in, sockets of the node's network out, driven by this thread: kernel rules there choose the endpoint.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use rustix::net::sockopt;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::limits;

/// Makes sockets on the thread that lives in the node's network.
#[derive(Clone)]
pub(super) struct Dialer {
    node: Handle,
}

impl Dialer {
    /// `node` is the runtime of that thread.
    pub(super) fn new(node: Handle) -> Self {
        Self { node }
    }

    /// A connection to an address as a program on the node would open it.
    pub(super) async fn tcp(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let make = move || if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = self.there(make).await?;
        let connected = timeout(limits::CONNECT, socket.connect(to)).await;
        let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        prepare(&stream)?;
        Ok(stream)
    }

    /// A socket whose datagrams go to an address, and that takes only answers from there.
    pub(super) async fn udp(&self, to: SocketAddr) -> io::Result<UdpSocket> {
        let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let make = move || {
            let socket = std::net::UdpSocket::bind(SocketAddr::new(any, 0))?;
            socket.set_nonblocking(true)?;
            socket.connect(to)?;
            Ok(socket)
        };
        UdpSocket::from_std(self.there(make).await?)
    }

    /// A socket belongs to the network of the thread that makes it, wherever it is used.
    async fn there<T: Send + 'static>(&self, make: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        self.node.spawn(async move { make() }).await.map_err(io::Error::other)?
    }
}

/// What every relayed connection has on both sides: no delay, and an end when the peer is gone without a word.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream.as_fd(), true)?;
    sockopt::set_tcp_keepidle(stream.as_fd(), limits::KEEPALIVE)?;
    Ok(())
}
