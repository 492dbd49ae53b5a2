//! Raw sockets: packets that no ordinary socket sends, made and read byte by byte.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use rustix::net::{AddressFamily, Protocol, SocketType, ipproto, socket};

use crate::topology::PATIENCE;

/// A raw socket of a transport protocol; call it inside the namespace. It sends and receives like a datagram socket
/// whose datagrams begin with the transport header (after the IP header, where IPv4 shows it).
fn raw(protocol: Protocol, v4: bool) -> UdpSocket {
    let family = if v4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = UdpSocket::from(socket(family, SocketType::RAW, Some(protocol)).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The transport part of what was received.
fn transport(received: &[u8], v4: bool) -> &[u8] {
    let header = if v4 { usize::from(received[0] & 15) * 4 } else { 0 };
    &received[header..]
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn port(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Listens to the TCP segments that a namespace receives, and sends one of its own.
pub(crate) struct Tap {
    socket: UdpSocket,
    v4: bool,
}

/// Where a stream stands, as its receiver knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    /// The next byte that the receiver expects.
    expected: u32,
    /// The next byte that the receiver will send, at least.
    own: u32,
}

impl Tap {
    /// Call it inside the namespace, before the segments come.
    pub(crate) fn new(v4: bool) -> Self {
        Self { socket: raw(ipproto::TCP, v4), v4 }
    }

    /// Waits for a segment with data from one port to another.
    pub(crate) fn data(&self, from: u16, to: u16) -> Position {
        let mut buffer = [0; 2048];
        loop {
            let length = self.socket.recv(&mut buffer).unwrap();
            let segment = transport(&buffer[..length], self.v4);
            let data = segment.len() - usize::from(segment[12] >> 4) * 4;
            if port(segment, 0) == from && port(segment, 2) == to && data > 0 {
                let expected = number(segment, 4).wrapping_add(data as u32);
                return Position { expected, own: number(segment, 8) };
            }
        }
    }

    /// Sends one byte far beyond the window of its receiver, as part of a stream that stands at `position`.
    pub(crate) fn send_beyond_the_window(&self, from: SocketAddr, to: SocketAddr, position: Position) {
        let mut segment = Vec::new();
        segment.extend(from.port().to_be_bytes());
        segment.extend(to.port().to_be_bytes());
        segment.extend(position.own.wrapping_add(0x4000_0000).to_be_bytes());
        segment.extend(position.expected.to_be_bytes());
        // Five words of header; ACK and PSH; a window; checksum and urgent pointer follow; one byte of data.
        segment.extend([5 << 4, 0x18, 0x20, 0, 0, 0, 0, 0, b'!']);
        let sum = checksum(from.ip(), to.ip(), &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        self.socket.send_to(&segment, (to.ip(), 0)).unwrap();
    }
}

/// RFC 9293, 3.1: with the pseudo header of either family.
fn checksum(from: IpAddr, to: IpAddr, segment: &[u8]) -> u16 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    };
    let mut bytes = [octets(from), octets(to), vec![0, 6], (segment.len() as u16).to_be_bytes().to_vec()].concat();
    bytes.extend(segment);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;

/// RFC 9260, appendix A: CRC-32C, least significant bit first.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// A packet with one INIT or INIT ACK chunk.
fn sctp(from: u16, to: u16, tag: u32, kind: u8, own_tag: u32) -> Vec<u8> {
    let mut packet = [from.to_be_bytes(), to.to_be_bytes()].concat();
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    // Length 20, the sender's tag, its window, streams out and in, its first number.
    packet.extend([kind, 0, 0, 20]);
    packet.extend(own_tag.to_be_bytes());
    packet.extend([0, 0, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let sum = crc32c(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

/// Answers every INIT to a port in the calling thread's namespace with an INIT ACK whose tag is `name`, until the
/// process ends. This kernel has no SCTP of its own, so associations go no further.
pub(crate) fn serve_sctp(v4: bool, number_of_port: u16, name: u32) {
    let socket = raw(ipproto::SCTP, v4);
    socket.set_read_timeout(None).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let packet = transport(&buffer[..length], v4);
            if packet.len() >= 32 && port(packet, 2) == number_of_port && packet[12] == INIT {
                let answer = sctp(number_of_port, port(packet, 0), number(packet, 16), INIT_ACK, name);
                // The client may be gone already; that is its affair.
                let _ = socket.send_to(&answer, (peer.ip(), 0));
            }
        }
    });
}

/// Sends an INIT from a port and waits for its INIT ACK, whose tag names the server; call it inside the client's
/// namespace. The answer must come from where the question went.
pub(crate) fn ask_sctp(from: u16, target: SocketAddr) -> std::io::Result<u32> {
    let socket = raw(ipproto::SCTP, target.is_ipv4());
    // Only a connected socket is told that it was refused.
    socket.connect((target.ip(), 0))?;
    let own_tag = 0x1234_0000 | u32::from(from);
    socket.send(&sctp(from, target.port(), 0, INIT, own_tag))?;
    let mut buffer = [0; 2048];
    loop {
        let length = socket.recv(&mut buffer)?;
        let packet = transport(&buffer[..length], target.is_ipv4());
        if packet.len() >= 32 && packet[12] == INIT_ACK && port(packet, 2) == from {
            assert_eq!((port(packet, 0), number(packet, 4)), (target.port(), own_tag), "translated back");
            return Ok(number(packet, 16));
        }
    }
}
