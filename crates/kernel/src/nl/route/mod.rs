//! Links, addresses and routes through rtnetlink.

mod address;
mod link;
mod monitor;
mod rule;
mod table;
#[cfg(test)]
mod tests;

pub use address::{Address, NewAddress, Scope};
pub use link::{Link, VethSpec};
pub use monitor::Monitor;
pub use rule::PolicyRule;
pub use table::{NewRoute, Route};

use super::message::{DUMP, Writer};
use super::socket::Reply;
use super::{Protocol, Result, Socket};

/// A connection to rtnetlink in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: Socket,
}

impl Rtnetlink {
    /// Connects, in the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Route)? })
    }

    fn request(&mut self, what: &str, message: Writer) -> Result<()> {
        self.socket.request(what, message)
    }

    fn dump(&mut self, what: &str, kind: u16, fixed: &[u8]) -> Result<Vec<Reply>> {
        self.socket.dump(what, Writer::request(kind, DUMP, fixed, |_| ()))
    }
}

/// Address family number of an address.
fn family(address: &std::net::IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

/// An address as attribute bytes.
fn octets(address: &std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(four) => four.octets().to_vec(),
        std::net::IpAddr::V6(six) => six.octets().to_vec(),
    }
}
