//! One question to one resolver: UDP from a fresh port, then TCP if the answer was cut.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::limits;
use crate::wire::rcode;
use crate::wire::records::Upstream;
use crate::wire::rtype;

/// Asks `server`; each step has [`limits::RESOLVER_WAIT`].
pub(super) async fn ask(server: SocketAddr, key: &[u8]) -> io::Result<Upstream> {
    let mut answer = within(over_udp(server, key, true)).await?;
    if answer.code() == rcode::FORMERR {
        // A resolver from before EDNS (RFC 6891 7).
        answer = within(over_udp(server, key, false)).await?;
    }
    if answer.truncated() {
        answer = within(over_tcp(server, key)).await?;
    }
    Ok(answer)
}

async fn within(work: impl Future<Output = io::Result<Upstream>>) -> io::Result<Upstream> {
    timeout(limits::RESOLVER_WAIT, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The port is the kernel's random choice, the id is ours: a forged answer has to guess both (RFC 5452).
async fn over_udp(server: SocketAddr, key: &[u8], edns: bool) -> io::Result<Upstream> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let (id, query) = query(key, edns)?;
    socket.send(&query).await?;
    let mut buffer = vec![0; limits::QUERY];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What is no answer to our question was sent by someone else; the true one may still come.
        if let Some(answer) = Upstream::parse(buffer[..length].to_vec(), id, key) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, key: &[u8]) -> io::Result<Upstream> {
    let mut stream = TcpStream::connect(server).await?;
    let (id, query) = query(key, true)?;
    let mut framed = (query.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&query);
    stream.write_all(&framed).await?;
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Upstream::parse(message, id, key).ok_or_else(|| io::Error::other("the answer over TCP is not to our question"))
}

fn query(key: &[u8], edns: bool) -> io::Result<(u16, Vec<u8>)> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
    let mut query = id.to_vec();
    query.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
    query.extend_from_slice(key);
    if edns {
        query.extend_from_slice(&[0, 0, rtype::OPT as u8]);
        query.extend_from_slice(&(limits::UDP_ANSWER as u16).to_be_bytes());
        query.extend_from_slice(&[0; 6]);
    }
    Ok((u16::from_be_bytes(id), query))
}
