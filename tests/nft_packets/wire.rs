//! Packets as bytes, and bytes as packets: written from the RFCs (791, 8200, 768, 9293, 9260, 792, 4443), so that what a
//! capture says owes nothing to our own code.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a test sends: the first packet of a flow, with a number that no translation touches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// 6, 17 or 132.
    pub(crate) protocol: u8,
    pub(crate) source_port: u16,
    pub(crate) port: u16,
    pub(crate) token: u32,
    /// The six bits that tell the node of circumstances.
    pub(crate) dscp: u8,
    /// A TCP segment without flags, which belongs to no flow.
    pub(crate) malformed: bool,
}

/// How a packet came to light again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It arrived.
    Arrived,
    /// Its sender is told: by a reset, or by port unreachable.
    Refused,
    /// It was for the host itself.
    Host,
}

/// A packet in a capture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caught {
    pub(crate) kind: Kind,
    pub(crate) token: u32,
    pub(crate) source: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) destination: IpAddr,
    pub(crate) port: u16,
    pub(crate) dscp: u8,
    /// Of the network header and of what it carries.
    pub(crate) checksums: bool,
}

/// RFC 1071.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            total += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    [octets(source), octets(destination), vec![0, protocol], (length as u16).to_be_bytes().to_vec()].concat()
}

/// CRC32c of RFC 9260, appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: u8| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    };
    !bytes.iter().fold(!0, |crc, byte| step(crc, *byte))
}

impl Sent {
    /// The whole packet from the network header on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let transport = self.transport();
        let length = transport.len() as u16;
        let mut head = match (self.source, self.destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => {
                let total = (20 + length).to_be_bytes();
                let mut head = vec![0x45, self.dscp << 2, total[0], total[1], 0, 1, 0, 0, 64, self.protocol, 0, 0];
                head.extend(octets(self.source));
                head.extend(octets(self.destination));
                let check = sum(&[&head]).to_be_bytes();
                head[10..12].copy_from_slice(&check);
                head
            }
            _ => {
                let class = u32::from(self.dscp) << 2;
                let first = (6 << 28 | class << 20).to_be_bytes();
                let mut head = [&first[..], &length.to_be_bytes(), &[self.protocol, 64]].concat();
                head.extend(octets(self.source));
                head.extend(octets(self.destination));
                head
            }
        };
        head.extend(transport);
        head
    }

    fn transport(&self) -> Vec<u8> {
        let ports = [self.source_port.to_be_bytes(), self.port.to_be_bytes()].concat();
        let token = self.token.to_be_bytes();
        match self.protocol {
            17 => {
                let mut bytes = [&ports[..], &16_u16.to_be_bytes(), &[0, 0], b"MSTY", &token].concat();
                let check = match sum(&[&pseudo(self.source, self.destination, 17, 16), &bytes]) {
                    0 => 0xffff,
                    check => check,
                };
                bytes[6..8].copy_from_slice(&check.to_be_bytes());
                bytes
            }
            6 => {
                let flags = if self.malformed { 0 } else { 2 };
                let mut bytes = [&ports[..], &token, &[0; 4], &[0x50, flags, 0x10, 0], &[0; 4]].concat();
                let check = sum(&[&pseudo(self.source, self.destination, 6, 20), &bytes]).to_be_bytes();
                bytes[16..18].copy_from_slice(&check);
                bytes
            }
            _ => {
                // INIT: verification tag 0, its own tag, window, streams, first sequence number.
                let chunk = [&[1, 0, 0, 20][..], &token, &65_536_u32.to_be_bytes(), &[0, 1, 0, 1], &token].concat();
                let mut bytes = [&ports[..], &[0; 8], &chunk].concat();
                let check = crc32c(&bytes).to_le_bytes();
                bytes[8..12].copy_from_slice(&check);
                bytes
            }
        }
    }
}

struct Network<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    dscp: u8,
    intact: bool,
    rest: &'a [u8],
}

fn network(bytes: &[u8]) -> Option<Network<'_>> {
    match bytes.first()? >> 4 {
        4 => {
            let length = usize::from(bytes[0] & 15) * 4;
            let (head, rest) = bytes.split_at_checked(length)?;
            let four = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(head.get(at..at + 4)?).ok()?).into());
            let total = usize::from(u16::from_be_bytes([*head.get(2)?, *head.get(3)?]));
            Some(Network {
                source: four(12)?,
                destination: four(16)?,
                protocol: *head.get(9)?,
                dscp: head[1] >> 2,
                intact: sum(&[head]) == 0,
                rest: rest.get(..total.saturating_sub(length)).unwrap_or(rest),
            })
        }
        6 => {
            let (head, rest) = bytes.split_at_checked(40)?;
            let six = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(head.get(at..at + 16)?).ok()?).into());
            let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
            let rest = rest.get(..length).unwrap_or(rest);
            let dscp = (u16::from_be_bytes([head[0], head[1]]) >> 6 & 63) as u8;
            Some(Network { source: six(8)?, destination: six(24)?, protocol: head[6], dscp, intact: true, rest })
        }
        _ => None,
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Ports and token of the first packet of a flow.
fn opening(protocol: u8, bytes: &[u8]) -> Option<(u16, u16, u32)> {
    let token = match protocol {
        17 if bytes.get(8..12)? == b"MSTY" => be32(bytes, 12)?,
        6 => be32(bytes, 4)?,
        132 => be32(bytes, 16)?,
        _ => return None,
    };
    Some((be16(bytes, 0)?, be16(bytes, 2)?, token))
}

/// A captured packet; none if it is nothing that the test sent, nor an answer to it.
pub(crate) fn decode(bytes: &[u8]) -> Option<Caught> {
    let outer = network(bytes)?;
    let told = |kind, token, source_port, port| Caught {
        kind,
        token,
        source: outer.source,
        source_port,
        destination: outer.destination,
        port,
        dscp: outer.dscp,
        checksums: outer.intact,
    };
    match outer.protocol {
        1 | 58 => {
            let (kind, code) = (*outer.rest.first()?, *outer.rest.get(1)?);
            let kind = match (outer.protocol, kind, code) {
                (1, 3, 3) | (58, 1, 4) => Kind::Refused,
                (1, 3, 13) | (58, 1, 1) => Kind::Host,
                _ => return None,
            };
            let inner = network(outer.rest.get(8..)?)?;
            let (source_port, port, token) = opening(inner.protocol, inner.rest)?;
            Some(told(kind, token, source_port, port))
        }
        6 if outer.rest.get(13)? & 4 != 0 => {
            Some(told(Kind::Refused, be32(outer.rest, 8)?.wrapping_sub(1), be16(outer.rest, 0)?, be16(outer.rest, 2)?))
        }
        6 | 17 | 132 => {
            let (source_port, port, token) = opening(outer.protocol, outer.rest)?;
            let carried = match outer.protocol {
                132 => {
                    let mut bare = outer.rest.to_vec();
                    bare[8..12].fill(0);
                    crc32c(&bare).to_le_bytes() == outer.rest[8..12]
                }
                other => sum(&[&pseudo(outer.source, outer.destination, other, outer.rest.len()), outer.rest]) == 0,
            };
            Some(Caught { checksums: outer.intact && carried, ..told(Kind::Arrived, token, source_port, port) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_the_published_one() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
